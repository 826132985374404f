//! Flows that brought a cookie back: which of them have paid, and which wait, in eight bytes a
//! flow.
//!
//! Where the kernel makes cookies a connection is made from a packet that brings one, and that
//! packet pays. A client may send it again, and its first data brings the same cookie; so a flow
//! that paid is noted, until no cookie of it can be good any more ([`LIFE`]). What comes of a noted
//! flow is not charged while its connection is there, unless a reset of the client went by: it may
//! be on its way to the connection still when the next packet is looked at.
//!
//! A cookie is good for up to four sequence numbers, because the size of segments stands in its
//! lowest bits. Of a flow whose first packets were refused a later one could make the connection,
//! and its first bytes would be missing; so a flow that waits is noted with the sequence number of
//! its first byte, and comes in with that or not at all. Where that cannot be noted nobody waits.
//! Its time is that of its first refusal. A client that has given up has closed its socket, but its
//! kernel sends the request again all the same for a minute, and nothing in it tells: only that it
//! waits for long ([`Known::Pays`]).
//!
//! Where the kernel makes cookies in a flood of its own only (`tcp_syncookies` 1), attempts pay. For
//! two minutes after limits come into force a cookie may come back whose attempt has not, so both
//! pay then, and an attempt that was let in is noted: its cookie is free until its connection was
//! seen, ends or is reset, or its client has most likely given up ([`PATIENCE`]).
//!
//! The table is of the kind of [`crate::source_table`]: a set is one cache line of eight ways. A
//! way is `time (21 bits) | sequence number (16) | state (3) | fingerprint (24)`. Time counts units
//! of 2^24 ns (17 ms) and wraps after 9.8 hours; what was left there by the same flow a wrap ago is
//! taken for new with a probability of 1 in 270.

use crate::hash::Place;
use crate::source_table::{TRIES, WAYS};
use crate::word::SharedWord;

/// Sets of the table: 4 MiB, half a million flows.
pub const SETS: u32 = 65_536;
/// Nanoseconds in a unit of time, as a power of two.
const UNIT_SHIFT: u32 = 24;
/// How long a note counts, in units: 129 s. The kernel takes a cookie for at most two minutes after
/// it was made.
pub const LIFE: u64 = 129_000_000_000 >> UNIT_SHIFT;
/// Units in which data that comes right behind its ACK may be ahead of the connection: this one and
/// the next, 17 to 34 ms.
const BEHIND: u64 = 1;
/// Units in which a reset may be on its way to its connection: a quarter of a second. Later the
/// connection that is there was not reset by it.
const ON_ITS_WAY: u64 = 15;
/// How long a flow waits until its client has more likely given up than not, in units: 8 s. What
/// was refused is sent again 0.2, 0.6, 1.4, 3, 6.2 and 12.6 s after it.
pub const PATIENCE: u64 = 8_000_000_000 >> UNIT_SHIFT;
/// How long after a flow had to wait a look at its other packets is worth it, nanoseconds.
const WAITS_UNTIL: u64 = ((LIFE + 1) << UNIT_SHIFT) + STEP;
/// That is moved only when it moves by this much: a second.
const STEP: u64 = 1_000_000_000;
/// Flows may wait in so many ways of a set, the first: the others are for those that pay.
const MAY_WAIT: usize = 4;
/// Sequence numbers around the first byte that a cookie may be good for.
const NEAR: u16 = 3;

const FINGERPRINT: u64 = 0xff_ffff;
const STATE: u32 = 24;
const SEQUENCE: u32 = 27;
const TIME: u32 = 43;
const TIMES: u64 = (1 << (64 - TIME)) - 1;

/// Where a flow is in the table. The lowest byte says nothing of that, and is free for who hands it
/// on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow(pub u64);

impl Flow {
    /// The flow at a place.
    #[inline(always)]
    pub const fn at(place: Place) -> Self {
        Self(place.0)
    }

    /// Index of its set.
    #[inline(always)]
    pub const fn set(self) -> u32 {
        Place(self.0).set(SETS)
    }

    /// What tells flows of a set apart; never 0, which marks a way that was never used.
    #[inline(always)]
    pub const fn fingerprint(self) -> u32 {
        Place(self.0 >> 8).fingerprint()
    }
}

