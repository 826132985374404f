//! Owns private BPF file systems: one mount per test, so that no test sees another's pins or the host's.

use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::leftovers::{alive, leftovers, unique_name};

/// Where the mounts are made: a file system that is gone after a reboot.
const DIRECTORY: &str = "/run";

/// A BPF file system on a directory of its own, unmounted and removed when dropped.
#[derive(Debug)]
pub struct PrivateBpffs {
    path: PathBuf,
}

impl PrivateBpffs {
    /// Mounts one.
    pub fn new() -> Result<Self> {
        let path = Path::new(DIRECTORY).join(unique_name());
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let bpffs = Self { path };
        let target = c_path(&bpffs.path)?;
        // SAFETY: all strings end with a NUL and outlive the call; bpffs takes no data.
        let result = unsafe {
            libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null())
        };
        if result != 0 {
            let error = io::Error::last_os_error();
            return Err(error)
                .with_context(|| format!("cannot mount bpffs on {}", bpffs.path.display()));
        }
        Ok(bpffs)
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateBpffs {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes the mounts of earlier runs whose process is gone, and returns how many.
pub fn sweep() -> Result<usize> {
    remove_where(|pid| !alive(pid))
}

/// Removes the mounts whose maker's pid satisfies the condition.
pub(crate) fn remove_where(condition: impl Fn(u32) -> bool) -> Result<usize> {
    let directory = Path::new(DIRECTORY);
    let names = leftovers(directory, condition)?;
    for name in &names {
        remove(&directory.join(name));
    }
    Ok(names.len())
}

fn remove(path: &Path) {
    if let Ok(target) = c_path(path) {
        // SAFETY: the string ends with a NUL and outlives the call. Detached, because a pin may still be open.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
    // Only ever an empty directory: a mount that stayed keeps its content. The next run sweeps.
    let _ = fs::remove_dir(path);
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).context("a path contains a NUL")
}
