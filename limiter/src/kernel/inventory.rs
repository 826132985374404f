//! What stands behind the pins: which program, and what became of the devices of the links.

use std::fs;

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use limiter_common::names;

use super::interface::{self, Interface};
use super::link;
use super::pins::Pins;

/// Names in the pin directory, of any version; none if there is no directory, `None` if it cannot be looked into.
pub fn names(pins: &Pins) -> Option<Vec<String>> {
    match fs::read_dir(pins.base()) {
        Ok(entries) => {
            Some(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Vec::new()),
        Err(_) => None,
    }
}

/// Whether the pin directory lies in a BPF file system, or would.
pub fn has_bpffs(pins: &Pins) -> bool {
    pins.check_bpffs().is_ok()
}

/// The pinned program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its id.
    pub id: u32,
    /// The kernel's fingerprint of its instructions.
    pub tag: u64,
}

/// The program behind its pin.
///
/// # Errors
/// When it cannot be opened.
pub fn program(pins: &Pins) -> Result<Program> {
    let path = pins.object(names::PROGRAM);
    let info =
        ProgramInfo::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Program { id: info.id(), tag: info.tag() })
}

/// A pinned link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index of the interface that it was made for.
    pub index: u32,
    /// Id of the program behind it.
    pub program: u32,
    /// Whether its device is gone, from every network namespace.
    pub gone: bool,
}

/// All pinned links.
///
/// # Errors
/// When one cannot be opened.
pub fn links(pins: &Pins) -> Result<Vec<Link>> {
    let links = pins.links().into_iter().map(|index| {
        let link = link::open(pins, index)?;
        let info =
            link.info().with_context(|| format!("cannot look at the link of interface {index}"))?;
        // The kernel tells of the device only there, and shows index 0 when it is gone.
        let gone = link::device_of(info.id()) == Some(0);
        Ok(Link { index, program: info.program_id(), gone })
    });
    links.collect()
}

/// Gives the pin of a device that came back from another network namespace under another index the name of that; how many there were.
/// The caller holds the lock.
///
/// # Errors
/// When a pin or netlink cannot be read, or a pin not be renamed.
pub fn renumber(pins: &Pins) -> Result<usize> {
    let interfaces = interface::all()?;
    let mut renamed = 0;
    for index in pins.links() {
        let info = link::open(pins, index)?;
        let info =
            info.info().with_context(|| format!("cannot look at the link of interface {index}"))?;
        let Some(device) =
            link::device_of(info.id()).filter(|device| *device != 0 && *device != index)
        else {
            continue;
        };
        // That index may be another interface's: the device can be in another namespace. The program tells.
        let ours = |one: &Interface| {
            one.index == device && one.program.is_some_and(|(id, _)| id == info.program_id())
        };
        let (from, to) = (pins.link(index), pins.link(device));
        if interfaces.iter().any(ours) && !to.exists() {
            fs::rename(&from, &to)
                .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
            renamed += 1;
        }
    }
    Ok(renamed)
}
