//! One mutating command at a time, one daemon and one that settles: advisory locks on the pin
//! directory, which the kernel releases with their holder.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{FlockOperation, flock};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// How long a command waits for another one to finish.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits in all, where many are before it.
const LONGEST: Duration = Duration::from_secs(120);
/// How often it looks who is at work.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes that a change must find free before it begins: Rust ends a process that finds none, and
/// half of the change would be in force. After that point commands took up to 3.4 MiB. A load takes
/// more, and is in force only with its last step.
const ROOM: usize = 8 << 20;

/// Holds the lock while it lives; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _directory: OwnedFd,
}

/// Locks `directory`, waiting up to `patience` for whoever holds it, and on while one after another holds it and finishes.
///
/// # Errors
/// When it is still held then: by which process, and what to do. When there is too little memory
/// for a change.
pub fn lock(directory: &Path, patience: Duration) -> Result<Lock> {
    let file =
        File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
    let start = Instant::now();
    // Who was seen at work, and since when.
    let mut at_work: (Option<String>, Instant) = (None, start);
    let mut looked = start;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(error).with_context(|| format!("cannot lock {}", directory.display()));
        }
        if looked.elapsed() > LOOK.min(patience) {
            looked = Instant::now();
            let now = holder(&file);
            if now != at_work.0 && at_work.0.is_some() {
                at_work.1 = looked;
            }
            at_work.0 = now;
            let (holds, waited) = (at_work.1.elapsed(), start.elapsed());
            if holds > patience || waited > LONGEST {
                let holder = at_work.0.unwrap_or_else(|| "another process".to_owned());
                let waited = if holds > patience { patience } else { LONGEST }.as_secs();
                bail!(
                    "{holder} is changing limiter, and this has waited {waited} s; wait for it or end it, then try again"
                );
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    room()?;
    Ok(Lock { _directory: file.into() })
}

/// Holds the next change off while it lives; `None`: one is under way, or it cannot be seen.
pub fn shared(directory: &Path) -> Option<Lock> {
    let file = File::open(directory).ok()?;
    flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
    Some(Lock { _directory: file.into() })
}

/// Looks whether [`ROOM`] can be had, and gives it back. Pages are not touched: that took 4 ms, and
/// a memory cgroup ends its processes by signal, as any other may.
fn room() -> Result<()> {
    let (access, kind) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a mapping of its own at an address that the kernel chooses, which nothing points into.
    unsafe {
        mmap_anonymous(std::ptr::null_mut(), ROOM, access, kind)
            .and_then(|room| munmap(room, ROOM))
            .with_context(|| {
                format!(
                    "too little memory: a change takes up to {} MiB, and nothing was changed; \
                     raise what limits this process (`ulimit -v`, its service's LimitAS=)",
                    ROOM >> 20
                )
            })
    }
}

/// The process that holds the lock, from /proc/locks, whose lines end in `PID MAJOR:MINOR:INODE START END`.
fn holder(directory: &File) -> Option<String> {
    let inode = directory.metadata().ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let ours = |line: &&str| {
        line.contains("FLOCK")
            && line.split_whitespace().any(|word| word.rsplit(':').next() == Some(inode.as_str()))
    };
    let pid = locks.lines().find(ours)?.split_whitespace().nth(4)?.to_owned();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}

/// The place of the one daemon of a pin directory. The kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct DaemonLock {
    _directory: File,
}

/// Takes the place of the one daemon of `directory`. `_lock`: two that look for it at once must not both find it free.
///
/// flock is taken by commands, and a record lock for writing needs a file that can be written. So the daemon holds one for reading, and
/// whoever wants the place asks whether one for writing would be granted.
///
/// # Errors
/// When another daemon has it: which process, and what to do.
pub fn place(directory: &Path, _lock: &Lock) -> Result<DaemonLock> {
    let file =
        File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
    if is_taken(&file, DAEMON)
        .with_context(|| format!("cannot look for a lock on {}", directory.display()))?
    {
        let holder = daemon(&file).unwrap_or_else(|| "another process".to_owned());
        bail!(
            "{holder} is already the daemon of {}: stop it first, or give this one a --pins directory of its own",
            directory.display()
        );
    }
    fcntl(&file, FcntlArg::F_OFD_SETLK(&record(libc::F_RDLCK, DAEMON)))
        .with_context(|| format!("cannot lock {}", directory.display()))?;
    Ok(DaemonLock { _directory: file })
}

/// The mark of a process that settles the kernel's settings once limits have gone back.
#[derive(Debug)]
pub struct SettlerLock {
    _directory: File,
}

/// Marks this process as the one that settles.
///
/// # Errors
/// When the directory cannot be opened or locked.
pub fn mark_settler(directory: &Path) -> Result<SettlerLock> {
    let marked = || {
        let file = File::open(directory)?;
        fcntl(&file, FcntlArg::F_OFD_SETLK(&record(libc::F_RDLCK, SETTLER)))?;
        Ok::<_, anyhow::Error>(SettlerLock { _directory: file })
    };
    marked().with_context(|| format!("cannot lock {}", directory.display()))
}

/// Whether a process is marked so. One that cannot be seen is none.
pub fn has_settler(directory: &Path) -> bool {
    File::open(directory).is_ok_and(|file| is_taken(&file, SETTLER).unwrap_or(false))
}

fn is_taken(file: &File, byte: libc::off_t) -> Result<bool> {
    let mut asked = record(libc::F_WRLCK, byte);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked))?;
    Ok(asked.l_type != libc::F_UNLCK as i16)
}

/// The bytes that are locked, which a directory need not have.
const DAEMON: libc::off_t = 0;
const SETTLER: libc::off_t = 1;

fn record(kind: libc::c_int, byte: libc::off_t) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

/// The process with a record lock on `directory`. The lock does not tell whose it is; only the holder's descriptors do.
fn daemon(directory: &File) -> Option<String> {
    let inode = format!(":{} ", directory.metadata().ok()?.ino());
    let holds = |descriptor: std::fs::DirEntry| {
        let text = std::fs::read_to_string(descriptor.path()).unwrap_or_default();
        text.lines().any(|line| {
            line.starts_with("lock:") && line.contains("OFDLCK") && line.contains(&inode)
        })
    };
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fdinfo")) else { continue };
        if descriptors.flatten().any(holds) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {} ({})", process.file_name().display(), name.trim()));
        }
    }
    None
}
