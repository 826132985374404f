//! The waiting room: what is refused for want of a budget, or waits in line, goes to another
//! listener, which shows a page. [`limiter_divert`] notes its flow as the packet passes, and
//! [`steer`] chooses the listener where the kernel asks for one.

use aya_ebpf::bindings::{bpf_sk_lookup, xdp_md};
use aya_ebpf::programs::{SkLookupContext, XdpContext};
use limiter_common::address::Address;
use limiter_common::admission::{Outcome, Stage};
use limiter_common::challenge;
use limiter_common::hash;
use limiter_common::packet::{Found, Segment};
use limiter_common::reason::Reason;
use limiter_common::record;
use limiter_common::room;
pub use limiter_common::room::key;
use limiter_common::switch::Mode;

use crate::clock::coarse;
use crate::exit::{BRINGS, Decision, draw};
use crate::frame::{limiter_find, read};
use crate::limits::{self, Question};
use crate::listener::{make_cookie, with_socket};
use crate::maps::{DIVERTED, HOST, INSTANCE, ROOM, WAITS};
use crate::subprograms::{NOTHING, limiter_ask, unpack_outcome};

/// From linux/socket.h and linux/in.h.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const IPPROTO_TCP: u32 = 6;
/// What an `sk_lookup` program returns (enum sk_action).
const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;
/// The last program that chooses counts (BPF_SK_LOOKUP_F_REPLACE).
const REPLACE: u64 = 1;

/// Sends a refused attempt to the waiting room, if one is open; where the kernel makes cookies, once
/// it has proven that it comes from where it says. `None`: it stays as it was decided.
#[inline(always)]
pub fn show(
    context: &XdpContext,
    segment: &Segment<'_>,
    question: &Question,
    decision: &Decision,
) -> Option<Outcome> {
    let asks = if matches!(question.stage, Stage::Peeks) { ASKS } else { 0 };
    let key = key(segment.port, segment.network.is_v6());
    unpack_outcome(limiter_show(context.ctx, decision.pack(), question.now, asks | u64::from(key)))
}

/// Beside a key: its proof will pay, so it is asked for that.
const ASKS: u64 = 1 << 32;

/// What becomes of an attempt: what [`unpack_outcome`] reads, or [`NOTHING`]. `said`:
/// [`Decision::pack`]; `key`: [`room::key`], and [`ASKS`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_show(context: *mut xdp_md, said: u64, now: u64, key: u64) -> u64 {
    if key & ASKS != 0 {
        if !may_take(said).unwrap_or(false) || !with_socket(key as u32, |_| true) {
            return NOTHING;
        }
        return limiter_ask(said, now);
    }
    if limiter_divert(context, said) != 0 { Reason::Diverted as u64 } else { NOTHING }
}

/// Whether what was decided on is refused so that the waiting room may have it; `None` if there is
/// none to have it.
#[inline(always)]
fn may_take(said: u64) -> Option<bool> {
    let (slot, id) = Decision::place(said);
    let service = limits::service(slot, id).filter(|service| service.has_room())?;
    let decision = Decision::unpack(said).filter(|one| matches!(one.mode, Mode::Enforce))?;
    Some(match said & BRINGS {
        0 => decision.reason.may_be_diverted(service.line.interval != 0),
        _ => said & MAY_DIVERT != 0,
    })
}

/// Whether the room takes a proof that finds its server's accept queue full: it has been full for a
/// while, and a room listens. `said`: [`Decision::pack`]; `key`: [`room::key`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_stands_in(said: u64, key: u64) -> u32 {
    let (_, id) = Decision::place(said);
    let is_stuck = || {
        let line = limits::challenge_line(id)?;
        Some(room::is_stuck(&line[challenge::FULL], coarse()))
    };
    let stands_in =
        may_take(said).is_some() && is_stuck() == Some(true) && with_socket(key as u32, |_| true);
    stands_in.into()
}

/// Beside a packed decision of a proof, in a bit that it leaves free: the waiting room may have it.
pub const MAY_DIVERT: u64 = 1 << 30;

/// Notes that a segment's flow goes to the waiting room. Says whether it could: a room listens for
/// its port, the host may divert one more, and there is a place for the note. Of a segment that is
/// let in, a note that an earlier connection from its port left lately is taken back.
/// `said`: [`Decision::pack`]; of a proof with [`BRINGS`] and [`MAY_DIVERT`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_divert(context: *mut xdp_md, said: u64) -> u32 {
    let Some(may) = may_take(said) else { return 0 };
    let is_used = || WAITS.get(0).is_some_and(|words| room::may_be(&words[room::UNTIL], coarse));
    if !may && !is_used() {
        return 0;
    }
    let found = Found(limiter_find(context));
    divert(&XdpContext::new(context), found, said, may).is_some().into()
}

#[inline(always)]
fn divert(context: &XdpContext, found: Found, said: u64, may: bool) -> Option<()> {
    let segment = read(context, found)?;
    let (ports, header) = (segment.ports()?, &segment.network);
    let flow = limits::flow(header, &ports)?;
    let set = DIVERTED.get(room::set(flow))?;
    if !may {
        room::forget(set, flow);
        return None;
    }
    // The kernel takes a cookie only at a listener that made one lately; and it makes none while its
    // accept queue is full.
    let is_ready = |socket| said & BRINGS == 0 || make_cookie(socket, header, &ports, 536) > 0;
    let (now, slot) = (coarse(), Decision::place(said).0);
    if !with_socket(key(ports.port, header.is_v6()), is_ready)
        || !draw(record::ROOM, &HOST.get(slot)?.diverts)
        || !room::note(set, flow, now)
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
    if !room::may_be(&WAITS.get(0)?[room::UNTIL], coarse) {
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
        is_noted(remote, local, u32::from(from) << 16 | port & 0xffff)?
            .then_some(key(port as u16, is_v6))
    }
}

/// Whether a flow was diverted lately.
#[inline(always)]
fn is_noted(remote: Address, local: Address, ports: u32) -> Option<bool> {
    let instance = INSTANCE.get(0)?;
    let flow = hash::flow(&instance.key, remote, local, ports);
    Some(room::is_noted(DIVERTED.get(room::set(flow))?, flow, coarse()))
}

/// Whether a connection is the waiting room's: its flow was diverted lately.
#[inline(always)]
pub fn is_diverted(remote: Address, local: Address, from: u16, port: u16) -> bool {
    let may = || WAITS.get(0).is_some_and(|words| room::may_be(&words[room::UNTIL], coarse));
    may() && is_noted(remote, local, u32::from(from) << 16 | u32::from(port)).unwrap_or(false)
}

/// An address as contexts hold it.
#[inline(always)]
pub const fn v4(address: u32) -> Address {
    Address::v4(u32::from_be(address))
}

/// The same of IPv6.
///
/// # Safety
/// The words are those of a context that is there.
#[inline(always)]
pub unsafe fn v6(words: *const [u32; 4]) -> Address {
    let words = words.cast::<u32>();
    // SAFETY: said by who calls.
    let word = |index| u64::from(u32::from_be(unsafe { words.add(index).read_volatile() }));
    Address::v6(word(0) << 32 | word(1), word(2) << 32 | word(3))
}
