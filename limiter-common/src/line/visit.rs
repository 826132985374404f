//! A visit: what the line keeps of a source, in eight bytes, in a table of the kind of
//! [`crate::source_table`].
//!
//! A way is `present (1) | place (19) | seen (12) | begun (4) | connections (4) | fingerprint
//! (24)`. Times are read from the clock of whoever looks, which may be a tick older than that of
//! whoever wrote. A place is in units of 2^24 ns (17 ms) and wraps after 2.4 h; a place lies at
//! most [`LONGEST_WAIT`] back and [`AHEAD`] ahead. When it was seen last and when its page began
//! are in units of 2^29 ns (0.54 s) and wrap after 37 minutes and 8.6 s: a source that stays away
//! for just 37 minutes, within the half minute in which it would have been kept, is found as if it
//! had just been there. That lets it in once.
//!
//! A way that is no longer kept is free. If none is, the first to go is a source that waits and
//! came only once, as spoofed ones do; then one that waits and came again; then one that is
//! present. Of several such, one that was not seen for longest, and of those seen within the same
//! four seconds any: an order would let a flood push out everybody within a turn of the set.

use core::hint::black_box;

use crate::source_table::WAYS;
use crate::word::SharedWord;

/// Nanoseconds in a unit of a place, as a power of two.
pub const PLACE_SHIFT: u32 = 24;
/// Nanoseconds in a unit of the times of coming, as a power of two.
pub const SEEN_SHIFT: u32 = 29;
/// Shortest line that is one, in nanoseconds: 0.1 s.
pub(super) const SHORTEST_WAIT: u64 = 6 << PLACE_SHIFT;
/// Longest wait that is told apart: 73 minutes, in units of a place.
pub const LONGEST_WAIT: u64 = 1 << 18;
/// Furthest that a place may lie ahead: 275 s, in units of a place.
pub const AHEAD: u64 = 1 << 14;
/// Most connections that are counted of a page.
pub const MOST_CONNECTIONS: u64 = 14;
/// In place of their number: no page is open.
pub const CLOSED: u64 = 15;
/// How long the connections of a page may follow its first one, in units of coming: 5 s.
pub const TOGETHER: u64 = 9;

const FINGERPRINT: u64 = 0xff_ffff;
const CONNECTIONS: u32 = 24;
const BEGUN: u32 = 28;
const SEEN: u32 = 32;
const PLACE: u32 = 44;
const FOURS: u64 = 0xf;
const TIMES: u64 = 0xfff;
const PLACES: u64 = 0x7_ffff;
/// How much older than the clock of whoever wrote that of who reads may be, in units of coming.
const SLACK: u64 = 2;
const _: () = assert!(LONGEST_WAIT + AHEAD < PLACES && FINGERPRINT >> CONNECTIONS == 0);

/// One way, read: distances in time from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Whether it is in.
    pub present: bool,
    /// How long ago its place is, in units of a place; negative if it lies ahead.
    pub place: i64,
    /// How long it has not come, in units of coming.
    pub quiet: u64,
    /// How long ago its page began, in the same; at most 14.
    pub page: u64,
    /// Connections of that page, or [`CLOSED`].
    pub connections: u64,
}

impl Visit {
    /// A source that is not known: it was away for as long as a way can tell.
    pub const NONE: Self =
        Self { present: false, place: 0, quiet: TIMES - SLACK, page: 0, connections: CLOSED };

    /// Reads a way at `now` (nanoseconds).
    #[inline(always)]
    pub const fn read(word: u64, now: u64) -> Self {
        let ago = (now >> PLACE_SHIFT).wrapping_sub(word >> PLACE) & PLACES;
        let longest = if ago > LONGEST_WAIT { LONGEST_WAIT } else { ago };
        let place =
            if ago > PLACES - AHEAD { ago as i64 - (PLACES + 1) as i64 } else { longest as i64 };
        let units = (now >> SEEN_SHIFT).wrapping_add(SLACK);
        let quiet = units.wrapping_sub(word >> SEEN) & TIMES;
        let page = units.wrapping_sub(SLACK - 1).wrapping_sub(word >> BEGUN) & FOURS;
        Self {
            present: word >> 63 != 0,
            place,
            quiet: quiet.saturating_sub(SLACK),
            page: page.saturating_sub(1),
            connections: word >> CONNECTIONS & FOURS,
        }
    }

