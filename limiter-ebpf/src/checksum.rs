//! Whether a segment came as it was sent: asked of what would be charged or answered.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use limiter_common::checksum::{self, WORDS};
use limiter_common::packet::{Cursor, Segment};

use crate::maps::SUMMED;

const MOST: usize = WORDS * 4;

/// Whether a segment of a frame is whole. What cannot be summed is taken for good: a fragment, one that is
/// too long, and one behind extension headers, which may change the addresses that are summed.
#[inline(always)]
pub fn is_whole(context: &XdpContext, frame: &Cursor<'_>, segment: &Segment<'_>) -> bool {
    let Some((at, length)) = segment.plain(frame) else { return true };
    let pseudo = checksum::pseudo(&segment.network, length as u32);
    limiter_sum(context.ctx, at as u64, length as u64, pseudo) != 0
}

/// 0 if the checksum is wrong of the segment of `length` bytes at the byte `at` of the frame. `pseudo`: of its pseudo header. Numbers in, so that
/// the verifier need not follow the headers once more.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_sum(context: *mut xdp_md, at: u64, length: u64, pseudo: u64) -> u32 {
    sum(&XdpContext::new(context), at, length as usize, pseudo).unwrap_or(true).into()
}

#[inline(always)]
fn sum(context: &XdpContext, at: u64, whole: usize, pseudo: u64) -> Option<bool> {
    let words: *mut [u32; WORDS] = SUMMED.get_ptr_mut(0)?;
    // The mask says nothing new, but older verifiers want to see it.
    let length = core::hint::black_box(whole) & (MOST - 1);
    if length < 20 || length != whole {
        return None;
    }
    let padded = (length + 3) & !3;
    // SAFETY: the element belongs to this CPU, and the last word that is summed lies in it.
    unsafe { (*words)[core::hint::black_box(padded / 4 - 1) & (WORDS - 1)] = 0 };
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
    Some(checksum::is_whole(pseudo, words, checksum))
}
