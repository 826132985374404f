//! Which limit refuses, whom it charges, and what a switch changes.

use std::time::Duration;

use lab::wait;
use limiter::kernel::clock;
use limiter::policy::Prefixes;
use limiter::report::Sample;
use limiter_common::reason::Reason::*;
use limiter_common::record::SLOTS;
use limiter_common::switch::{Mode, Selection};

use super::{CLIENT, CLIENT_V6, DROP, Judge, PASS, WEB, WEB_V6, limit, policy, syn};

#[test]
fn a_source_has_its_burst_and_others_have_theirs() {
    let mut policy = policy(&["web=*:80", "mail=*:25"]);
    policy.source = limit(1, 3600, 3);
    let judge = Judge::new(&policy);
    for (client, other, server) in
        [(CLIENT, "192.0.2.2:40000", WEB), (CLIENT_V6, "[2001:db8:1:3::3]:1", WEB_V6)]
    {
        for _ in 0..3 {
            judge.says(&syn(client, server).build(), 1, Admitted, PASS);
        }
        judge.says(&syn(client, server).build(), 1, SourceLimit, DROP);
        judge.says(&syn(other, server).build(), 1, Admitted, PASS);
        judge.says(&syn(client, server).flags(0x10).build(), 0, NotAttempt, PASS);
    }
    judge.says(&syn(CLIENT, "198.51.100.7:25").build(), 2, Admitted, PASS);
    judge.mode(Mode::Observe);
    judge.says(&syn(CLIENT, WEB).build(), 1, SourceLimit, PASS);
}

#[test]
fn a_prefix_is_one_source() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(1, 3600, 2);
    policy.prefixes = Prefixes { v4: 24, v6: 48 };
    let judge = Judge::new(&policy);
    judge.says(&syn("192.0.2.1:1", WEB).build(), 1, Admitted, PASS);
    judge.says(&syn("192.0.2.200:1", WEB).build(), 1, Admitted, PASS);
    judge.says(&syn("192.0.2.77:1", WEB).build(), 1, SourceLimit, DROP);
    judge.says(&syn("192.0.3.77:1", WEB).build(), 1, Admitted, PASS);
    judge.says(&syn("[2001:db8:1:1::1]:1", WEB_V6).build(), 1, Admitted, PASS);
    judge.says(&syn("[2001:db8:1:ffff::1]:1", WEB_V6).build(), 1, Admitted, PASS);
    judge.says(&syn("[2001:db8:1:7::1]:1", WEB_V6).build(), 1, SourceLimit, DROP);
    judge.says(&syn("[2001:db8:2:7::1]:1", WEB_V6).build(), 1, Admitted, PASS);
}

/// All sources of a network together, beside the limit of each; with a line, which a budget brings,
/// and without one.
#[test]
fn a_network_is_held_as_one() {
    for budget in [false, true] {
        let mut policy = policy(&["web=*:80"]);
        policy.source = limit(1, 3600, 3);
        policy.services[0].networks.limit = limit(1, 3600, 5);
        policy.services[0].admission.line = true;
        if budget {
            policy.services[0].budget = limit(1, 60, 1000);
        }
        let judge = Judge::new(&policy);
        let networks = [
            (["192.0.2.1:1", "192.0.2.2:1", "192.0.2.250:1"], "192.0.3.1:1", WEB),
            (
                ["[2001:db8:1:1::1]:1", "[2001:db8:1:2::1]:1", "[2001:db8:1:ffff::1]:1"],
                "[2001:db8:2:1::1]:1",
                WEB_V6,
            ),
        ];
        for ([one, two, three], other, server) in networks {
            for _ in 0..3 {
                judge.says(&syn(one, server).build(), 1, Admitted, PASS);
            }
            for _ in 0..10 {
                judge.says(&syn(one, server).build(), 1, SourceLimit, DROP);
            }
            judge.says(&syn(two, server).build(), 1, Admitted, PASS);
            judge.says(&syn(three, server).build(), 1, Admitted, PASS);
            judge.says(&syn(two, server).build(), 1, NetworkLimit, DROP);
            judge.says(&syn(three, server).build(), 1, NetworkLimit, DROP);
            judge.says(&syn(other, server).build(), 1, Admitted, PASS);
        }
        judge.mode(Mode::Observe);
        judge.says(&syn("192.0.2.9:1", WEB).build(), 1, NetworkLimit, PASS);
    }
}

