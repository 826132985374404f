//! Packets that bring a cookie back, wherever they come and whatever they meet: they pay, unless
//! their flow has paid.
//!
//! The rule is not what a packet meets now, but what the kernel will make of it when it gets there.
//! Of a packet without a good cookie it makes no connection: that passes. A packet with one belongs
//! to its connection only if the connection is there and no reset of its client went by since; or if
//! it is the first data right behind the packet that paid. A fragment's cookie counts when the last
//! one comes, which is its sender's to choose: a first fragment with a good cookie is dropped, and so
//! is a reset in fragments. No client sends either.
//!
//! Of a flow that waits nothing may reach the kernel, which would answer with a reset: what comes
//! behind its first segment is held back until that is let in. Its client sends it again.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use limiter_common::flow::{self, Flow, Known, State};
use limiter_common::packet::{self, Cursor, Segment};

use crate::listener::{self, Met};
use crate::maps::{FLOWS, WAITS};
use crate::{checksum, clock, limits, service};

/// What a segment that opens no connection is.
pub enum Proof {
    /// None that has to pay.
    None,
    /// It brings a good cookie, and pays.
    Pays(Paying),
    /// The same, and the accept queue of its listener is full: the kernel would drop it.
    Full(Paying),
    /// It brings a good cookie that must not be taken. Whether it is whole, so that it can be
    /// answered.
    Bad(bool),
    /// Its flow waits, and it is not what the flow waits with.
    Held,
}

/// What a segment that opens no connection may be, at the first look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct May(u64);

impl May {
    /// Nothing that matters.
    pub const NOTHING: Self = Self(0);
    /// It is whole, and brings a good cookie.
    const COOKIE: Self = Self(1);
    /// A fragment that brings a good cookie, or a reset in one.
    const PARKED: Self = Self(2);
    /// It brings none, and its flow waits.
    const HELD: Self = Self(3);
}

const NONE: u64 = 0;
const PAYS: u64 = 1;
const FULL: u64 = 2;
const SHIFTED: u64 = 3;
const HELD: u64 = 4;
const CODE: u64 = 7;
/// Beside the code: there is data in it.
const DATA: u64 = 8;
/// Its connection is there, or what is left of it, or has been paid for: it does not wait.
const KEPT: u64 = 16;

/// Looks whether a segment that opens no connection brings a cookie or is of a flow that waits, and
/// notes what it ends. Costs no clock while no flow waits, and what is for no port of a service next
/// to nothing.
#[inline(always)]
pub fn look(context: &XdpContext, segment: &Segment<'_>) -> May {
    if !service::may_be(segment.port) {
        return May::NOTHING;
    }
    if segment.may_prove() {
        match segment.header() {
            Some(tcp) if listener::is_cookie(&segment.network, tcp.as_ptr()) => return May::COOKIE,
            None if limiter_fragment(context.ctx) != 0 => return May::PARKED,
            _ => {}
        }
    } else if segment.is_fragment && segment.is_reset() {
        return May::PARKED;
    }
    let ends = segment.is_reset() || segment.is_end();
    let waits = WAITS.get(0).is_some_and(|line| flow::may_wait(&line[0], clock::coarse));
    if (ends || waits) && limiter_behind(context.ctx, clock::coarse()) != 0 { May::HELD } else { May::NOTHING }
}

/// Whether a first fragment brings a good cookie. All that a cookie depends on is in the part that
/// shows the flags.
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

/// Says what a segment is of which [`look`] said `may`. `asks`: whether the kernel makes cookies
/// still.
#[inline(always)]
pub fn find(context: &XdpContext, may: May, asks: bool, now: u64) -> Proof {
    match may {
        May::PARKED => return Proof::Bad(false),
        May::HELD => return Proof::Held,
        _ => {}
    }
    let said = limiter_check(context.ctx, asks.into(), now);
    match said & CODE {
        PAYS => Proof::Pays(Paying(said)),
        FULL => Proof::Full(Paying(said)),
        SHIFTED => Proof::Bad(true),
        HELD => Proof::Held,
        _ => Proof::None,
    }
}

