//! What keeps components in their dispatchers: pins in a directory that all who speak libxdp's protocol
//! share, and lock.
//!
//! `BPFFS/xdp/dispatch-IFINDEX-ID/progN-prog` and `progN-link`: the program of component N of the
//! dispatcher with that program id, and its link. Where limiter is a component is read here and kept
//! nowhere else, so it stays true whoever makes the next dispatcher.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::maps::MapInfo;
use aya::programs::ProgramInfo;
use limiter_common::names;

use crate::kernel::lock::{self, Lock, PATIENCE};
use crate::kernel::pins::Pins;

/// A dispatcher, by its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pinned {
    /// Index of the interface that it was made for.
    pub index: u32,
    /// Id of its program.
    pub id: u32,
}

impl Pinned {
    fn parse(name: &str) -> Option<Self> {
        let (index, id) = name.strip_prefix("dispatch-")?.split_once('-')?;
        Some(Self { index: index.parse().ok()?, id: id.parse().ok()? })
    }

    /// Its directory.
    pub fn path(self) -> PathBuf {
        base().join(format!("dispatch-{}-{}", self.index, self.id))
    }

    /// The pin of the program of a component.
    pub fn program(self, slot: usize) -> PathBuf {
        self.path().join(format!("prog{slot}-prog"))
    }

    /// The pin of its link.
    pub fn link(self, slot: usize) -> PathBuf {
        self.path().join(format!("prog{slot}-link"))
    }

    /// Takes its components out of it, and their programs away where nothing else keeps them.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(self) -> Result<()> {
        match fs::remove_dir_all(self.path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.path().display()))
            }
            _ => Ok(()),
        }
    }
}

/// Holds off whoever else speaks the protocol, while it lives.
///
/// # Errors
/// When there is no BPF file system, or another process holds the lock: what to do.
pub fn lock() -> Result<Lock> {
    let base = base();
    Pins::at(&base).check_bpffs()?;
    fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    lock::lock(&base, PATIENCE)
        .with_context(|| format!("cannot lock {}, as libxdp does", base.display()))
}

/// Ids of the maps by which a program is known as limiter's, of these pins and of any layout.
pub fn own_maps(pins: &Pins) -> BTreeSet<u32> {
    let pinned = pins.every(names::SWITCH).into_iter();
    pinned.filter_map(|path| Some(MapInfo::from_pin(path).ok()?.id())).collect()
}

/// Whether a program works with one of these maps.
pub fn is_own(program: &ProgramInfo, maps: &BTreeSet<u32>) -> bool {
    let used = program.map_ids().ok().flatten().unwrap_or_default();
    used.iter().any(|map| maps.contains(map))
}

/// The dispatchers of which limiter is a component, by these pins; `whole`: the only one.
pub fn places(pins: &Pins) -> Vec<(Pinned, bool)> {
    let mut places = Vec::new();
    let Ok(entries) = fs::read_dir(base()) else { return places };
    let maps = own_maps(pins);
    if maps.is_empty() {
        return places;
    }
    for place in entries.filter_map(|entry| Pinned::parse(entry.ok()?.file_name().to_str()?)) {
        let programs: Vec<bool> = programs(&place.path())
            .iter()
            .map(|path| ProgramInfo::from_pin(path).is_ok_and(|info| is_own(&info, &maps)))
            .collect();
        if programs.contains(&true) {
            places.push((place, !programs.contains(&false)));
        }
    }
    places.sort_unstable();
    places
}

fn programs(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.to_string_lossy().ends_with("-prog")).collect()
}

/// As libxdp finds it.
fn base() -> PathBuf {
    let bpffs = std::env::var_os("LIBXDP_BPFFS").unwrap_or_else(|| "/sys/fs/bpf".into());
    Path::new(&bpffs).join("xdp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directories() {
        assert_eq!(Pinned::parse("dispatch-7-123"), Some(Pinned { index: 7, id: 123 }));
        for other in ["dispatch-7", "dispatch--1", "dispatch-7-", "prog-test-link-1-2", "xsk"] {
            assert_eq!(Pinned::parse(other), None, "{other}");
        }
    }
}
