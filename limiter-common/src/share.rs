//! Shares: the rate of a budget that is in force instead of the stated one, until a time that the
//! kernel side reads; or the number of places, of users who are present or of open connections. A
//! process that dies leaves nothing behind that lasts longer.
//!
//! A word holds the interval in nanoseconds in its upper 36 bits, up to 68 s, and when it ends in
//! its lower 28, in units of 2^30 ns (1.07 s) of CLOCK_MONOTONIC, which is nine years. So there is
//! no time at which an old word counts again, as there would be with fewer bits of time. All zeros
//! is no share.
//!
//! It replaces the interval alone. What a budget has used, and what it holds, are nanoseconds: a
//! budget that is spent stays spent when it gets another rate, and its burst is as much time. Of
//! places the word holds their number instead. Who has one keeps it, also when there are fewer.

use crate::budget::BudgetLimit;
use crate::record::HOST_BUDGET;

/// Words: one for each service, and at [`HOST_BUDGET`] the host's.
pub const WORDS: u32 = HOST_BUDGET + 1;

/// Words of places: users by the id of their service, and from [`OPEN`] on open connections, by the
/// indices of the budgets.
pub const PLACES: u32 = 2 * WORDS;
/// First index of open connections.
pub const OPEN: u32 = WORDS;

const END_BITS: u32 = 28;
const ENDS: u64 = (1 << END_BITS) - 1;
/// Nanoseconds to units of its end.
const UNIT_SHIFT: u32 = 30;

/// A share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(pub u64);

impl Share {
    /// There is none.
    pub const NONE: Self = Self(0);
    /// Longest interval, in nanoseconds: 68 s.
    pub const LONGEST: u64 = (1 << (64 - END_BITS)) - 1;

    /// One with so long an interval in nanoseconds, 1 to [`Share::LONGEST`], that ends at `ends`
    /// (CLOCK_MONOTONIC, nanoseconds) or up to 1.07 s before. `None`: a word cannot hold it.
    pub const fn new(interval: u64, ends: u64) -> Option<Self> {
        let ends = ends >> UNIT_SHIFT;
        if interval == 0 || interval > Self::LONGEST || ends > ENDS {
            return None;
        }
        Some(Self(interval << END_BITS | ends))
    }

    /// When it ends, in nanoseconds.
    pub const fn ends(self) -> u64 {
        (self.0 & ENDS) << UNIT_SHIFT
    }

    /// The interval that is in force at `now` (nanoseconds) where `stated` is the policy's. A
    /// coarse clock may keep it in force for a tick longer.
    #[inline(always)]
    pub const fn interval(self, stated: u64, now: u64) -> u64 {
        if now >> UNIT_SHIFT < self.0 & ENDS { self.0 >> END_BITS } else { stated }
    }

    /// The number of places that is in force at `now` where `stated` is the policy's; 0, any
    /// number, stays so.
    #[inline(always)]
    pub const fn places(self, stated: u64, now: u64) -> u64 {
        if stated == 0 { 0 } else { self.interval(stated, now) }
    }
}

/// The limit with what is in force of its rate at `now`. Where nothing is limited a share changes
/// nothing.
#[inline(always)]
pub const fn in_force(stated: &BudgetLimit, share: Share, now: u64) -> BudgetLimit {
    let interval = if stated.interval == 0 { 0 } else { share.interval(stated.interval, now) };
    BudgetLimit { interval, capacity: stated.capacity, lease: stated.lease }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = 1 << UNIT_SHIFT;

    #[test]
    fn a_zero_word_is_no_share() {
        for now in [0, 1, UNIT, u64::MAX] {
            assert_eq!(Share::NONE.interval(7, now), 7);
        }
        assert_eq!(Share::default(), Share::NONE);
    }

    #[test]
    fn it_ends_by_itself_and_never_late() {
        for ends in [UNIT, 5 * UNIT + 3, 1 << 50, (1 << 58) - 1] {
            let share = Share::new(500, ends).expect("it fits");
            let end = share.ends();
            assert!(end <= ends && ends - end < UNIT, "{ends} became {end}");
            assert_eq!((share.interval(7, end - 1), share.interval(7, end)), (500, 7));
            for later in [1 << 55, 1 << 58, 1 << 60, u64::MAX] {
                assert_eq!(share.interval(7, end.max(later)), 7, "it came again");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_no_share() {
        assert_eq!(Share::new(0, UNIT), None);
        assert_eq!(Share::new(Share::LONGEST + 1, UNIT), None);
        assert_eq!(Share::new(1, 1 << 58), None);
        let longest = Share::new(Share::LONGEST, UNIT).expect("it fits");
        assert_eq!(longest.interval(7, 0), Share::LONGEST);
    }

    #[test]
    fn nothing_limited_stays_so() {
        let share = Share::new(500, UNIT).expect("it fits");
        assert_eq!(in_force(&BudgetLimit::default(), share, 0), BudgetLimit::default());
        assert_eq!([0, 70].map(|stated| share.places(stated, 0)), [0, 500]);
        assert_eq!(share.places(70, UNIT), 70);
    }
}