/// A limit that is tried counts what it would refuse, in either mode and with a line or a challenge
/// or without, and no verdict changes; one that the limit in force refuses is not its own.
#[test]
fn a_limit_in_the_shadow_only_counts() {
    for (budget, mode) in [(false, Mode::Enforce), (true, Mode::Enforce), (false, Mode::Observe)] {
        let mut policy = policy(&["web=*:80", "mail=*:25"]);
        policy.source = limit(1, 3600, 5);
        policy.services[0].shadow.source = limit(1, 3600, 2);
        policy.services[0].admission.line = true;
        if budget {
            policy.services[0].budget = limit(1, 60, 1000);
        }
        let mut judge = Judge::new(&policy);
        judge.mode(mode);
        let counted = |judge: &Judge| Sample::take(&judge.maps).expect("counters").total().shadow;
        let refused = if mode == Mode::Enforce { DROP } else { PASS };
        for (client, server) in [(CLIENT, WEB), (CLIENT_V6, WEB_V6)] {
            for _ in 0..5 {
                judge.says(&syn(client, server).build(), 1, Admitted, PASS);
            }
            for _ in 0..10 {
                judge.says(&syn(client, server).build(), 1, SourceLimit, refused);
            }
        }
        judge.says(&syn(CLIENT, "198.51.100.7:25").build(), 2, Admitted, PASS);
        assert_eq!(counted(&judge)[1..], [4, 6, 0], "{budget} {mode:?}");
        // Another try begins to count anew; the debts of the first stay.
        policy.services[0].shadow.source = limit(1, 3600, 3);
        judge.set(&policy);
        assert_eq!(counted(&judge)[1..], [0, 0, 0]);
        judge.says(&syn("192.0.2.77:1", WEB).build(), 1, Admitted, PASS);
        assert_eq!(counted(&judge)[1..], [1, 0, 0]);
        policy.services[0].shadow.source = limiter_common::rate::Limit::default();
        judge.set(&policy);
        judge.says(&syn("192.0.2.77:1", WEB).build(), 1, Admitted, PASS);
        assert_eq!(counted(&judge)[1..], [0, 0, 0]);
    }
}

/// A spent budget refuses under its own name, and charges neither the source nor the other budget.
#[test]
fn budgets() {
    let mut policy = policy(&["web=*:80", "mail=*:25"]);
    policy.source = limit(1, 3600, 12);
    policy.budget = limit(1, 3600, 14);
    policy.services[0].budget = limit(1, 3600, 10);
    let mut judge = Judge::new(&policy);
    for index in 0..10 {
        judge.says(&syn(&format!("192.0.2.{index}:1"), WEB).build(), 1, Admitted, PASS);
    }
    for _ in 0..20 {
        judge.says(&syn(CLIENT_V6, WEB_V6).build(), 1, ServiceBudget, DROP);
    }
    for index in 0..4 {
        judge.says(
            &syn(&format!("192.0.2.{index}:1"), "198.51.100.7:25").build(),
            2,
            Admitted,
            PASS,
        );
    }
    judge.says(&syn("192.0.2.9:1", "198.51.100.7:25").build(), 2, GlobalBudget, DROP);
    // Another policy without budgets: the source that they refused twenty times has its whole burst.
    policy.budget = Default::default();
    policy.services[0].budget = Default::default();
    judge.set(&policy);
    for _ in 0..12 {
        judge.says(&syn(CLIENT_V6, WEB_V6).build(), 1, Admitted, PASS);
    }
    judge.says(&syn(CLIENT_V6, WEB_V6).build(), 1, SourceLimit, DROP);
}

