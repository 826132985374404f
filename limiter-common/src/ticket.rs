//! Tickets: which sources have lately proved that they are where they say, in eight bytes a source.
//!
//! The table is of the kind of [`crate::source_table`]: a set is one cache line of eight ways, found by the same keyed
//! hash. A way is `expiry (21 bits) | proven (1) | marks since (3) | marks (7) | fingerprint (32)`. The expiry counts units of 2^30 ns (1.07 s)
//! and wraps after 26 days. A ticket lives at most [`LONGEST_LIFE`], and what says more is past: one that lapsed 19 to 26 days ago can look
//! valid again, which lets a returning source skip a challenge.
//!
//! A *mark* is an attempt that was charged when it came, while challenged handshakes may still be under way: its ACK, which looks like
//! any other with a cookie, takes the mark and is not charged again. Every connection was charged once, whoever sends what. All marks of a
//! ticket end two to five minutes after the first: nobody saves them up. They make no ticket last longer. (After 18 minutes in which the source
//! did nothing they may be taken for new ones, if its ticket lasts that long.)
//!
//! A ticket taken from a live owner is the one that ends first, and one that was never proven before any that was.

use crate::source_table::{TRIES, WAYS};
use crate::word::SharedWord;

/// Nanoseconds in a unit of an expiry, as a power of two.
pub const UNIT_SHIFT: u32 = 30;
/// Longest life of a ticket: seven days, in units.
pub const LONGEST_LIFE: u64 = (7 * 86_400 * 1_000_000_000) >> UNIT_SHIFT;
/// How long a mark counts of a source without a ticket, in units: as long as a SYN cookie may come back.
pub const PREPAID_LIFE: u64 = 128;

const FINGERPRINT: u64 = 0xffff_ffff;
const PREPAID: u32 = 32;
const MOST_PREPAID: u64 = 0x7f;
const SINCE: u32 = 39;
const SINCES: u64 = 7;
/// Nanoseconds in a step of the marks' clock, as a power of two: 137 s.
const SINCE_SHIFT: u32 = 37;
const PROVEN: u64 = 1 << 42;
const EXPIRY: u32 = 43;
const TIMES: u64 = (1 << (64 - EXPIRY)) - 1;
const _: () = assert!(LONGEST_LIFE < TIMES / 2 && PROVEN >> 21 == TIMES + 1);

/// One way, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// Units until it ends; 0 for none.
    pub left: u64,
    /// Whether its source proved itself, or was admitted where nothing is asked for.
    pub proven: bool,
    /// Marks: attempts charged in advance.
    pub prepaid: u64,
    /// Step of the marks' clock in which the first was made.
    since: u64,
}

impl Ticket {
    /// Reads a way at `now` (nanoseconds).
    #[inline(always)]
    pub const fn read(word: u64, now: u64) -> Self {
        let left = (word >> EXPIRY).wrapping_sub(now >> UNIT_SHIFT) & TIMES;
        if left > LONGEST_LIFE {
            return Self { left: 0, proven: false, prepaid: 0, since: 0 };
        }
        let since = word >> SINCE & SINCES;
        let is_new = step(now).wrapping_sub(since) & SINCES <= 1;
        Self {
            left,
            proven: word & PROVEN != 0,
            prepaid: if is_new { word >> PREPAID & MOST_PREPAID } else { 0 },
            since,
        }
    }

    #[inline(always)]
    const fn word(self, fingerprint: u32, now: u64) -> u64 {
        let expiry = ((now >> UNIT_SHIFT) + self.left) & TIMES;
        let marks = self.since << SINCE | self.prepaid << PREPAID;
        expiry << EXPIRY | (self.proven as u64) << 42 | marks | fingerprint as u64
    }

    /// Whether its owner need not be challenged.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        self.proven && self.left > 0
    }
}

/// The marks' clock.
#[inline(always)]
const fn step(now: u64) -> u64 {
    now >> SINCE_SHIFT & SINCES
}

/// How much is lost with a way, below 2^22: nothing if it is past or was never used, less than any proven one if it was never proven. Without a branch,
/// for the verifier's sake: it would follow all of them for all eight ways.
#[inline(always)]
const fn worth(word: u64, now: u64) -> u64 {
    let left = (word >> EXPIRY).wrapping_sub(now >> UNIT_SHIFT) & TIMES;
    // The sign of the difference. LLVM would make a branch of it again if it knew the number.
    let is_live = core::hint::black_box(LONGEST_LIFE).wrapping_sub(left) >> 63 ^ 1;
    // An expiry of zero is no sign: at some times it lies ahead.
    let is_used = ((word & FINGERPRINT) + FINGERPRINT) >> 32;
    (left | (word & PROVEN) >> 21) * is_live * is_used
}

/// What is done with the ticket of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Change {
    /// Nothing. True if it is valid.
    Nothing = 0,
    /// It is given, or renewed. True if the source had none.
    Grant = 1,
    /// A mark is made. True if it was.
    Prepay = 2,
    /// A mark is taken. True if there was one.
    Redeem = 3,
}

impl Change {
    /// The change with a number; what is unknown is nothing.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Grant,
            2 => Self::Prepay,
            3 => Self::Redeem,
            _ => Self::Nothing,
        }
    }

    /// What becomes of a ticket; `None`: it stays as it is.
    #[inline(always)]
    fn apply(self, ticket: Ticket, now: u64, life: u64) -> Option<Ticket> {
        match self {
            Self::Nothing => None,
            // A young ticket is left as it is: a page's connections do not each write a shared line.
            Self::Grant if ticket.is_valid() && ticket.left + life / 8 >= life => None,
            Self::Grant => Some(Ticket { left: life, proven: true, ..ticket }),
            Self::Prepay => {
                let left = if ticket.is_valid() { ticket.left } else { PREPAID_LIFE };
                let since = if ticket.prepaid == 0 { step(now) } else { ticket.since };
                let prepaid = if ticket.prepaid < MOST_PREPAID { ticket.prepaid + 1 } else { ticket.prepaid };
                Some(Ticket { left, proven: ticket.is_valid(), prepaid, since })
            }
            Self::Redeem if ticket.prepaid == 0 => None,
            Self::Redeem => Some(Ticket { prepaid: ticket.prepaid - 1, ..ticket }),
        }
    }
}

/// Reads or changes the ticket of the source with `fingerprint`; `life` in units. A new one takes the place of one that is least missed.
#[inline(always)]
pub fn change<W: SharedWord>(set: &[W; WAYS], fingerprint: u32, change: Change, now: u64, life: u64) -> bool {
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let (way, word) = place(set, fingerprint, now);
        let mine = word & FINGERPRINT == fingerprint as u64;
        let before = if mine { Ticket::read(word, now) } else { Ticket::default() };
        let Some(after) = change.apply(before, now, life) else {
            return matches!(change, Change::Nothing) && before.is_valid();
        };
        if set[way & (WAYS - 1)].replace(word, after.word(fingerprint, now)) {
            return !matches!(change, Change::Grant) || !before.is_valid();
        }
    }
    false
}

/// The source's way, or the one that is least missed.
#[inline(always)]
fn place<W: SharedWord>(set: &[W; WAYS], fingerprint: u32, now: u64) -> (usize, u64) {
    let mut way = 0;
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == fingerprint as u64 {
            return (way, word);
        }
        way += 1;
    }
    let (mut least, mut way) = (u64::MAX, 0);
    while way < WAYS {
        let worth = worth(set[way].load(), now) << 3 | way as u64;
        if worth < least {
            least = worth;
        }
        way += 1;
    }
    let way = least as usize & (WAYS - 1);
    (way, set[way].load())
}
