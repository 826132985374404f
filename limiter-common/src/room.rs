//! Diverted flows: those that the kernel hands to the waiting room's listener instead of the
//! service's.
//!
//! Who decides (the XDP program) and who chooses the listener (the `sk_lookup` program) see the same
//! packet a moment apart, maybe on two CPUs, and nothing travels with the packet from one to the
//! other. So the first leaves a note that the second reads: eight bytes a flow, in sets of eight
//! ways. A way is `time (24 bits) | fingerprint (40)`; time counts units of 2^20 ns (1 ms) and wraps
//! after 4.9 hours.
//!
//! A note that counts is never overwritten by another flow's: where the set is full of them the
//! attempt is refused as if there were no room. So a diverted flow never reaches the server for want
//! of its note.

use crate::hash::Place;
use crate::source_table::{TRIES, WAYS};
use crate::word::SharedWord;

/// Sets of the table: 512 KiB, 65,536 flows.
pub const SETS: u32 = 8192;
/// Nanoseconds in a unit of time, as a power of two.
const UNIT_SHIFT: u32 = 20;
/// How long a note counts, in units: two seconds. Data may be 34 ms behind its ACK
/// ([`crate::flow`]), and a driver runs the first program for up to 64 packets (NAPI_POLL_WEIGHT)
/// before the stack sees the first of them: more than a second on a machine that is starved of its
/// CPU. Longer, and sets would be full of notes: at 10,000 flows a second one in a thousand is.
const LIFE: u64 = 2_000_000_000 >> UNIT_SHIFT;
/// Until when a look at the notes is worth it is moved only when it moves by this much, in
/// nanoseconds.
const STEP: u64 = 500_000_000;
/// How far it is moved: the life of a note, and two steps.
const AHEAD: u64 = ((LIFE + 1) << UNIT_SHIFT) + 2 * STEP;

const FINGERPRINT: u64 = (1 << 40) - 1;
const TIMES: u64 = (1 << 24) - 1;

/// The word among those of `WAITS` that says until when a flow may be noted here.
pub const UNTIL: usize = 1;

/// The key of the room's socket for a service's port: one of each family, because a socket that is
/// bound to the loopback address of one takes nothing of the other.
#[inline(always)]
pub const fn key(port: u16, is_v6: bool) -> u32 {
    (is_v6 as u32) << 16 | port as u32
}

/// The port of a [`key`], and whether it is IPv6's.
pub const fn parts(key: u32) -> (u16, bool) {
    (key as u16, key >> 16 != 0)
}

/// Index of a flow's set.
#[inline(always)]
pub const fn set(flow: Place) -> u32 {
    flow.set(SETS)
}

/// What tells flows of a set apart; never 0, which marks a way that was never used.
#[inline(always)]
const fn fingerprint(flow: Place) -> u64 {
    let low = flow.0 & FINGERPRINT;
    if low == 0 { 1 } else { low }
}

#[inline(always)]
const fn is_old(way: u64, now: u64) -> bool {
    way == 0 || (now >> UNIT_SHIFT).wrapping_sub(way >> 40) & TIMES > LIFE
}

/// Notes a flow, and says whether it could. `now` in nanoseconds.
#[inline(always)]
pub fn note<W: SharedWord>(set: &[W; WAYS], flow: Place, now: u64) -> bool {
    let mine = fingerprint(flow);
    let new = (now >> UNIT_SHIFT & TIMES) << 40 | mine;
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let (mut free, mut old) = (WAYS, 0);
        let mut way = 0;
        while way < WAYS {
            let word = set[way].load();
            if word & FINGERPRINT == mine {
                (free, old) = (way, word);
                break;
            }
            if free == WAYS && is_old(word, now) {
                (free, old) = (way, word);
            }
            way += 1;
        }
        if free == WAYS {
            return false;
        }
        if set[free & (WAYS - 1)].replace(old, new) {
            return true;
        }
    }
    false
}

/// Takes back a flow's note: its next connection is let in, from the same port while the note
/// counts.
#[inline(always)]
pub fn forget<W: SharedWord>(set: &[W; WAYS], flow: Place) {
    let mine = fingerprint(flow);
    let mut way = 0;
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == mine {
            set[way].replace(word, 0);
            return;
        }
        way += 1;
    }
}

/// Whether a flow was noted lately.
#[inline(always)]
pub fn is_noted<W: SharedWord>(set: &[W; WAYS], flow: Place, now: u64) -> bool {
    let mine = fingerprint(flow);
    let mut way = 0;
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == mine {
            return !is_old(word, now);
        }
        way += 1;
    }
    false
}

/// How long a server takes no connections before the room answers for it, in units: 0.9 s. A client
/// sends its SYN again after a second, and its data within less; a queue that is full for a moment
/// is no reason to show it a page.
const STUCK: u64 = 900_000_000 >> UNIT_SHIFT;
/// So far apart may two looks be that found the queue full, in units: 4 s, because the only client
/// that comes waits longer each time.
const APART: u64 = 4_000_000_000 >> UNIT_SHIFT;
const HALF: u64 = u32::MAX as u64;

