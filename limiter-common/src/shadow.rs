//! Limits in the shadow: a service tries them beside those in force. They refuse nothing, and what
//! they would have refused is counted.
//!
//! Judged is what the limits in force let in, where it is let in and pays: what they refuse is none
//! of the shadow's, and a try at a limit that is looser than the one in force refuses nothing. The
//! debts are of the algorithm of the source table ([`crate::source_table`]), in a table of its own
//! ([`SETS`]): a try takes no place from what is enforced. What the shadow would have refused
//! charges nothing, as with a limit in force. Of a class only the number of open connections is
//! tried, and only where the class has none of its own: the rest a class has for itself.
//!
//! Two things differ from the limit in force. Who is refused comes again, and these attempts are
//! missing; and a connection that the shadow would have refused is there, and open.

use crate::address::SourceMask;
use crate::admission::{Attempt, Case, Stage, State};
use crate::open::{Bounds, Full};
use crate::reason::Reason;
use crate::record::Class;
use crate::source_table::Charge;
pub use crate::tried::{Counts, Shadow, Tried, count};

/// Sets of the table of debts: 1 MiB, 131,072 sources.
pub const SETS: u32 = 16_384;

/// Whether one of whom this was decided is judged in the shadow too: he is in, and has paid.
#[inline(always)]
pub const fn is_asked(reason: Reason) -> bool {
    matches!(reason, Reason::Admitted | Reason::Contended | Reason::Proven)
}

/// Judges one whom the limits in force let in; `None` where nothing is tried of him. With the mark
/// of the try.
#[inline(always)]
pub fn judge<S: State>(state: &S, case: &Case<'_>) -> Option<(u64, Tried)> {
    // It only looks where somebody else counts.
    let case = &Case { stage: Stage::Peeks, ..*case };
    let shadow = &state.network(case, 0)?.shadow;
    let (mut class, mut mask, mut open, mut is_own) = (0, &case.service.mask, shadow.open, true);
    if case.host.class_prefixes != 0
        && let (id, Some(record)) = state.class(case)
    {
        class = id;
        mask = of_class(record, mask);
        open = if record.own_open != 0 { 0 } else { open };
        is_own = false;
    }
    let limit = &shadow.limit;
    let asks_limit = is_own && limit.interval != 0;
    if !asks_limit && open == 0 {
        return None;
    }
    let source = mask.apply(case.client);
    let place = state.place(case.service.number, class, source)?;
    let bounds = Bounds { source: open, ..Bounds::default() };
    if open != 0 && matches!(state.full(case, &place, &bounds), Some(Full::Source)) {
        return Some((shadow.mark, Tried::Open));
    }
    if asks_limit {
        let (service, now, horizon) = (case.service.number, case.now, case.host.tried_horizon);
        let attempt = Attempt { service, source, now, limit, peeks: false, horizon };
        if matches!(state.try_charge(&place, &attempt)?, Charge::Exceeds) {
            return Some((shadow.mark, Tried::Source));
        }
    }
    Some((shadow.mark, Tried::Within))
}

#[inline(always)]
const fn of_class<'a>(class: &'a Class, mask: &'a SourceMask) -> &'a SourceMask {
    if class.own_mask != 0 { &class.mask } else { mask }
}
