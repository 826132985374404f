//! Packets that bring a cookie back, wherever they come and whatever they meet: they pay, unless
//! their flow has paid.
//!
//! The rule is not what a packet meets now, but what the kernel will make of it when it gets there.
//! Of a packet without a good cookie it makes no connection: that passes. A packet with one belongs
//! to its connection only if the connection is there and no reset of its client went by since; or
//! if it is the first data right behind the packet that paid. A fragment's cookie counts when the
//! last one comes, which is its sender's to choose: a first fragment with a good cookie is dropped,
//! and so is a reset in fragments. No client sends either.
//!
//! Of a flow that waits nothing may reach the kernel, which would answer with a reset: what comes
//! behind its first segment is held back until that is let in. Its client sends it again.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use limiter_common::flow::{self, Flow, Known, State};
use limiter_common::line::service::do_wait;
use limiter_common::packet::{Found, Segment};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::switch::{Mode, Selection, Switch};

use crate::exit::{BRINGS, Decision, Notes};
use crate::frame::{again, read};
use crate::listener;
use crate::maps::{self, FLOWS, WAITS};
use crate::{
    checksum, clock, cookie, limits, line, lists, observe, room, service, shadow, subprograms,
};

/// What a segment is that does not pass as any other.
enum Proof {
    /// It brings a good cookie, and what comes of that is to be noted. Of [`PAYS`], [`DATA`] and
    /// [`KEPT`].
    Brings(u64),
    /// It brings a good cookie that must not be taken. Whether it is whole, so that it can be
    /// answered.
    Bad(bool),
    /// Its flow waits, and it is not what the flow waits with.
    Held,
}

// What is asked of a segment:
/// It is whole and has a good cookie.
const COOKIE: u64 = 1;
/// It may bring one in part, end something, or be of a flow that waits.
const BEHIND: u64 = 2;

// Beside a packed decision, in bits that it leaves free:
/// It pays. Else the accept queue of its listener is full: the kernel would drop it.
const PAYS: u64 = 1 << 27;
/// There is data in it.
const DATA: u64 = 1 << 28;
/// Its connection is there, or what is left of it, or has been paid for: it does not wait.
const KEPT: u64 = 1 << 29;
/// Its flow waits for longer than people do.
const LATE: u64 = 1 << 22;
/// It is in, and its service tries limits.
const TRIES: u64 = 1 << 31;

/// Decides on a segment that shows that it opens no connection, if a ban or a proof may matter to
/// it: it brings a cookie, ends something or is of a flow that waits. What is for no port of a
/// service costs next to nothing, and the rest no clock while no flow waits.
///
/// In three calls one after the other, because the stacks of calls within calls would not fit.
#[inline(always)]
pub fn decide(context: &XdpContext, segment: &Segment<'_>, switch: Switch) -> Option<Decision> {
    let (charges, bans) = (switch.charges_proofs(), switch.has_bans());
    if !charges && !bans || !service::may_be(segment.port) {
        return None;
    }
    let mut asked = 0;
    if charges {
        let waits = || WAITS.get(0).is_some_and(|line| flow::may_wait(&line[0], clock::coarse));
        if segment.may_prove() && cookie::is_in(context, segment) {
            asked = COOKIE;
        } else if segment.is_fragment || segment.is_reset() || segment.is_end() || waits() {
            asked = BEHIND;
        }
    }
    if asked == 0 && !bans {
        return None;
    }
    let found = Found::of(segment, &again(context).0);
    let mut said = limiter_prove(context.ctx, found.0, asked);
    if said & LATE != 0 {
        said = limiter_give_way(said);
    }
    if said & BRINGS != 0 {
        let key = room::key(segment.port, segment.network.is_v6());
        let stands_in = said & (PAYS | KEPT) == 0 && room::limiter_stands_in(said, key.into()) != 0;
        if stands_in {
            // The room's page costs a source what a connection does.
            said |= PAYS;
        }
        let pays = || line::pay_proof(Decision::place(said), segment.network.source());
        let mut outcome = if said & PAYS != 0 { pays() } else { 0 };
        let is_refused = outcome != subprograms::NOTHING && outcome & subprograms::MAY_DIVERT != 0;
        let is_full = stands_in && outcome as u8 == Reason::Proven as u8;
        // What is there, or has paid, is not its own connection's beginning.
        let may = if (is_refused || is_full) && said & KEPT == 0 { room::MAY_DIVERT } else { 0 };
        if room::limiter_divert(context.ctx, said | may) != 0 {
            let reason = if is_full { Reason::DivertedFull } else { Reason::DivertedProof };
            outcome = reason as u64;
        } else if is_full {
            said &= !PAYS;
        }
        said = limiter_close(context.ctx, found.0, said, outcome);
        if said & TRIES != 0 || is_refused {
            let client = segment.network.source();
            let (slot, id) = Decision::place(said);
            let what = subprograms::pack_what(slot, id);
            match is_refused {
                true => observe::limiter_waits(what, client.high, client.low, clock::coarse()),
                false => shadow::limiter_shadow(what, client.high, client.low, clock::coarse()),
            };
        }
    }
    Decision::unpack(said)
}

