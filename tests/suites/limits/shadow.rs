//! Limits in the shadow with real TCP: what may be open is tried, and then set.

use limiter::kernel::open;
use limiter::kernel::slots::Origin;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;
use serde_json::Value;

use super::{Front, decided, open::dial, policy, seen::desk};

#[test]
fn open_connections_are_tried_and_set() {
    const MOST: u64 = 10;
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].shadow.open = MOST;
    let mut front = Front::new(&policy, Mode::Enforce);
    front.count();
    let listener = front.listen();
    let clients = front.lab.clients_v4();
    let mut pairs = front.connect(&listener, clients[0], 15);
    pairs.extend(front.connect(&listener, clients[1], 3));
    let counters = front.service(0);
    let [_, within, source, open] = counters.shadow;
    // A SYN that its client sent again is an attempt, too.
    assert_eq!(within + open, decided(&counters, Reason::Admitted));
    assert_eq!(source, 0, "{counters:?}");
    assert!((5..=5 + front.sent_again()).contains(&open), "{counters:?}");
    assert_eq!(decided(&counters, Reason::OpenSource), 0, "nothing is refused");

    assert!(policy.services[0].take_over_shadow() && !policy.services[0].take_over_shadow());
    let Front { lab, pins, maps, .. } = &mut front;
    let switch = maps.stage_policy(&policy, &Origin::default()).expect("a policy");
    maps.set_switch(switch).expect("switched");
    lab.front.run(|| open::settle(pins, maps)).expect("connections are counted");
    front.lab.crowd.run(|| Ok(dial(clients[0]).expect_err("too many"))).expect("a namespace");
    pairs.extend(front.connect(&listener, clients[1], 1));
    let counters = front.service(0);
    assert!(decided(&counters, Reason::OpenSource) > 0, "{counters:?}");
    assert_eq!(counters.shadow, [0; 4], "nothing is tried any more");
}

/// As an operator does it: try, look, set; and what all the places say of it.
#[test]
fn limits_are_tried_and_set_as_typed() {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission.open = 5000;
    let mut front = Front::new(&policy, Mode::Enforce);
    front.count();
    let desk = desk(&front);
    let none = desk.output("set --service web --from-shadow");
    let said = String::from_utf8_lossy(&none.stderr);
    assert!(!none.status.success() && said.contains("tries no limits"), "{said}");
    assert_eq!(desk.json("status --quick")["services"][0]["admission"]["shadow"], Value::Null);
    let set = "set --service web --shadow-source-rate 1/h --shadow-source-burst 4 --shadow-open 90";
    let said = desk.ok(set);
    assert!(said.contains("source limit in the shadow: none -> 1/h, burst 4"), "{said}");

    let listener = front.listen();
    let clients = front.lab.clients_v4();
    let _pairs =
        [front.connect(&listener, clients[0], 10), front.connect(&listener, clients[1], 2)];
    let sent_again = front.sent_again();
    let status = desk.json("status --quick");
    let shadow = &status["services"][0]["admission"]["shadow"];
    let number = |name: &str| shadow[name].as_u64().expect("a number");
    assert_eq!(number("judged"), status["services"][0]["admitted"].as_u64().expect("a number"));
    assert!((6..=6 + sent_again).contains(&number("refused_source")), "{shadow}");
    assert_eq!((number("refused_open"), &shadow["open"]), (0, &90.into()), "{shadow}");
    let shown = desk.ok("status --quick");
    let tried =
        "shadow: source limit 1/h, burst 4, at most 90 open of a source;  would have refused ";
    assert!(shown.contains(tried), "{shown}");
    let metrics = desk.ok("metrics");
    let counted = "limiter_shadow_refused_total{service=\"web\",limit=\"source\"} ";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(desk.ok("policy show").contains("shadow_source_rate = \"1/h\"\n"));
    let suggested = desk.ok("suggest --open --allow 10");
    assert!(suggested.contains("web: 12 connections are open now, of 2 sources"), "{suggested}");

    let said = desk.ok("set --service web --from-shadow");
    assert!(said.contains("source limit in the shadow: 1/h, burst 4 -> none"), "{said}");
    assert!(said.contains("open connections of a source: 5000 -> 90"), "{said}");
    let status = desk.json("status --quick");
    assert_eq!(status["services"][0]["source_limit"], "1/h, burst 4");
    assert_eq!(status["services"][0]["admission"]["shadow"], Value::Null);
    assert!(!desk.ok("policy show").contains("shadow"));
    assert!(desk.ok("history").contains("--from-shadow"));
}
