//! Budgets against a plain reference, and their bound over several CPUs.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use limiter_common::budget::{BudgetLimit, LEASE_LIFE, Lease, Look, Take};
use limiter_common::rate::{Limit, Rate};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn budget(count: u64, burst: u64, cpus: u64) -> BudgetLimit {
    Limit { rate: Rate::per_second(count), burst }.to_budget(cpus).expect("a keepable budget")
}

fn granted(
    lease: &mut Lease,
    shared: &Cell<u64>,
    limit: &BudgetLimit,
    coarse: u64,
    precise: u64,
) -> bool {
    let seen = lease.look(shared, limit, coarse, || precise);
    lease.take(seen, shared, limit, || precise) == Take::Taken
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// One CPU that takes one token at a time is exact GCRA.
    #[test]
    fn one_cpu_is_exact(
        count in 1_u64..900, more in 0_u64..2000, start in 2_u64..1 << 60,
        gaps in prop::collection::vec(prop_oneof![0_u64..1000, 0..SECOND / 100, 0..30 * SECOND], 1..800),
    ) {
        let limit = budget(count, more + 10, 1);
        prop_assert_eq!(limit.lease, 1);
        let (shared, mut lease) = (Cell::new(0), Lease::default());
        let (mut now, mut arrival) = (start, 0_u64);
        for gap in gaps {
            now += gap;
            let base = arrival.max(now);
            let expected = base + limit.interval - now <= limit.capacity;
            if expected {
                arrival = base + limit.interval;
            }
            prop_assert_eq!(granted(&mut lease, &shared, &limit, now, now), expected, "at {}", now);
        }
    }

    /// In every window, granted <= rate x t + burst + CPUs x lease, with clocks that lag by up to a tick.
    #[test]
    fn the_bound_holds_in_every_window(
        count in 1_u64..2_000_000, seconds in 1_u64..4, cpus in 1_usize..5, lag in 0_u64..LEASE_LIFE,
        steps in prop::collection::vec((0_usize..4, prop_oneof![0_u64..200, 0_u64..100_000, 0..SECOND / 20], 1_usize..40), 1..300),
    ) {
        let limit = budget(count, count.max(10) * seconds / 2 + count / 100 + 10, cpus as u64);
        let shared = Cell::new(0);
        let mut leases = vec![Lease::default(); cpus];
        let (mut now, mut times) = (SECOND, Vec::new());
        for (cpu, gap, attempts) in steps {
            now += gap;
            for _ in 0..attempts {
                if granted(&mut leases[cpu % cpus], &shared, &limit, now - lag, now) {
                    times.push(now);
                }
            }
        }
        // Sound and complete: GCRA over the history with the whole allowance as its burst. n <= t / interval + allowance for every
        // window just when a bucket of that depth never overflows.
        let allowance = limit.capacity + cpus as u64 * limit.lease * limit.interval;
        let mut arrival = 0_u64;
        for time in times {
            arrival = arrival.max(time) + limit.interval;
            prop_assert!(arrival - time <= allowance, "at {}: {} over {}", time, arrival - time, allowance);
        }
    }
}

/// A budget that is wanted all the time by all CPUs is used.
#[test]
fn a_wanted_budget_is_used() {
    for (count, cpus) in [(100, 2), (1000, 2), (100_000, 2), (1_000_000, 4), (20_000_000, 4)] {
        let burst = count / 50 + 10;
        let limit = budget(count, burst, cpus);
        let (shared, mut leases) = (Cell::new(0), vec![Lease::default(); cpus as usize]);
        let mut admitted = 0;
        let step = limit.interval.min(100_000) / cpus / 2;
        for index in 0..SECOND / step {
            let now = SECOND + index * step;
            // The coarse clock of a machine with 250 ticks a second.
            let coarse = now / 4_000_000 * 4_000_000;
            let lease = &mut leases[(index % cpus) as usize];
            admitted += u64::from(granted(lease, &shared, &limit, coarse, now));
        }
        let due = (count + burst) as f64;
        assert!(admitted as f64 >= due * 0.97, "{admitted} of {due} at {count}/s");
        assert!(admitted <= count + burst + cpus * limit.lease, "{admitted} of {due} at {count}/s");
    }
}

/// A CPU that read its clock before another one drew must not take what was spent for a leftover.
#[test]
fn an_older_clock_forgets_nothing() {
    let limit = budget(10, 10, 2);
    let (shared, mut first, mut second) = (Cell::new(0), Lease::default(), Lease::default());
    while granted(&mut first, &shared, &limit, SECOND, SECOND) {}
    assert!(!granted(&mut second, &shared, &limit, SECOND - 1, SECOND - 1));
    assert!(!granted(&mut second, &shared, &limit, SECOND / 2, SECOND / 2));
}

