//! Owns the end by a signal: what this process made goes with it.

use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::{io, process, thread};

use anyhow::{Context as _, Result, ensure};

use crate::{bpffs, directory, netns};

/// The exit status after SIGINT or SIGTERM: what a shell reports for SIGINT.
const INTERRUPTED: i32 = 130;

static CLEANUP: Once = Once::new();
/// The write end of the pipe that wakes the cleaning thread; -1 before it is there.
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// From now on SIGINT and SIGTERM remove what this process made, and then exit with status 130.
pub fn install() -> Result<()> {
    let mut result = Ok(());
    CLEANUP.call_once(|| result = start_cleanup());
    result
}

fn start_cleanup() -> Result<()> {
    let (mut reader, writer) = io::pipe().context("cannot make a pipe")?;
    // The handler needs the write end for the rest of the process's life.
    WAKE.store(std::os::fd::IntoRawFd::into_raw_fd(writer), Ordering::Release);
    thread::Builder::new()
        .name("lab-cleanup".to_owned())
        .spawn(move || {
            let mut byte = [0];
            if io::Read::read_exact(&mut reader, &mut byte).is_ok() {
                remove_own();
                process::exit(INTERRUPTED);
            }
        })
        .context("cannot start a thread")?;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler: extern "C" fn(libc::c_int) = on_signal;
        // SAFETY: the handler only makes one async-signal-safe call.
        let previous = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        ensure!(
            previous != libc::SIG_ERR,
            "cannot handle signal {signal}: {}",
            io::Error::last_os_error()
        );
    }
    Ok(())
}

extern "C" fn on_signal(_signal: libc::c_int) {
    // SAFETY: write(2) is async-signal-safe, the descriptor stays open for ever, and the byte outlives the call.
    unsafe { libc::write(WAKE.load(Ordering::Acquire), [0_u8].as_ptr().cast(), 1) };
}

/// Removes every namespace and mount that this process made.
fn remove_own() {
    let own = |pid| pid == process::id();
    netns::remove_where(own).unwrap_or_default();
    bpffs::remove_where(own).unwrap_or_default();
    directory::remove_where(own).unwrap_or_default();
}
