//! The waiting room: what is refused for want of a budget, or waits in line, goes to another
//! listener, which shows a page. [`limiter_divert`] notes its flow as the packet passes, and
//! [`steer`] chooses the listener where the kernel asks for one.

use core::ffi::c_void;
use core::ptr::from_ref;

use aya_ebpf::bindings::{bpf_sk_lookup, xdp_md};
use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_sk_release};
use aya_ebpf::programs::{SkLookupContext, XdpContext};
use limiter_common::address::Address;
use limiter_common::hash;
use limiter_common::packet::Found;
use limiter_common::record::{self, Instance, Service};
use limiter_common::room;
use limiter_common::switch::Mode;

use crate::exit::{Decision, draw};
use crate::frame::read;
use crate::listener::make_cookie;
use crate::maps::{DIVERTED, HOST, INSTANCE, ROOM, WAITS};
use crate::proof::BRINGS;
use crate::{clock, limits};

/// From linux/socket.h and linux/in.h.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const IPPROTO_TCP: u32 = 6;
/// What an `sk_lookup` program returns (enum sk_action).
const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;
/// The last program that chooses counts (BPF_SK_LOOKUP_F_REPLACE).
const REPLACE: u64 = 1;

/// Whether a refused attempt may be sent to the waiting room, if that is open.
#[inline(always)]
pub fn may_take(decision: &Decision, service: &Service) -> bool {
    service.has_room()
        && matches!(decision.mode, Mode::Enforce)
        && decision.reason.may_be_diverted(service.line.interval != 0)
}

/// Whether a room listens for what a segment is for: 1 or 0. `key`: [`room::key`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_is_open(key: u32) -> u32 {
    with_socket(key, |_| true).into()
}

/// Calls `f` with the room's socket, if there is one.
#[inline(always)]
fn with_socket(key: u32, f: impl FnOnce(*mut c_void) -> bool) -> bool {
    let map = from_ref(&ROOM).cast_mut().cast::<c_void>();
    // SAFETY: the map is one of sockets with keys of this type. What the kernel returns is held for
    // us, and released once.
    unsafe {
        let socket = bpf_map_lookup_elem(map, (&raw const key).cast());
        if socket.is_null() {
            return false;
        }
        let said = f(socket);
        bpf_sk_release(socket);
        said
    }
}

/// Notes that the segment's flow goes to the waiting room. Says whether it could: a room listens
/// for its port, the host may divert one more, and there is a place for the note. `said`:
/// [`Decision::pack`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_divert(context: *mut xdp_md, found: u64, said: u64) -> u32 {
    divert(&XdpContext::new(context), Found(found), said).is_some().into()
}

#[inline(always)]
fn divert(context: &XdpContext, found: Found, said: u64) -> Option<()> {
    let (slot, id) = Decision::place(said);
    let is_asked = limits::service(slot, id)?.has_room();
    let decision = Decision::unpack(said)?;
    if !is_asked || matches!(decision.mode, Mode::Observe) {
        return None;
    }
    let segment = read(context, found)?;
    let (ports, header) = (segment.ports()?, &segment.network);
    // The kernel takes a cookie only at a listener that made one lately; and it makes none while its
    // accept queue is full.
    let is_ready = |socket| said & BRINGS == 0 || make_cookie(socket, header, &ports, 536) > 0;
    if !with_socket(room::key(ports.port, header.is_v6()), is_ready) {
        return None;
    }
    let now = clock::coarse();
    let flow = limits::flow(&segment.network, &ports)?;
    if !draw(record::ROOM, &HOST.get(slot)?.diverts)
        || !room::note(DIVERTED.get(room::set(flow))?, flow, now)
    {
        return None;
    }
    room::note_any(&WAITS.get(0)?[room::UNTIL], now);
    Some(())
}

/// Chooses the listener of a connection that begins: the waiting room's if its flow was diverted,
/// and else whatever the kernel would choose. A diverted one whose room has just closed ends here,
/// and the kernel answers it with a reset: it never reaches the server.
#[inline(always)]
pub fn steer(context: &SkLookupContext) -> u32 {
    match diverted(context.lookup) {
        None => SK_PASS,
        Some(key) => match ROOM.redirect_sk_lookup(context, key, REPLACE) {
            Ok(()) => SK_PASS,
            Err(_) => SK_DROP,
        },
    }
}

/// The key of the room's socket, if the flow was diverted.
#[inline(always)]
fn diverted(context: *const bpf_sk_lookup) -> Option<u32> {
    if !room::may_be(&WAITS.get(0)?[room::UNTIL], clock::coarse) {
        return None;
    }
    // SAFETY: the kernel's context is there for this run. Volatile, so that each load keeps the
    // width that the kernel allows.
    unsafe {
        if (&raw const (*context).protocol).read_volatile() != IPPROTO_TCP {
            return None;
        }
        let port = (&raw const (*context).local_port).read_volatile();
        let from = u16::from_be((&raw const (*context).remote_port).read_volatile());
        let (remote, local, is_v6) = match (&raw const (*context).family).read_volatile() {
            AF_INET => (
                v4((&raw const (*context).remote_ip4).read_volatile()),
                v4((&raw const (*context).local_ip4).read_volatile()),
                false,
            ),
            AF_INET6 => {
                (v6(&raw const (*context).remote_ip6), v6(&raw const (*context).local_ip6), true)
            }
            _ => return None,
        };
        let Instance { key, .. } = INSTANCE.get(0)?;
        let flow = hash::flow(key, remote, local, u32::from(from) << 16 | port & 0xffff);
        room::is_noted(DIVERTED.get(room::set(flow))?, flow, clock::coarse())
            .then_some(room::key(port as u16, is_v6))
    }
}

#[inline(always)]
const fn v4(address: u32) -> Address {
    Address::v4(u32::from_be(address))
}

/// # Safety
/// The words are those of a context that is there.
#[inline(always)]
unsafe fn v6(words: *const [u32; 4]) -> Address {
    let words = words.cast::<u32>();
    // SAFETY: said by who calls.
    let word = |index| u64::from(u32::from_be(unsafe { words.add(index).read_volatile() }));
    Address::v6(word(0) << 32 | word(1), word(2) << 32 | word(3))
}
