//! xdp-filter of xdp-tools: every TCP packet to port 80 is dropped on the attacker's device. It has no rates; this is what the smallest useful
//! XDP program costs. On the crowd's device it would drop the clients too, so it is not there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray};

use super::shell::run;
use super::{InForce, Memory};
use crate::bpffs::PrivateBpffs;
use crate::topology::{ATTACK_DEVICE, Lab};

/// What XDP is told to drop a packet.
const XDP_DROP: u32 = 1;

/// The filter, unloaded when dropped.
pub struct XdpFilter<'a> {
    lab: &'a Lab,
    bpffs: PrivateBpffs,
}

impl<'a> XdpFilter<'a> {
    pub fn load(lab: &'a Lab) -> Result<Self> {
        let filter = Self { lab, bpffs: PrivateBpffs::new()? };
        filter
            .tool(&format!("load --mode native --policy allow --features tcp {ATTACK_DEVICE}"))?;
        filter.tool("port --mode dst --proto tcp 80")?;
        Ok(filter)
    }

    /// xdp-filter knows one place for its pins: it sees our file system there, and nobody else does.
    fn tool(&self, line: &str) -> Result<String> {
        let mut command = self.lab.front.command("unshare")?;
        command.args([
            "--mount",
            "sh",
            "-c",
            r#"mount --bind "$0" /sys/fs/bpf && exec xdp-filter "$@""#,
        ]);
        run(command.arg(self.bpffs.path()).args(line.split_whitespace()))
    }
}

impl InForce for XdpFilter<'_> {
    fn refused(&self) -> Result<Option<u64>> {
        // Its `status` wants the maps of all features. Packets and bytes, by what XDP was told.
        let map = MapData::from_pin(self.bpffs.path().join("xdp-filter/xdp_stats_map"))?;
        let counters: PerCpuArray<MapData, [u64; 2]> = Map::PerCpuArray(map).try_into()?;
        let dropped = counters.get(&XDP_DROP, 0).context("xdp-filter's counters cannot be read")?;
        Ok(Some(dropped.iter().map(|[packets, _]| packets).sum()))
    }

    fn memory(&self) -> Result<Memory> {
        let bytes = maps_below(self.bpffs.path())?.iter().filter_map(|path| memlock(path)).sum();
        Ok(Memory { bytes: Some(bytes), entries: None, how: MEMLOCK })
    }
}

impl Drop for XdpFilter<'_> {
    fn drop(&mut self) {
        // The namespace goes with the lab; what follows in it would be measured behind this filter.
        if let Err(error) = self.tool(&format!("unload {ATTACK_DEVICE}")) {
            eprintln!("xdp-filter is still loaded: {error:#}");
        }
    }
}

/// Where [`memlock`] is from.
const MEMLOCK: &str = "memlock of its pinned maps";

/// Every file below a directory.
pub fn maps_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(maps_below(&entry.path())?),
            // bpffs has two of its own that are no pins.
            _ if !entry.file_name().to_string_lossy().ends_with(".debug") => {
                found.push(entry.path())
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Bytes that the kernel charges for a pinned map; none if it is something else.
pub fn memlock(path: &Path) -> Option<u64> {
    let map = MapData::from_pin(path).ok()?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(map.fd()));
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
}
