//! Tickets: which sources have lately proved that they are where they say, in eight bytes a source.
//!
//! The table is of the kind of [`crate::source_table`]: a set is one cache line of eight ways,
//! found by the same keyed hash. A way is `expiry (32 bits) | fingerprint (32)`. The expiry counts
//! units of 2^30 ns (1.07 s) and never wraps. A ticket taken from a live owner is the one that ends
//! first.

use crate::source_table::{TRIES, WAYS};
use crate::word::SharedWord;

/// Nanoseconds in a unit of an expiry, as a power of two.
pub const UNIT_SHIFT: u32 = 30;
/// Longest life of a ticket: seven days, in units.
pub const LONGEST_LIFE: u64 = (7 * 86_400 * 1_000_000_000) >> UNIT_SHIFT;

const FINGERPRINT: u64 = 0xffff_ffff;
const EXPIRY: u32 = 32;

/// How long a way's ticket holds at `now` (nanoseconds), in units; 0 if it is over, or was never
/// given.
#[inline(always)]
pub const fn left(word: u64, now: u64) -> u64 {
    (word >> EXPIRY).saturating_sub(now >> UNIT_SHIFT)
}

/// Whether the source with `fingerprint` holds a ticket.
#[inline(always)]
pub fn holds<W: SharedWord>(set: &[W; WAYS], fingerprint: u32, now: u64) -> bool {
    let mut way = 0;
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == fingerprint as u64 {
            return left(word, now) > 0;
        }
        way += 1;
    }
    false
}

/// Gives the source with `fingerprint` a ticket for `life` units, or renews it, and says whether it
/// had none.
#[inline(always)]
pub fn grant<W: SharedWord>(set: &[W; WAYS], fingerprint: u32, now: u64, life: u64) -> bool {
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let (way, word) = place(set, fingerprint);
        let is_mine = word & FINGERPRINT == fingerprint as u64;
        let left = if is_mine { left(word, now) } else { 0 };
        // A young ticket is left as it is: a page's connections do not each write a shared line.
        if left > 0 && left + life / 8 >= life {
            return false;
        }
        let new = ((now >> UNIT_SHIFT) + life) << EXPIRY | fingerprint as u64;
        if set[way & (WAYS - 1)].replace(word, new) {
            return left == 0;
        }
    }
    false
}

/// The source's way, or the one whose ticket ends first.
#[inline(always)]
fn place<W: SharedWord>(set: &[W; WAYS], fingerprint: u32) -> (usize, u64) {
    let (mut first, mut way) = ((0, u64::MAX), 0);
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == fingerprint as u64 {
            return (way, word);
        }
        if word < first.1 {
            first = (way, word);
        }
        way += 1;
    }
    first
}
