//! Owns network namespaces: making them, running code in them, and taking them away whatever happens.
//!
//! It refuses `ip netns exec`, which remounts /sys and so hides every bpffs: threads and children enter with setns.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::leftovers::{alive, leftovers, unique_name};

/// Where iproute2 keeps named namespaces.
const DIRECTORY: &str = "/run/netns";

/// A network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    /// None: nothing but `file` keeps it.
    name: Option<String>,
    file: File,
}

impl Namespace {
    /// Makes a namespace with a unique name and sets its loopback up.
    pub fn new() -> Result<Self> {
        let name = unique_name();
        succeed(Command::new("ip").args(["netns", "add", &name]))?;
        let file = File::open(Path::new(DIRECTORY).join(&name)).or_else(|error| {
            remove(&name);
            Err(error).with_context(|| format!("cannot open namespace {name}"))
        })?;
        let namespace = Self { name: Some(name), file };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Makes a namespace without a name, which even a killed process cannot leave behind. Its loopback is down.
    pub fn anonymous() -> Result<Self> {
        let work = || {
            // SAFETY: only sharing of descriptors between threads is unsafe to end, and that goes on.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("cannot make a namespace")?;
            File::open("/proc/thread-self/ns/net").context("cannot open a namespace")
        };
        let file = thread::scope(|scope| scope.spawn(work).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Self { name: None, file })
    }

    /// A second handle to it, without a name: the namespace stays for as long as either is there.
    pub fn another(&self) -> Result<Self> {
        let file = self.file.try_clone().context("cannot duplicate a namespace's descriptor")?;
        Ok(Self { name: None, file })
    }

    /// Its name, as `ip netns` knows it; empty without one.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Runs a closure on a fresh thread inside the namespace and returns its result.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let worker = || {
            enter(&self.file)?;
            work()
        };
        thread::scope(|scope| scope.spawn(worker).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts a named thread inside the namespace; it keeps the namespace alive until it ends.
    pub fn spawn<T: Send + 'static>(
        &self,
        thread_name: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let file = self.file.try_clone().context("cannot duplicate a namespace's descriptor")?;
        thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || {
                enter(&file)?;
                drop(file);
                work()
            })
            .context("cannot start a thread")
    }

    /// A command that will run inside the namespace, in the mount namespace of the caller.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let file = self.file.try_clone().context("cannot duplicate a namespace's descriptor")?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
            })
        };
        Ok(command)
    }

    /// Runs `ip` with these arguments inside the namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        succeed(self.command("ip")?.args(arguments))
    }

    /// Runs many `ip` commands, one a line, in one process.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        use io::Write as _;
        let mut command = self.command("ip")?;
        command.args(["-batch", "-"]);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run `ip`: is iproute2 installed?")?;
        let mut input = child.stdin.take().context("`ip` has no standard input")?;
        // `ip` stops at its first error and leaves a broken pipe; its own words explain it better.
        let written = input.write_all(lines.as_bytes());
        drop(input);
        let output = child.wait_with_output().context("cannot wait for `ip`")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`ip -batch` failed: {}", words.trim());
        written.context("cannot write to `ip -batch`")
    }

    /// Writes a setting below /proc/sys/net, for example `ipv4/ip_forward`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the namespace of the thread that looks.
        let path = Path::new("/proc/sys/net").join(name);
        self.run(|| {
            fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            remove(name);
        }
    }
}

/// Removes the namespaces of earlier runs whose process is gone, and returns how many.
pub fn sweep() -> Result<usize> {
    remove_where(|pid| !alive(pid))
}

/// Removes the namespaces whose maker's pid satisfies the condition.
pub(crate) fn remove_where(condition: impl Fn(u32) -> bool) -> Result<usize> {
    let names = leftovers(Path::new(DIRECTORY), condition)?;
    for name in &names {
        remove(name);
    }
    Ok(names.len())
}

fn enter(file: &File) -> Result<()> {
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter a namespace")
}

fn remove(name: &str) {
    // Nothing to do about a failure here; the next run sweeps.
    let _ = succeed(Command::new("ip").args(["netns", "delete", name]));
}

pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", words.trim());
    Ok(())
}
