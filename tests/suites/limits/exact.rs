//! Rate and burst are exact, per source and in total.

use std::time::Instant;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::coarse;
use lab::{Flood, FloodReport, Sources};
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::{Front, decided, limit, policy};

/// Seconds in which a flood came all the time.
fn used(flood: &FloodReport) -> f64 {
    flood.within.saturating_sub(flood.idle).as_secs_f64()
}

fn one_source(target: std::net::IpAddr, source: &str, vlan: Option<u16>) {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(20, 40);
    let front = Front::new(&policy, Mode::Enforce);
    let source = Sources::One(source.parse().expect("an address"));
    let flood = Flood {
        vlan,
        frames: u64::MAX,
        seconds: 2.0,
        rate: Some(200_000),
        ..Flood::new((target, 80).into(), source)
    };
    let start = coarse();
    let report = flood.run(&front.lab).expect("a flood");
    let longest = (coarse() - start).as_secs_f64();
    let counters = front.service(0);
    let admitted = decided(&counters, Reason::Admitted) as f64;
    let refused = decided(&counters, Reason::SourceLimit);
    assert_eq!(admitted as u64 + refused, report.sent, "every attempt is admitted or refused");
    assert!(admitted <= 40.0 + 20.0 * longest, "{admitted} admitted in at most {longest} s");
    let least = 40.0 + 20.0 * used(&report) - 1.0;
    assert!(admitted >= least, "{admitted} admitted, at least {least} were due");
}

#[test]
fn one_source_over_ipv4() {
    one_source(FRONT_V4, "11.1.2.3", None);
}

#[test]
fn one_source_over_ipv6() {
    one_source(FRONT_V6, "2001:db8:7::1", None);
}

#[test]
fn one_source_with_a_vlan_tag() {
    one_source(FRONT_V4, "11.1.2.3", Some(77));
    one_source(FRONT_V6, "2001:db8:7::1", Some(77));
}

/// A second source is not affected by the debt of a first one, at any speed of the first.
#[test]
fn a_modest_source_is_never_refused_beside_a_greedy_one() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(20, 40);
    let front = Front::new(&policy, Mode::Enforce);
    let greedy = Sources::One("11.1.2.3".parse().expect("an address"));
    let modest = Sources::One("11.1.2.4".parse().expect("an address"));
    let target = (FRONT_V4, 80).into();
    let greedy =
        Flood { frames: u64::MAX, seconds: 600.0, cpu: Some(0), ..Flood::new(target, greedy) };
    let modest = Flood {
        frames: 30,
        seconds: 600.0,
        rate: Some(15),
        cpu: Some(1),
        ..Flood::new(target, modest)
    };
    let start = coarse();
    let flooding = greedy.spawn(&front.lab).expect("a flood");
    let sent = modest.run(&front.lab).expect("attempts").sent;
    let flooded: FloodReport = flooding.stop().expect("the flood ends");
    let longest = (coarse() - start).as_secs_f64();
    let admitted = decided(&front.service(0), Reason::Admitted);
    let most = 40.0 + 20.0 * longest;
    let least = 40.0 + 20.0 * used(&flooded) - 1.0;
    let of_greedy = (admitted - sent) as f64;
    assert_eq!(sent, 30);
    assert!(
        (least..=most).contains(&of_greedy),
        "{of_greedy} of the greedy source, {least} to {most} were due"
    );
    assert!(flooded.sent as f64 > 2.0 * most, "the greedy source was greedy: {}", flooded.sent);
}

/// In any window t, admitted <= rate x t + burst + CPUs x lease; and a budget that is wanted is used.
fn budget(rate: u64, burst: u64, lease: u64) {
    let mut policy = policy(&["web=*:80"]);
    policy.budget = limit(rate, burst);
    assert_eq!(policy.budget.to_budget(2).expect("keepable").lease, lease);
    let front = Front::new(&policy, Mode::Enforce);
    let flood = |cpu| {
        let target = (FRONT_V4, 80).into();
        Flood {
            frames: u64::MAX,
            seconds: 2.0,
            cpu: Some(cpu),
            ..Flood::new(target, Sources::Random)
        }
    };
    let start = Instant::now();
    let other = flood(1).spawn(&front.lab).expect("a flood");
    let mine = flood(0).run(&front.lab).expect("a flood");
    let other = other.wait().expect("a flood");
    let longest = start.elapsed().as_secs_f64();
    let counters = front.service(0);
    let (admitted, refused) =
        (decided(&counters, Reason::Admitted), decided(&counters, Reason::GlobalBudget));
    assert_eq!(admitted + refused + decided(&counters, Reason::Contended), mine.sent + other.sent);
    assert_eq!(decided(&counters, Reason::Contended), 0, "no draw lost all of its races");
    let most = rate as f64 * longest + burst as f64 + (2 * lease) as f64;
    assert!(admitted as f64 <= most, "{admitted} admitted, {most} allowed");
    // Half of it: a lease whose CPU went to somebody else for ten milliseconds is lost. (What is lost of a budget that every
    // CPU draws from all the time is `accuracy`'s, in simulated time.)
    let least = (rate as f64 * used(&mine).max(used(&other)) + burst as f64) / 2.0;
    assert!(admitted as f64 >= least, "{admitted} admitted, {least} were due");
}

#[test]
fn a_budget_is_exact_with_two_cpus() {
    budget(1000, 500, 1);
}

#[test]
fn a_large_budget_keeps_its_bound_with_two_cpus() {
    budget(100_000, 5000, 50);
}
