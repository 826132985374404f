//! The bounds of accuracy hold for every rate from one a second to a million, for both bursts, one CPU or two, and any skew of the CPUs;
//! and it is said how far the table holds when there are more sources than it has places.

mod simulation;

use limiter_common::rate::{Limit, Rate};
use simulation::{Outcome, Skew, budget, source, sources};

/// So many attempts in each cell: debug builds are slow.
const ATTEMPTS: u64 = 200_000;

fn limit(rate: u64, burst: u64) -> Limit {
    Limit { rate: Rate::per_second(rate), burst }
}

/// The smallest burst that a limit may have, and two seconds' worth.
fn bursts(rate: u64) -> [u64; 2] {
    [rate.div_ceil(100), (2 * rate).max(10)]
}

/// A hundred times the rate, at most what a flood can do: with a burst of one, nothing is earned while nobody comes.
fn demand(rate: u64) -> u64 {
    (100 * rate).min(3_000_000)
}

/// What is wanted is given, but that the coarse clock refuses up to a tick too long: with the smallest bursts that is a tick an attempt.
fn least(rate: u64, burst: u64) -> f64 {
    let ticks = 100.0 / rate as f64;
    if burst >= 2 * rate { 0.98 } else { 0.98 * ticks / (ticks + 1.0) }.max(0.49)
}

fn wanted(outcome: &Outcome) -> f64 {
    outcome.allowed.min(outcome.attempts as f64)
}

#[test]
fn budgets_keep_their_bound_in_every_window() {
    for rate in (0..7).map(|decade| 10_u64.pow(decade)) {
        for burst in bursts(rate) {
            for (cpus, skew) in [(1, Skew::One), (2, Skew::One), (2, Skew::Even), (2, Skew::Ninety)]
            {
                let outcome = budget(&limit(rate, burst), cpus, skew, demand(rate), ATTEMPTS);
                let cell = format!("{rate}/s burst {burst}, {cpus} CPUs, {skew:?}: {outcome:?}");
                assert!(outcome.holds && outcome.admitted as f64 <= outcome.bound, "{cell}");
                assert!(
                    outcome.admitted as f64 >= least(rate, burst) * wanted(&outcome) - 1.0,
                    "{cell}"
                );
            }
        }
    }
}

#[test]
fn sources_keep_their_bound_in_every_window() {
    for rate in (0..5).map(|decade| 10_u64.pow(decade)) {
        for burst in bursts(rate) {
            let outcome = source(&limit(rate, burst), demand(rate), ATTEMPTS);
            let cell = format!("{rate}/s burst {burst}: {outcome:?}");
            assert!(outcome.holds && outcome.admitted as f64 <= outcome.bound, "{cell}");
            assert!(
                outcome.admitted as f64 >= least(rate, burst) * wanted(&outcome) - 1.0,
                "{cell}"
            );
        }
    }
}

/// Eight ways a set: with a quarter of them taken no set overflows; with more sources than ways the least guilty are forgotten.
#[test]
fn sources_keep_their_bound_while_the_table_has_room() {
    const SETS: u32 = 128;
    let limit = limit(20, 40);
    for (share, exact) in [(8, true), (4, true), (2, false), (1, false)] {
        let count = SETS * 8 / share;
        let (outcome, crowded) = sources(&limit, count, SETS, 80, 400_000);
        let cell = format!("1/{share} of the table: {outcome:?} {crowded:?}");
        println!("{cell}");
        assert_eq!(
            crowded.steals == 0,
            crowded.over == 0,
            "who is over its bound was forgotten: {cell}"
        );
        assert!(!exact || outcome.holds && crowded.worst < 1.01, "{cell}");
    }
}
