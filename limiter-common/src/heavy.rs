//! Which sources come most: a few hundred counters that the frequent win and the rare cannot take from them.
//!
//! A source without a counter may take the smallest of its set, with probability one in that counter's value, and goes on from there
//! (randomized admission policy, Ben Basat, Einziger, Friedman, Kassner, 2017, "d-way" form). A million sources that come once each hardly move
//! the counter of one that comes a thousand times; one that does come a thousand times gets in within its first few per cent. Each CPU has counters
//! of its own, so nothing here is contended; user space adds them up.
//!
//! The heads of a set (count, age and fingerprint of eight sources) are one cache line: a source that gets no counter costs that line and no other.

use crate::address::Address;

/// Sources of a set.
pub const WAYS: usize = 8;
/// Sets of each kind.
pub const SETS: u32 = 64;
/// Kinds of counting.
pub const KINDS: u32 = 3;
/// Attempts of which one is counted, where only a sample is.
pub const ONE_IN: u32 = 64;
/// Refusals of one CPU in a slice of 2^22 ns (4 ms) that are counted one by one: 61,000 a second. Beyond, a random one of [`THINNED`] stands for all.
pub const ONE_BY_ONE: u64 = 256;
/// See [`ONE_BY_ONE`].
pub const THINNED: u32 = 16;
/// See [`ONE_BY_ONE`].
pub const SLICE_SHIFT: u32 = 22;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Tallied {
    /// Refused by the source limit.
    Refused = 0,
    /// Refused by a budget, or in line for one, as an attempt or as the proof of one: one in
    /// [`ONE_IN`].
    Budget = 1,
    /// Any other attempt, one that a budget refused among them: one in [`ONE_IN`].
    Others = 2,
}

/// A source with a counter.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The source, an IPv4 address or a /64 of IPv6: bits 127 to 64 of its [`Address`].
    pub high: u64,
    /// Bits 63 to 0; 0 for a /64.
    pub low: u64,
    /// Bits 63 to 0 of the address that was counted last.
    pub last_low: u64,
    /// Coarse clock of the first one, nanoseconds.
    pub first: u64,
    /// Of the last one.
    pub last: u64,
    /// Number of the service.
    pub service: u64,
    /// What it took over when it got its counter: at most so many of its count are another's.
    pub taken_over: u64,
    /// Zero.
    pub reserved: u64,
}

/// A set of counters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// [`Head`] of each entry.
    pub heads: [u64; WAYS],
    /// Whose they are.
    pub entries: [Entry; WAYS],
}
const _: () = assert!(size_of::<Set>() == 576);

const FINGERPRINT: u64 = (1 << 20) - 1;
const AGE_SHIFT: u32 = 20;
const COUNT_SHIFT: u32 = 28;
/// An age in units of 2^34 ns, 17 seconds, modulo 256.
const UNIT_SHIFT: u32 = 34;
/// Who was not seen for so many units, nine minutes, loses its counter to anyone.
pub const IDLE: u8 = 32;

/// How often a source was counted (bits 63 to 28; 0: nobody has this counter), when last (27 to 20), and 20 bits of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head(pub u64);

impl Head {
    /// How often it was counted.
    #[inline(always)]
    pub const fn count(self) -> u64 {
        self.0 >> COUNT_SHIFT
    }

    #[inline(always)]
    const fn idle(self, now: u64) -> u8 {
        ((now >> UNIT_SHIFT) as u8).wrapping_sub((self.0 >> AGE_SHIFT) as u8)
    }

    #[inline(always)]
    const fn new(count: u64, now: u64, fingerprint: u64) -> Self {
        Self(count << COUNT_SHIFT | (now >> UNIT_SHIFT & 0xff) << AGE_SHIFT | fingerprint)
    }
}

/// What is to be counted.
#[derive(Clone, Copy, Debug)]
pub struct Weighed {
    /// Client address.
    pub address: Address,
    /// Number of the service.
    pub service: u64,
    /// Coarse clock, nanoseconds.
    pub now: u64,
    /// [`hash`] of the source and the service.
    pub hash: u64,
    /// How many it stands for.
    pub weight: u64,
}

impl Weighed {
    #[inline(always)]
    const fn low(&self) -> u64 {
        if self.address.is_v4() { self.address.low } else { 0 }
    }
}

