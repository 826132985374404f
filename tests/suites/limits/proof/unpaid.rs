//! A kernel that makes cookies in a flood of its own only (`tcp_syncookies` 1): those that came
//! before limits pay, and those of attempts that paid are free.

use std::net::{SocketAddr, TcpListener};

use lab::Lab;
use lab::frame::flags::{ACK, RST, SYN};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::switch::{Mode, Regime};

use super::{BURST, Front, Keeper, PAIRS, decided, fence, hand, kernel, limit, until_so, web};

/// Listening sockets whose queue of half-open connections is full with one, so that each further
/// attempt is answered with a cookie.
fn flooded(lab: &Lab) -> [TcpListener; 2] {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
    let listener = |family, at: &str| {
        let socket = socket(family, SocketType::STREAM, None).expect("a socket");
        if family == AddressFamily::INET6 {
            sockopt::set_ipv6_v6only(&socket, true).expect("one family");
        }
        bind(&socket, &at.parse::<SocketAddr>().expect("a place")).expect("bound");
        listen(&socket, 0).expect("it listens");
        TcpListener::from(socket)
    };
    let both = || {
        Ok([listener(AddressFamily::INET, "0.0.0.0:80"), listener(AddressFamily::INET6, "[::]:80")])
    };
    lab.front.run(both).expect("listeners")
}

#[test]
fn cookies_from_before_limits_pay_and_those_of_the_admitted_are_free() {
    const BEFORE: u16 = 5;
    for (client, server) in PAIRS {
        let mut policy = web(Challenge::Off);
        policy.source = limit(2, BURST);
        policy.source.rate.period *= 3600;
        let mut front = Front::new(&policy, Mode::Observe);
        front.lab.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
        let Front { lab, maps, .. } = &mut front;
        lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
        // The one that fills the queue stays there as long as this lasts.
        front.lab.front.sysctl("ipv4/tcp_synack_retries", "100").expect("as above");
        let keeper = Keeper::on(flooded(&front.lab), |stream, kept| kept.push(stream));
        hand(&front, "2001:db8:13::1", 40_000, PAIRS[1].1).ask().expect("a SYN-ACK");
        hand(&front, "11.0.0.3", 40_000, PAIRS[0].1).ask().expect("a SYN-ACK");
        let sent = || kernel(&front, "SyncookiesSent");
        let mut before: Vec<_> =
            (0..BEFORE).map(|port| hand(&front, client, 40_000 + port, server)).collect();
        before.iter_mut().for_each(|hand| hand.ask().expect("a cookie"));
        assert_eq!(sent(), u64::from(BEFORE));

        let Front { lab, maps, .. } = &mut front;
        let switch = maps.switch().expect("the switch");
        let armed = switch.with_mode(Mode::Enforce);
        maps.set_switch(armed).expect("it can be set");
        lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
        assert_eq!(front.maps.switch().expect("the switch").regime(), Regime::Ending);
        for hand in &before {
            hand.send(&hand.frame(ACK)).expect("sent");
            hand.send(&hand.frame(ACK).payload(b"GET /")).expect("sent");
        }
        let strangers = fence(&front, &keeper, server);
        assert_eq!(
            keeper.accepted(),
            strangers,
            "his limit was spent on what came before: {:?}",
            front.service(0)
        );

        // Another of the same family: as many come in as have paid, once each.
        let other = if server.is_ipv4() { "11.0.0.2" } else { "2001:db8:12::1" };
        let refused = || decided(&front.service(0), Reason::SourceLimit);
        let so_far = refused();
        let mut after: Vec<_> =
            (0..BURST as u16 + 1).map(|port| hand(&front, other, 41_000 + port, server)).collect();
        for (number, hand) in after.iter_mut().enumerate() {
            let is_in = (number as u64) < BURST;
            if is_in {
                hand.ask().expect("a cookie");
                let accepted = keeper.accepted();
                hand.send(&hand.frame(ACK).payload(b"GET /")).expect("sent");
                until_so("his connection", || keeper.accepted() > accepted);
            } else {
                hand.send(&hand.frame(SYN)).expect("sent");
            }
        }
        until_so("the last was refused", || refused() > so_far);
        let charged = decided(&front.service(0), Reason::Admitted);
        // His connection was there: what brings its cookie again after a reset is another.
        for hand in &after[..BURST as usize] {
            hand.send(&hand.frame(ACK).payload(b"GET /")).expect("sent");
            hand.send(&hand.frame(RST)).expect("sent");
            hand.send(&hand.frame(ACK).payload(b"GET /")).expect("sent");
        }
        let accepted = keeper.accepted();
        let more = fence(&front, &keeper, server);
        assert_eq!(keeper.accepted() - accepted, more, "{:?}", front.service(0));
        assert_eq!(decided(&front.service(0), Reason::Admitted) - charged, more);
    }
}
