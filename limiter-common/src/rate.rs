//! Rates as people write them, and their exact conversion into what the kernel side applies.

use crate::budget::{BudgetLimit, LEASE_LIFE};
use crate::source_table::{FINGERPRINT_BITS, SourceLimit, TICK_SHIFT, Ticks};

const SECOND: u64 = 1_000_000_000;
/// Longest window of a source limit: one day. The table's clock wraps after thirteen.
pub const LONGEST_WINDOW: u64 = 86_400 * SECOND;

/// `count` events in `period` nanoseconds. A count of 0 means "no limit" in a record; it is never a rate of zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Events, 1 or more.
    pub count: u64,
    /// In so many nanoseconds.
    pub period: u64,
}

/// A rate and how many events may come at once after a rest. All zeros is "no limit".
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// The rate in the long run.
    pub rate: Rate,
    /// Events at once, 1 or more.
    pub burst: u64,
}

/// Why a limit cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkeepable {
    /// A zero where a number is meant.
    Zero,
    /// The rate is so high that the clock would be wrong by more than 1%. Holds the highest possible, in events per second.
    TooFast(u64),
    /// The time in which a full burst is earned is too long. Holds the longest possible, in seconds.
    TooLong(u64),
    /// The burst holds less than 10 ms of the rate, which is how coarse the clock may be. Holds the smallest possible.
    BurstTooSmall(u64),
}

impl Rate {
    /// So many events per second.
    pub const fn per_second(count: u64) -> Self {
        Self { count, period: SECOND }
    }

    /// Nanoseconds from one event to the next, rounded to the nearest; 0 for a rate of no limit.
    fn interval(self, unit: u64) -> u128 {
        let (count, period) = (u128::from(self.count) * u128::from(unit), u128::from(self.period));
        (period + count / 2).checked_div(count).unwrap_or(0)
    }

    /// Events in `time` nanoseconds, rounded up.
    pub fn events_in(self, time: u64) -> u64 {
        let events =
            (u128::from(self.count) * u128::from(time)).div_ceil(u128::from(self.period.max(1)));
        u64::try_from(events).unwrap_or(u64::MAX)
    }
}

impl Limit {
    /// Whether there is no limit.
    pub const fn is_none(&self) -> bool {
        self.rate.count == 0
    }

    fn check(&self, unit: u64, longest: u64) -> Result<u64, Unkeepable> {
        if self.rate.count == 0 || self.rate.period == 0 || self.burst == 0 {
            return Err(Unkeepable::Zero);
        }
        // An interval of n units is off by at most 1/2n: 1% at 50.
        if self.rate.interval(unit) < 50 {
            return Err(Unkeepable::TooFast(SECOND / (50 * unit)));
        }
        let least = self.rate.events_in(LEASE_LIFE);
        if self.burst < least {
            return Err(Unkeepable::BurstTooSmall(least));
        }
        let window = self.rate.interval(1) * u128::from(self.burst);
        if window > u128::from(longest) {
            return Err(Unkeepable::TooLong(longest / SECOND));
        }
        u64::try_from(self.rate.interval(unit)).map_err(|_| Unkeepable::TooLong(longest / SECOND))
    }

    /// The limit of one source.
    ///
    /// # Errors
    /// When the source table cannot keep it: see [`Unkeepable`].
    pub fn to_source(&self) -> Result<SourceLimit, Unkeepable> {
        if self.is_none() {
            return Ok(SourceLimit { interval: 0, window: 0 });
        }
        let ticks = self.check(1 << TICK_SHIFT, LONGEST_WINDOW)?;
        let Ticks(interval) = Ticks::count(ticks);
        debug_assert!(interval >> FINGERPRINT_BITS == ticks);
        Ok(SourceLimit { interval, window: interval * (self.burst - 1) })
    }

    /// A budget on a machine with `cpus` CPUs. Its lease is a millisecond of the rate shared among them, 1 to 64.
    ///
    /// # Errors
    /// When a budget cannot keep it: see [`Unkeepable`].
    pub fn to_budget(&self, cpus: u64) -> Result<BudgetLimit, Unkeepable> {
        if self.is_none() {
            return Ok(BudgetLimit { interval: 0, capacity: 0, lease: 1 });
        }
        let interval = self.check(1, 365 * 86_400 * SECOND)?;
        let a_millisecond = u128::from(self.rate.count) * 1_000_000 / u128::from(self.rate.period);
        let lease = (a_millisecond / u128::from(cpus.max(1))).clamp(1, 64) as u64;
        Ok(BudgetLimit { interval, capacity: interval * self.burst, lease })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(count: u64, period: u64, burst: u64) -> Limit {
        Limit { rate: Rate { count, period }, burst }
    }

    #[test]
    fn conversion_is_exact_where_it_can_be() {
        let source = limit(20, SECOND, 40).to_source().expect("keepable");
        assert_eq!(source.interval >> FINGERPRINT_BITS, 48_828);
        assert_eq!(source.window, source.interval * 39);
        let budget = limit(1000, SECOND, 2000).to_budget(2).expect("keepable");
        assert_eq!((budget.interval, budget.capacity, budget.lease), (1_000_000, 2_000_000_000, 1));
        assert_eq!(limit(1_000_000, SECOND, 1 << 20).to_budget(2).expect("keepable").lease, 64);
        assert_eq!(limit(100_000, SECOND, 1 << 20).to_budget(2).expect("keepable").lease, 50);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_the_bound() {
        assert_eq!(limit(20, SECOND, 0).to_source(), Err(Unkeepable::Zero));
        assert_eq!(limit(20, 0, 1).to_source(), Err(Unkeepable::Zero));
        assert_eq!(limit(30_000, SECOND, 30_000).to_source(), Err(Unkeepable::TooFast(19_531)));
        assert_eq!(limit(1, 3600 * SECOND, 25).to_source(), Err(Unkeepable::TooLong(86_400)));
        assert!(limit(1, 3600 * SECOND, 24).to_source().is_ok());
        assert_eq!(limit(1000, SECOND, 9).to_source(), Err(Unkeepable::BurstTooSmall(10)));
        assert_eq!(
            limit(50_000_000, SECOND, 50_000_000).to_budget(1),
            Err(Unkeepable::TooFast(20_000_000))
        );
        assert_eq!(limit(u64::MAX, 1, u64::MAX).to_budget(1), Err(Unkeepable::TooFast(20_000_000)));
        assert!(matches!(limit(1, u64::MAX, u64::MAX).to_budget(1), Err(Unkeepable::TooLong(_))));
        assert!(Limit::default().to_source().expect("no limit").interval == 0);
    }

    proptest::proptest! {
        #[test]
        fn a_kept_rate_is_within_one_percent(count in 1_u64..25_000_000, seconds in 1_u64..100_000, burst in 1_u64..1 << 32) {
            let limit = limit(count, seconds * SECOND, burst);
            let wanted = seconds as f64 * 1e9 / count as f64;
            if let Ok(source) = limit.to_source() {
                let got = (source.interval >> FINGERPRINT_BITS) as f64 * 1024.0;
                proptest::prop_assert!((got / wanted - 1.0).abs() <= 0.0101, "{got} for {wanted}");
            }
            if let Ok(budget) = limit.to_budget(2) {
                proptest::prop_assert!((budget.interval as f64 / wanted - 1.0).abs() <= 0.0101);
            }
        }
    }
}
