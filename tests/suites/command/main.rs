//! The command as an operator uses it: what it says, what it leaves behind, and what a killed one leaves.
//!
//! The binary is LIMITER_BIN, or the one that cargo built beside these tests. Needs root.

mod apply;
mod capabilities;
mod cookies;
mod devices;
mod doctor;
mod errors;
mod full;
mod garbage;
mod history;
mod killed;
mod live;
mod parallel;
mod pins;
mod policy;
mod run;
mod runbooks;
mod unmount;
mod watch;

use std::path::PathBuf;
use std::process::{Command, Output};

use lab::wait::PATIENCE;
use lab::{Directory, Namespace, PrivateBpffs};
use serde_json::Value;

/// A front end with two interfaces, a bpffs and a history of its own.
struct Desk {
    front: Namespace,
    bpffs: PrivateBpffs,
    state: Directory,
}

impl Desk {
    fn new() -> Self {
        let front = Namespace::new().expect("a namespace");
        for (near, far) in [("web0", "far0"), ("web1", "far1")] {
            front.ip(&["link", "add", near, "type", "veth", "peer", "name", far]).expect("a veth");
            front.ip(&["link", "set", near, "up"]).expect("up");
            front.ip(&["link", "set", far, "up"]).expect("up");
        }
        let state = Directory::new().expect("a directory");
        Self { front, bpffs: PrivateBpffs::new().expect("a bpffs"), state }
    }

    fn pins(&self) -> PathBuf {
        self.bpffs.path().join("limiter")
    }

    fn history(&self) -> PathBuf {
        self.state.path().join("history.jsonl")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.front.command(binary().to_str().expect("a path")).expect("a command");
        self.furnish(command.args(line.split_whitespace()));
        command
    }

    /// The environment of every limiter that is run here: nothing of this machine is read or written.
    fn furnish<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LIMITER_PINS", self.pins()).env("LIMITER_HISTORY", self.history()).env_remove("SSH_CONNECTION")
    }

    fn output(&self, line: &str) -> Output {
        self.command(line).output().expect("the command runs")
    }

    /// Runs a command that must succeed; what it printed.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.output(line);
        assert_eq!(output.status.code(), Some(0), "limiter {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} --json"))).expect("JSON")
    }

    /// Runs a command that must fail with `code`, on one line that holds all of `words`, and print nothing else.
    #[track_caller]
    fn fails(&self, line: &str, code: i32, words: &[&str]) {
        self.refused(&self.output(line), code, words);
    }

    #[track_caller]
    fn refused(&self, output: &Output, code: i32, words: &[&str]) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(words.iter().all(|word| said.contains(word)), "{said}: expected {words:?}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }

    /// Whether no XDP program is on the interface, or soon none: the kernel takes a link apart when it finds the time.
    fn becomes_free(&self, name: &str) -> bool {
        let start = std::time::Instant::now();
        while self.has_program(name) {
            if start.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        true
    }

    /// Whether an XDP program is on the interface.
    fn has_program(&self, name: &str) -> bool {
        let output =
            self.front.command("ip").expect("ip").args(["link", "show", "dev", name]).output().expect("ip runs");
        String::from_utf8_lossy(&output.stdout).contains("xdp")
    }

    fn left(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.pins()) else { return Vec::new() };
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.command("detach --all").output();
    }
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LIMITER_BIN") {
        return path.into();
    }
    let mine = std::env::current_exe().expect("a path");
    let beside = mine.parent().and_then(|deps| deps.parent()).expect("a target directory").join("limiter");
    assert!(beside.is_file(), "{} is missing: cargo build --release --package limiter", beside.display());
    beside
}
