//! source limit: the source table in its map.

use limiter_common::admission::Attempt;
use limiter_common::hash::Place;
use limiter_common::source_table::Charged;

/// Something that remembers what sources owe. The shipped one is [`Table`]; benches compare others.
pub trait Sources {
    /// Charges one attempt, or says that it is over the limit. `None`: the table is not there.
    fn charge(place: &Place, attempt: &Attempt<'_>) -> Option<Charged>;
}

/// The source table of `limiter_common::source_table`.
pub struct Table;

impl Sources for Table {
    #[inline(always)]
    fn charge(place: &Place, attempt: &Attempt<'_>) -> Option<Charged> {
        crate::global::charge(place, attempt)
    }
}
