//! The source table against a plain reference, over simulated hours and across the wrap of its clock.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use fastrand::Rng;
use limiter_common::address::Address;
use limiter_common::hash::place;
use limiter_common::rate::{Limit, Rate};
use limiter_common::source_table::{Charge, SourceLimit, TRIES, Ticks, WAYS, charge};
use limiter_common::word::SharedWord;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn limit(count: u64, period: u64, burst: u64) -> SourceLimit {
    Limit { rate: Rate { count, period }, burst }.to_source().expect("a keepable limit")
}

/// The table with an injected clock, for one service at a time.
struct Table {
    sets: Vec<[Cell<u64>; WAYS]>,
    horizon: u64,
    steals: u64,
}

impl Table {
    fn new(sets: usize, horizon: u64) -> Self {
        Self { sets: (0..sets).map(|_| Default::default()).collect(), horizon, steals: 0 }
    }

    fn admits(&mut self, service: u32, source: u32, now: u64, limit: &SourceLimit) -> bool {
        let fingerprint = place(&[1, 2], service, 0, Address::v4(source)).fingerprint();
        let set =
            place(&[1, 2], service, 0, Address::v4(source)).set(self.sets.len() as u32) as usize;
        let charge = charge(
            &self.sets[set],
            fingerprint,
            Ticks::at(now),
            limit,
            limit.horizon(),
            self.horizon,
        )
        .charge;
        self.steals += u64::from(charge == Charge::Stole);
        matches!(charge, Charge::Conforms | Charge::Stole)
    }
}

/// GCRA in whole ticks of unbounded width: no wrap, no sharing, no stealing.
#[derive(Default)]
struct Reference(HashMap<(u32, u32), u128>);

impl Reference {
    fn admits(&mut self, service: u32, source: u32, now: u128, limit: &SourceLimit) -> bool {
        let now = now >> 10;
        let (interval, window) = (u128::from(limit.interval >> 24), u128::from(limit.window >> 24));
        let arrival = self.0.entry((service, source)).or_default();
        let start = (*arrival).max(now);
        let conforms = start - now <= window;
        if conforms {
            *arrival = start + interval;
        }
        conforms
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// With room for all, every verdict is the reference's: any rates, two services, hours of time, through the wrap.
    #[test]
    fn verdicts_are_those_of_the_reference(
        start in prop_oneof![Just(0_u64), Just((1 << 50) - 1800 * SECOND), Just((1 << 50) + 7), any::<u64>().prop_map(|t| t >> 2)],
        rates in prop::collection::vec((1_u64..2000, 1_u64..600, 0_u64..200), 2),
        steps in prop::collection::vec((0_u32..2, 0_u32..24, prop_oneof![0_u64..1000, 0..SECOND / 10, 0..100 * SECOND]), 1..600),
    ) {
        let limits: Vec<_> = rates.iter().map(|(count, seconds, burst)| {
            let rate = Rate { count: *count, period: seconds * SECOND };
            // A full burst is earned within a day, which is the longest that is kept.
            let most = rate.events_in(86_400 * SECOND) - 1;
            limit(*count, seconds * SECOND, most.min(burst + 1 + rate.events_in(10_000_000)))
        }).collect();
        let horizon = limits.iter().map(SourceLimit::horizon).max().expect("two limits");
        let (mut table, mut reference, mut now) = (Table::new(512, horizon), Reference::default(), start);
        for (service, source, gap) in steps {
            now += gap;
            let limit = &limits[service as usize];
            // Twice: bursts are where mistakes show.
            for _ in 0..2 {
                let expected = reference.admits(service, source, u128::from(now), limit);
                prop_assert_eq!(table.admits(service, source, now, limit), expected, "at {}", now);
            }
        }
        prop_assert_eq!(table.steals, 0);
    }
}

/// 20/s with a burst of 40 is 40 + 20 t, within one, for any t, at any speed of the source.
#[test]
fn rate_and_burst_are_exact() {
    let limit = limit(20, SECOND, 40);
    for (seconds, gap) in [(1, 100_000), (60, 300_000), (3600, 9_000_000)] {
        let mut table = Table::new(8, limit.horizon());
        let start = (1 << 50) - SECOND / 2;
        let attempts = (0..seconds * SECOND / gap).map(|index| start + index * gap);
        let admitted = attempts.filter(|now| table.admits(0, 7, *now, &limit)).count() as i64;
        let due = 40 + 20 * seconds as i64;
        assert!((admitted - due).abs() <= 1, "{admitted} in {seconds} s, {due} were due");
    }
}

#[test]
fn a_refused_attempt_writes_nothing() {
    let limit = limit(1, SECOND, 1);
    let mut table = Table::new(1, limit.horizon());
    assert!(table.admits(0, 7, SECOND, &limit));
    let before: Vec<u64> = table.sets[0].iter().map(Cell::get).collect();
    assert!(!table.admits(0, 7, SECOND + 1000, &limit));
    assert_eq!(before, table.sets[0].iter().map(Cell::get).collect::<Vec<_>>());
}

/// In a full set the one with the smallest debt is forgotten; the offender stays.
#[test]
fn the_least_guilty_is_stolen_from() {
    let limit = limit(1, SECOND, 100);
    let mut table = Table::new(1, limit.horizon());
    for source in 0..8 {
        for _ in 0..=source * 3 {
            assert!(table.admits(0, source, SECOND, &limit));
        }
    }
    assert_eq!(table.steals, 0);
    assert!(table.admits(0, 99, SECOND, &limit));
    assert_eq!(table.steals, 1);
    let left = |table: &mut Table, source| {
        (0..100).filter(|_| table.admits(0, source, SECOND, &limit)).count()
    };
    assert_eq!(left(&mut table, 7), 100 - 22, "the heaviest keeps its debt");
    assert_eq!(left(&mut table, 1), 100 - 4, "so does the lightest but one");
}

/// A way whose debt is past is as good as an empty one.
#[test]
fn reuse_of_a_past_way_loses_nothing() {
    let limit = limit(1, SECOND, 5);
    let mut table = Table::new(1, limit.horizon());
    for source in 0..100 {
        // Each has had its second: its way may go.
        assert!(table.admits(0, source, u64::from(source) * SECOND / 4, &limit));
    }
    assert_eq!(table.steals, 0);
}

/// The debts of a service with a long window are no leftovers to one with a short window that shares the set.
#[test]
fn the_horizon_is_that_of_the_whole_policy() {
    let (long, short) = (limit(1, 60 * SECOND, 10), limit(1000, SECOND, 10));
    let mut table = Table::new(1, long.horizon());
    for _ in 0..10 {
        assert!(table.admits(0, 7, SECOND, &long));
    }
    for source in 100..107 {
        assert!(table.admits(1, source, SECOND, &short));
    }
    // The set is full; what is free of debt after a while is reused, the long debt is not.
    for source in 200..300 {
        assert!(table.admits(1, source, SECOND * u64::from(source), &short));
        if source < 250 {
            assert!(!table.admits(0, 7, 2 * SECOND, &long), "after {source}");
        }
    }
}

/// After a change to a shorter window, an old debt that the new limit cannot have made does not lock a source out.
#[test]
fn a_looser_limit_is_felt_at_once() {
    let (old, new) = (limit(1, 600 * SECOND, 10), limit(20, SECOND, 40));
    let mut table = Table::new(4, old.horizon());
    for _ in 0..10 {
        assert!(table.admits(0, 7, SECOND, &old));
    }
    assert!(!table.admits(0, 7, SECOND, &old));
    table.horizon = new.horizon();
    assert!(table.admits(0, 7, 2 * SECOND, &new));
}

/// Two CPUs that read the clock before and after a tick: the older reading must not find a full debt too large to be true.
#[test]
fn an_older_clock_forgets_nothing() {
    let limit = limit(20, SECOND, 40);
    let mut table = Table::new(4, limit.horizon());
    while table.admits(0, 7, SECOND, &limit) {}
    assert!(!table.admits(0, 7, SECOND - 4_000_000, &limit));
    assert!(!table.admits(0, 7, SECOND / 2, &limit));
}

/// A word of which every change is lost to another CPU.
struct Lost(u64);

impl SharedWord for Lost {
    fn load(&self) -> u64 {
        self.0
    }

