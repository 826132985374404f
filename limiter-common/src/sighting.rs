//! What was seen, one by one: two rings that the kernel side writes and anybody may read, in any number, without taking anything away.
//!
//! A writer claims a number, marks the entry of that number as being written, and writes its time last. A reader knows from the count of claims what
//! was overwritten before it looked, and from the lap in an entry whether its number is the claimed one. (The kernel's own ring buffer has one reader, who would take the entries from the others, and drops the newest
//! when that reader sleeps; here the newest stay.)
//!
//! - `EVENTS`: refusals and steals, at most [`EVENTS_PER_SLICE`] in each [`SLICE_SHIFT`].
//! - `ATTEMPTS`: every attempt of a sample of the sources, so that other limits can be tried on them afterwards. The sample is halved when an
//!   interval brings more than [`ATTEMPTS_PER_INTERVAL`], and doubled again when one brings few: the ring then holds about 70 minutes.

use crate::source_table::TRIES;
use crate::word::{SharedNote, SharedWord};

/// An entry of both rings.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Coarse clock, nanoseconds; 0: being written.
    pub time: u64,
    /// Client address, bits 127 to 64.
    pub high: u64,
    /// Bits 63 to 0.
    pub low: u64,
    /// [`What`].
    pub what: u64,
}

/// Entries of `EVENTS`.
pub const EVENTS: u32 = 4096;
/// Entries of `ATTEMPTS`.
pub const ATTEMPTS: u32 = 131_072;
/// Length of a slice of time as a power of two, in nanoseconds: 134 ms.
pub const SLICE_SHIFT: u32 = 27;
/// Events of a slice: 119 a second.
pub const EVENTS_PER_SLICE: u64 = 16;
/// Attempts of an interval of [`crate::distinct::INTERVAL_SHIFT`].
pub const ATTEMPTS_PER_INTERVAL: u64 = 512;
/// Halvings of the sample at most: one source in a million.
pub const MOST_HALVINGS: u64 = 20;

/// Words that all CPUs share, a cache line each.
pub mod line {
    /// Claims of `EVENTS` so far.
    pub const EVENTS: u32 = 0;
    /// The slice of time, and above 8 bits its events.
    pub const SLICE: u32 = 1;
    /// Claims of `ATTEMPTS` so far.
    pub const ATTEMPTS: u32 = 2;
    /// How many there are.
    pub const LINES: u32 = 3;
}

/// What was seen: number of the service (bits 0 to 31), reason (32 to 39), whether it was carried out (40), whether a debt was forgotten for
/// it (41), how often the sample was halved (48 to 55), and the lap of the ring (56 to 63).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What(pub u64);

impl What {
    /// From its parts.
    #[inline(always)]
    pub const fn new(service: u32, reason: u8, enforced: bool, stole: bool, halvings: u64) -> Self {
        Self(
            service as u64
                | (reason as u64) << 32
                | (enforced as u64) << 40
                | (stole as u64) << 41
                | (halvings & 0xff) << 48,
        )
    }

    /// With the lap of entry `number` in a ring of `entries`.
    #[inline(always)]
    pub const fn in_lap(self, number: u64, entries: u32) -> Self {
        Self(self.0 << 8 >> 8 | (number / entries as u64) << 56)
    }

    /// Of the service with this number.
    #[inline(always)]
    pub const fn of_service(self, service: u32) -> Self {
        Self(self.0 >> 32 << 32 | service as u64)
    }

