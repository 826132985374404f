//! The entry point of the shipped object.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the xdp macro drops the comment of the function")]

use aya_ebpf::macros::{sk_lookup, xdp};
use aya_ebpf::programs::{SkLookupContext, XdpContext};
use limiter_ebpf::observe::Observer;
use limiter_ebpf::source::Table;
use limiter_ebpf::{room, way};

/// Decides on one frame. Loaded as `xdp.frags`: drivers put the headers into the linear part, so large MTUs need nothing more. (`limiter doctor` knows one
/// that may not.)
// Inlined into what the macro makes around it: a call and its return cost every packet 5 ns where
// the kernel guards returns.
#[inline(always)]
#[xdp(frags)]
pub fn limiter(context: XdpContext) -> u32 {
    way::run::<Table, Observer>(&context)
}

/// Chooses the listener of a connection that begins. Attached to a network namespace from the first
/// `limiter room` until `limiter detach --all`; the kernel runs it for no packet of a connection that
/// is there.
#[sk_lookup]
pub fn limiter_room(context: SkLookupContext) -> u32 {
    room::steer(&context)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
