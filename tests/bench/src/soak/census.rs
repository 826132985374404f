//! What of one limiter is in the kernel: the programs over its maps, the maps under them, and the memory that these take.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapInfo;
use limiter::kernel::Pins;
use limiter_common::names;

/// How long the kernel may take to let go of what nobody holds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ids, and bytes as the kernel charges them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    bytes: u64,
}

impl Census {
    /// Counts what belongs to the limiter whose pins are there.
    pub fn take(pins: &Path) -> Result<Self> {
        let pin = Pins::at(pins).object(names::SWITCH);
        let switch =
            MapInfo::from_pin(&pin).with_context(|| format!("cannot open {}", pin.display()))?.id();
        Self::around(&BTreeSet::from([switch]))
    }

    /// Programs that use any of `maps`, and every map that they use.
    fn around(maps: &BTreeSet<u32>) -> Result<Self> {
        let mut found = Self { programs: BTreeSet::new(), maps: BTreeSet::new(), bytes: 0 };
        for program in aya::programs::loaded_programs().flatten() {
            // One that has gone meanwhile uses nothing.
            let used: BTreeSet<u32> =
                program.map_ids().ok().flatten().into_iter().flatten().collect();
            if used.intersection(maps).next().is_some() {
                found.programs.insert(program.id());
                found.maps.extend(used);
            }
        }
        let maps = aya::maps::loaded_maps().flatten().filter(|map| found.maps.contains(&map.id()));
        found.bytes = maps.map(|map| memory(&map)).sum::<Result<u64>>()?;
        Ok(found)
    }

    /// How many programs, how many maps, and their memory in KiB.
    pub fn summary(&self) -> String {
        format!(
            "{} programs, {} maps, {} KiB",
            self.programs.len(),
            self.maps.len(),
            self.bytes >> 10
        )
    }

    /// Waits until there is one program over the same maps, and no more memory than a tenth above what there was.
    pub fn unchanged(&self, pins: &Path) -> Result<()> {
        let start = Instant::now();
        loop {
            let now = Self::take(pins)?;
            if now.programs.len() == 1
                && now.maps == self.maps
                && now.bytes <= self.bytes + self.bytes / 10
            {
                println!("kernel     {}; at first {}", now.summary(), self.summary());
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "{now:?} is not what was loaded: {self:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until nothing of it is left.
    pub fn gone(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let programs = Self::around(&self.maps)?.programs;
            let maps = aya::maps::loaded_maps()
                .flatten()
                .filter(|map| self.maps.contains(&map.id()))
                .count();
            if programs.is_empty() && maps == 0 {
                return Ok(());
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "{} programs and {maps} maps are left",
                programs.len()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// `memlock` of a map: what its elements take now.
fn memory(map: &MapInfo) -> Result<u64> {
    let fd = map.fd().context("a map of a pinned program is gone")?;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))
        .context("a map has no memlock")?;
    Ok(line.trim().parse()?)
}