    /// The way of the source with `fingerprint` at `now`.
    #[inline(always)]
    pub const fn word(self, fingerprint: u32, now: u64) -> u64 {
        let place = (now >> PLACE_SHIFT).wrapping_sub(self.place as u64) & PLACES;
        let seen = (now >> SEEN_SHIFT).wrapping_sub(self.quiet) & TIMES;
        let begun = (now >> SEEN_SHIFT).wrapping_sub(self.page) & FOURS;
        (self.present as u64) << 63
            | place << PLACE
            | seen << SEEN
            | begun << BEGUN
            | self.connections << CONNECTIONS
            | fingerprint as u64
    }

    /// Whether connections of a page that was let in may still follow. A page's beginning is told
    /// apart for 8 s only, so that it counts while the source has been seen in between.
    #[inline(always)]
    pub const fn is_open(&self) -> bool {
        self.connections != CLOSED && self.page < TOGETHER && self.quiet < TOGETHER
    }
}

/// The time at which a way is read and written: `now`, or when it was last written by a CPU whose
/// clock is ahead. So the unit in which a source was seen never goes back, and its seat is always
/// counted where its way says.
#[inline(always)]
pub const fn latest(word: u64, now: u64) -> u64 {
    let units = now >> SEEN_SHIFT;
    match (word >> SEEN).wrapping_sub(units) & TIMES {
        ahead @ 1..=SLACK => (units + ahead) << SEEN_SHIFT,
        _ => now,
    }
}

/// What a way that may be taken over is worth: free.
pub const FREE: u64 = 0;
/// Of a source that waits and came once.
pub const ONCE: u64 = 1;

const KIND: u32 = 12;

/// How much is lost with a way: its kind, then how lately it was seen. `idle` and `forget` in units
/// of coming. Without a branch, for the verifier's sake: it would follow all of them for all eight
/// ways.
#[inline(always)]
fn worth(word: u64, now: u64, idle: u64, forget: u64) -> u64 {
    let units = (now >> SEEN_SHIFT) + SLACK;
    let quiet = units.wrapping_sub(word >> SEEN) & TIMES;
    let present = word >> 63;
    let kept = forget.wrapping_add(present.wrapping_mul(idle.wrapping_sub(forget))) + SLACK;
    // The sign of the difference.
    let is_kept = black_box(kept).wrapping_sub(quiet) >> 63 ^ 1;
    let is_used = ((word & FINGERPRINT) + FINGERPRINT) >> 24;
    // Whether it was seen in a later unit than that of its place.
    let later = (word >> SEEN).wrapping_sub(word >> (PLACE + SEEN_SHIFT - PLACE_SHIFT)) & TIMES;
    let again = (later + TIMES) >> 12;
    let kind = 1 + (again | present) + present;
    is_kept * is_used * (kind << KIND | (TIMES - quiet) >> 3 << 3)
}

/// A way found for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number in the set.
    pub way: usize,
    /// What stands there.
    pub word: u64,
    /// Whether that is the source's own.
    pub is_own: bool,
    /// Of another's way, how much is lost with it: [`FREE`], [`ONCE`], or more.
    pub kind: u64,
}

/// The source's way, or the one that is least missed; among equals one that its fingerprint
/// chooses, so that two CPUs with connections of one source choose the same.
#[inline(always)]
pub fn find<W: SharedWord>(
    set: &[W; WAYS],
    fingerprint: u32,
    now: u64,
    (idle, forget): (u64, u64),
) -> Found {
    let choice = fingerprint as u64 & 7;
    let mut way = 0;
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == fingerprint as u64 {
            return Found { way, word, is_own: true, kind: FREE };
        }
        way += 1;
    }
    // The word goes with its worth: read again, it could be that of somebody who was let in
    // meanwhile.
    let (mut least, mut word, mut way) = (u64::MAX, 0, 0);
    while way < WAYS {
        let other = set[way].load();
        // Another CPU gave the source a way meanwhile: a second one would be a second visit.
        if other & FINGERPRINT == fingerprint as u64 {
            return Found { way, word: other, is_own: true, kind: FREE };
        }
        let worth = worth(other, now, idle, forget) | (way as u64 ^ choice);
        if worth < least {
            (least, word) = (worth, other);
        }
        way += 1;
    }
    let way = (least ^ choice) as usize & (WAYS - 1);
    Found { way, word, is_own: false, kind: least >> KIND }
}

/// The source's way, if it has one.
#[inline(always)]
pub fn own<W: SharedWord>(set: &[W; WAYS], fingerprint: u32) -> Option<u64> {
    let mut way = 0;
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == fingerprint as u64 {
            return Some(word);
        }
        way += 1;
    }
    None
}
