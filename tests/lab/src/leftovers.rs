//! Owns the names of what the lab makes on a machine, and finds by them what a killed run has left.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io, process};

use anyhow::{Context as _, Result};

/// What the names of all namespaces and directories of the lab begin with; the maker's pid and a
/// number follow.
pub const PREFIX: &str = "limiter-lab-";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A name that no other process of the lab uses: the prefix, our pid, a number.
pub fn unique_name() -> String {
    format!("{PREFIX}{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Names in a directory that the lab made and whose maker's pid satisfies the condition.
pub fn leftovers(directory: &Path, condition: impl Fn(u32) -> bool) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list {}", directory.display()));
        }
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| maker(name).is_some_and(&condition)).collect())
}

/// The pid in one of our names; nothing for anybody else's.
fn maker(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// Whether there is such a process.
pub fn alive(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}