/// A CPU that knows the budget to be spent does not look at the shared word.
#[test]
fn refusing_is_local() {
    let limit = budget(10, 10, 2);
    let (shared, mut lease) = (Cell::new(0), Lease::default());
    while granted(&mut lease, &shared, &limit, SECOND, SECOND) {}
    assert_eq!(
        lease.look(&shared, &limit, SECOND, || panic!("the precise clock is not needed")),
        Look::SPENT
    );
    let draws = lease.draws;
    for now in SECOND..SECOND + 1000 {
        assert!(!granted(&mut lease, &shared, &limit, now, now));
    }
    assert_eq!(lease.draws, draws);
}

/// What a source limit refuses while the budget has room costs one clock, not two.
#[test]
fn looking_at_a_budget_with_room_needs_no_precise_clock() {
    let limit = budget(1000, 2000, 2);
    let (shared, mut lease) = (Cell::new(0), Lease::default());
    assert!(granted(&mut lease, &shared, &limit, SECOND, SECOND));
    let seen = lease.look(&shared, &limit, SECOND, || panic!("the precise clock is not needed"));
    assert_eq!(seen, Look(SECOND));
}

/// What the coarse clock still takes for spent may be free by the precise one.
#[test]
fn a_lagging_clock_does_not_hide_a_token() {
    let limit = budget(1000, 10, 1);
    let (shared, mut lease) = (Cell::new(0), Lease::default());
    while granted(&mut lease, &shared, &limit, SECOND, SECOND) {}
    let mut other = Lease::default();
    assert_eq!(
        other.look(&shared, &limit, SECOND, || SECOND + limit.interval),
        Look(SECOND + limit.interval)
    );
}

/// A higher rate is felt within 10 ms, however long the old one would have refused.
#[test]
fn a_higher_rate_is_felt_soon() {
    let slow = Limit { rate: Rate { count: 1, period: 600 * SECOND }, burst: 10 }
        .to_budget(2)
        .expect("keepable");
    let fast = budget(1000, 2000, 2);
    let (shared, mut lease) = (Cell::new(0), Lease::default());
    while granted(&mut lease, &shared, &slow, SECOND, SECOND) {}
    let soon = SECOND + LEASE_LIFE;
    assert!(
        granted(&mut lease, &shared, &fast, soon, soon),
        "an old debt of hours does not lock the new budget"
    );
}

/// The bound counts on it.
#[test]
fn a_cpu_holds_no_more_than_its_lease() {
    let limit = budget(100_000, 5000, 2);
    let (shared, mut lease) = (Cell::new(0), Lease::default());
    for attempt in 0..5000 {
        assert!(granted(&mut lease, &shared, &limit, SECOND, SECOND));
        assert!(lease.tokens < limit.lease, "{} tokens after attempt {attempt}", lease.tokens);
    }
    assert_eq!(lease.draws, 5000 / limit.lease);
}

#[test]
fn a_token_that_is_given_back_is_there_again() {
    let limit = budget(10, 10, 1);
    let (shared, mut lease) = (Cell::new(0), Lease::default());
    for _ in 0..100 {
        assert!(granted(&mut lease, &shared, &limit, SECOND, SECOND));
        lease.give_back();
    }
}

/// Real threads and a real clock: the bound, and no lost draw.
#[test]
fn threads_keep_the_bound() {
    const THREADS: u64 = 3;
    let limit = budget(200_000, 5000, THREADS);
    let shared = AtomicU64::new(0);
    let start = Instant::now();
    let hammer = || {
        let (mut lease, mut admitted) = (Lease::default(), 0_u64);
        while start.elapsed().as_millis() < 300 {
            let now = || SECOND + start.elapsed().as_nanos() as u64;
            let seen = lease.look(&shared, &limit, now(), now);
            match lease.take(seen, &shared, &limit, now) {
                Take::Taken => admitted += 1,
                Take::Gone => {}
                Take::Contended => panic!("eight races lost in a row"),
            }
        }
        admitted
    };
    let admitted: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(hammer)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let allowed =
        200_000.0 * start.elapsed().as_secs_f64() + 5000.0 + (THREADS * limit.lease) as f64;
    assert!(admitted as f64 <= allowed, "{admitted} of {allowed}");
    // How much of the rest they drew in time is the machine's business.
    assert!(admitted >= 5000, "the burst is there for whoever comes: {admitted}");
}
