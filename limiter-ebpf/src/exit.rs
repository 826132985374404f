//! verdict, count, action: the one exit. Only here are XDP's numbers known.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::programs::XdpContext;
use limiter_common::admission::{Outcome, Ruling};
use limiter_common::budget::BudgetLimit;
use limiter_common::budget::{Look, Take};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::{DEBTS, REASONS, RESETS, Refuse, Service};
use limiter_common::switch::Mode;

use crate::maps::{BUDGET, COUNTER, HOST, LEASE};
use crate::{answer, clock, frame};

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
    /// What happened on the way.
    pub notes: Notes,
}

/// Where the parts of a packed decision are: notes in the lowest bits, then these.
const NOTES: u32 = 0xffff;
const REASON_SHIFT: u32 = 16;
const ENFORCES: u64 = 1 << 23;
const SLOT_SHIFT: u32 = 24;
const COUNTER_SHIFT: u32 = 32;
/// Beside a packed decision: the packet brings a cookie, and what comes of that is to be noted.
pub const BRINGS: u64 = 1 << 26;

/// What happened on the way to a verdict, in one number: each thing of its own would be a place on a stack that is full.
#[derive(Clone, Copy)]
pub struct Notes(u32);

impl Notes {
    /// Nothing did.
    pub const NONE: Self = Self(0);
    const STOLE: u32 = 1;
    const MAY_RESET: u32 = 1 << 1;
    const MUST_RESET: u32 = 1 << 2;
    const STEP_SHIFT: u32 = 8;

    /// A live way of the source table was taken from its owner.
    #[inline(always)]
    pub const fn stole(self) -> bool {
        self.0 & Self::STOLE != 0
    }

    /// The service answers with a reset what a limit refuses.
    #[inline(always)]
    const fn may_reset(self) -> bool {
        self.0 & Self::MAY_RESET != 0
    }

    /// What is refused is answered with a reset, whatever the service does else.
    #[inline(always)]
    const fn must_reset(self) -> bool {
        self.0 & Self::MUST_RESET != 0
    }

    /// How near the source was to its limit, 0 if that was not asked.
    #[inline(always)]
    const fn step(self) -> usize {
        (self.0 >> Self::STEP_SHIFT) as usize
    }
}

impl Decision {
    /// Of no service, and nothing is enforced.
    #[inline(always)]
    pub const fn of(reason: Reason) -> Self {
        Self { reason, counter: 0, slot: 0, mode: Mode::Observe, notes: Notes::NONE }
    }

    /// In one number, to cross a call: never 0 for a packet of a service. Bits 26 to 31 are free.
    #[inline(always)]
    pub const fn pack(&self) -> u64 {
        let enforces = if matches!(self.mode, Mode::Enforce) { ENFORCES } else { 0 };
        let small = (self.notes.0 & NOTES) as u64 | (self.reason as u64) << REASON_SHIFT | enforces;
        small | (self.slot as u64 & 3) << SLOT_SHIFT | (self.counter as u64) << COUNTER_SHIFT
    }

    /// Slot and service id of a packed decision.
    #[inline(always)]
    pub const fn place(packed: u64) -> (u32, u32) {
        ((packed >> SLOT_SHIFT) as u32 & 3, ((packed >> COUNTER_SHIFT) as u32).wrapping_sub(1))
    }

    /// What [`Decision::pack`] made. `None` for 0.
    #[inline(always)]
    pub fn unpack(packed: u64) -> Option<Self> {
        if packed == 0 {
            return None;
        }
        // The mask says nothing new, but the verifier wants to see it: the number becomes an index.
        let reason = Reason::from_number((packed >> REASON_SHIFT) as u8 & (REASONS as u8 - 1))?;
        let mode = if packed & ENFORCES != 0 { Mode::Enforce } else { Mode::Observe };
        let (slot, _) = Self::place(packed);
        Some(Self {
            reason,
            counter: (packed >> COUNTER_SHIFT) as u32,
            slot,
            mode,
            notes: Notes(packed as u32 & NOTES),
        })
    }

    /// Takes over the way of refusing that the service has.
    #[inline(always)]
    pub fn of_service(&mut self, service: &Service) {
        self.notes.0 |= if matches!(Refuse::from_number(service.admission.refuse), Refuse::Reset) {
            Notes::MAY_RESET
        } else {
            0
        };
    }

    /// A refusal is to be answered with a reset. That takes none of the host's resets: what is
    /// answered brought a good cookie, so its sender is where it says and gets no more than it
    /// sent.
    #[inline(always)]
    pub fn must_reset(&mut self) {
        self.notes.0 |= Notes::MUST_RESET;
    }

    /// Takes over a verdict, and what happened on the way to it.
    #[inline(always)]
    pub fn settle(&mut self, outcome: &Outcome) {
        self.reason = match outcome.verdict {
            Ruling::Decided(reason) => reason,
            Ruling::Challenge => Reason::Challenged,
        };
        self.notes.0 |= if outcome.stole { Notes::STOLE } else { 0 }
            | u32::from(outcome.step) << Notes::STEP_SHIFT;
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
    let observed = stops && !enforced;
    let reset = stops && enforced && resets(context, decision);
    if let Some(counters) = COUNTER.get_ptr_mut(decision.counter) {
        // The compiler knows the bounds and would leave the masks out, but the verifier wants to
        // see them. A condition it would carry over as an offset, of which 6.1 knows no bound.
        let what = decision.reason as usize | usize::from(observed) << 7;
        let both = core::hint::black_box(what | decision.notes.step() << 8);
        let (index, observed, step) = (both & (REASONS - 1), both & 1 << 7 != 0, both >> 8);
        // SAFETY: the element belongs to this CPU, and the index is below REASONS.
        unsafe {
            if observed {
                (*counters).observed[index] += 1;
            } else {
                (*counters).decided[index] += 1;
            }
            if step != 0 {
                (*counters).debts[step & (DEBTS - 1)] += 1;
            }
            (*counters).steals += u64::from(decision.notes.stole());
            (*counters).resets += u64::from(reset);
        }
    }
    if !stops || !enforced {
        return XDP_PASS;
    }
    if reset || matches!(decision.reason.verdict(), Verdict::Answer) { XDP_TX } else { XDP_DROP }
}

/// Turns a refused segment into a reset, if that is wanted.
#[inline(always)]
fn resets(context: &XdpContext, decision: &Decision) -> bool {
    let may = decision.notes.may_reset() && decision.reason.may_be_reset();
    (decision.notes.must_reset()
        || may && HOST.get(decision.slot).is_some_and(|host| draw(RESETS, &host.resets)))
        && answer::limiter_reset(context.ctx, frame::limiter_find(context.ctx)) != 0
}

/// Takes one of what the host has per second, of the purse at an index of `record`.
#[inline(always)]
pub fn draw(index: u32, limit: &BudgetLimit) -> bool {
    let (Some(line), Some(lease)) = (BUDGET.get(index), LEASE.get_ptr_mut(index)) else {
        return false;
    };
    // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
    let lease = unsafe { &mut *lease };
    let seen = lease.look(&line.arrival, limit, clock::coarse(), clock::precise);
    seen != Look::SPENT && lease.take(seen, &line.arrival, limit, clock::precise) == Take::Taken
}
