//! Networks that hold as many open connections as they may, with real TCP.

use std::net::IpAddr;
use std::time::Duration;

use lab::wait::until_so;
use limiter::kernel::maps::Raw;
use limiter::kernel::open;
use limiter::kernel::slots::Origin;
use limiter::kernel::words::Access;
use limiter::policy::Policy;
use limiter_common::names;
use limiter_common::open::GONE;
use limiter_common::reason::Reason;
use limiter_common::record::SERVICES;
use limiter_common::switch::Mode;

use super::open::{Pair, dial_for};
use super::{Front, decided, limit, policy};

/// Where the host's line says when somebody counted last.
const BEAT: usize = 1;
/// Connections that a network may have open.
const MOST: usize = 30;

fn held(line: bool) -> Policy {
    let mut policy = policy(&["web=*:80"]);
    let web = &mut policy.services[0];
    web.networks.open = MOST as u64;
    web.admission.line = line;
    web.budget = limit(10_000, 10_000);
    policy
}

/// A connection that is refused: its SYN is sent again once.
fn is_refused(front: &Front, client: IpAddr) -> bool {
    let refused = || Ok(dial_for(client, Duration::from_millis(1200)).is_err());
    front.lab.crowd.run(refused).expect("a namespace")
}

impl Front {
    /// Waits until nothing is counted of any source or network.
    fn until_nothing_is_counted(&self) {
        until_so("nothing to be counted", || {
            let words = self.maps.open.words(Access::Read).expect("the table");
            (0..words.len()).all(|word| words.get(word).is_none_or(|word| word >> 32 == 0))
        });
    }
}

/// A /24 of sources with one connection each has as many as it may, and others are let in; what
/// ends makes room for as many.
#[test]
fn a_network_keeps_no_more_than_it_may() {
    for line in [false, true] {
        let mut front = Front::new(&held(line), Mode::Enforce);
        front.count();
        let listener = front.listen();
        let (clients, v6) = (front.lab.clients_v4(), front.lab.clients_v6());
        let mut pairs: Vec<Pair> =
            clients[..MOST].iter().flat_map(|one| front.connect(&listener, *one, 1)).collect();
        front.until_open(MOST as u64);
        for client in &clients[MOST..MOST + 2] {
            assert!(is_refused(&front, *client), "line {line}: one more than the network may have");
        }
        let counters = front.service(0);
        assert!(decided(&counters, Reason::OpenNetwork) >= 2, "line {line}: {counters:?}");
        assert_eq!(decided(&counters, Reason::NetworkLimit), 0, "{counters:?}");
        pairs.extend(front.connect(&listener, v6[0], 1));
        front.until_open(MOST as u64 + 1);
        pairs.drain(..10);
        front.until_open(MOST as u64 - 9);
        for client in &clients[MOST..MOST + 10] {
            pairs.extend(front.connect(&listener, *client, 1));
        }
        front.until_open(MOST as u64 + 1);
        assert!(is_refused(&front, clients[MOST + 10]), "line {line}: full again");
        pairs.clear();
        front.until_open(0);
        front.until_nothing_is_counted();
    }
}

/// A policy that bounds networks from now on counts what is there with its networks; one with
/// another prefix counts anew; one that bounds none takes back what was counted.
#[test]
fn a_network_is_counted_as_the_policy_says_by_now() {
    let mut policy = held(false);
    policy.services[0].networks.open = 0;
    policy.open_budget = 1_000_000;
    let mut front = Front::new(&policy, Mode::Enforce);
    front.count();
    let listener = front.listen();
    let clients = front.lab.clients_v4();
    let pairs: Vec<Pair> =
        clients[..MOST].iter().flat_map(|one| front.connect(&listener, *one, 1)).collect();
    front.until_open(MOST as u64);
    let apply = |front: &mut Front, policy: &Policy| {
        let Front { lab, pins, maps, .. } = &mut *front;
        let switch = maps.stage_policy(policy, &Origin::default()).expect("a policy");
        maps.set_switch(switch).expect("switched");
        lab.front.run(|| open::settle(pins, maps)).expect("connections are counted");
        front.until_open(MOST as u64);
    };
    policy.services[0].networks.open = MOST as u64;
    apply(&mut front, &policy);
    assert!(is_refused(&front, clients[MOST]), "older connections count with their network");
    policy.services[0].networks.prefixes.v4 = 32;
    apply(&mut front, &policy);
    let alone = front.connect(&listener, clients[MOST + 1], 1);
    drop(alone);
    front.until_open(MOST as u64);
    policy.services[0].networks.open = 0;
    apply(&mut front, &policy);
    drop(pairs);
    front.until_open(0);
    front.until_nothing_is_counted();
}

/// Limits of networks refuse nothing when the program that counts is gone.
#[test]
fn a_network_without_anybody_who_counts_is_let_in() {
    let mut front = Front::new(&held(false), Mode::Enforce);
    let listener = front.listen();
    let clients = front.lab.clients_v4();
    let pairs: Vec<Pair> =
        clients[..MOST + 5].iter().flat_map(|one| front.connect(&listener, *one, 1)).collect();
    assert_eq!(decided(&front.service(0), Reason::OpenNetwork), 0, "nothing counts yet");
    front.count();
    front.until_open(MOST as u64 + 5);
    assert!(is_refused(&front, clients[MOST + 5]), "now something does");
    std::fs::remove_file(front.pins.object(names::OPEN_PROGRAM)).expect("the program goes");
    until_so("what nobody counts refuses nothing", || {
        // A minute of silence, without waiting for it. The kernel takes the program away a little
        // later, so it may say something yet.
        let Raw(mut words) = front.maps.opens.get(&SERVICES, 0).expect("the host's line");
        words[BEAT] = words[BEAT].saturating_sub(GONE);
        front.maps.opens.set(SERVICES, Raw(words), 0).expect("written");
        !is_refused(&front, clients[MOST + 5])
    });
    drop(pairs);
}
