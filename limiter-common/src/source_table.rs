//! The source table: how often each source has come lately, in eight bytes a source.
//!
//! A set is one cache line of eight ways. A way is `arrival << 24 | fingerprint`: the theoretical arrival time (TAT) of
//! the generic cell rate algorithm (GCRA, ITU-T I.371 annex A) in ticks of 2^10 ns, 40 bits wide, and 24 bits of the
//! source's hash. An attempt conforms when `TAT - now <= window`; it then moves TAT to `max(TAT, now) + interval`. So rate
//! and burst are exact, and there is no refill, sweep or timer. A refused attempt writes nothing.
//!
//! A way whose TAT is past says nothing that an empty way does not: reusing it loses nothing. Only when all eight are in
//! debt is one taken from its owner (a *steal*), and it is the one with the smallest debt: the least guilty forgets, heavy
//! offenders stay. An LRU does the opposite.
//!
//! Bounds. Arrival times wrap after 2^50 ns, 13 days: a source that left a debt of d and stays away for exactly one wrap
//! finds it again, for at most d. Two sources of one set share a debt with probability 2^-24 a pair. A change is one
//! compare-and-swap; after [`TRIES`] lost races the attempt passes and is counted.

use crate::word::SharedWord;

/// Ways in a set: eight words of eight bytes are one cache line.
pub const WAYS: usize = 8;
/// Attempts at one compare-and-swap before the verdict is "contended".
pub const TRIES: usize = 4;
/// Bits of the hash kept in a way.
pub const FINGERPRINT_BITS: u32 = 24;
const FINGERPRINT: u64 = (1 << FINGERPRINT_BITS) - 1;
/// Nanoseconds in a tick, as a power of two.
pub const TICK_SHIFT: u32 = 10;

/// How much older than another CPU's clock this one's may be when both charge a source: 2^20 ticks, a second. Without it, two CPUs
/// that read the clock before and after a tick would take a full debt for a leftover.
pub const SKEW: u64 = 1 << (20 + FINGERPRINT_BITS);

/// A time or a distance in time, in ticks, moved left over the fingerprint so that 64-bit arithmetic wraps where the
/// 40-bit clock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks(pub u64);

impl Ticks {
    /// The tick that holds a time in nanoseconds.
    #[inline(always)]
    pub const fn at(nanoseconds: u64) -> Self {
        Self((nanoseconds >> TICK_SHIFT) << FINGERPRINT_BITS)
    }

    /// A number of whole ticks.
    pub const fn count(ticks: u64) -> Self {
        Self(ticks << FINGERPRINT_BITS)
    }
}

/// The limit of one source, as the kernel side applies it. An interval of 0 means no limit.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SourceLimit {
    /// 1/rate, in shifted ticks ([`Ticks`]).
    pub interval: u64,
    /// interval x (burst - 1), in shifted ticks.
    pub window: u64,
}

impl SourceLimit {
    /// Largest debt that this limit leaves behind. A way further ahead is left over from another policy or a wrap.
    pub const fn horizon(&self) -> u64 {
        self.window + self.interval
    }
}

/// What the table says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Within its limit, and charged.
    Conforms,
    /// Within its limit, charged, and another source's debt was forgotten for it.
    Stole,
    /// Over its limit; nothing was written.
    Exceeds,
    /// Too many CPUs changed the set at once; nothing was written.
    Contended,
}

/// A charge, and how much its source owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charged {
    /// What the table says.
    pub charge: Charge,
    /// The debt that was found, as [`step`] counts it; 0 if no limit applied.
    pub step: u8,
}

impl Charged {
    /// What is said to who only looks. (Its step would be of an attempt that is not counted as
    /// one.)
    #[inline(always)]
    pub const fn peek(exceeds: bool) -> Self {
        if exceeds {
            Self { charge: Charge::Exceeds, step: OVER }
        } else {
            Self { charge: Charge::Conforms, step: 0 }
        }
    }
}

