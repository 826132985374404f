//! How much of a budget is used. Records are taken as they stand in the maps, whatever stands there.

use limiter_common::budget::BudgetLimit;

/// What of a budget is used, in nanoseconds of its capacity, when its word stands at `arrival`.
pub fn used(arrival: u64, now: u64, budget: &BudgetLimit) -> u64 {
    let ahead = arrival.saturating_sub(now);
    // More than all of it is left over from another policy.
    if ahead > budget.capacity { 0 } else { ahead }
}

/// The same in percent; `None` without a budget.
pub fn percent(used: u64, budget: &BudgetLimit) -> Option<f64> {
    (budget.capacity > 0).then(|| 100.0 * used as f64 / budget.capacity as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_words_make_a_percentage(interval in word(), arrival in word(), capacity in word()) {
            let budget = BudgetLimit { interval, capacity, lease: 1 };
            let used = used(arrival, 1 << 40, &budget);
            prop_assert!(percent(used, &budget).is_none_or(|percent| (0.0..=100.0).contains(&percent)));
        }
    }
}
