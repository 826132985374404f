//! What limits in the shadow would have done: numbers. `human` has the words.

use limiter_common::record::Counters;
use serde::Serialize;

use crate::policy::{self, text};

/// Limits that a service tries, and what they would have done since they were set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadow {
    /// Limit of each source; `None` where that is not tried.
    pub source_limit: Option<String>,
    /// Open connections of each source; `None` where that is not tried.
    pub open: Option<u64>,
    /// Attempts that the limits in force let in, and that were judged.
    pub judged: u64,
    /// Of these, those that the source limit would have refused.
    pub refused_source: u64,
    /// Those that the number of open connections would have refused.
    pub refused_open: u64,
}

impl Shadow {
    /// What came of what a service tries; `None` where it tries nothing.
    pub fn of(said: &policy::Shadow, counters: &Counters) -> Option<Self> {
        let [_, within, source, open] = counters.shadow;
        (!said.is_none()).then(|| Self {
            source_limit: (!said.source.is_none()).then(|| text::show_limit(said.source)),
            open: (said.open != 0).then_some(said.open),
            judged: within.wrapping_add(source).wrapping_add(open),
            refused_source: source,
            refused_open: open,
        })
    }

    /// All that would have been refused.
    pub fn refused(&self) -> u64 {
        self.refused_source.wrapping_add(self.refused_open)
    }
}
