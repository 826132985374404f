//! verdict, count, action: the one exit. Only here are XDP's numbers known.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::REASONS;
use limiter_common::switch::Mode;

use crate::maps::COUNTER;

/// What was decided on a packet.
pub struct Decision {
    /// Why.
    pub reason: Reason,
    /// Service id + 1, or 0 for what belongs to no service.
    pub counter: u32,
    /// The mode that the switch selected. Of no matter to a reason that passes.
    pub mode: Mode,
    /// A live way of the source table was taken from its owner.
    pub stole: bool,
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
pub fn finish(decision: &Decision) -> u32 {
    let drops = matches!(decision.reason.verdict(), Verdict::Drop);
    let enforced = matches!(decision.mode, Mode::Enforce);
    if let Some(counters) = COUNTER.get_ptr_mut(decision.counter) {
        let index = decision.reason as usize & (REASONS - 1);
        // SAFETY: the element belongs to this CPU, and the index is below REASONS.
        unsafe {
            if drops && !enforced {
                (*counters).observed[index] += 1;
            } else {
                (*counters).decided[index] += 1;
            }
            (*counters).steals += u64::from(decision.stole);
        }
    }
    if drops && enforced { XDP_DROP } else { XDP_PASS }
}
