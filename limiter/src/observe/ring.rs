//! Reads a ring of sightings (`limiter_common::sighting`) from where the reader stands. Any number of readers may; none takes anything away.

use anyhow::Result;
use limiter_common::record::BudgetLine;
use limiter_common::sighting::{Sighting, What, line};

use crate::kernel::Maps;
use crate::kernel::words::{Access, Mapped, Words};

/// One of the two rings, and how far it was read.
#[derive(Debug)]
pub struct Ring {
    line: usize,
    entries: u64,
    next: u64,
}

/// What a look brought.
#[derive(Debug, Default)]
pub struct Look {
    /// New entries, oldest first.
    pub seen: Vec<Sighting>,
    /// Entries that were overwritten before they could be read.
    pub missed: u64,
}

impl Ring {
    /// The ring of refusals and steals, from its oldest entry.
    pub const fn events() -> Self {
        Self {
            line: line::EVENTS as usize,
            entries: limiter_common::sighting::EVENTS as u64,
            next: 0,
        }
    }

    /// The ring of attempts, from its oldest entry.
    pub const fn attempts() -> Self {
        Self {
            line: line::ATTEMPTS as usize,
            entries: limiter_common::sighting::ATTEMPTS as u64,
            next: 0,
        }
    }

    /// Reads what is new. What its oldest entries overwrote before the first look is not counted as missed.
    ///
    /// # Errors
    /// When the map cannot be mapped.
    pub fn look(&mut self, maps: &Maps) -> Result<Look> {
        let ring = if self.line == line::EVENTS as usize { &maps.events } else { &maps.attempts };
        let (words, claims) = (ring.words(Access::Read)?, maps.claims.words(Access::Read)?);
        let claimed = || claims.get(self.line * Mapped::<BudgetLine>::STRIDE).unwrap_or(0);
        let end = claimed();
        let oldest = end.saturating_sub(self.entries);
        let mut look = Look {
            missed: if self.next == 0 { 0 } else { oldest.saturating_sub(self.next) },
            ..Look::default()
        };
        let mut next = self.next.max(oldest);
        while next < end {
            match read(&words, next, self.entries) {
                Some(sighting) => look.seen.push(sighting),
                None if claimed().saturating_sub(next) > self.entries => look.missed += 1,
                // It is being written: the next look finds it.
                None => break,
            }
            next += 1;
        }
        self.next = next;
        Ok(look)
    }
}

/// The entry of a number; `None` if that is not what stands there.
fn read(words: &Words<'_>, number: u64, entries: u64) -> Option<Sighting> {
    let base = (number % entries) as usize * Mapped::<Sighting>::STRIDE;
    let time = words.get(base).filter(|time| *time != 0)?;
    let sighting = Sighting {
        time,
        high: words.get(base + 1)?,
        low: words.get(base + 2)?,
        what: words.get(base + 3)?,
    };
    let whole =
        words.get(base) == Some(time) && What(sighting.what).lap() == (number / entries) as u8;
    whole.then_some(sighting)
}