    /// The lap, modulo 256.
    pub const fn lap(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Number of the service.
    pub const fn service(self) -> u32 {
        self.0 as u32
    }

    /// Number of the reason.
    pub const fn reason(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// Whether the verdict was carried out.
    pub const fn is_enforced(self) -> bool {
        self.0 >> 40 & 1 != 0
    }

    /// Whether another source's debt was forgotten for it.
    pub const fn stole(self) -> bool {
        self.0 >> 41 & 1 != 0
    }

    /// How often the sample was halved: it stands for 2 to this power.
    pub const fn halvings(self) -> u32 {
        (self.0 >> 48 & 0xff) as u32
    }
}

/// The slice's word after one more event, if it has any left.
#[inline(always)]
pub fn one_more(word: u64, now: u64) -> Option<u64> {
    let mine = now >> SLICE_SHIFT << 8;
    let used = if word & !0xff == mine { word & 0xff } else { 0 };
    if used < EVENTS_PER_SLICE { Some(mine | (used + 1)) } else { None }
}

/// Takes one of the events of this slice of time.
#[inline(always)]
pub fn may_tell<W: SharedWord>(slice: &W, now: u64) -> bool {
    let word = slice.load();
    one_more(word, now).is_some_and(|new| slice.replace(word, new))
}

/// Claims the next entry of a ring; `None` when too many CPUs want it at once.
#[inline(always)]
pub fn claim<W: SharedWord>(claims: &W) -> Option<u64> {
    let mut tries = 0;
    while tries < TRIES {
        let number = claims.load();
        if claims.replace(number, number.wrapping_add(1)) {
            return Some(number);
        }
        tries += 1;
    }
    None
}

/// Whether a source with this hash is in the sample.
#[inline(always)]
pub const fn is_sampled(halvings: u64, hash: u64) -> bool {
    // Bits in the middle: the highest choose a register, and the lowest of [`crate::distinct::Hashes`] are not spread well.
    hash >> 16 & ((1 << (halvings & 31)) - 1) == 0
}

/// Notes that an interval keeps one more attempt; every [`ATTEMPTS_PER_INTERVAL`] of them halve the sample.
#[inline(always)]
pub fn keep<W: SharedNote>(kept: &W, halvings: &W) -> Option<()> {
    let number = claim(kept)?;
    // One CPU alone gets this number, so one alone writes.
    if number % ATTEMPTS_PER_INTERVAL == ATTEMPTS_PER_INTERVAL - 1 {
        let more = halvings.load() + 1;
        halvings.store(if more < MOST_HALVINGS { more } else { MOST_HALVINGS });
    }
    Some(())
}

/// Halvings of the next interval, after one that kept so many attempts: a sample that brought few is doubled.
#[inline(always)]
pub const fn next_halvings(kept: u64, halvings: u64) -> u64 {
    if kept < ATTEMPTS_PER_INTERVAL / 4 && halvings > 0 { halvings - 1 } else { halvings }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    #[test]
    fn what_was_seen_is_kept_whole() {
        let what = What::new(70_000, 16, true, false, 9);
        assert_eq!(
            (what.service(), what.reason(), what.is_enforced(), what.stole(), what.halvings()),
            (70_000, 16, true, false, 9)
        );
        assert!(What::new(0, 0, false, true, 0).stole());
        assert_eq!(what.of_service(7), What::new(7, 16, true, false, 9));
        let what = what.in_lap(3 * 4096 + 7, 4096).in_lap(258 * 4096, 4096);
        assert_eq!((what.lap(), what.service(), what.halvings()), (2, 70_000, 9));
    }

    #[test]
    fn a_slice_of_time_has_so_many_events() {
        let slice = Cell::new(0);
        for start in [0, 1 << SLICE_SHIFT, 77 << SLICE_SHIFT] {
            let told = (0..100).filter(|more| may_tell(&slice, start + more)).count();
            assert_eq!(told as u64, EVENTS_PER_SLICE);
        }
    }

    /// A million attempts of an interval fill a fraction of the ring; a calm minute later the sample is whole again.
    #[test]
    fn the_sample_follows_what_comes() {
        let (kept, halvings) = (Cell::new(0), Cell::new(0));
        let sampled = (0..1_000_000_u64).filter(|number| {
            let sampled = is_sampled(halvings.get(), crate::hash::mix(*number));
            if sampled {
                keep(&kept, &halvings);
            }
            sampled
        });
        let sampled = sampled.count();
        assert!(
            (5_000..8_000).contains(&sampled) && (10..14).contains(&halvings.get()),
            "{sampled} {}",
            halvings.get()
        );
        assert_eq!(next_halvings(kept.get(), halvings.get()), halvings.get());
        assert_eq!((next_halvings(9, 3), next_halvings(9, 0)), (2, 0));
    }
}