/// Steps of a debt: 0 where no limit applied, 1 for none, 2 to 17 for the sixteenths of the window, 18 for more than that.
pub const STEPS: usize = 19;
/// The step of a source over its limit.
pub const OVER: u8 = STEPS as u8 - 1;

/// Which step a debt is on. Without a division: halves, then halves of these.
#[inline(always)]
pub const fn step(debt: u64, window: u64) -> u8 {
    if debt == 0 {
        return 1;
    }
    if debt > window {
        return OVER;
    }
    let (mut rest, mut half, mut worth, mut step) = (debt, window / 2, 8, 2);
    while worth > 0 {
        if rest > half {
            rest -= half;
            step += worth;
        }
        half /= 2;
        worth /= 2;
    }
    step
}

/// Charges one attempt of the source with `fingerprint` to its set.
///
/// `own` is the longest debt that limits of this kind leave: what its way holds beyond that is left over. For a source limit that is its
/// [`SourceLimit::horizon`], so that a higher limit is felt at once.
///
/// `horizon` is the largest [`SourceLimit::horizon`] of the whole policy: ways of other services live in the same set, and their
/// debts must not be taken for leftovers by the shorter limit of this one.
#[inline(always)]
pub fn charge<W: SharedWord>(
    set: &[W; WAYS],
    fingerprint: u32,
    now: Ticks,
    limit: &SourceLimit,
    own: u64,
    horizon: u64,
) -> Charged {
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let (way, word) = match find(set, fingerprint) {
            Some(found) => found,
            None => least_debt(set, now, horizon),
        };
        let mine = word & FINGERPRINT == fingerprint as u64;
        let debt = if mine { debt(word, now, own) } else { 0 };
        if debt > limit.window {
            return Charged { charge: Charge::Exceeds, step: OVER };
        }
        let arrival = now.0.wrapping_add(debt).wrapping_add(limit.interval);
        if set[way & (WAYS - 1)].replace(word, (arrival & !FINGERPRINT) | fingerprint as u64) {
            let stolen = !mine && self::debt(word, now, horizon) != 0;
            let charge = if stolen { Charge::Stole } else { Charge::Conforms };
            return Charged { charge, step: step(debt, limit.window) };
        }
    }
    Charged { charge: Charge::Contended, step: 0 }
}

/// Whether the source with `fingerprint` is over its limit. Nothing is written.
#[inline(always)]
pub fn exceeds<W: SharedWord>(
    set: &[W; WAYS],
    fingerprint: u32,
    now: Ticks,
    limit: &SourceLimit,
    own: u64,
) -> bool {
    find(set, fingerprint).is_some_and(|(_, word)| debt(word, now, own) > limit.window)
}

/// How far the word's arrival time lies ahead of `now`, or 0 when it is past, unused, or further ahead than `horizon` and [`SKEW`].
#[inline(always)]
pub fn debt(word: u64, now: Ticks, horizon: u64) -> u64 {
    let ahead = (word & !FINGERPRINT).wrapping_sub(now.0);
    // As a signed number a past time is negative; unsigned it lies beyond any horizon. One comparison does both.
    if word & FINGERPRINT == 0 || ahead > horizon + SKEW { 0 } else { ahead }
}

#[inline(always)]
fn find<W: SharedWord>(set: &[W; WAYS], fingerprint: u32) -> Option<(usize, u64)> {
    let mut way = 0;
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == fingerprint as u64 {
            return Some((way, word));
        }
        way += 1;
    }
    None
}

#[inline(always)]
fn least_debt<W: SharedWord>(set: &[W; WAYS], now: Ticks, horizon: u64) -> (usize, u64) {
    let mut best = (0, 0, u64::MAX);
    let mut way = 0;
    while way < WAYS {
        let word = set[way].load();
        let debt = debt(word, now, horizon);
        if debt == 0 {
            return (way, word);
        }
        if debt < best.2 {
            best = (way, word, debt);
        }
        way += 1;
    }
    (best.0, best.1)
}
