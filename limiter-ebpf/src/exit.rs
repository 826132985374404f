//! verdict, count, action: the one exit. Only here are XDP's numbers known.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::programs::XdpContext;
use limiter_common::admission::Outcome;
use limiter_common::budget::{Look, Take};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::{DEBTS, REASONS, RESETS, SERVICES};
use limiter_common::switch::Mode;

use crate::maps::{BUDGET, COUNTER, HOST, LEASE, SERVICE};
use crate::{answer, clock};

/// What was decided on a packet.
pub struct Decision {
    /// Why.
    pub reason: Reason,
    /// Service id + 1, or 0 for what belongs to no service.
    pub counter: u32,
    /// The policy slot that decided. Of no matter to what belongs to no service.
    pub slot: u32,
    /// The mode that the switch selected. Of no matter to a reason that passes.
    pub mode: Mode,
    /// A live way of the source table was taken from its owner.
    pub stole: bool,
    /// The source got a ticket.
    pub granted: bool,
    /// How near the source was to its limit, 0 if that was not asked.
    pub step: u8,
}

impl Decision {
    /// Of no service, and nothing is enforced.
    #[inline(always)]
    pub const fn of(reason: Reason) -> Self {
        Self { reason, counter: 0, slot: 0, mode: Mode::Observe, stole: false, granted: false, step: 0 }
    }

    /// Takes over what happened on the way to a verdict.
    #[inline(always)]
    pub fn note(&mut self, outcome: &Outcome) {
        self.stole |= outcome.stole;
        self.granted |= outcome.granted;
        self.step = outcome.step;
    }
}

/// A packet that passes at the first look. The path of almost every packet of a busy server.
#[inline(always)]
pub fn pass(reason: Reason) -> u32 {
    if let Some(counters) = COUNTER.get_ptr_mut(0) {
        // SAFETY: the element belongs to this CPU, and the index is a constant below REASONS.
        unsafe { (*counters).decided[reason as usize & (REASONS - 1)] += 1 };
    }
    XDP_PASS
}

/// Counts the decision and carries it out.
#[inline(always)]
pub fn finish(context: &XdpContext, decision: &Decision) -> u32 {
    let stops = !matches!(decision.reason.verdict(), Verdict::Pass);
    let enforced = matches!(decision.mode, Mode::Enforce);
    let reset = stops && enforced && resets(context, decision);
    if let Some(counters) = COUNTER.get_ptr_mut(decision.counter) {
        // The compiler knows the bound and would leave the mask out, but the verifier wants to see it.
        let step = core::hint::black_box(usize::from(decision.step));
        let index = decision.reason as usize & (REASONS - 1);
        // SAFETY: the element belongs to this CPU, and the index is below REASONS.
        unsafe {
            if stops && !enforced {
                (*counters).observed[index] += 1;
            } else {
                (*counters).decided[index] += 1;
            }
            if step != 0 {
                (*counters).debts[step & (DEBTS - 1)] += 1;
            }
            (*counters).steals += u64::from(decision.stole);
            (*counters).tickets += u64::from(decision.granted);
            (*counters).resets += u64::from(reset);
        }
    }
    if !stops || !enforced {
        return XDP_PASS;
    }
    if reset || matches!(decision.reason.verdict(), Verdict::Answer) { XDP_TX } else { XDP_DROP }
}

/// Turns a refused segment into a reset, where the service wants that and the host's resets are not spent.
#[inline(always)]
fn resets(context: &XdpContext, decision: &Decision) -> bool {
    // To the client of an ACK its connection is made, and if the server is to speak first it sends nothing more by itself.
    if !decision.reason.is_limit() && !matches!(decision.reason, Reason::BadCookie | Reason::Waiting) {
        return false;
    }
    let Some(id) = decision.counter.checked_sub(1) else { return false };
    let Some(service) = SERVICE.get(decision.slot * SERVICES + id) else { return false };
    if service.admission.reset == 0 {
        return false;
    }
    draw(decision.slot) && answer::limiter_reset(context.ctx) != 0
}

/// Takes one of the host's resets per second.
#[inline(always)]
fn draw(slot: u32) -> bool {
    let (Some(host), Some(line), Some(lease)) = (HOST.get(slot), BUDGET.get(RESETS), LEASE.get_ptr_mut(RESETS)) else {
        return false;
    };
    // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
    let lease = unsafe { &mut *lease };
    let seen = lease.look(&line.arrival, &host.resets, 0, clock::coarse(), clock::precise);
    seen != Look::SPENT && lease.take(seen, &line.arrival, &host.resets, 0, clock::precise) == Take::Taken
}
