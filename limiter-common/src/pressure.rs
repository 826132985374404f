//! Fair share: when a budget is short, what exceeds an equal share of it is refused first.
//!
//! The share of a source follows from how full the budget's own word is, and from nothing else: up to an eighth there is
//! no pressure, then each sixteenth of what is left halves the share, from the whole budget down to 2^-16 of it. So there is
//! no controller and no state: the level settles where what all sources get together is what the budget takes. Sources that want
//! less than their share never feel it; nothing is refused while the budget is not short.
//!
//! A share is charged by the same algorithm and in the same table as a source limit ([`crate::source_table`]), at a place of its
//! own ([`crate::hash::Place::beside`]). Only the interval follows the pressure; the window stays [`WINDOW`], so that a change of the pressure is felt at the next
//! attempt and never hands out bursts. A source may use at once what its share is over the window.

use crate::budget::BudgetLimit;
use crate::source_table::{SourceLimit, Ticks};

/// Over so many ticks (10 s) a source's share is counted.
pub const WINDOW: u64 = 10_000_000_000 >> 10;
/// Longest interval that pressure makes, in ticks: the window. So whoever is refused is within its share again after one window at
/// most, however full the budget was when it was charged; a longer one would keep it out long after the pressure has gone.
pub const LONGEST_INTERVAL: u64 = WINDOW;
/// Halvings from no pressure to a full budget.
pub const HALVINGS: u64 = 16;
/// Steps of the pressure within one halving.
const STEPS: u64 = 256;

/// How a budget's level becomes a share, as the kernel side applies it. A unit of 0 means no fair share.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Used capacity from which there is pressure, in nanoseconds.
    pub low: u64,
    /// Used capacity of one step, in nanoseconds.
    pub unit: u64,
    /// Interval of a source that may have the whole budget, in ticks; at least 1.
    pub interval: u64,
}

impl Pressure {
    /// The pressure of a budget.
    pub const fn of(budget: &BudgetLimit) -> Self {
        if budget.interval == 0 {
            return Self { low: 0, unit: 0, interval: 0 };
        }
        let low = budget.capacity / 8;
        let unit = (budget.capacity - low).div_ceil(HALVINGS * STEPS);
        let ticks = budget.interval >> 10;
        Self { low, unit, interval: if ticks == 0 { 1 } else { ticks } }
    }

    /// Interval of one source when `used` nanoseconds of the capacity are used, in ticks; 0 when there is no pressure.
    #[inline(always)]
    pub fn interval(&self, used: u64) -> u64 {
        if used <= self.low {
            return 0;
        }
        let Some(steps) = (used - self.low).checked_div(self.unit) else { return 0 };
        let steps = if steps > HALVINGS * STEPS { HALVINGS * STEPS } else { steps };
        let whole = self.interval << (steps / STEPS);
        let interval = whole + ((whole * (steps % STEPS)) >> 8);
        if interval > LONGEST_INTERVAL { LONGEST_INTERVAL } else { interval }
    }
}

/// The limit that keeps a source to one attempt in `interval` ticks.
#[inline(always)]
pub const fn limit(interval: u64) -> SourceLimit {
    let (Ticks(interval), Ticks(window)) = (Ticks::count(interval), Ticks::count(WINDOW));
    SourceLimit { interval, window }
}

/// Largest debt that a share leaves, for a policy's horizon.
pub const HORIZON: u64 = limit(LONGEST_INTERVAL).horizon();

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure(per_second: u64, burst: u64) -> (Pressure, u64) {
        let interval = 1_000_000_000 / per_second;
        let budget = BudgetLimit { interval, capacity: interval * burst, lease: 1 };
        (Pressure::of(&budget), budget.capacity)
    }

    #[test]
    fn a_share_halves_sixteen_times() {
        let (pressure, capacity) = pressure(1000, 2000);
        assert_eq!((pressure.interval(0), pressure.interval(capacity / 8)), (0, 0));
        let step = (capacity - capacity / 8) / HALVINGS;
        for halving in 0..16 {
            let interval = pressure.interval(capacity / 8 + step * halving + 1);
            let expected = ((1_000_000_u64 >> 10) << halving).min(LONGEST_INTERVAL);
            assert!(
                interval.abs_diff(expected) <= expected / 50 + 1,
                "{halving}: {interval} for {expected}"
            );
        }
        assert!(
            pressure.interval(u64::MAX).abs_diff(pressure.interval(capacity))
                <= pressure.interval(capacity) / 50
        );
    }

    #[test]
    fn it_never_falls_as_the_budget_fills() {
        for (rate, burst) in [(1, 10), (400, 800), (1000, 10), (20_000_000, 40_000_000)] {
            let (pressure, capacity) = pressure(rate, burst);
            let mut last = 0;
            for level in 0..=10_000 {
                let interval = pressure.interval((u128::from(capacity) * level / 10_000) as u64);
                assert!(interval >= last && interval <= LONGEST_INTERVAL);
                last = interval;
            }
        }
        assert_eq!(Pressure::default().interval(u64::MAX), 0);
    }
}
