//! The program, verified once for all tests: what a test leaves in the maps is cleared, so that the
//! next finds them as if just loaded.
//!
//! To verify it is most of a test's time, and on an emulated machine nearly all of it. Nothing is
//! cleared before there is a next test: where each has a process of its own, there is none.

use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use aya::maps::{MapData, MapType};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use lab::raw;
use limiter::kernel::object;
use limiter_common::names;

/// Loaded, used by no test, and the maps as the last one left them.
static IDLE: Mutex<Vec<(Ebpf, Vec<MapData>)>> = Mutex::new(Vec::new());

/// The shipped object, loaded, with maps in which everything is zero.
pub fn take() -> Ebpf {
    let idle = IDLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
    if let Some((ebpf, maps)) = idle {
        for (row, map) in names::MAPS.iter().zip(&maps) {
            clear(map).unwrap_or_else(|error| panic!("cannot clear {}: {error:#}", row.name));
        }
        return ebpf;
    }
    let mut ebpf = EbpfLoader::new().load(object::OBJECT).expect("the object loads");
    let program: &mut Xdp =
        ebpf.program_mut(names::PROGRAM).expect("the program").try_into().expect("XDP");
    program.load().expect("the verifier accepts it");
    ebpf
}

/// For the next test. `pins`: where its maps are pinned.
pub fn give_back(ebpf: Ebpf, pins: &Path) {
    let maps: Result<Vec<MapData>, _> =
        names::MAPS.iter().map(|row| MapData::from_pin(pins.join(row.name))).collect();
    match maps {
        Ok(maps) => {
            IDLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((ebpf, maps));
        }
        // A test may have failed before all were pinned.
        Err(error) => eprintln!("the next test loads the object anew: {error:#}"),
    }
}

fn clear(map: &MapData) -> Result<()> {
    match map.info()?.map_type()? {
        MapType::Array | MapType::PerCpuArray => raw::zero(map),
        MapType::Hash | MapType::LpmTrie => raw::empty(map),
        // The kernel takes each socket out when it is closed.
        MapType::SockHash | MapType::SkStorage => Ok(()),
        other => anyhow::bail!("a map of type {other:?}"),
    }
}
