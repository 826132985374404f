//! Fair share with real packets: greedy sources do not push out modest ones when the budget is short.

use std::net::Ipv4Addr;

use lab::topology::FRONT_V4;
use lab::{Flood, Lab, Sources};
use limiter::policy::Admission;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::{Front, decided, limit, policy};

const GREEDY: u32 = 10;
const MODEST: u32 = 1000;
/// Attempts per second of all greedy sources, 20 each, and of all modest ones, 0.5 each.
const RATES: (u64, u64) = (200, 500);
/// A sixth of the greedy sources' wish is left.
const BUDGET: u64 = 600;
const FIRST_GREEDY: Ipv4Addr = Ipv4Addr::new(12, 0, 0, 1);
const FIRST_MODEST: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 1);
/// Seconds until shares have settled: they count over ten seconds.
const SETTLE: u64 = 25;
/// Seconds in which attempts are counted.
const MEASURE: u64 = 20;

fn nft(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.front.command("nft").expect("a namespace").args(arguments).output();
    let output = output.expect("nft is installed by `cargo xtask setup`");
    assert!(
        output.status.success(),
        "nft {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Counts what XDP lets through, by source: each greedy one and all modest ones. Then it is dropped.
fn count_behind_xdp(lab: &Lab) {
    nft(lab, &["add table netdev lab"]);
    nft(
        lab,
        &[
            r#"add chain netdev lab in { type filter hook ingress device "attack0" priority 0; policy drop; }"#,
        ],
    );
    for greedy in 0..GREEDY {
        let source = Ipv4Addr::from_bits(FIRST_GREEDY.to_bits() + greedy);
        nft(lab, &[&format!("add rule netdev lab in ip saddr {source} counter")]);
    }
    nft(lab, &["add rule netdev lab in ip saddr 11.0.0.0/16 counter"]);
}

/// The counters in the order of the rules: the greedy, and last the modest.
fn counted(lab: &Lab) -> Vec<f64> {
    let text = nft(lab, &["list", "table", "netdev", "lab"]);
    let packets = text.split("counter packets ").skip(1);
    packets
        .map(|rest| {
            rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
        })
        .collect()
}

/// Both come for so many seconds, or longer where the machine is slower; how many attempts the modest made.
fn come(lab: &Lab, seconds: u64) -> u64 {
    let floods = [(FIRST_GREEDY, GREEDY, RATES.0), (FIRST_MODEST, MODEST, RATES.1)].map(
        |(base, count, rate)| {
            let flood =
                Flood::new((FRONT_V4, 80).into(), Sources::Many { base: base.into(), count });
            let flood = Flood { frames: rate * seconds, seconds: 600.0, rate: Some(rate), ..flood };
            flood.spawn(lab).expect("attempts")
        },
    );
    let [_, modest] = floods.map(|flood| flood.wait().expect("it ends").sent);
    modest
}

/// Shares of what the modest asked for, and attempts of each greedy source that were admitted, while both come for a while.
fn shares(fair: bool) -> (f64, Vec<f64>) {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].budget = limit(BUDGET, 2 * BUDGET);
    policy.services[0].admission = Admission { fair_share: fair, ..Admission::default() };
    let front = Front::new(&policy, Mode::Enforce);
    count_behind_xdp(&front.lab);
    come(&front.lab, SETTLE);
    let before = counted(&front.lab);
    let sent = come(&front.lab, MEASURE);
    let after = counted(&front.lab);
    let refused = decided(&front.service(0), Reason::FairShare);
    assert_eq!(refused > 0, fair, "{refused} refused for their share");
    let mut admitted: Vec<f64> =
        before.iter().zip(&after).map(|(before, after)| after - before).collect();
    let modest = admitted.pop().expect("the last rule") / sent as f64;
    (modest, admitted)
}

#[test]
fn greedy_sources_do_not_push_out_modest_ones() {
    // At once, each in a lab of its own: together they are 1,400 attempts a second.
    let ((modest, greedy), (plain, _)) = std::thread::scope(|scope| {
        let plain = scope.spawn(|| shares(false));
        (shares(true), plain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    println!(
        "modest admitted {:.1}%, without fair shares {:.1}%; of each of the greedy {greedy:?}",
        modest * 100.0,
        plain * 100.0
    );
    assert!(modest >= 0.99, "{modest}");
    assert!(plain < 0.95, "without fair shares the greedy push out the modest: {plain}");
    let mean = greedy.iter().sum::<f64>() / f64::from(GREEDY);
    assert!(greedy.iter().all(|rate| (rate / mean - 1.0).abs() <= 0.1), "{greedy:?}");
}