/// The source limit costs no budget.
#[test]
fn a_refused_source_spends_nothing() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(1, 3600, 1);
    policy.budget = limit(1, 3600, 10);
    let judge = Judge::new(&policy);
    judge.says(&syn(CLIENT, WEB).build(), 1, Admitted, PASS);
    for _ in 0..50 {
        judge.says(&syn(CLIENT, WEB).build(), 1, SourceLimit, DROP);
    }
    for index in 2..11 {
        judge.says(&syn(&format!("192.0.2.{index}:1"), WEB).build(), 1, Admitted, PASS);
    }
    judge.says(&syn("192.0.2.99:1", WEB).build(), 1, GlobalBudget, DROP);
}

#[test]
fn a_service_has_limits_of_its_own() {
    let mut policy = policy(&["web=*:80", "mail=*:25"]);
    policy.source = limit(1, 3600, 5);
    policy.services[1].source = Some(limit(1, 3600, 2));
    let mut judge = Judge::new(&policy);
    for _ in 0..2 {
        judge.says(&syn(CLIENT, "198.51.100.7:25").build(), 2, Admitted, PASS);
    }
    judge.says(&syn(CLIENT, "198.51.100.7:25").build(), 2, SourceLimit, DROP);
    judge.says(&syn(CLIENT, WEB).build(), 1, Admitted, PASS);
    // A switch keeps ids, and with them counters and debts; a service that goes frees its own.
    policy.services.remove(0);
    judge.set(&policy);
    judge.says(&syn(CLIENT, "198.51.100.7:25").build(), 2, SourceLimit, DROP);
    judge.says(&syn(CLIENT, WEB).build(), 0, NotProtected, PASS);
}

/// A service that gets the id of one that is gone has none of its debts.
#[test]
fn a_new_service_begins_with_nothing() {
    let with = |name: &str| {
        let mut policy = policy(&[&format!("{name}=*:80")]);
        policy.source = limit(1, 3600, 1);
        policy
    };
    let mut judge = Judge::new(&with("old"));
    for client in 0..10 {
        judge.says(&syn(&format!("192.0.2.{client}:1"), WEB).build(), 1, Admitted, PASS);
    }
    judge.says(&syn("192.0.2.0:1", WEB).build(), 1, SourceLimit, DROP);
    // Slots that are written without it, then one with another of the same id.
    for _ in 0..SLOTS {
        judge.set(&policy(&[]));
    }
    judge.set(&with("new"));
    for client in 0..10 {
        judge.says(&syn(&format!("192.0.2.{client}:1"), WEB).build(), 1, Admitted, PASS);
    }
    // Again: it keeps what it has, whatever else is set.
    judge.set(&with("new"));
    judge.says(&syn("192.0.2.0:1", WEB).build(), 1, SourceLimit, DROP);
}

/// The kernel side goes back by itself: nobody writes anything here after the switch.
#[test]
fn the_switch_reverts_by_itself() {
    let mut strict = policy(&["web=*:80"]);
    strict.source = limit(1, 3600, 1);
    let judge = Judge::new(&strict);
    let switch = judge.maps.switch().expect("the switch");
    let now = switch.fallback();
    let reverts = |time| switch.until(time, Selection { mode: Mode::Observe, ..now });
    judge.maps.set_switch(reverts(clock::after(Duration::from_secs(3600)))).expect("switched");
    judge.says(&syn(CLIENT, WEB).build(), 1, Admitted, PASS);
    judge.says(&syn(CLIENT, WEB).build(), 1, SourceLimit, DROP);
    let soon = clock::after(Duration::from_millis(1));
    judge.maps.set_switch(reverts(soon)).expect("switched");
    // The switch's clock is coarser than a nanosecond, and rounds up.
    wait::tick_past(soon + 2_000_000);
    judge.says(&syn(CLIENT, WEB).build(), 1, SourceLimit, PASS);
}
