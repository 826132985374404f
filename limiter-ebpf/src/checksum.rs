//! Whether a segment came as it was sent: asked of what would be charged or answered.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use limiter_common::checksum::{self, WORDS};
use limiter_common::packet::{Cursor, Found};

use crate::maps::SUMMED;

/// Bytes behind the shortest header in what can be summed, and one.
const MOST: usize = 2048;
const _: () = assert!(MOST + 20 <= WORDS * 4);

/// 0 if the checksum of the segment `found` is wrong. What cannot be summed is taken for good: a
/// fragment, one that is too long, and one behind extension headers, which may change the addresses
/// that are summed.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_is_whole(context: *mut xdp_md, found: u64) -> u32 {
    is_whole(&XdpContext::new(context), Found(found)).unwrap_or(true).into()
}

#[inline(always)]
fn is_whole(context: &XdpContext, found: Found) -> Option<bool> {
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let segment = found.read(frame)?;
    let (at, whole) = found.plain()?;
    let words: *mut [u32; WORDS] = SUMMED.get_ptr_mut(0)?;
    // What the mask bounds is compared afterwards: verifiers lose what they learn of a copy.
    let more = core::hint::black_box(whole.wrapping_sub(20)) & (MOST - 1);
    let length = more + 20;
    if length != whole {
        return None;
    }
    let padded = (length + 3) & !3;
    // SAFETY: the element belongs to this CPU, and the last word that is summed lies in it.
    unsafe { (*words)[(more + 19) / 4] = 0 };
    let bytes = words.cast::<c_void>();
    // SAFETY: the buffer has room for as many bytes as any length that is let through.
    if unsafe { bpf_xdp_load_bytes(context.ctx, at as u32, bytes, length as u32) } != 0 {
        return None;
    }
    // SAFETY: as above.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, words.cast(), padded as u32, 0) };
    // SAFETY: as above; the checksum is in the upper half of the fifth word on the wire.
    let checksum = (u32::from_be(unsafe { (*words)[4] }) >> 16) as u16;
    let words = checksum::fold(sum as u64 & 0xffff_ffff).to_be();
    Some(checksum::is_whole(checksum::pseudo(&segment.network, length as u32), words, checksum))
}
