//! Owns private BPF file systems: one mount per test, so that no test sees another's pins or the
//! host's; and small disks, to be filled.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::leftovers::{alive, leftovers, unique_name};

/// Where the mounts are made: a file system that is gone after a reboot.
const DIRECTORY: &str = "/run";
/// What a disk is filled with.
const FILLING: &str = "filling";

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
        mount(c"bpf", c"", &bpffs.path)?;
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

/// A disk of so many bytes, in memory, on a directory of its own; unmounted and removed when
/// dropped.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one.
    pub fn new(bytes: u64) -> Result<Self> {
        let path = Path::new(DIRECTORY).join(unique_name());
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let disk = Self { path };
        let data = CString::new(format!("size={bytes}"))?;
        mount(c"tmpfs", &data, &disk.path)?;
        Ok(disk)
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it to the last byte.
    pub fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.path.join(FILLING)).context("cannot make a file")?;
        let bytes = [7; 1 << 16];
        loop {
            match io::Write::write(&mut file, &bytes) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill a disk"),
            }
        }
    }

    /// Takes away what it was filled with.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.path.join(FILLING)).context("it was not filled")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn mount(kind: &CStr, data: &CStr, path: &Path) -> Result<()> {
    let target = c_path(path)?;
    // SAFETY: all strings end with a NUL and outlive the call.
    let result = unsafe {
        libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, data.as_ptr().cast())
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(error).with_context(|| format!("cannot mount {kind:?} on {}", path.display()))
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
