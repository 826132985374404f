//! With too little memory a command does all or nothing, and its exit code says which.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use super::Desk;

const ATTACH: &str = "attach web0 --service web=*:80 --source-rate 20/s --sources 4096";
const MIB: u64 = 1 << 20;

/// All that these commands change; `None`: limiter is not loaded.
fn state(desk: &Desk) -> Option<(Value, String, String)> {
    let output = desk.output("status --quick --json");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("not loaded"), "{said}");
        return None;
    }
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let seen = serde_json::json!([status["mode"], status["interfaces"]]);
    Some((seen, desk.ok("policy show"), desk.ok("ban list")))
}

/// Runs `line` within a limit: it must have done what it says, or nothing.
#[track_caller]
fn whole(desk: &Desk, what: &str, line: &str, limit: impl FnOnce(&mut Command)) -> ExitStatus {
    let before = state(desk);
    let mut command = desk.command(line);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    limit(&mut command);
    // A limit below what the program itself takes fails the start, or ends it by a signal.
    let Ok(child) = command.spawn() else { return ExitStatus::default() };
    let output = child.wait_with_output().expect("it ends");
    let (after, said) = (state(desk), String::from_utf8_lossy(&output.stderr).into_owned());
    match output.status.success() {
        true => assert_ne!(before, after, "limiter {line} with {what} says that it is done"),
        false => assert_eq!(before, after, "limiter {line} with {what}: {}: {said}", output.status),
    }
    assert!(!said.contains("panicked"), "limiter {line} with {what}: {said}");
    output.status
}

/// Every command that changes something, each from a state in which it does.
fn all_or_nothing(desk: &Desk, what: &str, limit: &dyn Fn(&mut Command)) -> usize {
    let mut done = 0;
    desk.ok("detach --all");
    done += usize::from(whole(desk, what, ATTACH, limit).success());
    if state(desk).is_none() {
        desk.ok(ATTACH);
    }
    for (line, undo) in [
        ("arm", "disarm"),
        ("set --budget 800/s", "set --budget none"),
        ("ban add 192.0.2.7 192.0.2.0/24", "ban del 192.0.2.7 192.0.2.0/24"),
        ("attach web1", "detach web1"),
        ("detach --all", ""),
    ] {
        if whole(desk, what, line, limit).success() {
            done += 1;
            if !undo.is_empty() {
                desk.ok(undo);
            }
        }
    }
    done
}

#[test]
fn little_address_space() {
    let desk = Desk::new();
    let mut done = Vec::new();
    for limit in [8, 16, 24, 32, 64] {
        let within = move |command: &mut Command| {
            // SAFETY: one system call, safe between fork and exec.
            unsafe {
                command.pre_exec(move || {
                    let bytes = libc::rlimit { rlim_cur: limit * MIB, rlim_max: limit * MIB };
                    libc::setrlimit(libc::RLIMIT_AS, &bytes);
                    Ok(())
                });
            }
        };
        done.push((limit, all_or_nothing(&desk, &format!("{limit} MiB"), &within)));
    }
    println!("commands done by MiB of address space: {done:?}");
}

/// A memory cgroup of the test's own, which goes when it is dropped.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// `None` where this machine has no such controller.
fn cgroup(limit: u64) -> Option<Group> {
    let name = format!("limiter-test-{}-{limit}", std::process::id());
    let places =
        [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
    places.into_iter().find_map(|(parent, file)| {
        let path = PathBuf::from(parent).join(&name);
        std::fs::create_dir(&path).ok()?;
        let group = Group(path);
        std::fs::write(group.0.join(file), (limit * MIB).to_string()).ok()?;
        Some(group)
    })
}

#[test]
fn a_memory_cgroup() {
    let desk = Desk::new();
    let mut done = Vec::new();
    for limit in [8, 16, 32, 64] {
        let Some(group) = cgroup(limit) else {
            println!("this machine has no memory controller: nothing is tried");
            return;
        };
        let within = |command: &mut Command| {
            let file = std::fs::File::options()
                .write(true)
                .open(group.0.join("cgroup.procs"))
                .expect("the cgroup");
            // SAFETY: one system call on a descriptor that is open, safe between fork and exec.
            unsafe {
                command.pre_exec(move || {
                    let written = std::os::fd::AsRawFd::as_raw_fd(&file);
                    match libc::write(written, c"0".as_ptr().cast(), 1) {
                        1 => Ok(()),
                        _ => Err(std::io::Error::last_os_error()),
                    }
                });
            }
        };
        done.push((limit, all_or_nothing(&desk, &format!("a cgroup of {limit} MiB"), &within)));
        desk.ok("detach --all");
    }
    println!("commands done by MiB of the cgroup: {done:?}");
    assert!(done.last().is_some_and(|(_, done)| *done == 6), "64 MiB suffice: {done:?}");
}