/// Says of a segment what [`Decision::pack`] makes of it, and what is left to do; 0 if it passes as
/// any other. `asked`: [`COOKIE`], [`BEHIND`], or 0 if only a ban may matter. A function that the
/// verifier checks once: see `subprograms`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_prove(context: *mut xdp_md, found: u64, asked: u64) -> u64 {
    prove(&XdpContext::new(context), Found(found), asked).unwrap_or(0)
}

#[inline(always)]
fn prove(context: &XdpContext, found: Found, asked: u64) -> Option<u64> {
    let segment = read(context, found)?;
    let switch = maps::switch()?;
    if !switch.is_ready() {
        return None;
    }
    let now = clock::coarse();
    let Selection { slot, mode } = switch.at(now);
    let id = service::find(&segment, slot)?;
    let mut decision =
        Decision { reason: Reason::NotAttempt, counter: id + 1, slot, mode, notes: Notes::NONE };
    // With bans every packet of a service is its own, and counted there.
    let passes = if switch.has_bans() { Some(decision.pack()) } else { None };
    match lists::judge(&segment, switch, now) {
        Some(Reason::Banned) => {
            decision.reason = Reason::Banned;
            return Some(decision.pack());
        }
        Some(_) => return passes,
        None => {}
    }
    let proof = match asked {
        COOKIE => check(context, found, &segment, switch.asks(), now),
        BEHIND => behind(context, &segment, now),
        _ => None,
    };
    let Some(proof) = proof else { return passes };
    match proof {
        Proof::Held => decision.reason = Reason::Held,
        Proof::Bad(is_whole) => {
            decision.reason = Reason::BadCookie;
            if is_whole {
                decision.must_reset();
            }
        }
        Proof::Brings(what) => {
            decision.reason = Reason::QueueFull;
            return Some(decision.pack() | what | BRINGS);
        }
    }
    Some(decision.pack())
}

/// Says what a segment is that brings no cookie as a whole, and notes what it ends.
#[inline(always)]
fn behind(context: &XdpContext, segment: &Segment<'_>, now: u64) -> Option<Proof> {
    if segment.is_fragment {
        // All that a cookie depends on is in the part that shows the flags.
        let is_cookie =
            || listener::is_cookie(&segment.network, segment.beginning()?.as_ptr()).then_some(());
        if segment.is_reset() || segment.may_prove() && is_cookie().is_some() {
            return Some(Proof::Bad(false));
        }
    }
    let ports = segment.ports()?;
    let flow = limits::flow(&segment.network, &ports).map(Flow::at)?;
    let set = FLOWS.get(flow.set())?;
    if segment.is_reset() {
        flow::reset(set, flow.fingerprint(), now);
    } else if flow::waits(set, flow.fingerprint(), now) {
        // One that was made without a proof, or before the flow had to wait, is left alone.
        if !listener::meets(context, &segment.network, &ports).is_socket() {
            return Some(Proof::Held);
        }
    } else if segment.is_end() {
        // What was ahead of the connection is not any more: after its end data would make another.
        flow::follow(set, flow.fingerprint());
        flow::arrive(set, flow.fingerprint());
    }
    None
}

