//! Owns killing a command at a chosen point of its work: before one of the system calls whose
//! effect outlasts it. Between two of these a kill leaves the same whenever it comes, so that a
//! kill before each of them stands for a kill at any time, and needs no luck.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A call that is about to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// What it does.
    pub name: &'static str,
    /// Which one it is of those that do this, with no other between them: 1 is the first.
    pub nth: u32,
}

/// Loads a program: the one that takes long.
pub const LOAD: &str = "load";

/// Commands of bpf() whose effect outlasts the process, or takes long. From linux/bpf.h.
const BPF: [(u64, &str); 10] = [
    (2, "write"),
    (3, "write"),
    (5, LOAD),
    (6, "pin"),
    (21, "write"),
    (26, "write"),
    (27, "write"),
    (28, "attach"),
    (29, "swap"),
    (34, "detach"),
];

/// Calls that are named by their number alone.
const CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_mkdirat, "make"),
    (libc::SYS_renameat, "rename"),
    (libc::SYS_renameat2, "rename"),
    (libc::SYS_unlinkat, "remove"),
    (libc::SYS_flock, "lock"),
    (libc::SYS_ftruncate, "file"),
    (libc::SYS_fdatasync, "file"),
    (libc::SYS_fsync, "file"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "make"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "remove"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "remove"),
];

/// Runs a command, and kills it before the first call that `is_point` says yes to: that call, or
/// none if the command came to its end.
///
/// # Errors
/// When it cannot be traced, or fails by itself.
pub fn kill_before(
    mut command: Command,
    mut is_point: impl FnMut(Call) -> bool,
) -> Result<Option<Call>> {
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = Pid::from_raw(
        command.spawn().with_context(|| format!("cannot run {command:?}"))?.id() as i32,
    );
    // It stops once it is the other program.
    waitpid(child, None)?;
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(child, options).context("cannot trace")?;
    ptrace::syscall(child, None)?;
    let (mut last, mut killed) = (Call::default(), None);
    loop {
        // Of this thread's children only those that it traces stop, and it has no other.
        let status = waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD))?;
        let (thread, signal) = match status {
            WaitStatus::Exited(process, code) if process == child => {
                ensure!(code == 0, "{command:?} failed with {code}");
                return Ok(None);
            }
            WaitStatus::Signaled(process, signal, _) if process == child => match killed {
                None => bail!("{command:?} died of {signal}"),
                some => return Ok(some),
            },
            WaitStatus::PtraceSyscall(thread) => {
                if let Some(name) = entered(thread)? {
                    last = Call { name, nth: if name == last.name { last.nth + 1 } else { 1 } };
                    if killed.is_none() && is_point(last) {
                        // A call at whose entry its thread is killed is not made.
                        kill(child, Signal::SIGKILL)?;
                        killed = Some(last);
                        continue;
                    }
                }
                (thread, None)
            }
            // A new thread says so by stopping, and a program that is run by a trap.
            WaitStatus::Stopped(thread, Signal::SIGSTOP | Signal::SIGTRAP) => (thread, None),
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            _ => continue,
        };
        // One that has been killed meanwhile is no more.
        let _ = ptrace::syscall(thread, signal);
    }
}

/// What the call does that a thread is about to make, if that is of lasting effect.
fn entered(thread: Pid) -> Result<Option<&'static str>> {
    let info = ptrace::syscall_info(thread).context("cannot ask which call it is")?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: that it is an entry has just been asked.
    let call = unsafe { info.u.entry };
    let [first, _, protection, flags, ..] = call.args;
    let is = |bits: libc::c_int, of: u64| of & bits as u64 != 0;
    Ok(match call.nr as libc::c_long {
        libc::SYS_bpf => BPF.iter().find(|(command, _)| *command == first).map(|(_, name)| *name),
        // What is stored there is seen by others at once.
        libc::SYS_mmap if is(libc::PROT_WRITE, protection) && is(libc::MAP_SHARED, flags) => {
            Some("memory")
        }
        // Not what is printed.
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev if first > 2 => Some("file"),
        number => CALLS.iter().find(|(call, _)| *call == number).map(|(_, name)| *name),
    })
}
