//! The entry point of the shipped object.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the xdp macro drops the comment of the function")]

mod object;

use core::ffi::c_void;

use aya_ebpf::macros::{sk_lookup, sock_ops, xdp};
use aya_ebpf::programs::{SkLookupContext, SockOpsContext, XdpContext};
use limiter_ebpf::observe::Observer;
use limiter_ebpf::source::Table;
use limiter_ebpf::{open, room, way};

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

/// Counts open connections. Attached to the root control group while the policy in force bounds
/// them; the kernel runs it when a socket of the host becomes a connection, and when one that it
/// counted ends.
#[sock_ops]
pub fn limiter_open(context: SockOpsContext) -> u32 {
    open::follow(&context);
    1
}

/// Takes over the connections that are older than the count: run once, over all sockets of a
/// network namespace. (aya-ebpf has no macro for iterators.)
#[unsafe(link_section = "iter/tcp")]
#[unsafe(no_mangle)]
pub extern "C" fn limiter_adopt(context: *mut c_void) -> i32 {
    open::adopt(context);
    0
}
