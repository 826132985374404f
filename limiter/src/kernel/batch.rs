//! Many entries of a map with one system call: reading, writing and removing them by the thousand.
//! aya moves them one by one.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Pod;
use aya::maps::MapData;

/// Entries that one call moves.
const PAGE: u32 = 1024;
/// Bytes of the kernel's bookmark: a key of the map at most.
const BOOKMARK: usize = 64;
/// What a kernel says of a kind of map that it has no such calls for; it is in no header of user
/// space.
const ENOTSUPP: i32 = 524;

// linux/bpf.h: enum bpf_cmd.
const LOOKUP: libc::c_long = 24;
const UPDATE: libc::c_long = 26;
const DELETE: libc::c_long = 27;

/// linux/bpf.h: `batch` of union bpf_attr.
#[repr(C)]
#[derive(Debug, Default)]
struct Attributes {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    entry_flags: u64,
    flags: u64,
}

/// Hands all entries to `take`, a page a call, until it wants no more. The answer: whether it
/// wanted all.
///
/// # Errors
/// When the kernel refuses; [`is_unknown`] tells whether it cannot do this for such a map at all.
pub fn read<K: Pod, V: Pod>(
    map: &MapData,
    mut take: impl FnMut(&[K], &[V]) -> bool,
) -> Result<bool> {
    assert!(size_of::<K>() <= BOOKMARK, "a key fits the bookmark");
    let (mut bookmark, mut next) = ([0_u64; BOOKMARK / 8], [0_u64; BOOKMARK / 8]);
    let (mut begun, mut size) = (false, PAGE);
    loop {
        // SAFETY: any bytes are values of Pod types.
        let (mut keys, mut values): (Vec<K>, Vec<V>) = unsafe {
            (vec![std::mem::zeroed(); size as usize], vec![std::mem::zeroed(); size as usize])
        };
        let mut attributes = Attributes {
            from: if begun { bookmark.as_ptr() as u64 } else { 0 },
            to: next.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: size,
            ..Attributes::of(map)
        };
        let called = attributes.call(LOOKUP);
        let got = attributes.count.min(size) as usize;
        let is_last = match called {
            Ok(()) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                // A bucket has more entries than the page.
                Some(libc::ENOSPC) => {
                    size = size.saturating_mul(2);
                    continue;
                }
                Some(libc::EINTR) => continue,
                _ => return Err(error),
            },
        };
        if !take(&keys[..got], &values[..got]) {
            return Ok(false);
        }
        if is_last {
            return Ok(true);
        }
        (bookmark, begun) = (next, true);
    }
}

/// Writes entries; those before one that the kernel refuses are written.
///
/// # Errors
/// When the kernel refuses one.
pub fn write<K: Pod, V: Pod>(map: &MapData, keys: &[K], values: &[V]) -> Result<()> {
    for (keys, values) in keys.chunks(PAGE as usize).zip(values.chunks(PAGE as usize)) {
        let (at, to) = (keys.as_ptr() as u64, values.as_ptr() as u64);
        let count = keys.len() as u32;
        Attributes { keys: at, values: to, count, ..Attributes::of(map) }.call(UPDATE)?;
    }
    Ok(())
}

/// Removes entries; those that are not there are removed already.
///
/// # Errors
/// When the kernel refuses.
pub fn remove<K: Pod>(map: &MapData, keys: &[K]) -> Result<()> {
    let mut left = keys;
    while !left.is_empty() {
        let count = left.len().min(PAGE as usize);
        let mut attributes =
            Attributes { keys: left.as_ptr() as u64, count: count as u32, ..Attributes::of(map) };
        let removed = match attributes.call(DELETE) {
            Ok(()) => count,
            // The one after those that it counts was not there.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (attributes.count as usize + 1).min(count)
            }
            Err(error) => return Err(error),
        };
        left = &left[removed..];
    }
    Ok(())
}

/// Whether the kernel has no such call for that kind of map.
pub fn is_unknown(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOTSUPP | libc::EINVAL | libc::EOPNOTSUPP))
}

impl Attributes {
    fn of(map: &MapData) -> Self {
        Self { map: map.fd().as_fd().as_raw_fd() as u32, ..Self::default() }
    }

    fn call(&mut self, command: libc::c_long) -> Result<()> {
        // SAFETY: the record is of the kernel's layout, and what it points to lives while the call
        // lasts and is as long as it says.
        let done = unsafe {
            libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(self), size_of::<Self>())
        };
        if done < 0 { Err(Error::last_os_error()) } else { Ok(()) }
    }
}
