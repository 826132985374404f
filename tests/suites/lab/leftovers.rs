//! A run leaves nothing behind, however it ends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use lab::wait::PATIENCE;
use lab::{Directory, Lab, Namespace, PrivateBpffs, bpffs, cleanup, directory, leftovers, netns};

#[test]
fn nothing_stays_after_drop() -> Result<()> {
    let lab = Lab::new()?;
    let bpffs = PrivateBpffs::new()?;
    fs::create_dir(bpffs.path().join("a_pin_directory"))?;
    let directory = Directory::new()?;
    fs::write(directory.path().join("a_file"), "text")?;
    assert_eq!(leftovers(std::process::id()), 5);
    drop((lab, bpffs, directory));
    assert_eq!(leftovers(std::process::id()), 0);
    Ok(())
}

#[test]
fn commands_run_inside() -> Result<()> {
    let namespace = Namespace::new()?;
    let output = namespace.command("ip")?.args(["-brief", "link"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(text.lines().count(), 1, "only lo: {text}");
    Ok(())
}

#[test]
fn a_killed_run_is_swept_up() -> Result<()> {
    if is_victim() {
        return be_victim();
    }
    let mut victim = victim("a_killed_run_is_swept_up")?;
    assert_eq!(leftovers(victim.child.id()), 5);
    victim.child.kill()?;
    victim.child.wait()?;
    assert_eq!(leftovers(victim.child.id()), 5);
    netns::sweep()?;
    bpffs::sweep()?;
    directory::sweep()?;
    assert_eq!(leftovers(victim.child.id()), 0);
    Ok(())
}

#[test]
fn an_interrupted_run_cleans_up() -> Result<()> {
    if is_victim() {
        return be_victim();
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut victim = victim("an_interrupted_run_cleans_up")?;
        // SAFETY: kill(2) takes numbers; the child is ours and not yet waited for, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(victim.child.id() as i32, signal) }, 0);
        let status = victim.child.wait()?;
        assert_eq!((status.code(), status.signal()), (Some(130), None));
        assert_eq!(leftovers(victim.child.id()), 0);
    }
    Ok(())
}

/// Namespaces, mounts and directories that a process made.
fn leftovers(pid: u32) -> usize {
    let prefix = format!("{}{pid}-", leftovers::PREFIX);
    let count = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
    };
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let directories = count(Path::new("/run"));
    let mounted =
        mounts.lines().filter(|line| line.starts_with("bpf ") && line.contains(&prefix)).count();
    assert_eq!(mounted, directories, "a directory is a mount");
    count(Path::new("/run/netns")) + directories + count(&std::env::temp_dir())
}

/// A child that is to be killed. It would end by itself if one of its pipes closed.
struct Victim {
    child: Child,
    _input: ChildStdin,
    _output: BufReader<ChildStdout>,
}

/// Set for a test that is started again to be killed.
const VICTIM: &str = "LAB_VICTIM";

fn is_victim() -> bool {
    std::env::var_os(VICTIM).is_some()
}

/// Starts this test again, as a victim, and waits until it has made everything.
fn victim(test: &str) -> Result<Victim> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", &format!("leftovers::{test}"), "--nocapture"])
        .env(VICTIM, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = child.stdin.take().context("no input")?;
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    while output.read_line(&mut line)? > 0 {
        if line.contains("ready") {
            return Ok(Victim { child, _input: input, _output: output });
        }
        line.clear();
    }
    anyhow::bail!("the victim ended: {:?}", child.wait()?)
}

fn be_victim() -> Result<()> {
    cleanup::install()?;
    let _lab = Lab::new()?;
    let _bpffs = PrivateBpffs::new()?;
    let _directory = Directory::new()?;
    println!("ready");
    let start = Instant::now();
    // Ends by itself when its parent is gone.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    ensure!(start.elapsed() < PATIENCE, "nobody killed the victim");
    Ok(())
}
