//! Two services of one host: what becomes of one is not the other's.

use std::net::SocketAddr;

use lab::topology::FRONT_V4;
use lab::{Flood, Server, ServerOptions, Sources};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;

use super::super::{challenge::pages, policy};
use super::{decided, front, limit};

/// A spoofer floods a service that challenges nobody, and the host has one budget for all. He
/// spends none of it: users of the other service come in.
#[test]
fn a_service_without_a_challenge_leaves_the_budget_to_the_others() {
    let mut policy = policy(&["web=*:80", "other=*:81"]);
    policy.services[0].admission.challenge = Challenge::Auto;
    policy.budget = limit(200, 400);
    let front = front(&policy);
    let listen = vec![SocketAddr::new(FRONT_V4, 80), SocketAddr::new(FRONT_V4, 81)];
    let _server = Server::with(&front.lab, ServerOptions { listen, ..ServerOptions::default() })
        .expect("a server");
    let mut users = front.lab.clients_v4();
    users.truncate(20);
    let first = pages(&front, FRONT_V4, users.clone(), 20.0, 1.0);
    assert_eq!(first.ok, first.tried, "{:?}", front.service(0));
    let flood = Flood::new((FRONT_V4, 81).into(), Sources::Random);
    let flood = Flood { frames: u64::MAX, seconds: 60.0, rate: Some(20_000), ..flood }
        .spawn(&front.lab)
        .expect("a flood");
    front.floods(20_000);
    let report = pages(&front, FRONT_V4, users, 20.0, 4.0);
    let sent = flood.stop().expect("the flood ends").sent;
    println!(
        "{} of {} pages beside {sent} attempts at the other: {:?}",
        report.ok,
        report.tried,
        front.service(1)
    );
    assert!(decided(&front.service(1), Reason::SourceLimit) == 0, "{:?}", front.service(1));
    assert_eq!(report.ok, report.tried, "{:?}", front.service(0));
}
