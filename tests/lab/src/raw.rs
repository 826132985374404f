//! Owns operations on BPF objects that aya has not: any bytes into any map, maps of any shape, pins of any object at any place.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, MapType};
use limiter::kernel::words::{Access, Words};

// From linux/bpf.h.
const CREATE: libc::c_int = 0;
const UPDATE: libc::c_int = 2;
const DELETE: libc::c_int = 3;
const NEXT_KEY: libc::c_int = 4;
const PIN: libc::c_int = 6;
const GET: libc::c_int = 7;
const UPDATE_BATCH: libc::c_int = 26;
/// BPF_F_MMAPABLE.
const MMAPABLE: u32 = 1 << 10;

/// `union bpf_attr`, for operations on one element. `value`: the next key, where one is asked for.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: *const u8,
    value: *mut u8,
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

/// `union bpf_attr`, for making a map.
#[repr(C)]
struct Shape {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

/// `union bpf_attr`, for pins.
#[repr(C)]
struct Pin {
    path: *const libc::c_char,
    object: u32,
    flags: u32,
}

/// Bytes of one value as the system calls want them: of every CPU, where each has its own.
///
/// # Errors
/// When the map or the number of CPUs cannot be asked.
pub fn value_size(map: &MapData) -> Result<usize> {
    let info = map.info()?;
    let value = info.value_size() as usize;
    if info.map_type()? != MapType::PerCpuArray {
        return Ok(value);
    }
    let cpus = aya::util::nr_cpus()
        .map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
    Ok(value.next_multiple_of(8) * cpus)
}

/// Writes all elements of an array: `values` in order, each of [`value_size`] bytes.
///
/// Where the array can be mapped into memory, only the words that change are written, in place: the
/// kernel's own way of writing many elements takes an emulated machine three microseconds for each.
///
/// # Errors
/// When the kernel refuses.
pub fn write_all(map: &MapData, values: &[u8]) -> Result<()> {
    let entries = map.info()?.max_entries();
    ensure!(
        values.len() == value_size(map)? * entries as usize,
        "{} bytes for {entries} elements",
        values.len()
    );
    if let Some(words) = mapped(map)? {
        for (index, bytes) in values.as_chunks().0.iter().enumerate() {
            put(&words, index, u64::from_ne_bytes(*bytes));
        }
        return Ok(());
    }
    let keys: Vec<u32> = (0..entries).collect();
    let mut batch = Batch {
        before: 0,
        after: 0,
        keys: keys.as_ptr(),
        values: values.as_ptr(),
        count: entries,
        map: number(map.fd().as_fd()),
        element_flags: 0,
        flags: 0,
    };
    bpf(UPDATE_BATCH, &mut batch).context("the array cannot be written").map(drop)
}

/// Makes everything in an array zero.
///
/// # Errors
/// When the kernel refuses.
pub fn zero(map: &MapData) -> Result<()> {
    if let Some(words) = mapped(map)? {
        (0..words.len()).for_each(|index| put(&words, index, 0));
        return Ok(());
    }
    write_all(map, &vec![0; value_size(map)? * map.info()?.max_entries() as usize])
}

/// The words of an array that can be mapped and whose values have no gaps between them there.
fn mapped(map: &MapData) -> Result<Option<Words<'_>>> {
    let info = map.info()?;
    let (value, entries) = (info.value_size() as usize, info.max_entries() as usize);
    if info.map_flags() & MMAPABLE == 0 || !value.is_multiple_of(8) {
        return Ok(None);
    }
    Words::map(map.fd(), value / 8 * entries, Access::Write).map(Some)
}

/// A page that nobody has written stays so.
fn put(words: &Words<'_>, index: usize, word: u64) {
    if words.get(index) != Some(word) {
        words.store(index, word);
    }
}

/// Inserts or replaces one element of any map.
///
/// # Errors
/// When the kernel refuses.
pub fn insert(map: &MapData, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut value = value.to_vec();
    let map = number(map.fd().as_fd());
    let mut element =
        Element { map, padding: 0, key: key.as_ptr(), value: value.as_mut_ptr(), flags: 0 };
    bpf(UPDATE, &mut element).map(drop)
}

/// Removes all elements of a hash or a trie.
///
/// # Errors
/// When the kernel refuses.
pub fn empty(map: &MapData) -> Result<()> {
    let size = map.info()?.key_size() as usize;
    let map = number(map.fd().as_fd());
    let mut key: Option<Vec<u8>> = None;
    loop {
        let mut next = vec![0_u8; size];
        let from = key.as_ref().map_or(std::ptr::null(), |key| key.as_ptr());
        let mut ask = Element { map, padding: 0, key: from, value: next.as_mut_ptr(), flags: 0 };
        let is_last = bpf(NEXT_KEY, &mut ask).is_err();
        // Behind the one that goes: without it the walk would begin anew each time.
        if let Some(key) = key.replace(next) {
            let mut delete = Element {
                map,
                padding: 0,
                key: key.as_ptr(),
                value: std::ptr::null_mut(),
                flags: 0,
            };
            bpf(DELETE, &mut delete).context("an element cannot be removed")?;
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Makes a map.
///
/// # Errors
/// When the kernel refuses.
pub fn create(kind: MapType, key: u32, value: u32, entries: u32, flags: u32) -> Result<OwnedFd> {
    let made = bpf(CREATE, &mut Shape { kind: kind as u32, key, value, entries, flags })?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Pins an object.
///
/// # Errors
/// When the kernel refuses.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    bpf(PIN, &mut Pin { path: name.as_ptr(), object: number(object), flags: 0 })
        .with_context(|| format!("cannot pin {}", path.display()))
        .map(drop)
}

/// The object behind a pin.
///
/// # Errors
/// When there is none.
pub fn get(path: &Path) -> Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let found = bpf(GET, &mut Pin { path: name.as_ptr(), object: 0, flags: 0 })
        .with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(found) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    let attributes: *mut T = std::ptr::from_mut(attributes);
    // SAFETY: the attributes, and the buffers of which they hold addresses, outlive the call; the buffers have the sizes that the map's
    // own description gives.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
