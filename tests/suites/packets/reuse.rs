//! The program, verified once for all tests: what a test leaves in the maps is cleared, so that the next finds them as if just loaded.
//!
//! To verify it is most of a test's time, and on an emulated machine nearly all of it.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use aya::maps::{MapData, MapType};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use lab::raw;
use limiter::kernel::object;
use limiter_common::names;

/// Loaded, its maps cleared, and used by no test.
static IDLE: Mutex<Vec<Ebpf>> = Mutex::new(Vec::new());

/// The shipped object, loaded, with maps in which everything is zero.
pub fn take() -> Ebpf {
    let idle = IDLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
    idle.unwrap_or_else(|| {
        let mut ebpf = EbpfLoader::new().load(object::OBJECT).expect("the object loads");
        let program: &mut Xdp =
            ebpf.program_mut(names::PROGRAM).expect("the program").try_into().expect("XDP");
        program.load().expect("the verifier accepts it");
        ebpf
    })
}

/// For the next test. `pins`: where its maps are pinned.
pub fn give_back(ebpf: Ebpf, pins: &Path) {
    let cleared: Result<()> =
        names::MAPS.iter().try_for_each(|row| clear(&pins.join(row.name)).context(row.name));
    match cleared {
        Ok(()) => IDLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(ebpf),
        // A test may have failed before all were pinned.
        Err(error) => eprintln!("the next test loads the object anew: {error:#}"),
    }
}

fn clear(pin: &Path) -> Result<()> {
    let map = MapData::from_pin(pin)?;
    match map.info()?.map_type()? {
        MapType::Array | MapType::PerCpuArray => {
            let bytes = raw::value_size(&map)? * map.info()?.max_entries() as usize;
            raw::write_all(&map, &vec![0; bytes])
        }
        MapType::Hash | MapType::LpmTrie => raw::empty(&map),
        other => anyhow::bail!("a map of type {other:?}"),
    }
}