/// Says what a whole segment is that brings a good cookie.
#[inline(always)]
fn check(
    context: &XdpContext,
    found: Found,
    segment: &Segment<'_>,
    asks: bool,
    now: u64,
) -> Option<Proof> {
    let (asked, _) = segment.numbers()?;
    let flow = limits::flow(&segment.network, &asked).map(Flow::at)?;
    let set = FLOWS.get(flow.set())?;
    let known = flow::ask(set, flow.fingerprint(), asked.sequence as u16, now);
    let has_data = segment.has_data(&asked);
    let met = listener::room(context, &segment.network, &asked);
    // What its server has closed is there, and may end with the next data that comes.
    let (is_there, is_alive) = (met.is_socket(), met.is_alive());
    let shifted = || if is_there { Proof::Held } else { Proof::Bad(true) };
    // Where attempts pay too, what ends in another namespace is left alone.
    if !asks && !is_there && !met.is_listener() {
        return None;
    }
    match known {
        Known::Paid { first, fresh, ahead } => {
            // Data may be ahead of its connection once, and only if it did not find that there.
            let follows = ahead && has_data && flow::follow(set, flow.fingerprint());
            if is_alive || first && fresh && follows {
                return None;
            }
            // Its connection is gone, or was never made: what comes past the first byte would make
            // one with a hole. Or it is not there yet: then this is sent again.
            if !first {
                return Some(if fresh { Proof::Held } else { shifted() });
            }
        }
        // It is older than the table, or its note had to go, or was not ended by that reset.
        Known::No | Known::Pays { .. } | Known::Shifted | Known::Reset { on_its_way: false }
            if is_alive =>
        {
            return None;
        }
        Known::Admitted => {
            if is_alive {
                flow::arrive(set, flow.fingerprint());
            }
            return None;
        }
        Known::Shifted => return Some(shifted()),
        _ => {}
    }
    if checksum::limiter_is_whole(context.ctx, found.0) == 0 {
        return None;
    }
    let is_full = met.is_full() && asks;
    let is_kept = is_there || matches!(known, Known::Paid { .. });
    let late = if matches!(known, Known::Pays { late: true }) { LATE } else { 0 };
    let pays = late | if is_full { 0 } else { PAYS };
    Some(Proof::Brings(pays | if has_data { DATA } else { 0 } | if is_kept { KEPT } else { 0 }))
}

/// Refuses a proof whose flow waits for long, where its service's line is short and it has no waiting
/// room, whose page ends the wait of each flow: what has given up would take the place of a
/// connection that a client still waits for. Who is still there knows at once, and keeps its place
/// in line. `said` is what [`limiter_prove`] said; says the same, or the refusal.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_give_way(said: u64) -> u64 {
    give_way(said).unwrap_or(said)
}

#[inline(always)]
fn give_way(said: u64) -> Option<u64> {
    let (slot, id) = Decision::place(said);
    let has_room = limits::service(slot, id)?.has_room();
    if has_room || !do_wait(maps::LINE.get(id)?, clock::coarse()) {
        return None;
    }
    let mut decision = Decision::unpack(said)?;
    decision.reason = Reason::Waiting;
    decision.must_reset();
    Some(decision.pack())
}

/// Takes over what came of a proof, and notes whether its flow has paid or waits. Who waits is let
/// in with his first byte only, and where that cannot be noted he is told not to wait. `said` is
/// what [`limiter_prove`] said, `outcome` what [`line::pay_proof`] did. Says what
/// [`Decision::pack`] makes of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_close(context: *mut xdp_md, found: u64, said: u64, outcome: u64) -> u64 {
    close(&XdpContext::new(context), Found(found), said, outcome).unwrap_or(0)
}

#[inline(always)]
fn close(context: &XdpContext, found: Found, said: u64, outcome: u64) -> Option<u64> {
    let mut decision = Decision::unpack(said)?;
    let mut tries = 0;
    if said & PAYS != 0 {
        let (slot, id) = Decision::place(said);
        let service = limits::service(slot, id)?;
        decision.of_service(service);
        decision.settle(&subprograms::unpack_outcome(outcome)?);
        if shadow::asks(service, decision.reason) {
            tries = TRIES;
        }
    }
    let passes = matches!(decision.mode, Mode::Observe)
        || matches!(decision.reason.verdict(), Verdict::Pass);
    let state = match (passes, said & DATA) {
        // What is refused of it, because it was reset or is ahead of its connection, is sent again.
        (false, _) if said & KEPT != 0 => return Some(decision.pack()),
        (false, _) => State::Waiting,
        (true, 0) => State::PaidAhead,
        (true, _) => State::Paid,
    };
    if !note(context, found, state).unwrap_or(false) && !passes {
        decision.must_reset();
    }
    Some(decision.pack() | tries)
}

/// Notes that an attempt has paid: a cookie that the kernel answers it with is free.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_admitted(context: *mut xdp_md, found: u64) -> u32 {
    note(&XdpContext::new(context), Found(found), State::Admitted).is_some().into()
}

/// Notes whether the flow of a segment has paid or waits. Says whether it could.
#[inline(always)]
fn note(context: &XdpContext, found: Found, state: State) -> Option<bool> {
    let now = clock::coarse();
    let segment = read(context, found)?;
    let (mut asked, _) = segment.numbers()?;
    if matches!(state, State::Admitted) {
        // An attempt takes up one number.
        asked.sequence = asked.sequence.wrapping_add(1);
    }
    if matches!(state, State::Waiting)
        && let Some(line) = WAITS.get(0)
    {
        flow::note_waiting(&line[0], now);
    }
    let flow = limits::flow(&segment.network, &asked).map(Flow::at)?;
    let set = FLOWS.get(flow.set())?;
    Some(flow::note(set, flow.fingerprint(), asked.sequence as u16, state, now))
}
