//! The way of a packet: parse -> attempt? -> service? -> lists -> challenge and limits -> observe -> exit.

use aya_ebpf::programs::XdpContext;
use limiter_common::admission::{Outcome, Stage, Verdict as Judged};
use limiter_common::challenge;
use limiter_common::packet::{self, Cursor, Segment};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::{HOST_BUDGET, List};
use limiter_common::switch::{Mode, Switch};

use crate::exit::{self, Decision};
use crate::limits::Question;
use crate::observe::Observe;
use crate::proof::{self, Proof};
use crate::source::Sources;
use crate::{answer, clock, global, limits, lists, maps, service};

/// Decides on one frame and returns XDP's number for it.
#[inline(always)]
pub fn run<S: Sources, O: Observe>(context: &XdpContext) -> u32 {
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let Some(switch) = maps::switch() else {
        return exit::pass(Reason::NoPolicy);
    };
    let decision = match packet::parse(frame) {
        Ok(segment) => {
            if !segment.hides_flags && !segment.is_attempt() && !looks_at(&segment, switch) {
                return exit::pass(Reason::NotAttempt);
            }
            judge::<S, O>(context, &segment, switch)
        }
        Err(reason) => {
            let reason = packet::second_look(frame_again(context), reason);
            match reason.verdict() {
                Verdict::Drop => Decision { mode: switch.at(clock::coarse()).mode, ..Decision::of(reason) },
                _ => return exit::pass(reason),
            }
        }
    };
    #[cfg(feature = "trace")]
    crate::trace::sample(context, &decision);
    exit::finish(context, &decision)
}

/// The whole frame, from the context once more: to keep it since the first time would take room in the stack of every packet.
#[inline(always)]
fn frame_again(context: &XdpContext) -> Cursor<'_> {
    // SAFETY: the kernel's context is there for this run, and so is what its packet pointers enclose.
    unsafe {
        let start = (&raw const (*context.ctx).data).read_volatile();
        let end = (&raw const (*context.ctx).data_end).read_volatile();
        Cursor::from_raw(start as usize, end as usize)
    }
}

/// Whether a packet that is no attempt matters now: any does while a ban is listed or while cookies of a challenge may come back; else what
/// brings one of the kernel's own.
#[inline(always)]
fn looks_at(segment: &Segment<'_>, switch: Switch) -> bool {
    switch.has_bans() || (switch.may_challenge() && (limits::may_be_checking() || proof::may_be(segment)))
}

#[inline(always)]
fn judge<S: Sources, O: Observe>(context: &XdpContext, segment: &Segment<'_>, switch: Switch) -> Decision {
    let mut decision = Decision::of(Reason::NoPolicy);
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
    decision.slot = selection.slot;
    if let Some(reason) = by_lists(segment, switch, now) {
        decision.reason = reason;
        return decision;
    }
    let client = segment.network.source();
    let question = Question { slot: selection.slot, id, client, now, stage: Stage::Syn, may_challenge: true };
    if segment.is_attempt() {
        attempt::<S>(context, &question, &mut decision);
        O::attempt(&question, &decision);
    } else if switch.may_challenge() {
        other(context, segment, &question, &mut decision);
    } else {
        decision.reason = Reason::NotAttempt;
    }
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
        Some(List::Allow) if segment.is_attempt() => Some(Reason::Allowed),
        Some(List::Allow) => Some(Reason::NotAttempt),
        None => None,
    }
}

/// An attempt: judged, or answered with a challenge.
#[inline(always)]
fn attempt<S: Sources>(context: &XdpContext, question: &Question, decision: &mut Decision) {
    let (Some(service), Some(host)) = (limits::service(question.slot, question.id), limits::host(question.slot)) else {
        return;
    };
    decision.of_service(service);
    if !limits::are_more(service, host) {
        settle(&limits::plain::<S>(question, service, host), decision);
        return;
    }
    let Some(outcome) = global::admit(question) else { return };
    match outcome.verdict {
        Judged::Challenge if matches!(decision.mode, Mode::Enforce) => challenge(context, question, decision),
        _ => settle(&outcome, decision),
    }
}

/// Takes over an outcome.
#[inline(always)]
fn settle(outcome: &Outcome, decision: &mut Decision) {
    decision.note(outcome);
    decision.reason = match outcome.verdict {
        Judged::Decided(reason) => reason,
        Judged::Challenge => Reason::Challenged,
    };
}

/// Answers with a cookie. What cannot be answered is dropped where the kernel would drop it too; what meets a connection, or a kernel that
/// makes no cookies at all, is judged as if there were no challenge; of the rest a few pass.
#[inline(always)]
fn challenge(context: &XdpContext, question: &Question, decision: &mut Decision) {
    let said = answer::limiter_syn_ack(context.ctx);
    let (Some(line), Some(host)) = (limits::challenge_line(question.id), limits::challenge_line(HOST_BUDGET)) else {
        return;
    };
    let stage = match said {
        answer::ANSWERED => {
            // The answer leaves when this run has ended, so its ACK will be looked at.
            challenge::issue(line, question.now);
            challenge::issue(host, question.now);
            decision.reason = Reason::Challenged;
            return;
        }
        answer::BAD_FLAGS => {
            decision.reason = Reason::BadFlags;
            return;
        }
        answer::NO_COOKIE if challenge::has_issued(line, question.now) => {
            decision.reason = Reason::QueueFull;
            return;
        }
        answer::NO_COOKIE | answer::CONNECTED => Stage::Syn,
        _ => Stage::Unanswerable,
    };
    if let Some(outcome) = global::admit(&Question { stage, may_challenge: false, ..*question }) {
        settle(&outcome, decision);
        if matches!(decision.reason, Reason::Admitted) {
            decision.reason = Reason::Unanswered;
        }
    }
}

/// Anything else, while a ban is listed or cookies may come back.
#[inline(always)]
fn other(context: &XdpContext, segment: &Segment<'_>, question: &Question, decision: &mut Decision) {
    decision.reason = Reason::NotAttempt;
    // In either mode: after a disarm nobody else ends the looking, and every packet would go on paying for it.
    if let Some(host) = limits::challenge_line(HOST_BUDGET) {
        challenge::settle(host, question.now);
    }
    // Where the challenge was just switched off, attempts are charged when they come, and what comes back is not looked at.
    let Some(service) = limits::service(question.slot, question.id) else { return };
    if matches!(decision.mode, Mode::Observe) || service.admission.challenge == 0 {
        return;
    }
    decision.of_service(service);
    match proof::find(context, segment.flags, question.id, question.now) {
        Proof::None | Proof::Behind => {}
        Proof::Bad => decision.reason = Reason::BadCookie,
        Proof::Good(note) => {
            let Some(outcome) = global::admit(&Question { stage: Stage::Proof, ..*question }) else { return };
            decision.note(&outcome);
            if let Judged::Decided(reason) = outcome.verdict {
                decision.reason = reason;
                if matches!(reason.verdict(), Verdict::Pass) {
                    note.keep();
                }
            }
        }
    }
}
