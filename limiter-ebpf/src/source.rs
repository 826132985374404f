//! source limit: the source table in its map.

use limiter_common::address::Address;
use limiter_common::hash;
use limiter_common::record::Instance;
use limiter_common::source_table::{self, Charge, SourceLimit, Ticks};

use crate::maps::{INSTANCE, SOURCES};

/// One attempt of one source, as a table sees it.
pub struct Attempt<'a> {
    /// Service id.
    pub service: u32,
    /// The client address cut to its prefix.
    pub source: Address,
    /// Coarse clock, nanoseconds.
    pub now: u64,
    /// The limit that applies.
    pub limit: &'a SourceLimit,
    /// Longest debt of the whole policy, in shifted ticks.
    pub horizon: u64,
}

/// Something that remembers what sources owe. The shipped one is [`Table`]; benches compare others.
pub trait Sources {
    /// Charges one attempt, or says that it is over the limit. `None`: the table is not there.
    fn charge(attempt: &Attempt<'_>) -> Option<Charge>;
}

/// The source table of `limiter_common::source_table`.
pub struct Table;

impl Sources for Table {
    #[inline(always)]
    fn charge(attempt: &Attempt<'_>) -> Option<Charge> {
        let Instance { key, sets, .. } = INSTANCE.get(0)?;
        let place = hash::place(key, attempt.service, 0, attempt.source);
        let set = SOURCES.get(place.set(*sets))?;
        let now = Ticks::at(attempt.now);
        Some(source_table::charge(set, place.fingerprint, now, attempt.limit, attempt.horizon))
    }
}