/// The hash of a source ([`crate::distinct::Hashes`]) and a service: its upper bits choose the set.
#[inline(always)]
pub const fn hash(source: u64, service: u64) -> u64 {
    (source ^ service << 24).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The set of a hash.
#[inline(always)]
pub const fn set(hash: u64) -> u32 {
    (hash >> 58) as u32
}
const _: () = assert!(SETS == 1 << 6);

/// Bits of the number of a way.
const WAY_BITS: u32 = 3;
const _: () = assert!(WAYS == 1 << WAY_BITS);

/// All ones if `one` is less than `other`, else 0. Both are below 2^63.
#[inline(always)]
fn ones_if_less(one: u64, other: u64) -> u64 {
    // Hidden from the compiler, which would make a branch of it.
    core::hint::black_box((one.wrapping_sub(other) as i64 >> 63) as u64)
}

/// Counts a source, if it has a counter or wins one. `random`: 32 random bits.
#[inline(always)]
pub fn count(set: &mut Set, seen: &Weighed, random: u32) {
    let fingerprint = seen.hash >> 12 & FINGERPRINT;
    let mut way = 0;
    while way < WAYS {
        let head = Head(set.heads[way]);
        if head.0 & FINGERPRINT == fingerprint && head.count() != 0 && set.entries[way].is(seen) {
            set.heads[way] = Head::new(head.count() + seen.weight, seen.now, fingerprint).0;
            let entry = &mut set.entries[way];
            entry.last = seen.now;
            entry.last_low = seen.address.low;
            return;
        }
        way += 1;
    }
    // Read again, rather than kept on a stack of 512 bytes.
    let set = core::hint::black_box(set);
    // The way that goes first: a free one, one that is idle, or else the smallest. Without branches, of which the verifier of Linux 6.1 would
    // follow every combination.
    let mut first = u64::MAX >> 1;
    let mut way = 0;
    while way < WAYS {
        let head = Head(set.heads[way]);
        let count = head.count() & !ones_if_less(IDLE.into(), head.idle(seen.now).into());
        let this = count << WAY_BITS | way as u64;
        first ^= (first ^ this) & ones_if_less(this, first);
        way += 1;
    }
    let (least, worst) = (first >> WAY_BITS, first as usize & (WAYS - 1));
    // With probability weight / (least + weight), without a division.
    if u64::from(random).wrapping_mul(least + seen.weight) >> 32 >= seen.weight {
        return;
    }
    set.heads[worst] = Head::new(least + seen.weight, seen.now, fingerprint).0;
    set.entries[worst] = Entry {
        high: seen.address.high,
        low: seen.low(),
        last_low: seen.address.low,
        first: seen.now,
        last: seen.now,
        service: seen.service,
        taken_over: least,
        reserved: 0,
    };
}

impl Entry {
    #[inline(always)]
    const fn is(&self, seen: &Weighed) -> bool {
        self.low == seen.low() && self.high == seen.address.high && self.service == seen.service
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::distinct::Hashes;
    use crate::hash::mix;

    const MINUTE: u64 = 60_000_000_000;

    struct Counters {
        sets: Vec<Set>,
        random: u64,
    }

    impl Counters {
        fn new() -> Self {
            Self { sets: vec![Set::default(); SETS as usize], random: 1 }
        }

        fn see(&mut self, address: u32, now: u64) {
            let address = Address::v4(address);
            let hash = hash(Hashes::of(&[3, 8], address).source, 1);
            self.random += 1;
            let set = &mut self.sets[set(hash) as usize];
            count(
                set,
                &Weighed { address, service: 1, now, hash, weight: 1 },
                (mix(self.random) >> 32) as u32,
            );
        }

        fn top(&self) -> Vec<(u32, u64)> {
            let all = self.sets.iter().flat_map(|set| set.heads.iter().zip(&set.entries));
            let mut all: Vec<_> =
                all.map(|(head, entry)| (entry.low as u32, Head(*head).count())).collect();
            all.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
            all
        }
    }

    /// Five heavy sources, one attempt in a hundred each, among a hundred thousand that are refused as often as they come.
    #[test]
    fn the_heavy_are_named_with_their_counts_among_many_others() {
        let mut counters = Counters::new();
        for turn in 0..2_000_000_u64 {
            let among = mix(turn) >> 32;
            let address = if turn % 20 == 0 {
                (turn / 20 % 5) as u32
            } else {
                1000 + (among % 100_000) as u32
            };
            counters.see(address, MINUTE + turn);
        }
        let top = counters.top();
        for (address, count) in &top[..5] {
            assert!(*address < 5, "{top:?}");
            assert!(count.abs_diff(20_000) < 400, "{address}: {count}");
        }
        assert!(top[5].1 < 2_000, "{:?}", top[5]);
    }

    #[test]
    fn who_was_long_gone_makes_room() {
        let mut counters = Counters::new();
        for address in 0..4096 {
            for _ in 0..50 {
                counters.see(address, MINUTE);
            }
        }
        for _ in 0..10 {
            counters.see(9999, 15 * MINUTE);
        }
        let set = counters.sets.iter().find_map(|set| {
            set.entries.iter().position(|entry| entry.low as u32 == 9999).map(|way| (set, way))
        });
        let (set, way) = set.expect("it has a counter");
        assert_eq!(
            (Head(set.heads[way]).count(), set.entries[way].taken_over),
            (10, 0),
            "and begins with its first"
        );
    }

    #[test]
    fn another_service_is_another_source() {
        let (mut set, address) = (Set::default(), Address::v4(7));
        for service in [1, 2, 1] {
            count(&mut set, &Weighed { address, service, now: MINUTE, hash: 77, weight: 1 }, 0);
        }
        assert_eq!((Head(set.heads[0]).count(), Head(set.heads[1]).count()), (2, 1));
    }
}
