//! A source table far too small for the flood: 2^10 sets under ten million sources, on one CPU and on two.

use std::time::Instant;

use lab::topology::FRONT_V4;
use lab::wait::{coarse, until_so};
use lab::{Flood, Lab, Sources};
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::spoofed::discard_behind_xdp;
use super::{Front, decided, limit, policy};

/// Places in the table, and sources that want one.
const PLACES: u32 = 8 * 1024;
const CROWD: u32 = 10_000_000;
/// Attempts per second; each takes a place for a twentieth of a second.
const BUDGET: u64 = 500_000;
/// The heavy source comes a hundred times as often as its limit of 12/min with a burst of 5.
const HEAVY_RATE: u64 = 20;
const HEAVY_BURST: u64 = 5;
const SECONDS: f64 = 4.0;

/// A flood of ten million sources from each of `cpus` to `web`, and one heavy source to `mail`; the table remembers eight thousand.
fn crowded(cpus: usize) {
    let mut policy = policy(&["web=*:80", "mail=*:25"]);
    policy.source = limit(20, 40);
    policy.services[0].budget = limit(BUDGET, BUDGET / 100);
    policy.services[1].source =
        Some(Limit { rate: Rate { count: 12, period: 60_000_000_000 }, burst: HEAVY_BURST });
    let lab = Lab::new().expect("a lab");
    discard_behind_xdp(&lab);
    let front = Front::with_sources(lab, &policy, Mode::Enforce, PLACES)
        .expect("limiter attaches in the lab");
    let (start, coarse_start) = (Instant::now(), coarse());
    let floods: Vec<_> = (0..cpus)
        .map(|cpu| {
            let base = [11 + 16 * cpu as u8, 0, 0, 0].into();
            let sources = Sources::Many { base, count: CROWD };
            let flood = Flood::new((FRONT_V4, 80).into(), sources);
            Flood { frames: u64::MAX, seconds: 600.0, cpu: Some(cpu), ..flood }
                .spawn(&front.lab)
                .expect("a flood")
        })
        .collect();
    let heavy = Flood::new((FRONT_V4, 25).into(), Sources::One([10, 99, 0, 1].into()));
    let heavy = Flood { frames: u64::MAX, seconds: SECONDS, rate: Some(HEAVY_RATE), ..heavy };
    let heavy = heavy.run(&front.lab).expect("attempts").sent;
    until_so("the table is too small", || front.service(0).steals > u64::from(PLACES));
    let sent: u64 =
        floods.into_iter().map(|flood| flood.stop().expect("the flood ends").sent).sum();
    let (longest, ticked) =
        (start.elapsed().as_secs_f64(), (coarse() - coarse_start).as_secs_f64());
    let (web, mail) = (front.service(0), front.service(1));
    println!(
        "{cpus} CPUs: {sent} attempts, {} admitted, {} steals",
        decided(&web, Reason::Admitted),
        web.steals
    );
    // Attempts are admitted or refused, exactly.
    let refused = [Reason::SourceLimit, Reason::ServiceBudget]
        .map(|reason| decided(&web, reason))
        .iter()
        .sum::<u64>();
    let passed = decided(&web, Reason::Admitted) + decided(&web, Reason::Contended);
    assert_eq!(passed + refused, sent, "{web:?}");
    // The budget's bound knows nothing of sources.
    let lease = policy.services[0].budget.to_budget(2).expect("keepable").lease;
    let most = BUDGET as f64 * (longest + 0.01) + 2.0 * lease as f64;
    assert!(passed as f64 <= most, "{passed} admitted, {most} allowed");
    // The least guilty are forgotten, not the one that comes and comes.
    let due = HEAVY_BURST as f64 + 0.2 * ticked;
    let admitted = decided(&mail, Reason::Admitted);
    assert_eq!(admitted + decided(&mail, Reason::SourceLimit), heavy);
    assert!(
        admitted >= HEAVY_BURST && admitted as f64 <= due,
        "{admitted} of {heavy}, at most {due} were due"
    );
}

#[test]
fn ten_million_sources_on_one_cpu() {
    crowded(1);
}

#[test]
fn ten_million_sources_on_two_cpus() {
    crowded(2);
}
