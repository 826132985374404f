//! The way of a packet: parse -> attempt? -> service? -> lists -> limits, or what a cookie pays ->
//! observe -> exit.

use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use limiter_common::admission::Stage;
use limiter_common::challenge;
use limiter_common::packet::{self, Segment};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::Service;
use limiter_common::switch::{Mode, Switch};

use crate::exit::{self, Decision};
use crate::limits::Question;
use crate::observe::Observe;
use crate::source::Sources;
use crate::{
    answer, clock, frame, limits, line, lists, maps, proof, room, service, shadow, subprograms,
};

/// Decides on one frame and returns XDP's number for it.
#[inline(always)]
pub fn run<S: Sources, O: Observe>(context: &XdpContext) -> u32 {
    let Some(switch) = maps::switch() else {
        return exit::pass(Reason::NoPolicy);
    };
    let decision = match frame::parse(context) {
        Ok(segment) if segment.is_attempt() || segment.hides_flags => {
            judge::<S, O>(context, &segment, switch)
        }
        Ok(segment) => match proof::decide(context, &segment, switch) {
            Some(decision) => decision,
            None => return exit::pass(Reason::NotAttempt),
        },
        Err(reason) => {
            let (frame, shown) = frame::again(context);
            // SAFETY: the context is this run's.
            let reason = packet::second_look(
                frame,
                || unsafe { bpf_xdp_get_buff_len(context.ctx) } == shown,
                reason,
            );
            match reason.verdict() {
                Verdict::Drop => {
                    Decision { mode: switch.at(clock::coarse()).mode, ..Decision::of(reason) }
                }
                _ => return exit::pass(reason),
            }
        }
    };
    #[cfg(feature = "trace")]
    crate::trace::sample(context, &decision);
    exit::finish(context, &decision)
}

/// Judges an attempt, and what may hide one.
#[inline(always)]
fn judge<S: Sources, O: Observe>(
    context: &XdpContext,
    segment: &Segment<'_>,
    switch: Switch,
) -> Decision {
    let mut decision = Decision::of(Reason::NoPolicy);
    if !switch.is_ready() {
        return decision;
    }
    let now = clock::coarse();
    let selection = switch.at(now);
    decision.mode = selection.mode;
    let Some(id) = service::find(segment, selection.slot) else {
        decision.reason = if segment.is_attempt() || segment.hides_flags {
            Reason::NotProtected
        } else {
            Reason::NotAttempt
        };
        return decision;
    };
    decision.counter = id + 1;
    decision.slot = selection.slot;
    if let Some(reason) = lists::judge(segment, switch, now) {
        decision.reason = reason;
        return decision;
    }
    let client = segment.network.source();
    let stage = if switch.asks() { Stage::Peeks } else { Stage::Pays };
    let question = Question { slot: selection.slot, id, client, now, stage };
    if segment.is_attempt() {
        attempt::<S>(context, segment, &question, &mut decision);
        if switch.charges_both() && decision.reason.admits() {
            proof::limiter_admitted(context.ctx, frame::limiter_find(context.ctx));
        }
        O::attempt(&question, &decision);
    } else {
        decision.reason = Reason::NotAttempt;
    }
    decision
}

/// An attempt: it pays, or passes to the kernel, or is answered with a cookie.
#[inline(always)]
fn attempt<S: Sources>(
    context: &XdpContext,
    segment: &Segment<'_>,
    question: &Question,
    decision: &mut Decision,
) {
    let (Some(service), Some(host)) =
        (limits::service(question.slot, question.id), limits::host(question.slot))
    else {
        return;
    };
    decision.of_service(service);
    let peeks = matches!(question.stage, Stage::Peeks);
    if !peeks && !limits::are_more(service, host) {
        decision.settle(&limits::plain::<S>(question, service, host));
        return;
    }
    if peeks && segment.has_bad_flags() {
        decision.reason = Reason::BadFlags;
        return;
    }
    if !settle(context, segment, question, service, decision) {
        return;
    }
    let is_enforced = matches!(decision.mode, Mode::Enforce);
    let unasked = match decision.reason {
        Reason::Challenged if is_enforced => challenge(context, question, decision),
        Reason::Asked => ask(context, question, decision),
        _ => None,
    };
    if let Some(stage) = unasked {
        settle(context, segment, &Question { stage, ..*question }, service, decision);
    }
    shadow::judge(service, decision, question.client, question.now);
}

/// Judges an attempt by its limits and budgets; what they refuse the waiting room may have. Says
/// whether there is a policy to judge by.
#[inline(always)]
fn settle(
    context: &XdpContext,
    segment: &Segment<'_>,
    question: &Question,
    service: &Service,
    decision: &mut Decision,
) -> bool {
    let Some(outcome) = line::admit(question) else { return false };
    decision.settle(&outcome);
    if service.has_room()
        && let Some(outcome) = room::show(context, segment, question, decision)
    {
        decision.settle(&outcome);
    }
    true
}

/// Lets the kernel ask for a proof. Says at which stage an attempt is that it asks for none.
#[inline(always)]
fn ask(context: &XdpContext, question: &Question, decision: &mut Decision) -> Option<Stage> {
    let what = subprograms::pack_what(question.slot, question.id);
    match answer::limiter_meets(context.ctx, frame::limiter_find(context.ctx), what) {
        answer::LISTENS => None,
        // The kernel would drop it. There may be room when the proof comes; where there is none the
        // waiting room has that.
        answer::NO_COOKIE => {
            if matches!(decision.mode, Mode::Enforce)
                && syn_ack(context, question) == answer::ANSWERED
            {
                decision.reason = Reason::Challenged;
            }
            None
        }
        met => Some(unasked(met)),
    }
}

/// Answers with a cookie. Says at which stage an attempt is that gets none.
#[inline(always)]
fn challenge(context: &XdpContext, question: &Question, decision: &mut Decision) -> Option<Stage> {
    let said = syn_ack(context, question);
    let line = limits::challenge_line(question.id)?;
    match said {
        answer::ANSWERED => challenge::issue(line, question.now),
        answer::NO_COOKIE if challenge::has_issued(line, question.now) => {
            decision.reason = Reason::QueueFull
        }
        met => return Some(unasked(met)),
    }
    None
}

#[inline(always)]
fn syn_ack(context: &XdpContext, question: &Question) -> u32 {
    let what = subprograms::pack_what(question.slot, question.id);
    answer::limiter_syn_ack(context.ctx, frame::limiter_find(context.ctx), what)
}

/// The stage of an attempt that nothing asks for a proof: one that would make a connection pays at
/// once, of the rest a few pass.
#[inline(always)]
const fn unasked(met: u32) -> Stage {
    match met {
        answer::TIME_WAIT | answer::NO_COOKIE => Stage::Pays,
        _ => Stage::Unanswerable,
    }
}
