//! One mutating command at a time: an advisory lock on the pin directory.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// How long a command waits for another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Holds the lock while it lives; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _directory: OwnedFd,
}

/// Locks `directory`, waiting up to ten seconds for whoever holds it.
///
/// # Errors
/// When it is still held then: by which process, and what to do.
pub fn lock(directory: &Path) -> Result<Lock> {
    let file = File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
    let start = Instant::now();
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(error).with_context(|| format!("cannot lock {}", directory.display()));
        }
        if start.elapsed() > PATIENCE {
            let holder = holder(&file).unwrap_or_else(|| "another process".to_owned());
            let waited = PATIENCE.as_secs();
            bail!(
                "{holder} is changing limiter and has not finished in {waited} s; wait for it or end it, then try again"
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Lock { _directory: file.into() })
}

/// The process that holds the lock, from /proc/locks, whose lines end in `PID MAJOR:MINOR:INODE START END`.
fn holder(directory: &File) -> Option<String> {
    let inode = directory.metadata().ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let ours = |line: &&str| {
        line.contains("FLOCK") && line.split_whitespace().any(|word| word.rsplit(':').next() == Some(inode.as_str()))
    };
    let pid = locks.lines().find(ours)?.split_whitespace().nth(4)?.to_owned();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}
