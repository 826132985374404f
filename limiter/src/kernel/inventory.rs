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
        Ok(entries) => Some(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()),
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
    let info = ProgramInfo::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
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
        let info = link.info().with_context(|| format!("cannot look at the link of interface {index}"))?;
        // The kernel tells of the device only there, and shows index 0 when it is gone.
        let gone = device_of(info.id()) == Some(0);
        Ok(Link { index, program: info.program_id(), gone })
    });
    links.collect()
}

/// Whether the pinned link of an index has no device any more: it is gone, or the link was detached by force.
pub(super) fn is_dead(pins: &Pins, index: u32) -> bool {
    let Ok(link) = link::open(pins, index) else { return false };
    link.info().is_ok_and(|info| device_of(info.id()) == Some(0))
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
        let info = info.info().with_context(|| format!("cannot look at the link of interface {index}"))?;
        let Some(device) = device_of(info.id()).filter(|device| *device != 0 && *device != index) else { continue };
        // That index may be another interface's: the device can be in another namespace. The program tells.
        let ours = |one: &Interface| one.index == device && one.program.is_some_and(|(id, _)| id == info.program_id());
        let (from, to) = (pins.link(index), pins.link(device));
        if interfaces.iter().any(ours) && !to.exists() {
            fs::rename(&from, &to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
            renamed += 1;
        }
    }
    Ok(renamed)
}

/// The index of the device of a link that this process has open.
fn device_of(link: u32) -> Option<u32> {
    let entries = fs::read_dir("/proc/self/fdinfo").ok()?;
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    texts.into_iter().find(|text| number(text, "link_id") == Some(link)).and_then(|text| number(&text, "ifindex"))
}

fn number(text: &str, key: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_link() {
        let text =
            "pos:\t0\nflags:\t02000002\nlink_type:\txdp\nlink_id:\t12\nprog_tag:\t1234\nprog_id:\t7\nifindex:\t0\n";
        assert_eq!((number(text, "link_id"), number(text, "ifindex")), (Some(12), Some(0)));
        assert_eq!(number("pos:\t0\n", "ifindex"), None);
    }
}
