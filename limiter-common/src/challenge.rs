//! When attempts are answered by limiter instead of the kernel: per service, decided in the kernel
//! side, seen by everybody.
//!
//! A *challenge* answers an attempt with a SYN cookie (RFC 4987 3.6) before the kernel sees it. It
//! turns on when more attempts come than may pass to the kernel unproven, and stays on until they
//! would have fitted for [`HOLD`]: while it is on they draw from the same purse, which nothing else
//! uses, and each time that is spent, the end moves.
//!
//! The state is one cache line of words per service.

use crate::word::SharedWord;

/// Words in a line.
pub const WORDS: usize = 8;
/// How long a challenge stays on after the last sign of need: 10 s.
pub const HOLD: u64 = 10_000_000_000;
/// How long it counts that the kernel made a cookie: 10 s.
const LATELY: u64 = 10_000_000_000;
/// Ends are moved only when they move by this much, so that a flood does not write: 1 s.
const STEP: u64 = 1_000_000_000;

const ON_UNTIL: usize = 0;
const MADE_UNTIL: usize = 1;
const TURNS: usize = 2;
const SINCE: usize = 3;
/// The word that says since when the accept queue of the service's server is full:
/// [`crate::room::is_stuck`].
pub const FULL: usize = 4;

/// What asks a source to prove itself, per service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Challenge {
    /// Never.
    #[default]
    Off = 0,
    /// While a budget is short.
    Auto = 1,
    /// Always.
    Always = 2,
}

impl Challenge {
    /// The inverse of `as u32`; what is unknown is off.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Auto,
            2 => Self::Always,
            _ => Self::Off,
        }
    }
}

/// What is asked or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Is it on?
    IsOn,
    /// Turn it on, or keep it on.
    TurnOn,
}

/// Asks or tells a line.
#[inline(always)]
pub fn ask<W: SharedWord>(line: &[W; WORDS], ask: Ask, now: u64) -> bool {
    match ask {
        Ask::IsOn => is_on(line, now),
        Ask::TurnOn => {
            turn_on(line, now);
            true
        }
    }
}

/// The state of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// On until then, nanoseconds.
    pub on_until: u64,
    /// How often it was turned on.
    pub turns: u64,
    /// When it was last turned on, nanoseconds.
    pub since: u64,
}

impl State {
    /// Reads a line.
    pub const fn read(line: &[u64; WORDS]) -> Self {
        Self { on_until: line[ON_UNTIL], turns: line[TURNS], since: line[SINCE] }
    }
}

/// Whether it is on.
#[inline(always)]
pub fn is_on<W: SharedWord>(line: &[W; WORDS], now: u64) -> bool {
    now < line[ON_UNTIL].load()
}

/// Turns it on, or keeps it on.
#[inline(always)]
pub fn turn_on<W: SharedWord>(line: &[W; WORDS], now: u64) {
    let until = line[ON_UNTIL].load();
    if until < now + HOLD - STEP && line[ON_UNTIL].replace(until, now + HOLD) && until <= now {
        let (turns, since) = (line[TURNS].load(), line[SINCE].load());
        line[TURNS].replace(turns, turns + 1);
        line[SINCE].replace(since, now);
    }
}

/// Notes that the kernel made a cookie.
#[inline(always)]
pub fn issue<W: SharedWord>(line: &[W; WORDS], now: u64) {
    let until = line[MADE_UNTIL].load();
    if until < now + LATELY - STEP {
        line[MADE_UNTIL].replace(until, now + LATELY);
    }
}

/// Whether the kernel made a cookie lately, and so would make one now if it could.
#[inline(always)]
pub fn has_issued<W: SharedWord>(line: &[W; WORDS], now: u64) -> bool {
    now < line[MADE_UNTIL].load()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::cell::Cell;

    #[test]
    fn it_holds_and_ends() {
        let line: [Cell<u64>; WORDS] = core::array::from_fn(|_| Cell::new(0));
        let start = 1 << 40;
        assert!(!is_on(&line, start));
        turn_on(&line, start);
        assert!(
            is_on(&line, start) && is_on(&line, start + HOLD - 1) && !is_on(&line, start + HOLD)
        );
        turn_on(&line, start + STEP / 2);
        assert!(!is_on(&line, start + HOLD), "a small move is not written");
        turn_on(&line, start + 5 * STEP);
        assert!(is_on(&line, start + HOLD + 4 * STEP));
        assert_eq!(line[TURNS].get(), 1);
        turn_on(&line, start + 100 * STEP);
        let state = State::read(&core::array::from_fn(|index| line[index].get()));
        assert_eq!((state.turns, state.since), (2, start + 100 * STEP));
    }

    #[test]
    fn it_is_remembered_that_the_kernel_made_a_cookie() {
        let line: [Cell<u64>; WORDS] = core::array::from_fn(|_| Cell::new(0));
        let start = 1 << 40;
        assert!(!has_issued(&line, start));
        issue(&line, start);
        assert!(has_issued(&line, start + LATELY - 1) && !has_issued(&line, start + LATELY));
        issue(&line, start + 2 * STEP);
        assert!(has_issued(&line, start + LATELY + STEP));
    }
}
