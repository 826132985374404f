//! Standard output and standard error: nothing else in the command writes to either.
//!
//! No print panics, and none makes a change that is done look undone:
//!
//! | what is printed | its reader is gone | a full disk |
//! | --- | --- | --- |
//! | what was asked for ([`data`]) | ends quietly, exit code 0 | exit code 1, with the reason |
//! | what a change did ([`done`]) | exit code 0 | exit code 0, and a warning on standard error |
//! | notes, warnings, errors ([`note`]) | lost | lost |
//! | the daemon's log ([`Log`]) | lost and counted | lost and counted; the daemon goes on |
//!
//! A standard output that is closed from the beginning is /dev/null: the runtime opens that in its
//! place.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};

/// Who reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// There may be one.
    There,
    /// The other end of the pipe is closed: nothing that is written arrives.
    Gone,
}

/// Prints what was asked for, whole, and says whether there is a reader.
///
/// # Errors
/// When standard output takes it not or not whole, unless its reader is gone.
pub fn data(bytes: &[u8]) -> Result<Reader> {
    let mut out = stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error)
            .context("cannot write to standard output; what was asked for was not printed whole"),
    }
}

/// Whether the reader is there still, for what prints seldom.
pub fn reader() -> Reader {
    let mut asked = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
    // SAFETY: the kernel writes to one record, which outlives the call; it does not wait.
    let found = unsafe { libc::poll(&raw mut asked, 1, 0) };
    if found == 1 && asked.revents & libc::POLLERR != 0 { Reader::Gone } else { Reader::There }
}

/// Prints what a change did. The change is done, so an answer that cannot be printed is a warning
/// and no failure.
pub fn done(bytes: &[u8]) {
    if let Err(error) = data(bytes) {
        let why = error.root_cause();
        note(format_args!(
            "limiter: warning: this is done, but standard output does not take the answer: {why}"
        ));
    }
}

/// Writes a line to standard error: a note, a warning, an error. Where that is gone or full, the
/// line is lost.
pub fn note(line: Arguments<'_>) {
    // Whole, in one write. That it failed could only be told here.
    let _ = stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Lines of the log that standard error did not take.
static LOST: AtomicU64 = AtomicU64::new(0);

/// The daemon's log, a line a write. It takes every line, and counts those that standard error did
/// not take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if stderr().lock().write_all(line).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How many lines of the log were lost so far.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}
