//! Does the range that `suggest` states hold the truth as often as it says? Many runs of the kernel side's sampling, each with another key, over
//! attempts whose truth is known.

use std::cell::Cell;

use limiter::observe::suggest::{Counted, Observed};
use limiter_common::address::{Address, SourceMask};
use limiter_common::distinct;
use limiter_common::hash::mix;
use limiter_common::heavy::{self, ONE_IN, SETS};
use limiter_common::rate::{Limit, Rate};
use limiter_common::record::Observer;
use limiter_common::sighting::{self, Sighting, What};

/// Sources that come at random times: how many, and how often each in a second.
type Crowd = &'static [(u32, f64)];

/// What the test of the real kernel sends (`tests/suites/limits/seen.rs`).
const THREE_KINDS: Crowd = &[(400, 0.5), (20, 5.0), (3, 40.0)];
/// Alike, and none large.
const ALIKE: Crowd = &[(5000, 0.2)];
/// Sizes as of networks behind addresses: a tenth as many of them come thrice as often.
const SKEWED: Crowd =
    &[(3000, 0.1), (300, 0.3), (100, 1.0), (30, 3.0), (10, 10.0), (3, 30.0), (1, 100.0)];

const RUNS: u64 = 100;
const LIMITS: [(u64, u64); 5] = [(1, 10), (5, 10), (10, 20), (20, 40), (50, 100)];

/// Attempts in the order of their times.
fn attempts(crowd: Crowd, seconds: f64, seed: u64) -> Vec<(u64, Address)> {
    let mut state = mix(seed);
    let mut uniform = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(state) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut all = Vec::new();
    for (kind, (count, rate)) in (11_u32..).zip(crowd) {
        for number in 0..*count {
            let mut time = 0.0;
            loop {
                time -= (1.0 - uniform()).ln() / rate;
                if time > seconds {
                    break;
                }
                all.push(((time * 1e9) as u64, Address::v4(kind << 24 | number)));
            }
        }
    }
    all.sort_unstable();
    all
}

/// What the kernel side keeps of them.
fn keep(attempts: &[(u64, Address)], seed: u64) -> (Vec<Sighting>, Vec<Counted>) {
    let key = [mix(seed ^ 1), mix(seed ^ 2)];
    // An uptime at which an interval begins somewhere.
    let start = mix(seed ^ 3) >> 24;
    let mut observer = Observer { random: mix(seed ^ 4), ..Observer::default() };
    let mut left = observer.gap();
    let (mut interval, kept, halvings) = (0, Cell::new(0), Cell::new(0));
    let (mut sightings, mut sets) = (Vec::new(), vec![heavy::Set::default(); SETS as usize]);
    for (time, address) in attempts {
        let (now, address) = (start + time, *address);
        if distinct::interval(now) != interval {
            interval = distinct::interval(now);
            halvings.set(sighting::next_halvings(kept.get(), halvings.get()));
            kept.set(0);
        }
        let source = distinct::Hashes::of(&key, address).source;
        let what = What::new(0, 0, false, false, halvings.get()).0;
        if sighting::is_sampled(halvings.get(), source)
            && sighting::keep(&kept, &halvings).is_some()
        {
            sightings.push(Sighting { time: now, high: address.high, low: address.low, what });
        }
        left -= 1;
        if left == 0 {
            left = observer.gap();
            let hash = heavy::hash(source >> 2, 0);
            let random = observer.random();
            let seen = heavy::Weighed { address, service: 0, now, hash, weight: ONE_IN.into() };
            heavy::count(&mut sets[heavy::set(hash) as usize], &seen, random);
        }
    }
    let counted = sets
        .iter()
        .flat_map(|set| set.heads.iter().zip(&set.entries))
        .filter(|(head, _)| **head != 0);
    let counted = counted.map(|(head, entry)| Counted {
        source: Address { high: entry.high, low: entry.low },
        attempts: (heavy::Head(*head).count() - entry.taken_over) as f64,
    });
    (sightings, counted.collect())
}

/// All attempts, as if every one had been kept.
fn whole(attempts: &[(u64, Address)]) -> Observed {
    let each = |(time, address): &(u64, Address)| Sighting {
        time: *time,
        high: address.high,
        low: address.low,
        what: 0,
    };
    Observed::of(&attempts.iter().map(each).collect::<Vec<_>>(), 0, &SourceMask::new(32, 64))
}

/// What became of a limit in all runs.
#[derive(Default)]
struct Held {
    runs: f64,
    width: f64,
    bias: f64,
    truth: f64,
}

fn the_stated_range_holds_the_truth(crowd: Crowd, seconds: f64) {
    let mut held = LIMITS.map(|_| Held::default());
    for run in 0..RUNS {
        let attempts = attempts(crowd, seconds, run);
        let whole = whole(&attempts);
        let (sightings, counted) = keep(&attempts, run);
        let seen = Observed::of(&sightings, 0, &SourceMask::new(32, 64));
        let known = seen.known(counted);
        for ((rate, burst), held) in LIMITS.iter().zip(&mut held) {
            let limit = Limit { rate: Rate::per_second(*rate), burst: *burst };
            let truth = whole.judge(limit, &[]).expect("attempts").refused_percent;
            let judged = seen.judge(limit, &known).expect("attempts");
            let range = judged.at_least_percent - 0.01..=judged.at_most_percent + 0.01;
            held.runs += f64::from(u8::from(range.contains(&truth)));
            held.width += range.end() - range.start();
            held.bias += judged.refused_percent - truth;
            held.truth += truth;
        }
    }
    for ((rate, burst), Held { runs, width, bias, truth }) in LIMITS.iter().zip(held) {
        let of = |sum: f64| sum / RUNS as f64;
        println!(
            "{crowd:?}, {seconds} s, {rate}/s burst {burst}: {:.2}% refused, said {:+.2} more, {:.2} wide; the range holds in {:.0}%",
            of(truth),
            of(bias),
            of(width),
            of(runs) * 100.0
        );
        assert!(
            of(runs) >= 0.92 && of(bias).abs() < 0.2 * of(width),
            "and it is in the middle of the range"
        );
    }
}

#[test]
fn of_three_kinds_in_a_short_time() {
    the_stated_range_holds_the_truth(THREE_KINDS, 20.0);
}

#[test]
fn of_three_kinds() {
    the_stated_range_holds_the_truth(THREE_KINDS, 60.0);
}

#[test]
fn of_sources_that_are_alike() {
    the_stated_range_holds_the_truth(ALIKE, 60.0);
}

#[test]
fn of_a_skewed_crowd() {
    the_stated_range_holds_the_truth(SKEWED, 60.0);
}
