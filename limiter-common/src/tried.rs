//! What a service tries in the shadow, and how it is counted. How it is judged: [`crate::shadow`].

use crate::hash;
use crate::rate::{Limit, Rate};
use crate::source_table::SourceLimit;

/// The limits that a service tries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shadow {
    /// Limit of each source; an interval of 0: none is tried.
    pub limit: SourceLimit,
    /// The same as stated.
    pub stated: Limit,
    /// Most open connections of each source; 0: none is tried.
    pub open: u64,
    /// Tells it from other tries, so that each is counted from its beginning; 0: nothing is tried.
    pub mark: u64,
}
const _: () = assert!(size_of::<Shadow>() == 56);

impl Shadow {
    /// Nothing is tried.
    pub const NONE: Self = Self {
        limit: SourceLimit { interval: 0, window: 0 },
        stated: Limit { rate: Rate { count: 0, period: 0 }, burst: 0 },
        open: 0,
        mark: 0,
    };

    /// The same with the mark that belongs to it.
    pub const fn marked(self) -> Self {
        let SourceLimit { interval, window } = self.limit;
        let is_none = interval | self.open == 0;
        let mixed = hash::mix(hash::mix(hash::mix(interval) ^ window) ^ self.open);
        Self { mark: if is_none { 0 } else { mixed | 1 }, ..self }
    }
}

/// What the shadow says of one whom the limits in force let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Tried {
    /// Within all that is tried.
    Within = 1,
    /// The limit of its source would have refused it.
    Source = 2,
    /// Its source has as many connections open as the shadow allows.
    Open = 3,
}

impl Tried {
    /// The inverse of `as u64`; `None` for any other number.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Within),
            2 => Some(Self::Source),
            3 => Some(Self::Open),
            _ => None,
        }
    }
}

/// What is counted of a service's shadow on one CPU.
pub type Counts = [u64; 4];

/// Counts what was judged. What was counted of another try goes.
#[inline(always)]
pub fn count(counts: &mut Counts, mark: u64, tried: Tried) {
    if counts[0] != mark {
        *counts = [mark, 0, 0, 0];
    }
    counts[tried as usize & 3] += 1;
}