/// What is noted of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It brought a good cookie and was refused.
    Waiting = 1,
    /// It has paid.
    Paid = 2,
    /// It has paid with a packet without data: data may be right behind it.
    PaidAhead = 3,
    /// It has paid, and then its client sent a reset.
    Reset = 4,
    /// Its client sent a reset, and nothing else is known of it: its connection is older than the
    /// table, or its note had to go. The first to go itself.
    ResetUnknown = 5,
    /// Its attempt has paid, where the kernel makes a cookie only now and then.
    Admitted = 6,
}

impl State {
    /// The state with a number; what is unknown is a flow that was reset, which pays again.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Waiting,
            2 => Self::Paid,
            3 => Self::PaidAhead,
            5 => Self::ResetUnknown,
            6 => Self::Admitted,
            _ => Self::Reset,
        }
    }
}

/// What a packet with a good cookie is to a note of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// There is none: nothing was charged since the table was made, or it had to go.
    No,
    /// There is one of another connection from the same port.
    Another,
    /// It waits, and this is its first byte.
    Pays {
        /// It waits for longer than people do.
        late: bool,
    },
    /// It has paid, and its client sent a reset.
    Reset {
        /// Which may be on its way to the connection still.
        on_its_way: bool,
    },
    /// Its attempt has paid, and this is its first byte.
    Admitted,
    /// It waits or its attempt has paid, and this is not its first byte.
    Shifted,
    /// It has paid. Whether this may be data right behind the packet that paid.
    Paid {
        /// This is its first byte.
        first: bool,
        /// It paid just now.
        fresh: bool,
        /// With a packet without data, and none has come since.
        ahead: bool,
    },
}

/// What is known of the flow with `fingerprint`, of which a packet with this sequence number brings
/// a good cookie.
#[inline(always)]
pub fn ask<W: SharedWord>(set: &[W; WAYS], fingerprint: u32, sequence: u16, now: u64) -> Known {
    let word = find(set, fingerprint).1;
    let age = age(word, now);
    let off = sequence.wrapping_sub((word >> SEQUENCE) as u16);
    let state = State::from_number(word >> STATE & 7);
    if word == 0 || age > LIFE {
        return Known::No;
    }
    if !matches!(state, State::ResetUnknown) && off.wrapping_add(NEAR) > 2 * NEAR {
        return Known::Another;
    }
    match state {
        State::Waiting | State::Admitted if off != 0 => Known::Shifted,
        State::Admitted if age > PATIENCE => Known::Pays { late: true },
        State::Admitted => Known::Admitted,
        State::Waiting => Known::Pays { late: age > PATIENCE },
        State::Reset | State::ResetUnknown => Known::Reset { on_its_way: age <= ON_ITS_WAY },
        state => Known::Paid {
            first: off == 0,
            fresh: age <= BEHIND,
            ahead: matches!(state, State::PaidAhead),
        },
    }
}

/// Notes a flow, and says whether it could. One that pays takes the place of another that paid, one
/// that waits a place of those in which flows may wait. One that waits already has waited since then.
#[inline(always)]
pub fn note<W: SharedWord>(
    set: &[W; WAYS],
    fingerprint: u32,
    sequence: u16,
    state: State,
    now: u64,
) -> bool {
    let time = now >> UNIT_SHIFT & TIMES;
    let new =
        time << TIME | (sequence as u64) << SEQUENCE | (state as u64) << STATE | fingerprint as u64;
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let (mut way, mut word) = find(set, fingerprint);
        if word == 0 {
            let Some(free) = room(set, matches!(state, State::Waiting), now) else { return false };
            (way, word) = free;
        } else if matches!(state, State::Waiting)
            && (word ^ new) & ((1 << TIME) - 1) == 0
            && age(word, now) <= LIFE
        {
            return true;
        }
        if set[way & (WAYS - 1)].replace(word, new) {
            return true;
        }
    }
    false
}

/// Notes that a flow's client sent a reset, unless the flow waits. Of a flow without a note that
/// takes no other's place: a flood of resets drives out nothing but itself.
#[inline(always)]
pub fn reset<W: SharedWord>(set: &[W; WAYS], fingerprint: u32, now: u64) {
    let time = (now >> UNIT_SHIFT & TIMES) << TIME;
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let (mut way, mut word) = find(set, fingerprint);
        let mut state = State::Reset;
        match State::from_number(word >> STATE & 7) {
            State::Waiting => return,
            State::ResetUnknown => state = State::ResetUnknown,
            _ if word == 0 => {
                let Some(free) = unused(set, WAYS, now) else { return };
                (way, word) = free;
                state = State::ResetUnknown;
            }
            _ => {}
        }
        let kept = match state {
            State::ResetUnknown => fingerprint as u64,
            _ => word & ((1 << TIME) - 1) & !(7 << STATE),
        };
        if set[way & (WAYS - 1)].replace(word, time | kept | (state as u64) << STATE) {
            return;
        }
    }
}

