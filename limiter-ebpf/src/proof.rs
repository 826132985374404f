//! Packets that bring a cookie back, wherever they come and whatever they meet: they pay, unless their flow has paid.
//!
//! The rule is not what a packet meets now, but what the kernel will make of it when it gets there. Of a packet without a good cookie it makes no
//! connection: that passes. A packet with one belongs to its connection only if the flow has paid, no reset of its client went by since, and the
//! connection is there; or if it is the first data right behind the packet that paid. A fragment's cookie counts when the last one comes, which is
//! its sender's to choose: a first fragment with a good cookie is dropped, and so is a reset in fragments. No client sends either.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use limiter_common::flow::{self, Flow, Known, State};
use limiter_common::packet::{self, Cursor, Segment};

use crate::listener::{self, Met};
use crate::maps::FLOWS;
use crate::{limits, service};

/// What a segment that opens no connection is.
pub enum Proof {
    /// None that has to pay.
    None,
    /// It brings a good cookie, and pays.
    Pays(Paying),
    /// The same, and the accept queue of its listener is full: the kernel would drop it.
    Full(Paying),
    /// It brings a good cookie that must not be taken. Whether it is whole, so that it can be answered.
    Bad(bool),
}

const NONE: u64 = 0;
const PAYS: u64 = 1;
const FULL: u64 = 2;
const SHIFTED: u64 = 3;
const CODE: u64 = 3;
/// Beside the code: there is data in it.
const DATA: u64 = 4;
/// Its connection is there.
const ALIVE: u64 = 8;

/// Whether a segment that opens no connection may bring a cookie, or end a connection that was made of one. Costs no clock, and what is for no port
/// of a service next to nothing.
#[inline(always)]
pub fn may_be(context: &XdpContext, segment: &Segment<'_>) -> bool {
    if segment.is_reset() {
        return service::may_be(segment.port);
    }
    if !segment.may_prove() || !service::may_be(segment.port) {
        return false;
    }
    match segment.header() {
        Some(tcp) => listener::is_cookie(&segment.network, tcp.as_ptr()),
        None => limiter_fragment(context.ctx) != 0,
    }
}

/// Whether a first fragment brings a good cookie. All that a cookie depends on is in the part that shows the flags.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_fragment(context: *mut xdp_md) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let Ok(segment) = packet::parse(frame) else { return 0 };
    let Some(header) = segment.beginning() else { return 0 };
    listener::is_cookie(&segment.network, header.as_ptr()).into()
}

/// Looks at a segment of which [`may_be`] is true. `asks`: whether the kernel makes cookies still.
#[inline(always)]
pub fn find(context: &XdpContext, segment: &Segment<'_>, asks: bool, now: u64) -> Proof {
    if segment.is_fragment {
        return Proof::Bad(false);
    }
    let said = limiter_check(context.ctx, asks.into(), now);
    match said & CODE {
        PAYS => Proof::Pays(Paying(said)),
        FULL => Proof::Full(Paying(said)),
        SHIFTED => Proof::Bad(true),
        _ => Proof::None,
    }
}

/// What a whole segment is that brings a good cookie or resets a connection: a code, and if it has to pay its [`Flow`] above that. A function that the
/// verifier checks once: see `global`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_check(context: *mut xdp_md, asks: u64, now: u64) -> u64 {
    let context = XdpContext::new(context);
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let Ok(segment) = packet::parse(frame) else { return NONE };
    let Some((asked, _)) = segment.numbers() else { return NONE };
    let Some(place) = limits::flow(&segment.network, &asked) else { return NONE };
    let flow = Flow::at(place);
    let Some(set) = FLOWS.get(flow.set()) else { return NONE };
    if segment.is_reset() {
        flow::reset(set, flow.fingerprint(), now);
        return NONE;
    }
    let known = flow::ask(set, flow.fingerprint(), asked.sequence as u16, now);
    if matches!(known, Known::Shifted) {
        return SHIFTED;
    }
    let has_data = segment.has_data(&asked);
    let met = listener::room(&context, &segment.network, &asked);
    let is_alive = met.is_alive();
    if let Known::Paid { first, fresh, ahead } = known {
        // Data may be ahead of its connection once, and only if it did not find that there.
        let follows = ahead && has_data && flow::follow(set, flow.fingerprint());
        if is_alive || first && fresh && follows {
            return NONE;
        }
        // Its connection is gone, or was never made: what comes past the first byte would make one with a hole.
        if !first && !fresh {
            return SHIFTED;
        }
    }
    if is_alive && matches!(known, Known::Reset { on_its_way: false }) {
        return NONE;
    }
    let code = match met {
        Met::Listener(cookie) if cookie <= 0 && asks != 0 => FULL,
        _ => PAYS,
    };
    flow.0 & !0xff | code | if has_data { DATA } else { 0 } | if is_alive { ALIVE } else { 0 }
}

/// A flow that has to pay.
pub struct Paying(u64);

impl Paying {
    /// Notes what came of it, and says whether it could: who waits unnoted must not.
    #[inline(always)]
    pub fn note(&self, context: &XdpContext, passes: bool, now: u64) -> bool {
        limiter_note(context.ctx, self.0, passes.into(), now) != 0
    }
}

/// Notes whether the flow of a segment has paid or waits. Says whether it could.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_note(context: *mut xdp_md, flow: u64, passes: u64, now: u64) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let Ok(segment) = packet::parse(frame) else { return 0 };
    let Some((asked, _)) = segment.numbers() else { return 0 };
    let state = match (passes, flow & DATA) {
        // A connection that is there does not wait: what is refused of it, because it was reset or was never charged, is sent again.
        (0, _) if flow & ALIVE != 0 => return 1,
        (0, _) => State::Waiting,
        (_, 0) => State::PaidAhead,
        _ => State::Paid,
    };
    let flow = Flow(flow);
    let Some(set) = FLOWS.get(flow.set()) else { return 0 };
    flow::note(set, flow.fingerprint(), asked.sequence as u16, state, now).into()
}
