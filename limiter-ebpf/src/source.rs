//! source limit: the source table in its map.

use limiter_common::admission::Attempt;
use limiter_common::hash::Place;
use limiter_common::source_table::Charged;

pub use crate::limits::Sources;

/// The source table of `limiter_common::source_table`.
pub struct Table;

impl Sources for Table {
    #[inline(always)]
    fn charge(place: &Place, attempt: &Attempt<'_>) -> Option<Charged> {
        crate::subprograms::charge(place, attempt)
    }
}