/// Whether a flow waits.
#[inline(always)]
pub fn waits<W: SharedWord>(set: &[W; WAYS], fingerprint: u32, now: u64) -> bool {
    let word = find(set, fingerprint).1;
    word >> STATE & 7 == State::Waiting as u64 && age(word, now) <= LIFE
}

/// Notes in a word that some flow waits from now on: until when is what [`may_wait`] reads.
#[inline(always)]
pub fn note_waiting<W: SharedWord>(until: &W, now: u64) {
    let old = until.load();
    // Not for each of them: a flood of proofs does not write.
    if old < now + WAITS_UNTIL - STEP {
        until.replace(old, now + WAITS_UNTIL);
    }
}

/// Whether any flow may wait still.
#[inline(always)]
pub fn may_wait<W: SharedWord>(until: &W, now: impl FnOnce() -> u64) -> bool {
    let until = until.load();
    until != 0 && now() < until
}

/// Notes that data or a FIN came after the packet that paid without any, and says whether it was
/// the first.
#[inline(always)]
pub fn follow<W: SharedWord>(set: &[W; WAYS], fingerprint: u32) -> bool {
    end(set, fingerprint, State::PaidAhead)
}

/// Notes that the connection of an admitted attempt was there: what comes after it pays.
#[inline(always)]
pub fn arrive<W: SharedWord>(set: &[W; WAYS], fingerprint: u32) {
    end(set, fingerprint, State::Admitted);
}

/// Makes a flow in `state` one that has paid, and says whether it was in that.
#[inline(always)]
fn end<W: SharedWord>(set: &[W; WAYS], fingerprint: u32, state: State) -> bool {
    let (way, word) = find(set, fingerprint);
    let change = (state as u64 ^ State::Paid as u64) << STATE;
    word >> STATE & 7 == state as u64 && set[way & (WAYS - 1)].replace(word, word ^ change)
}

/// Whether a way is of a flow that has paid.
pub const fn is_paid(way: u64) -> bool {
    matches!(State::from_number(way >> STATE & 7), State::Paid | State::PaidAhead) && way != 0
}

#[inline(always)]
const fn age(word: u64, now: u64) -> u64 {
    (now >> UNIT_SHIFT).wrapping_sub(word >> TIME) & TIMES
}

/// The flow's way; a word of 0 if it has none.
#[inline(always)]
fn find<W: SharedWord>(set: &[W; WAYS], fingerprint: u32) -> (usize, u64) {
    let mut way = 0;
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == fingerprint as u64 {
            return (way, word);
        }
        way += 1;
    }
    (0, 0)
}

/// Of the first ways one that is over, or of which only a reset is known.
#[inline(always)]
fn unused<W: SharedWord>(set: &[W; WAYS], ways: usize, now: u64) -> Option<(usize, u64)> {
    let mut way = 0;
    while way < ways {
        let word = set[way & (WAYS - 1)].load();
        let is_unknown = word >> STATE & 7 == State::ResetUnknown as u64;
        if word == 0 || is_unknown || age(word, now) > LIFE {
            return Some((way, word));
        }
        way += 1;
    }
    None
}

/// A way for a new note: one that is not used; else one of a flow that has paid. For those who pay
/// by chance one of the ways in which nobody waits.
#[inline(always)]
fn room<W: SharedWord>(set: &[W; WAYS], waits: bool, now: u64) -> Option<(usize, u64)> {
    if let Some(unused) = unused(set, if waits { MAY_WAIT } else { WAYS }, now) {
        return Some(unused);
    }
    if !waits {
        let way = MAY_WAIT | (now >> UNIT_SHIFT) as usize & (MAY_WAIT - 1);
        return Some((way, set[way & (WAYS - 1)].load()));
    }
    let mut way = 0;
    while way < MAY_WAIT {
        let word = set[way].load();
        if word >> STATE & 7 != State::Waiting as u64 {
            return Some((way, word));
        }
        way += 1;
    }
    None
}
