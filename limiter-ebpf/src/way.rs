//! The way of a packet: parse -> attempt? -> service? -> lists -> limits -> exit.

use aya_ebpf::programs::XdpContext;
use limiter_common::packet::{self, Cursor, Segment};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::List;
use limiter_common::switch::{Mode, Switch};

use crate::exit::{self, Decision};
use crate::limits::{self, Limited};
use crate::source::Sources;
use crate::{clock, lists, maps, service};

/// Decides on one frame and returns XDP's number for it.
#[inline(always)]
pub fn run<S: Sources>(context: &XdpContext) -> u32 {
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let Some(switch) = maps::switch() else {
        return exit::pass(Reason::NoPolicy);
    };
    let decision = match packet::parse(frame) {
        Ok(segment) => {
            if !segment.hides_flags && !segment.is_attempt() && !switch.has_bans() {
                return exit::pass(Reason::NotAttempt);
            }
            judge::<S>(&segment, switch)
        }
        Err(reason) => match reason.verdict() {
            Verdict::Pass => return exit::pass(reason),
            Verdict::Drop => Decision { reason, counter: 0, mode: switch.at(clock::coarse()).mode, stole: false },
        },
    };
    #[cfg(feature = "trace")]
    crate::trace::sample(context, &decision);
    exit::finish(&decision)
}

#[inline(always)]
fn judge<S: Sources>(segment: &Segment<'_>, switch: Switch) -> Decision {
    let mut decision = Decision { reason: Reason::NoPolicy, counter: 0, mode: Mode::Observe, stole: false };
    if !switch.is_ready() {
        return decision;
    }
    let now = clock::coarse();
    let selection = switch.at(now);
    decision.mode = selection.mode;
    let Some(id) = service::find(segment, selection.slot) else {
        decision.reason =
            if segment.is_attempt() || segment.hides_flags { Reason::NotProtected } else { Reason::NotAttempt };
        return decision;
    };
    decision.counter = id + 1;
    decision.reason = match by_lists(segment, switch, now) {
        Some(reason) => reason,
        None => {
            let Limited { reason, stole } = limits::judge::<S>(selection.slot, id, segment.network.source(), now);
            decision.stole = stole;
            reason
        }
    };
    decision
}

/// What needs no limits to be decided.
#[inline(always)]
fn by_lists(segment: &Segment<'_>, switch: Switch, now: u64) -> Option<Reason> {
    if segment.hides_flags {
        return Some(Reason::ShortFragment);
    }
    let list = if switch.has_lists() { lists::find(switch, segment.network.source(), now) } else { None };
    match list {
        Some(List::Ban) => Some(Reason::Banned),
        _ if !segment.is_attempt() => Some(Reason::NotAttempt),
        Some(List::Allow) => Some(Reason::Allowed),
        None => None,
    }
}