/// Notes that a server's accept queue is full now, and says whether it has been for a while. The
/// word holds when that was first seen, and when last, each in 32 bits.
#[inline(always)]
pub fn is_stuck<W: SharedWord>(word: &W, now: u64) -> bool {
    let unit = now >> UNIT_SHIFT & HALF;
    let old = word.load();
    let (first, last) = (old >> 32, old & HALF);
    let is_new = old == 0 || unit.wrapping_sub(last) & HALF > APART;
    let first = if is_new { unit } else { first };
    if is_new || unit != last {
        // Who loses the race finds the other's note with its next packet.
        word.replace(old, first << 32 | unit);
    }
    unit.wrapping_sub(first) & HALF >= STUCK
}

/// Notes in a word that some flow is diverted: until when is what [`may_be`] reads.
#[inline(always)]
pub fn note_any<W: SharedWord>(until: &W, now: u64) {
    let old = until.load();
    if old < now + AHEAD - STEP {
        until.replace(old, now + AHEAD);
    }
}

/// Whether any flow may be noted still.
#[inline(always)]
pub fn may_be<W: SharedWord>(until: &W, now: impl FnOnce() -> u64) -> bool {
    let until = until.load();
    until != 0 && now() < until
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    struct Word(Cell<u64>);

    impl SharedWord for Word {
        fn load(&self) -> u64 {
            self.0.get()
        }

        fn replace(&self, old: u64, new: u64) -> bool {
            let is_old = self.0.get() == old;
            if is_old {
                self.0.set(new);
            }
            is_old
        }
    }

    fn empty() -> [Word; WAYS] {
        core::array::from_fn(|_| Word(Cell::new(0)))
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_key_has_its_parts() {
        for parts_of in [(80, false), (80, true), (65535, true), (0, false)] {
            assert_eq!(parts(key(parts_of.0, parts_of.1)), parts_of);
        }
    }

    #[test]
    fn a_note_counts_for_two_seconds() {
        let set = empty();
        let flow = Place(0x1234_5678_9abc_def0);
        assert!(!is_noted(&set, flow, 5 * SECOND));
        assert!(note(&set, flow, 5 * SECOND));
        assert!(is_noted(&set, flow, 5 * SECOND) && is_noted(&set, flow, 7 * SECOND - 2_000_000));
        assert!(!is_noted(&set, flow, 7 * SECOND + 2_000_000));
        assert!(!is_noted(&set, Place(flow.0 ^ 1), 5 * SECOND), "another flow");
        assert!(note(&set, flow, 9 * SECOND) && is_noted(&set, flow, 9 * SECOND));
        forget(&set, Place(flow.0 ^ 1));
        assert!(is_noted(&set, flow, 9 * SECOND), "another's was taken back");
        forget(&set, flow);
        assert!(!is_noted(&set, flow, 9 * SECOND));
    }

    #[test]
    fn a_note_that_counts_is_never_lost_to_another() {
        let set = empty();
        for flow in 1..=WAYS as u64 {
            assert!(note(&set, Place(flow), SECOND));
        }
        assert!(!note(&set, Place(99), SECOND + 1), "there is no way left");
        for flow in 1..=WAYS as u64 {
            assert!(is_noted(&set, Place(flow), SECOND + 1));
        }
        assert!(note(&set, Place(99), 4 * SECOND), "these are over");
        assert!(note(&set, Place(99), 4 * SECOND) && is_noted(&set, Place(99), 4 * SECOND));
    }

    #[test]
    fn a_server_is_stuck_once_its_queue_was_full_for_a_while() {
        const MS: u64 = 1_000_000;
        let word = Word(Cell::new(0));
        let start = 77 * SECOND;
        for milliseconds in [0, 1, 200, 400, 800] {
            assert!(!is_stuck(&word, start + milliseconds * MS), "after {milliseconds} ms");
        }
        for milliseconds in [1000, 3000, 6900] {
            assert!(is_stuck(&word, start + milliseconds * MS), "after {milliseconds} ms");
        }
        assert!(!is_stuck(&word, start + 12_000 * MS), "there was no sign of it for 5 s");
        assert!(is_stuck(&word, start + 13_000 * MS));
        // Two looks at one time find the same, and another's clock may be a tick behind.
        assert!(is_stuck(&word, start + 13_000 * MS));
    }

    #[test]
    fn whether_any_is_noted_outlives_each_note() {
        let until = Word(Cell::new(0));
        assert!(!may_be(&until, || SECOND));
        for now in [SECOND, SECOND + STEP - 1, SECOND + STEP] {
            note_any(&until, now);
            let end = now + ((LIFE + 1) << UNIT_SHIFT);
            assert!(may_be(&until, || end), "a note of {now} counts until {end}");
        }
        assert!(!may_be(&until, || 60 * SECOND));
    }
}
