//! Owns temporary directories for ordinary files, which a BPF file system does not hold.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::leftovers::{alive, leftovers, unique_name};

/// A directory of its own, removed with all that is in it when dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes one.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(unique_name());
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays is swept by the next run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories of earlier runs whose process is gone, and returns how many.
pub fn sweep() -> Result<usize> {
    remove_where(|pid| !alive(pid))
}

/// Removes the directories whose maker's pid satisfies the condition.
pub(crate) fn remove_where(condition: impl Fn(u32) -> bool) -> Result<usize> {
    let directory = std::env::temp_dir();
    let names = leftovers(&directory, condition)?;
    for name in &names {
        let _ = fs::remove_dir_all(directory.join(name));
    }
    Ok(names.len())
}
