//! Whoever bears another's address takes nothing from him.

use std::net::IpAddr;
use std::time::Duration;

use lab::topology::FRONT_V4;
use lab::{Flood, Server, Sources};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;

use super::super::challenge::pages;
use super::{Front, decided, front, limit, web};

/// Connections of a source per second, and of the spoofer in its name.
const RATE: u64 = 20;
const SPOOFED: u64 = 50;

/// What the named user got of what he tried.
fn named(front: &Front, user: IpAddr) -> (u64, u64) {
    let _server = Server::start(&front.lab).expect("a server");
    // He is known, and has paid for it: from then on he has all of his burst again.
    let first = pages(front, FRONT_V4, vec![user], 10.0, 0.1);
    assert_eq!(first.ok, 1, "{:?}", front.service(0));
    // Time in which his burst comes back, RATE a second: more of it changes nothing.
    std::thread::sleep(Duration::from_secs(1));
    let before = front.seen();
    let spoofer = Flood {
        frames: u64::MAX,
        seconds: 60.0,
        rate: Some(SPOOFED),
        ..Flood::new((FRONT_V4, 80).into(), Sources::One(user))
    };
    let spoofer = spoofer.spawn(&front.lab).expect("a flood");
    front.floods(before + SPOOFED);
    // A quarter of what he may.
    let report = pages(front, FRONT_V4, vec![user], RATE as f64 / 4.0, 4.0);
    let sent = spoofer.stop().expect("the flood ends").sent;
    assert!(sent > SPOOFED, "{sent} spoofed attempts");
    println!(
        "{} of {} pages beside {sent} spoofed attempts: {:?}",
        report.ok,
        report.tried,
        front.service(0)
    );
    (report.ok, report.tried)
}

/// A spoofer sends more attempts in the name of a user than the user's limit has room for. While
/// the kernel makes cookies none is charged to him: he is served, every time.
#[test]
fn who_is_named_by_a_spoofer_is_served() {
    for challenge in [Challenge::Always, Challenge::Auto] {
        let mut policy = web(challenge);
        policy.source = limit(RATE, RATE);
        let front = front(&policy);
        let user = front.lab.clients_v4()[0];
        let (served, tried) = named(&front, user);
        assert_eq!(served, tried, "{challenge:?}: {:?}", front.service(0));
    }
}

/// The same while a flood of others keeps the challenge on, without a line and in one.
#[test]
fn who_is_named_by_a_spoofer_is_served_in_a_flood() {
    for line in [false, true] {
        let mut policy = web(Challenge::Auto);
        policy.source = limit(RATE, RATE);
        policy.services[0].budget = limit(200, 400);
        policy.services[0].admission.line = line;
        let front = front(&policy);
        let user = front.lab.clients_v4()[0];
        let flood = Flood::new((FRONT_V4, 80).into(), Sources::Random);
        let flood = Flood { frames: u64::MAX, seconds: 60.0, rate: Some(5000), ..flood }
            .spawn(&front.lab)
            .expect("a flood");
        let (served, tried) = named(&front, user);
        flood.stop().expect("the flood ends");
        assert!(decided(&front.service(0), Reason::Challenged) > 1000, "{:?}", front.service(0));
        assert_eq!(served, tried, "line {line}: {:?}", front.service(0));
    }
}
