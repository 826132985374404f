//! How much of each budget is wanted here: told from counts that only grow, look by look.
//!
//! What changes by more than chance is believed at once, so that a crowd that comes or goes is
//! known in full by the second look after it. What changes by less is averaged, because a report
//! for every ripple would be a write of every node at every look.

use std::collections::BTreeMap;
use std::time::Duration;

use limiter_fleet::record::{Amount, Amounts};

/// A rate of one a second.
const ONE: Amount = 1000;
/// A count that differs from the expected one by so many of its standard deviations is no chance,
/// where arrivals know nothing of one another (Poisson).
const SIGMAS: u128 = 3;
/// Of what is chance, a look's count has one part in so many of the mean.
const PARTS: Amount = 4;

/// What is wanted, and the counts of the last look.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    last: Option<(Duration, BTreeMap<String, u64>)>,
    rates: Amounts,
}

impl Demand {
    /// Takes the counts of all budgets at a moment.
    pub fn look(&mut self, at: Duration, counts: BTreeMap<String, u64>) {
        if let Some((before, last)) = &self.last {
            let time = at.saturating_sub(*before).as_micros().max(1);
            let rate = |(name, now): (&String, &u64)| {
                // A limiter that was loaded anew counts from nothing.
                let more = now.saturating_sub(last.get(name).copied().unwrap_or(*now));
                let rate = rate(more, time, self.rates.get(name).copied());
                (name.clone(), rate)
            };
            self.rates = counts.iter().map(rate).collect();
        }
        self.last = Some((at, counts));
    }

    /// What is wanted, as far as that was seen.
    pub const fn rates(&self) -> &Amounts {
        &self.rates
    }
}

/// The rate after so many in so many microseconds, where it was `known` before.
fn rate(more: u64, time: u128, known: Option<Amount>) -> Amount {
    let amount = u128::from(more) * 1_000_000 * u128::from(ONE) / time;
    let seen = Amount::try_from(amount).unwrap_or(Amount::MAX);
    let Some(known) = known else { return seen };
    let expected = u128::from(known) * time / 1_000_000 / u128::from(ONE);
    let apart = u128::from(more).abs_diff(expected);
    // The variance of a count is what is expected of it.
    let is_chance = apart * apart <= SIGMAS.pow(2) * expected.max(1);
    if is_chance { known - known / PARTS + seen / PARTS } else { seen }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(500);

    /// The rates after each look, of counts between them.
    fn rates(counts: &[u64]) -> Vec<u64> {
        let (mut demand, mut sum, mut at) = (Demand::default(), 0, Duration::ZERO);
        let mut look = |more: &u64| {
            (sum, at) = (sum + more, at + LOOK);
            demand.look(at, [("web".to_owned(), sum)].into());
            demand.rates().get("web").map_or(0, |rate| rate / ONE)
        };
        look(&0);
        counts.iter().map(look).collect()
    }

    #[test]
    fn a_crowd_is_known_in_full_by_the_second_look() {
        for (before, part, after) in [(0, 700, 2500), (500, 600, 900), (50, 60, 120)] {
            let seen = rates(&[before, before, part, after, after]);
            assert_eq!((seen[3], seen[4]), (2 * after, 2 * after), "{before} {part} {after}");
        }
        // And its end.
        assert_eq!(rates(&[500, 500, 300, 0])[2..], [600, 0]);
        assert_eq!(rates(&[500, 500, 0, 0])[2..], [0, 0]);
    }

    #[test]
    fn a_limiter_that_is_loaded_anew_wants_what_comes_then() {
        let mut demand = Demand::default();
        let seen = [0, 5000, 10_000, 0, 300, 600].map(|count| {
            let at = demand.last.as_ref().map_or(Duration::ZERO, |(at, _)| *at + LOOK);
            demand.look(at, [("web".to_owned(), count)].into());
            demand.rates().get("web").map_or(0, |rate| rate / ONE)
        });
        assert_eq!(seen, [0, 10_000, 10_000, 0, 600, 600]);
    }

    #[test]
    fn chance_is_averaged() {
        let mut random = fastrand::Rng::with_seed(1);
        // A hundred a second: a look counts 50, give or take 7.
        let mut count = || (0..1000).filter(|_| random.f64() < 0.05).count() as u64;
        let counts: Vec<u64> = (0..2000).map(|_| count()).collect();
        let seen = &rates(&counts)[20..];
        let near = seen.iter().filter(|rate| (80..=120).contains(*rate)).count();
        assert!(near * 100 >= seen.len() * 98, "{near} of {}", seen.len());
        let changes = seen.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) * 20 > pair[0]);
        let changes = changes.count();
        assert!(changes * 2 < seen.len(), "{changes} of {} would be reported", seen.len());
    }
}
