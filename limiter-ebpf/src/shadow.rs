//! Limits in the shadow: asked after the verdict, of those whom the limits in force let in, and
//! counted here. They change no verdict.

use limiter_common::address::Address;
use limiter_common::admission::Stage;
use limiter_common::reason::Reason;
use limiter_common::record::Service;
use limiter_common::shadow;

use crate::exit::Decision;
use crate::maps::COUNTER;
use crate::subprograms::{Called, case, pack_what};

/// Judges one of whom `decision` says that he is in, if his service tries limits.
#[inline(always)]
pub fn judge(service: &Service, decision: &Decision, client: Address, now: u64) {
    if asks(service, decision.reason) {
        let what = pack_what(decision.slot, decision.counter.wrapping_sub(1));
        limiter_shadow(what, client.high, client.low, now);
    }
}

/// Whether the service tries limits, and one of whom this was decided is judged by them.
#[inline(always)]
pub fn asks(service: &Service, reason: Reason) -> bool {
    service.has_shadow() && shadow::is_asked(reason)
}

/// Judges one who is in, and counts what came of it. `what`: [`pack_what`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_shadow(what: u64, high: u64, low: u64, now: u64) -> u64 {
    let judged = || {
        let case = case(what, Address { high, low }, now, Stage::Peeks)?;
        let (mark, tried) = shadow::judge(&Called, &case)?;
        let counters = COUNTER.get_ptr_mut(case.id + 1)?;
        // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
        shadow::count(unsafe { &mut (*counters).shadow }, mark, tried);
        Some(tried)
    };
    judged().map_or(0, |tried| tried as u64)
}
