//! What is admitted against what is allowed, in simulated time: the algorithms of budgets and source limits with an injected clock.
//!
//! A budget: in any window t, admitted <= rate x t + burst + CPUs x lease (without the last term for a lease of 1). A source: rate x (t +
//! one tick) + burst. Every window is checked, not only the longest.

use std::cell::Cell;

use fastrand::Rng;
use limiter_common::address::Address;
use limiter_common::budget::{BudgetLimit, Lease, Take};
use limiter_common::hash::place;
use limiter_common::rate::{Limit, Rate};
use limiter_common::source_table::{Charge, SourceLimit, Ticks, WAYS, charge};

pub const SECOND: u64 = 1_000_000_000;
/// One tick of the coarse clock, at its coarsest (a kernel with 100 ticks a second).
pub const TICK: u64 = 10_000_000;
/// Any time: the source table's clock wraps near it.
const START: u64 = (1 << 50) - SECOND / 2;

/// How attempts are spread over CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// All on one.
    One,
    /// As many on each.
    Even,
    /// Nine of ten on the first.
    Ninety,
}

/// What came of one load.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Attempts.
    pub attempts: u64,
    /// Those admitted.
    pub admitted: u64,
    /// rate x t + burst, for each source.
    pub allowed: f64,
    /// What the bound grants in all.
    pub bound: f64,
    /// Whether the bound held in every window, of every source.
    pub holds: bool,
}

/// A budget wanted by `cpus` CPUs for `attempts` attempts, `demand` of them per second.
pub fn budget(limit: &Limit, cpus: usize, skew: Skew, demand: u64, attempts: u64) -> Outcome {
    let rule = limit.to_budget(cpus as u64).expect("a keepable budget");
    let extra = if rule.lease > 1 { cpus as u64 * rule.lease } else { 0 };
    let shared = Cell::new(0);
    let mut leases = vec![Lease::default(); cpus];
    let mut windows = Windows::new(rule.capacity + extra * rule.interval, rule.interval);
    let (mut random, mut now, mut admitted) = (Rng::with_seed(0x5eed), START, 0);
    for _ in 0..attempts {
        now += gap(&mut random, demand);
        let lease = &mut leases[skew.cpu(&mut random, cpus)];
        if granted(lease, &shared, &rule, now) {
            admitted += 1;
            windows.add(now);
        }
    }
    let allowed = allowed(limit, now - START);
    Outcome { attempts, admitted, allowed, bound: allowed + extra as f64, holds: windows.kept }
}

fn granted(lease: &mut Lease, shared: &Cell<u64>, rule: &BudgetLimit, now: u64) -> bool {
    let seen = lease.look(shared, rule, now / TICK * TICK, || now);
    lease.take(seen, shared, rule, || now) == Take::Taken
}

/// One source that comes `demand` times per second.
pub fn source(limit: &Limit, demand: u64, attempts: u64) -> Outcome {
    sources(limit, 1, 64, demand, attempts).0
}

/// What came of many sources in a table that may be too small for them.
#[derive(Clone, Copy, Debug)]
pub struct Crowded {
    /// Live debts that were forgotten for others.
    pub steals: u64,
    /// Sources that got more than their bound, in some window.
    pub over: u32,
    /// The largest admitted / allowed of one source.
    pub worst: f64,
}

/// `count` sources that come in random order, each `demand` times per second, to a table of `sets` sets.
pub fn sources(
    limit: &Limit,
    count: u32,
    sets: u32,
    demand: u64,
    attempts: u64,
) -> (Outcome, Crowded) {
    let rule = limit.to_source().expect("a keepable limit");
    let table: Vec<[Cell<u64>; WAYS]> = (0..sets).map(|_| Default::default()).collect();
    let mut each = vec![Windows::of_source(limit); count as usize];
    let (mut random, mut now, mut steals) = (Rng::with_seed(0x5eed), START, 0);
    for _ in 0..attempts {
        now += gap(&mut random, demand * u64::from(count));
        let number = random.u32(..count);
        match ask(&table, number, now / TICK * TICK, &rule) {
            Charge::Conforms => {}
            Charge::Stole => steals += 1,
            _ => continue,
        }
        each[number as usize].add(now);
    }
    let one = allowed(limit, now - START);
    let tick = TICK as f64 / limit.rate.period as f64 * limit.rate.count as f64;
    let admitted = each.iter().map(|source| source.count).sum();
    let over = each.iter().filter(|source| !source.kept).count() as u32;
    let most = each.iter().map(|source| source.count).max().unwrap_or(0);
    let (allowed, bound) = (one * f64::from(count), (one + tick) * f64::from(count));
    let outcome = Outcome { attempts, admitted, allowed, bound, holds: over == 0 };
    (outcome, Crowded { steals, over, worst: most as f64 / one })
}

fn ask(table: &[[Cell<u64>; WAYS]], source: u32, coarse: u64, rule: &SourceLimit) -> Charge {
    let place = place(&[5, 6], 0, 0, Address::v4(0x0b00_0000 + source));
    let set = &table[place.set(table.len() as u32) as usize];
    charge(set, place.fingerprint(), Ticks::at(coarse), rule, rule.horizon(), rule.horizon()).charge
}

/// rate x t + burst.
fn allowed(limit: &Limit, time: u64) -> f64 {
    let Rate { count, period } = limit.rate;
    count as f64 * time as f64 / period as f64 + limit.burst as f64
}

/// Checks all windows at once: n <= t / interval + depth in each of them just when a bucket of that depth never overflows.
#[derive(Clone)]
struct Windows {
    depth: u64,
    interval: u64,
    arrival: u64,
    count: u64,
    kept: bool,
}

impl Windows {
    fn new(depth: u64, interval: u64) -> Self {
        Self { depth, interval, arrival: 0, count: 0, kept: true }
    }

    /// The interval is the stated one. The table's, in whole ticks of 1024 ns, may be shorter by half of one: over the longest windows here
    /// that is less than an attempt, which is granted.
    fn of_source(limit: &Limit) -> Self {
        let interval = limit.rate.period / limit.rate.count;
        Self::new(interval * (limit.burst + 1) + TICK, interval)
    }

    fn add(&mut self, now: u64) {
        self.count += 1;
        self.arrival = self.arrival.max(now) + self.interval;
        self.kept &= self.arrival - now <= self.depth;
    }
}

impl Skew {
    fn cpu(self, random: &mut Rng, cpus: usize) -> usize {
        match self {
            Self::One => 0,
            Self::Even => random.usize(..cpus),
            Self::Ninety if random.u8(..10) == 0 => 1 % cpus,
            Self::Ninety => 0,
        }
    }
}

/// Time to the next of events that come at `rate` per second, as they please (Poisson).
fn gap(random: &mut Rng, rate: u64) -> u64 {
    (-(1.0 - random.f64()).ln() / rate as f64 * SECOND as f64) as u64
}
