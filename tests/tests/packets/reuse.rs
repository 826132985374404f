//! The program, verified once for all tests: what a test leaves in the maps is cleared, so that the next finds them as if just loaded.
//!
//! To verify it is most of a test's time, and on an emulated machine nearly all of it.

use std::ffi::c_void;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, MapType};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use limiter::kernel::object;
use limiter_common::names;

/// Loaded, its maps cleared, and used by no test.
static IDLE: Mutex<Vec<Ebpf>> = Mutex::new(Vec::new());

// From linux/bpf.h.
const DELETE: libc::c_int = 3;
const NEXT_KEY: libc::c_int = 4;
const UPDATE_BATCH: libc::c_int = 26;

/// `union bpf_attr`, for operations on one element.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: *const u8,
    next_key: *mut u8,
    flags: u64,
}

/// `union bpf_attr`, for operations on many elements.
#[repr(C)]
struct Batch {
    before: u64,
    after: u64,
    keys: *const u32,
    values: *const u8,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// The shipped object, loaded, with maps in which everything is zero.
pub fn take() -> Ebpf {
    let idle = IDLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
    idle.unwrap_or_else(|| {
        let mut ebpf = EbpfLoader::new().load(object::OBJECT).expect("the object loads");
        let program: &mut Xdp = ebpf.program_mut(names::PROGRAM).expect("the program").try_into().expect("XDP");
        program.load().expect("the verifier accepts it");
        ebpf
    })
}

/// For the next test. `pins`: where its maps are pinned.
pub fn give_back(ebpf: Ebpf, pins: &Path) {
    let cleared: Result<()> =
        names::MAPS.iter().try_for_each(|(name, ..)| clear(&pins.join(name)).with_context(|| (*name).to_owned()));
    match cleared {
        Ok(()) => IDLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(ebpf),
        // A test may have failed before all were pinned.
        Err(error) => eprintln!("the next test loads the object anew: {error:#}"),
    }
}

fn clear(pin: &Path) -> Result<()> {
    let map = MapData::from_pin(pin)?;
    let info = map.info()?;
    let fd = map.fd().as_fd().as_raw_fd() as u32;
    let (entries, value) = (info.max_entries(), info.value_size() as usize);
    match info.map_type()? {
        MapType::Array => zero(fd, entries, value),
        MapType::PerCpuArray => {
            let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
            zero(fd, entries, value.next_multiple_of(8) * cpus)
        }
        MapType::Hash | MapType::LpmTrie => empty(fd, info.key_size() as usize),
        other => anyhow::bail!("a map of type {other:?}"),
    }
}

/// Zeroes all elements of an array.
fn zero(map: u32, entries: u32, value: usize) -> Result<()> {
    let keys: Vec<u32> = (0..entries).collect();
    let values = vec![0_u8; value * entries as usize];
    let mut batch = Batch {
        before: 0,
        after: 0,
        keys: keys.as_ptr(),
        values: values.as_ptr(),
        count: entries,
        map,
        element_flags: 0,
        flags: 0,
    };
    ensure!(bpf(UPDATE_BATCH, &mut batch) == 0, "cannot be zeroed: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Removes all elements of a hash or a trie.
fn empty(map: u32, key: usize) -> Result<()> {
    let mut first = vec![0_u8; key];
    loop {
        let mut next = Element { map, padding: 0, key: std::ptr::null(), next_key: first.as_mut_ptr(), flags: 0 };
        if bpf(NEXT_KEY, &mut next) != 0 {
            return Ok(());
        }
        let mut delete = Element { map, padding: 0, key: first.as_ptr(), next_key: std::ptr::null_mut(), flags: 0 };
        ensure!(bpf(DELETE, &mut delete) == 0, "cannot be emptied: {}", std::io::Error::last_os_error());
    }
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> libc::c_long {
    let attributes: *mut c_void = std::ptr::from_mut(attributes).cast();
    // SAFETY: the attributes, and the buffers of which they hold addresses, outlive the call; the buffers have the sizes that the map's
    // own description gives.
    unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) }
}