    fn replace(&self, _: u64, _: u64) -> bool {
        false
    }
}

#[test]
fn lost_races_end_as_contended() {
    let limit = limit(20, SECOND, 40);
    let set: [Lost; WAYS] = std::array::from_fn(|_| Lost(0));
    assert_eq!(
        charge(&set, 1, Ticks::at(SECOND), &limit, limit.horizon(), limit.horizon()).charge,
        Charge::Contended
    );
    const { assert!(TRIES >= 2, "one lost race must not be the end") };
}

/// Threads that hammer one source at one moment get its burst together, no more.
#[test]
fn cpus_share_one_limit() {
    let limit = limit(20, SECOND, 1000);
    for round in 0..50 {
        let set: [AtomicU64; WAYS] = Default::default();
        let hammer = || {
            let verdicts = (0..1000).map(|_| {
                charge(
                    &set,
                    5,
                    Ticks::at(round * SECOND + 1),
                    &limit,
                    limit.horizon(),
                    limit.horizon(),
                )
                .charge
            });
            verdicts.filter(|verdict| matches!(verdict, Charge::Conforms | Charge::Stole)).count()
        };
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(hammer)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(admitted, 1000);
    }
}

/// A million random attempts a second for ten seconds, 1,000 sources that behave, 50 that come at a hundred times the limit.
#[test]
fn a_million_random_sources() {
    let limit = limit(20, SECOND, 40);
    let mut table = Table::new(65_536, limit.horizon());
    let (mut random, mut refused, mut behaved, mut heavy) =
        (Rng::with_seed(0x1234_5678_9abc_def1), 0, 0, 0_u64);
    for tick in 0..10_000_000_u64 {
        let now = SECOND + tick * 1000;
        table.admits(0, random.u32(0x8000_0000..), now, &limit);
        if tick % 1000 == 0 {
            // Each once a second, with the six connections of a page.
            for _ in 0..6 {
                behaved += 1;
                refused += u64::from(!table.admits(0, (tick / 1000 % 1000) as u32, now, &limit));
            }
        }
        if tick % 10 == 0 {
            heavy += u64::from(table.admits(0, 5000 + (tick / 10 % 50) as u32, now, &limit));
        }
    }
    println!(
        "{refused} of {behaved} behaving attempts refused; heavy sources admitted {heavy}; {} steals",
        table.steals
    );
    assert!(refused * 1000 < behaved, "{refused} of {behaved}");
    assert!(table.steals > 0);
    let due = 50.0 * (40.0 + 20.0 * 10.0);
    assert!((heavy as f64) < due * 1.01, "{heavy} of heavy sources, {due} were due");
}
