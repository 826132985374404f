//! One budget over many front ends: each node has a share of it, shares follow demand, and their
//! sum never exceeds the budget, whatever dies, is cut off or comes late. It is decided here and
//! simulated; `limiter run` carries it out.
//!
//! Nothing here does I/O or reads a clock. [`Member`] is what a node does: it reports what it
//! wants, takes what it is granted, and falls back to what its own policy states when its share
//! ends. [`Allocator`] is what one of the nodes, the leader, does beside: it divides each budget
//! ([`fill`]). What they tell one another is kept by an [`engine`], and a node needs it for
//! nothing but a new share.
//!
//! The sum holds by these rules, and `tests/sum` shows that it does not hold without any of them:
//!
//! 1. **Only who knows its newest grant renews**: a report is a transaction on the grant that it
//!    names ([`Member::report`]).
//! 2. **Silence is written before it is counted**: a node that does not report is granted its
//!    fallback first.
//! 3. **And only over an unchanged report**: it may have come back meanwhile
//!    ([`Round::unchanged`]).
//! 4. **No grant is below the fallback**, so that no share rises when it ends.
//! 5. **Shrink before grow**: a share that was lowered is given to others when its node has
//!    reported that it lowered it ([`record::Share::most`]).
//! 6. **Rounds follow one another**: grants are a transaction on the round before, so that whoever
//!    writes them has seen all that were written before ([`Round::follows`]).
//!
//! Of places ([`record::is_of_places`]), such as users who may be present, another one holds:
//!
//! 7. **A place is free when its user has left**: a node tells how many are taken, and what it had
//!    is given to others as that falls. Of one that is silent everything stays taken.
//!
//! What they assume: the engine is linearizable, clocks of nodes drift by less than
//! [`Terms::drift`], and no clock stands still while its node works.

pub mod allocator;
pub mod engine;
pub mod fill;
pub mod member;
pub mod memory;
pub mod record;

use std::time::Duration;

pub use allocator::{Allocator, Round};
pub use member::Member;

/// What all nodes of a fleet agree on about time and small changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a share lasts after the report that renewed it was sent, by the node's own clock: 2
    /// s to 10 min.
    pub term: Duration,
    /// How much faster or slower than another's a clock may run, in thousandths: 0 to 100.
    pub drift: u64,
    /// How long after its term a node counts as silent, beside what drift asks for.
    pub margin: Duration,
    /// A share that would change by less than so many hundredths stays: 0 to 50.
    pub quiet: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            term: Duration::from_secs(10),
            drift: 10,
            margin: Duration::from_millis(200),
            quiet: 2,
        }
    }
}

impl Terms {
    /// After so long without a report, by the leader's clock, a node's share has ended by the
    /// node's: one is fast, the other slow.
    pub fn silence(&self) -> Duration {
        let drift = u32::try_from(self.drift.min(500)).unwrap_or(500);
        self.term * (1000 + drift) / (1000 - drift) + self.margin
    }
}
