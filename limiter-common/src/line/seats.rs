//! Seats: how many sources are present at once, counted exactly and without a scan, where a policy
//! says how many may be.
//!
//! Nobody says goodbye: who is present ends by not coming for [`super::Rules::idle`]. So those who
//! are present are counted in a ring of [`BUCKETS`] by when they were last seen. Who comes again
//! moves to the bucket of now; a bucket that is older than anybody present can be is emptied as a
//! whole, and its seats are free. One compare-and-swap of the source's way decides who moves it, so
//! nobody is counted twice. A bucket is 0.54 s, or a 60th of the idle time if that is more: so much
//! later a seat is free.
//!
//! While no seat is free the line's head stands. When one is, the head comes to who waits longest
//! in a sixteenth of that wait.
//!
//! Nobody new comes in while all seats are taken: as many as the policy states, or its share of a
//! fleet's. Who was present before there were seats, or when there were more, stays; and a CPU that
//! empties a bucket just as another one fills it anew, after five seconds without an attempt, lets
//! in one too many until the next attempt. There may be fewer for [`super::Rules::idle`] after a
//! present source lost its way in a full table to another: its seat is free when it would have been
//! idle.

use core::array;
use core::cell::Cell;

use super::Rules;
use super::visit::SEEN_SHIFT;
use crate::word::SharedWord;

/// Buckets of the ring.
pub const BUCKETS: usize = 64;
/// How much older the clock of a CPU may be than that of the one that empties a bucket: 67 ms.
const SLACK: u64 = 1 << 26;
/// Attempts at one compare-and-swap.
const TRIES: usize = 8;

/// A number that any CPU may add to.
pub trait SharedCount: SharedWord {
    /// Adds, wrapping.
    fn add(&self, delta: u64);
}

#[cfg(target_has_atomic = "64")]
impl SharedCount for core::sync::atomic::AtomicU64 {
    fn add(&self, delta: u64) {
        self.fetch_add(delta, core::sync::atomic::Ordering::SeqCst);
    }
}

impl SharedCount for Cell<u64> {
    fn add(&self, delta: u64) {
        self.set(self.get().wrapping_add(delta));
    }
}

/// The seats of one service.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Seats<W> {
    /// Sources that are present.
    pub taken: W,
    /// First bucket of the clock that has not been emptied.
    pub next: W,
    /// Sources by when they were last seen.
    pub seen: [[W; 8]; BUCKETS / 8],
}

/// How many sources are present at `now` (nanoseconds), by the words of [`Seats`].
pub fn present(words: &[u64; 2 + BUCKETS], rules: &Rules, now: u64) -> u64 {
    let word = |index: usize| Cell::new(words[index]);
    let seats = Seats {
        taken: word(0),
        next: word(1),
        seen: array::from_fn(|row| array::from_fn(|column| word(2 + 8 * row + column))),
    };
    // A map may hold anything. BPF shifts modulo 64, which Rust does not.
    seats.free(&Rules { bucket_shift: rules.bucket_shift & 63, ..*rules }, now);
    seats.taken.get()
}

impl<W: SharedCount> Seats<W> {
    /// Frees the seats of those who have not come for [`Rules::idle`] at `now` (nanoseconds).
    #[inline(always)]
    pub fn free(&self, rules: &Rules, now: u64) {
        let first = bucket(rules, now.saturating_sub(SLACK))
            .saturating_sub(rules.idle >> rules.bucket_shift);
        let next = self.next.load();
        if next >= first || !self.next.replace(next, first) {
            return;
        }
        let buckets = first - next;
        let mut index = if buckets > BUCKETS as u64 { first - BUCKETS as u64 } else { next };
        let mut tries = 0;
        while index < first && tries < BUCKETS {
            tries += 1;
            self.empty(index);
            index += 1;
        }
    }

    #[inline(always)]
    fn empty(&self, bucket: u64) {
        let word = self.bucket(bucket);
        let mut tries = 0;
        while tries < TRIES {
            tries += 1;
            let count = word.load();
            if count == 0 {
                return;
            }
            if word.replace(count, 0) {
                self.taken.add(count.wrapping_neg());
                return;
            }
        }
    }

    /// Whether none of so many seats is free.
    #[inline(always)]
    pub fn are_taken(&self, users: u64) -> bool {
        self.taken.load() >= users
    }

    /// Takes a seat, if one of `users` is free.
    #[inline(always)]
    pub fn claim(&self, users: u64) -> bool {
        let mut tries = 0;
        while tries < TRIES {
            tries += 1;
            let taken = self.taken.load();
            if taken >= users {
                return false;
            }
            if self.taken.replace(taken, taken + 1) {
                return true;
            }
        }
        false
    }

    /// Gives back a seat that was claimed and not used.
    #[inline(always)]
    pub fn unclaim(&self) {
        self.taken.add(u64::MAX);
    }

    /// Notes that whoever has claimed a seat sits on it.
    #[inline(always)]
    pub fn sit(&self, rules: &Rules, now: u64) {
        self.bucket(bucket(rules, now)).add(1);
    }

    /// Moves somebody who was last seen `quiet` units of coming ago to now.
    #[inline(always)]
    pub fn stay(&self, rules: &Rules, now: u64, quiet: u64) {
        let (before, after) = (last_bucket(rules, now, quiet), bucket(rules, now));
        if before != after {
            self.bucket(after).add(1);
            if !self.take_from(before) {
                // Emptied meanwhile, with the seat.
                self.taken.add(1);
            }
        }
    }

    /// Frees the seat of somebody who was last seen `quiet` units of coming ago, unless that was
    /// done.
    #[inline(always)]
    pub fn leave(&self, rules: &Rules, now: u64, quiet: u64) {
        let bucket = last_bucket(rules, now, quiet);
        if bucket >= self.next.load() && self.take_from(bucket) {
            self.taken.add(u64::MAX);
        }
    }

    #[inline(always)]
    fn take_from(&self, bucket: u64) -> bool {
        let word = self.bucket(bucket);
        let mut tries = 0;
        while tries < TRIES {
            tries += 1;
            let count = word.load();
            if count == 0 {
                return false;
            }
            if word.replace(count, count - 1) {
                return true;
            }
        }
        false
    }

    #[inline(always)]
    fn bucket(&self, bucket: u64) -> &W {
        let index = bucket as usize & (BUCKETS - 1);
        &self.seen[index >> 3][index & 7]
    }
}

/// The bucket of a time, numbered since the clock began.
#[inline(always)]
const fn bucket(rules: &Rules, now: u64) -> u64 {
    (now >> SEEN_SHIFT) >> rules.bucket_shift
}

/// The bucket of a time so many units of coming ago.
#[inline(always)]
const fn last_bucket(rules: &Rules, now: u64, quiet: u64) -> u64 {
    (now >> SEEN_SHIFT).saturating_sub(quiet) >> rules.bucket_shift
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No bytes of a map end a command.
    #[test]
    fn any_rules_are_read() {
        for bucket_shift in [0, 63, 64, u64::MAX] {
            let rules = Rules { bucket_shift, idle: u64::MAX, ..Rules::default() };
            let _ = present(&[u64::MAX; 2 + BUCKETS], &rules, u64::MAX);
            assert_eq!(present(&[0; 2 + BUCKETS], &rules, u64::MAX), 0);
        }
    }
}
