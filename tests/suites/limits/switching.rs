//! Switches, classes and programs that are replaced under a flood: every attempt is decided by one policy, whole.

use std::time::{Duration, Instant};

use lab::topology::FRONT_V4;
use lab::wait::{PATIENCE, until_so};
use lab::{Crowd, Flood, Server, Sources};
use limiter::kernel::object::{OBJECT, load_over_pins};
use limiter::kernel::slots::Origin;
use limiter::kernel::upgrade::upgrade;
use limiter::kernel::{Maps, link};
use limiter::policy::prefix::Prefix;
use limiter::policy::{Class, Policy};
use limiter_common::address::Address;
use limiter_common::names;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::Counters;
use limiter_common::switch::Mode;

use super::{Front, decided, policy};

/// Sources of the floods: 11.0.0.0 to 11.0.0.255.
const SOURCES: u32 = 256;
/// Prefixes of the classes, beside the one that matters.
const PREFIXES: u32 = 49_999;

fn flood() -> Flood {
    let base = "11.0.0.0".parse().expect("an address");
    let sources = Sources::Many { base, count: SOURCES };
    Flood {
        frames: u64::MAX,
        seconds: 600.0,
        cpu: Some(0),
        ..Flood::new((FRONT_V4, 80).into(), sources)
    }
}

fn once_a_day() -> Limit {
    Limit { rate: Rate { count: 1, period: 86_400_000_000_000 }, burst: 1 }
}

/// A class that the flood is in, with prefixes around it that change from one `variant` to the next, and a class of others.
fn classes(name: &str, source: Limit, variant: u32) -> Vec<Class> {
    let net = |number: u32| Prefix {
        address: Address::v4(0x1400_0000 + (number << 10) + (variant << 8)),
        length: 120,
    };
    let mut members: Vec<_> = (0..PREFIXES / 2).map(net).collect();
    members.push("11.0.0.0/8".parse().expect("a prefix"));
    let others = Class {
        name: "others".parse().expect("a name"),
        members: (PREFIXES / 2..PREFIXES).map(net).collect(),
        source: once_a_day(),
        prefixes: None,
        open: None,
        networks: Default::default(),
    };
    vec![
        Class {
            name: name.parse().expect("a name"),
            members,
            source,
            prefixes: None,
            networks: Default::default(),
            open: None,
        },
        others,
    ]
}

/// By this one a source gets one attempt a day, but only by its class.
fn by_class() -> Policy {
    Policy { classes: classes("red", once_a_day(), 0), ..policy(&["alpha=*:80"]) }
}

/// By this one everybody is let in, but only by the class.
fn let_in() -> Policy {
    Policy {
        source: once_a_day(),
        classes: classes("blue", Limit::default(), 1),
        ..policy(&["beta=*:80"])
    }
}

/// By this one a budget refuses; a source has no limit, and there are no classes.
fn by_budget() -> Policy {
    let mut policy = policy(&["gamma=*:80"]);
    policy.services[0].budget = Limit { rate: Rate::per_second(10), burst: 10 };
    policy
}

fn only(counters: &Counters, reasons: &[Reason]) -> u64 {
    for reason in Reason::ALL {
        let count = decided(counters, *reason);
        assert!(count == 0 || reasons.contains(reason), "{count} attempts were {}", reason.name());
    }
    reasons.iter().map(|reason| decided(counters, *reason)).sum()
}

/// Switches back and forth between two policies under a flood: each has a service of its own, on the same port, so that its counters tell
/// what it decided. What the first service may say, and the second.
fn switched(policies: &[Policy; 2], reasons: [&[Reason]; 2]) {
    let mut front = Front::new(&policies[0], Mode::Enforce);
    let flooding = flood().spawn(&front.lab).expect("a flood");
    front.floods(u64::from(SOURCES) * 2);
    let mut longest = Duration::ZERO;
    for round in 1..=60 {
        let all = |front: &Front| front.service(round % 2).decided.iter().sum::<u64>();
        let before = all(&front);
        let start = Instant::now();
        let switch =
            front.maps.stage_policy(&policies[round % 2], &Origin::default()).expect("a policy");
        front.maps.set_switch(switch).expect("a switch");
        Maps::settle();
        longest = longest.max(start.elapsed());
        until_so("the policy decides", || all(&front) > before);
    }
    let report = flooding.stop().expect("the flood ends");
    let decided_by = [front.service(0), front.service(1)];
    let counted: u64 =
        decided_by.iter().zip(reasons).map(|(counters, reasons)| only(counters, reasons)).sum();
    assert_eq!(counted, report.sent, "no attempt passes uncounted");
    let first = decided(&decided_by[0], Reason::Admitted);
    assert_eq!(
        first,
        u64::from(SOURCES),
        "the class lets one of each source in, over all switches"
    );
    println!(
        "60 switches under {report}; {} prefixes were written and switched to in {longest:?} at most",
        PREFIXES + 1
    );
}

#[test]
fn classes_are_replaced_under_a_flood_without_a_wrong_one() {
    switched(
        &[by_class(), let_in()],
        [&[Reason::Admitted, Reason::SourceLimit], &[Reason::Admitted]],
    );
}

#[test]
fn an_attempt_is_decided_by_one_policy_whole() {
    let budget = [Reason::Admitted, Reason::ServiceBudget];
    switched(&[by_class(), by_budget()], [&[Reason::Admitted, Reason::SourceLimit], &budget]);
}

/// The program is replaced 200 times as an upgrade replaces it, with an attempt to attach after each, and upgraded whole a few times.
#[test]
fn upgrades_under_a_flood_lose_no_attempt_and_no_connection() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = Limit { rate: Rate::per_second(20), burst: 40 };
    let front = Front::new(&policy, Mode::Enforce);
    let server = Server::start(&front.lab).expect("a server");
    let crowd = Crowd {
        path: format!("/bytes/{}", 4 << 20),
        pages_per_second: 5.0,
        seconds: 6.0,
        timeout: 4 * PATIENCE,
        ..Crowd::new((FRONT_V4, 80).into(), front.lab.clients_v4())
    };
    let downloading = crowd.spawn(&front.lab).expect("a crowd");
    let flooding = flood().spawn(&front.lab).expect("a flood");
    let mut others =
        [0, 1].map(|_| load_over_pins(&front.pins, OBJECT).expect("the program loads"));
    front
        .lab
        .front
        .run(|| {
            for round in 0..200 {
                let program: &mut aya::programs::Xdp =
                    others[round % 2].program_mut(names::PROGRAM).expect("a program").try_into()?;
                for index in front.pins.links() {
                    link::swap(program, link::to_swap(&front.pins, index)?)?;
                }
            }
            for _ in 0..3 {
                let upgraded = upgrade(&front.pins)?;
                assert_eq!((upgraded.interfaces, upgraded.tags.0), (2, upgraded.tags.1));
            }
            Ok(())
        })
        .expect("upgrades");
    let pages = downloading.wait().expect("pages");
    let report = flooding.stop().expect("the flood ends");
    let counters = front.service(0);
    let counted = only(&counters, &[Reason::Admitted, Reason::SourceLimit]);
    let attempts = report.sent + pages.tried + front.sent_again();
    assert_eq!(counted, attempts, "every attempt was decided, and counted once");
    assert_eq!((pages.ok, server.accepted()), (pages.tried, pages.tried), "no connection was hurt");
    println!("203 replacements on two interfaces under {report}; {} downloads of 4 MiB", pages.ok);
}
