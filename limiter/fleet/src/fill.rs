//! Dividing a budget among those who want of it: max-min by demand.
//!
//! Who wants less than the level gets what it wants, the others the level. What is left then is
//! spread evenly, so that calm nodes have room for the first second of a wave. So a node that wants
//! at most an equal part always gets it, whatever another claims to want.

use crate::record::Amount;

/// What one node may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// It gets at least this.
    pub least: Amount,
    /// It has use for so much.
    pub wants: Amount,
    /// It gets at most this; never less than `least`.
    pub most: Amount,
}

/// Shares of a budget, in the order of the wants. Their sum is at most the budget, unless the least
/// of all is more: then each gets its least.
pub fn fill(budget: Amount, wants: &[Want]) -> Vec<Amount> {
    let filled = |level: Amount| {
        move |want: &Want| level.min(want.wants).clamp(want.least, want.most.max(want.least))
    };
    let highest = wants.iter().map(|want| want.wants).max().unwrap_or(0);
    let level = largest(highest, |level| sum(wants.iter().map(filled(level))) <= budget.into());
    let shares: Vec<Amount> = wants.iter().map(filled(level)).collect();
    let spread = |extra: Amount| {
        move |(want, share): (&Want, &Amount)| {
            share.saturating_add(extra).min(want.most.max(*share))
        }
    };
    let extra =
        largest(budget, |extra| sum(wants.iter().zip(&shares).map(spread(extra))) <= budget.into());
    wants.iter().zip(&shares).map(spread(extra)).collect()
}

fn sum(amounts: impl Iterator<Item = Amount>) -> u128 {
    amounts.map(u128::from).sum()
}

/// The largest number up to `most` that fits, where all below one that fits do; 0 if none does.
fn largest(most: u64, fits: impl Fn(u64) -> bool) -> u64 {
    if fits(most) {
        return most;
    }
    let (mut low, mut high) = (0, most);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn want(least: u64, wants: u64) -> Want {
        Want { least, wants, most: u64::MAX }
    }

    #[test]
    fn who_wants_little_gets_it_and_the_others_the_same() {
        assert_eq!(fill(100, &[want(5, 10), want(5, 80), want(5, 70)]), [10, 45, 45]);
    }

    #[test]
    fn what_is_left_is_spread_evenly() {
        assert_eq!(fill(100, &[want(0, 10), want(0, 30)]), [40, 60]);
        let bounded = Want { most: 12, ..want(0, 10) };
        assert_eq!(fill(100, &[bounded, want(0, 30)]), [12, 88]);
    }

    #[test]
    fn nobody_gets_less_than_its_least() {
        assert_eq!(fill(100, &[want(30, 0), want(30, 1000), want(30, 1000)]), [30, 35, 35]);
        assert_eq!(fill(50, &[want(30, 0), want(30, 9)]), [30, 30]);
        assert_eq!(fill(u64::MAX, &[want(30, u64::MAX), want(1, 0)])[1], 1);
        assert_eq!(fill(7, &[]), [0; 0]);
    }

    #[test]
    fn the_sum_is_the_budget_but_for_the_rounding() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let wants: Vec<Want> = (0..random.usize(1..40))
                .map(|_| want(random.u64(0..100), random.u64(0..10_000)))
                .collect();
            let budget = random.u64(4000..200_000);
            let shares = fill(budget, &wants);
            let sum: u64 = shares.iter().sum();
            assert!(sum <= budget && budget - sum < wants.len() as u64, "{sum} of {budget}");
            // An equal part is for who wants it.
            let part = budget / wants.len() as u64;
            for (want, share) in wants.iter().zip(&shares) {
                assert!(*share >= want.least.max(want.wants.min(part.saturating_sub(100))));
            }
        }
    }
}
