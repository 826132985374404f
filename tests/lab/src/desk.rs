//! Owns the limiter command as somebody types it in a namespace: which binary, with pins and a history of its own, and with nothing of
//! this machine in its environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::bpffs::PrivateBpffs;
use crate::directory::Directory;
use crate::netns::Namespace;

/// A place to type at. When dropped it detaches limiter and takes all away that it keeps.
#[derive(Debug)]
pub struct Desk {
    front: Namespace,
    pins: PathBuf,
    /// None: the pins are somebody else's, and stay.
    bpffs: Option<PrivateBpffs>,
    state: Directory,
    limiter: PathBuf,
}

impl Desk {
    /// In `front`, with a BPF file system of its own.
    ///
    /// # Errors
    /// When the command is not built, or the file system cannot be made.
    pub fn new(front: &Namespace) -> Result<Self> {
        let bpffs = PrivateBpffs::new()?;
        let pins = bpffs.path().join("limiter");
        let mut desk = Self::over(front, pins)?;
        desk.bpffs = Some(bpffs);
        Ok(desk)
    }

    /// In `front`, over pins that something else keeps.
    ///
    /// # Errors
    /// When the command is not built.
    pub fn over(front: &Namespace, pins: PathBuf) -> Result<Self> {
        Ok(Self {
            front: front.another()?,
            pins,
            bpffs: None,
            state: Directory::new()?,
            limiter: limiter()?,
        })
    }

    /// The pin directory.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// A file of its own directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    /// Its own directory, which holds the history and whatever is put there.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// The file of the history.
    pub fn history(&self) -> PathBuf {
        self.file("history.jsonl")
    }

    /// The policy file that `run` and `apply` read unless they are told another.
    pub fn policy(&self) -> PathBuf {
        self.file("policy.toml")
    }

    /// The environment of every limiter that is run here: nothing of this machine is read or written.
    pub fn furnish<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LIMITER_PINS", &self.pins).env("LIMITER_HISTORY", self.history());
        command.env("LIMITER_POLICY", self.policy()).env_remove("SSH_CONNECTION")
    }

    /// Any program in the namespace and in [`Desk::state`], from which limiter is then run as from here.
    ///
    /// # Panics
    /// When this process has no descriptor left.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.front.command(program).expect("a descriptor");
        self.furnish(&mut command).current_dir(self.state());
        command
    }

    /// `limiter` with the words of `line`.
    ///
    /// # Panics
    /// As [`Desk::program`].
    pub fn command(&self, line: &str) -> Command {
        let mut command = self.program(&self.limiter);
        command.args(line.split_whitespace());
        command
    }

    /// Runs limiter to its end.
    ///
    /// # Panics
    /// Also when it cannot be started.
    pub fn output(&self, line: &str) -> Output {
        self.command(line).output().expect("the command runs")
    }

    /// Runs a command that should succeed; what it printed.
    ///
    /// # Errors
    /// When it does not: what it said.
    pub fn run(&self, line: &str) -> Result<String> {
        let output = self.output(line);
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "limiter {line}: {}: {}", output.status, said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a command that must succeed; what it printed.
    ///
    /// # Panics
    /// When it does not succeed.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.run(line).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Runs a command with `--json` that must succeed; the value that it printed.
    ///
    /// # Panics
    /// When it does not succeed, or prints something else.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} --json"))).expect("JSON")
    }

    /// Names in the pin directory.
    pub fn left(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.pins) else { return Vec::new() };
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // The pins of somebody else stay. Of its own the mount goes next, and with it what is
        // pinned there.
        if self.bpffs.is_some()
            && let Err(error) = self.run("detach --all")
        {
            eprintln!("{error:#}");
        }
    }
}

/// The limiter command: named by LIMITER_BIN, or where cargo puts it: beside this program, or above the directory of tests.
///
/// # Errors
/// When it is not there.
pub fn limiter() -> Result<PathBuf> {
    let mine = std::env::current_exe().context("this program has no path")?;
    let beside = |directory: &Path| directory.join("limiter");
    let path = match std::env::var_os("LIMITER_BIN") {
        Some(path) => path.into(),
        None => mine
            .ancestors()
            .skip(1)
            .take(2)
            .map(beside)
            .find(|path| path.is_file())
            .unwrap_or_default(),
    };
    ensure!(
        path.is_file(),
        "the command is not there: build it with `cargo build --release --package limiter`"
    );
    Ok(path)
}
