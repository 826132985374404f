//! The frame once more, for who is called: what the main program keeps takes room on a stack that
//! is full.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use limiter_common::packet::{self, Cursor, Found, Segment};
use limiter_common::reason::Reason;

/// What is shown of the frame, and its length, from the context once more: to keep it since the
/// first time would take room in the stack of every packet.
#[inline(always)]
pub fn again(context: &XdpContext) -> (Cursor<'_>, u64) {
    // SAFETY: the kernel's context is there for this run, and so is what its packet pointers
    // enclose.
    unsafe {
        let start = (&raw const (*context.ctx).data).read_volatile();
        let end = (&raw const (*context.ctx).data_end).read_volatile();
        (Cursor::from_raw(start as usize, end as usize), u64::from(end.wrapping_sub(start)))
    }
}

/// The segment that was found.
#[inline(always)]
pub fn read(context: &XdpContext, found: Found) -> Option<Segment<'_>> {
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    found.read(unsafe { Cursor::from_raw(context.data(), context.data_end()) })
}

/// Parses a frame of the main program.
///
/// # Errors
/// As [`packet::parse`].
#[inline(always)]
pub fn parse(context: &XdpContext) -> Result<Segment<'_>, Reason> {
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    match packet::parse_plain(frame) {
        Err(None) => Found(limiter_find(context.ctx)).parsed(again(context).0),
        Err(Some(reason)) => Err(reason),
        Ok(segment) => Ok(segment),
    }
}

/// Where the headers of a frame are, as [`Found`]: parsed again, or with extension headers for the
/// first time.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_find(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    Found::of_parsed(&packet::parse(frame), &frame).0
}