/// Notes what a segment without a cookie ends, and says whether it has to be held back because its
/// flow waits.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_behind(context: *mut xdp_md, now: u64) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let Ok(segment) = packet::parse(frame) else { return 0 };
    let Some(ports) = segment.ports() else { return 0 };
    let Some(flow) = limits::flow(&segment.network, &ports).map(Flow::at) else { return 0 };
    let Some(set) = FLOWS.get(flow.set()) else { return 0 };
    if segment.is_reset() {
        flow::reset(set, flow.fingerprint(), now);
        return 0;
    }
    if flow::waits(set, flow.fingerprint(), now) {
        // One that was made without a proof, or before the flow had to wait, is left alone.
        return (!listener::meets(&context, &segment.network, &ports).is_socket()).into();
    }
    if segment.is_end() {
        // What was ahead of the connection is not any more: after its end data would make another.
        flow::follow(set, flow.fingerprint());
    }
    0
}

/// What a whole segment is that brings a good cookie: a code, and if it has to pay its [`Flow`] above
/// that. A function that the verifier checks once: see `global`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_check(context: *mut xdp_md, asks: u64, now: u64) -> u64 {
    let context = XdpContext::new(context);
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let Ok(segment) = packet::parse(frame) else { return NONE };
    let Some((asked, _)) = segment.numbers() else { return NONE };
    let Some(flow) = limits::flow(&segment.network, &asked).map(Flow::at) else { return NONE };
    let Some(set) = FLOWS.get(flow.set()) else { return NONE };
    let known = flow::ask(set, flow.fingerprint(), asked.sequence as u16, now);
    let has_data = segment.has_data(&asked);
    let met = listener::room(&context, &segment.network, &asked);
    // What its server has closed is there, and may end with the next data that comes.
    let (is_there, is_alive) = (met.is_socket(), met.is_alive());
    let shifted = if is_there { HELD } else { SHIFTED };
    match known {
        Known::Paid { first, fresh, ahead } => {
            // Data may be ahead of its connection once, and only if it did not find that there.
            let follows = ahead && has_data && flow::follow(set, flow.fingerprint());
            if is_alive || first && fresh && follows {
                return NONE;
            }
            // Its connection is gone, or was never made: what comes past the first byte would make
            // one with a hole. Or it is not there yet: then this is sent again.
            if !first {
                return if fresh { HELD } else { shifted };
            }
        }
        // It is older than the table, or its note had to go, or was not ended by that reset.
        Known::No | Known::Pays | Known::Shifted | Known::Reset { on_its_way: false } if is_alive => return NONE,
        Known::Shifted => return shifted,
        _ => {}
    }
    if checksum::limiter_is_whole(context.ctx) == 0 {
        return NONE;
    }
    let code = match met {
        Met::Listener(cookie) if cookie <= 0 && asks != 0 => FULL,
        _ => PAYS,
    };
    let is_kept = is_there || matches!(known, Known::Paid { .. });
    flow.0 & !0xff | code | if has_data { DATA } else { 0 } | if is_kept { KEPT } else { 0 }
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
        // What is refused of it, because it was reset or is ahead of its connection, is sent again.
        (0, _) if flow & KEPT != 0 => return 1,
        (0, _) => State::Waiting,
        (_, 0) => State::PaidAhead,
        _ => State::Paid,
    };
    if matches!(state, State::Waiting)
        && let Some(line) = WAITS.get(0)
    {
        flow::note_waiting(&line[0], now);
    }
    let flow = Flow(flow);
    let Some(set) = FLOWS.get(flow.set()) else { return 0 };
    flow::note(set, flow.fingerprint(), asked.sequence as u16, state, now).into()
}
