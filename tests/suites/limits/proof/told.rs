//! Whoever has a connection that is no more is told: the kernel resets it, and limiter does not
//! stand between.

use std::time::Duration;

use lab::Server;
use lab::frame::flags::{ACK, RST};
use limiter_common::challenge::Challenge;

use super::{PAIRS, front, hand, until_so, web};

/// The address of a service moves here with its clients' connections, which this host has never
/// seen, while a challenge is on.
#[test]
fn clients_of_an_address_that_moved_here_are_told() {
    const CLIENTS: u16 = 50;
    let front = front(&web(Challenge::Always));
    let _server = Server::start(&front.lab).expect("a server");
    for (client, server) in PAIRS {
        // Cookies are out, and so are looked for.
        hand(&front, "11.0.2.1", 40_000, PAIRS[0].1).ask().expect("a cookie");
        for number in 0..CLIENTS {
            let mut moved = hand(&front, client, 41_000 + number, server);
            (moved.first, moved.cookie) = (0x1234_5678, 0x9abc_def0 + u32::from(number) * 0x1_0001);
            moved.send(&moved.frame(ACK).payload(b"GET / HTTP/1.1\r\n\r\n")).expect("sent");
            let told = moved.wait(|heard| heard.flags & RST != 0);
            assert!(told.is_ok(), "client {number} of {client}: {told:?}; {:?}", front.service(0));
        }
    }
}

/// The same where the server was started again, and its client comes back with a cookie that is
/// good but was made for the old socket: he is told, or the kernel takes the cookie once more and
/// he is served.
#[test]
fn clients_of_a_server_that_was_started_again_are_told_or_served() {
    for challenge in [Challenge::Auto, Challenge::Always] {
        for (client, server) in PAIRS {
            let front = front(&web(challenge));
            let old = Server::start(&front.lab).expect("a server");
            let mut hand = hand(&front, client, 40_000, server);
            hand.connect().expect("a SYN-ACK");
            until_so("a connection", || old.accepted() == 1);
            hand.send(&hand.frame(RST)).expect("sent");
            drop(old);
            let _new = Server::start(&front.lab).expect("a server");
            // Longer than what comes right behind an ACK is let in for.
            std::thread::sleep(Duration::from_millis(140));
            hand.send(&hand.frame(ACK).payload(b"GET / HTTP/1.0\r\n\r\n")).expect("sent");
            let told = hand.wait(|heard| heard.flags & RST != 0 || heard.length > 0);
            assert!(told.is_ok(), "{challenge:?}, {client}: {told:?}; {:?}", front.service(0));
        }
    }
}
