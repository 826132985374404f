//! With too little memory a command does all or nothing, and its exit code says which.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Desk;
use super::output::{COMMANDS, Kind, POLICY};

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
    Some((seen, desk.ok("policy show"), desk.ok("ban list") + &desk.ok("allow list")))
}

/// What was said by `line` within a limit, or nothing if it succeeded: it must have done what it
/// says, or nothing.
#[track_caller]
fn whole(desk: &Desk, what: &str, line: &str, limit: impl FnOnce(&mut Command)) -> Option<String> {
    let before = state(desk);
    let mut command = desk.command(line);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    limit(&mut command);
    // A limit below what the program itself takes fails the start, or ends it by a signal.
    let Ok(child) = command.spawn() else { return Some(String::new()) };
    let output = child.wait_with_output().expect("it ends");
    let (after, said) = (state(desk), String::from_utf8_lossy(&output.stderr).into_owned());
    match output.status.success() {
        true => assert_ne!(before, after, "limiter {line} with {what} says that it is done"),
        false => assert_eq!(before, after, "limiter {line} with {what}: {}: {said}", output.status),
    }
    // Rust itself panics where the program's first pages, before `main`, are more than there is.
    let began = !said.contains("sys/pal/unix/stack_overflow.rs");
    assert!(!(began && said.contains("panicked")), "limiter {line} with {what}: {said}");
    (!output.status.success()).then_some(said)
}

/// Commands that change something once limiter is loaded, and how each is undone.
const CHANGES: [(&str, &str); 5] = [
    ("arm", "disarm"),
    ("set --budget 800/s", "set --budget none"),
    ("ban add 192.0.2.7 192.0.2.0/24", "ban del 192.0.2.7 192.0.2.0/24"),
    ("attach web1", "detach web1"),
    ("detach --all", ATTACH),
];

fn address_space(bytes: u64) -> impl Fn(&mut Command) {
    move |command| {
        // SAFETY: one system call, safe between fork and exec.
        unsafe {
            command.pre_exec(move || {
                let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
                libc::setrlimit(libc::RLIMIT_AS, &limit);
                Ok(())
            });
        }
    }
}

/// The least with which each command is done, by halves. Just below it, it says that a change does
/// not begin: nothing that comes after the check takes more than the check asked for.
#[test]
fn little_address_space() {
    let desk = Desk::new();
    desk.ok("detach --all");
    for (line, undo) in [(ATTACH, "detach --all")].into_iter().chain(CHANGES) {
        let (mut least, mut most, mut refusal) = (MIB, 512 * MIB, String::new());
        while most - least > MIB / 8 {
            let middle = least.midpoint(most);
            match whole(&desk, &format!("{middle} B"), line, address_space(middle)) {
                None => {
                    desk.ok(undo);
                    most = middle;
                }
                Some(said) => (least, refusal) = (middle, said),
            }
        }
        println!("limiter {line}: {} KiB, below: {refusal}", most >> 10);
        let loads = line == ATTACH;
        assert!(loads || refusal.contains("too little memory"), "limiter {line}: {refusal}");
        if loads {
            desk.ok(ATTACH);
        }
    }
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

/// Puts a command into a cgroup.
fn into(group: &Group) -> impl Fn(&mut Command) {
    let procs = group.0.join("cgroup.procs");
    move |command| {
        let file = std::fs::File::options().write(true).open(&procs).expect("the cgroup");
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
    }
}

/// Every command that changes something, and a long list by file: what it says is done, or nothing
/// is.
#[test]
fn every_change_in_a_memory_cgroup() {
    let desk = Desk::new();
    std::fs::write(desk.policy(), POLICY).expect("written");
    let bans: String = (0..50_000).map(|n| format!("198.18.{}.{}\n", n / 256, n % 256)).collect();
    std::fs::write(desk.file("bans"), bans).expect("written");
    let changes = COMMANDS.iter().filter(|(_, kind, ..)| *kind == Kind::Change);
    let changes = changes.map(|(_, _, before, line)| (*before, *line));
    let long = (&["ban del 192.0.2.2"][..], "ban add --from bans --for 1h");
    let changes: Vec<_> = changes.chain([long]).collect();
    for limit in [8, 16, 32, 96] {
        let Some(group) = cgroup(limit) else {
            println!("this machine has no memory controller: nothing is tried");
            return;
        };
        let mut done = 0;
        desk.ok("detach --all");
        desk.ok("apply policy.toml");
        for (before, line) in &changes {
            before.iter().for_each(|line| drop(desk.output(line)));
            let (was, noted) = (state(&desk), desk.json("history --last 1"));
            let mut command = desk.command(line);
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            into(&group)(&mut command);
            let Ok(child) = command.spawn() else { continue };
            let output = child.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&output.stderr);
            let what = format!("limiter {line} in {limit} MiB: {}: {said}", output.status);
            let now = desk.json("history --last 1");
            match output.status.success() {
                true => assert_ne!(now, noted, "it is noted: {what}"),
                false => assert_eq!((state(&desk), now), (was, noted), "{what}"),
            }
            done += usize::from(output.status.success());
        }
        println!("{done} of {} changes done in {limit} MiB", changes.len());
        assert!(limit < 96 || done == changes.len(), "96 MiB suffice");
    }
}

#[test]
fn a_memory_cgroup() {
    let desk = Desk::new();
    desk.ok("detach --all");
    let mut done = Vec::new();
    for limit in [8, 16, 32, 96] {
        let Some(group) = cgroup(limit) else {
            println!("this machine has no memory controller: nothing is tried");
            return;
        };
        let within = into(&group);
        let what = format!("a cgroup of {limit} MiB");
        let mut successes = usize::from(whole(&desk, &what, ATTACH, &within).is_none());
        if state(&desk).is_none() {
            desk.ok(ATTACH);
        }
        for (line, undo) in CHANGES {
            if whole(&desk, &what, line, &within).is_none() {
                successes += 1;
                desk.ok(undo);
            }
        }
        done.push((limit, successes));
        desk.ok("detach --all");
    }
    println!("commands done by MiB of the cgroup: {done:?}");
    assert!(done.last().is_some_and(|(_, done)| *done == 6), "96 MiB suffice: {done:?}");
}
