//! What is for many is answered by nobody: the kernel opens no connections with groups, and limiter
//! does not either.

use std::net::SocketAddr;

use lab::frame::flags::SYN;
use limiter_common::challenge::Challenge;

use super::{Keeper, fence, front, hand, web};

const EVERYBODY: [u8; 6] = [0xff; 6];

/// Attempts to addresses of groups, from addresses of groups, and in frames for groups.
#[test]
fn attempts_to_groups_are_not_answered() {
    let front = front(&web(Challenge::Always));
    let keeper = Keeper::start(&front.lab);
    let mut answered = Vec::new();
    let v4 = [
        ("11.0.0.1", "255.255.255.255", Some(EVERYBODY)),
        ("11.0.0.1", "10.77.2.255", Some(EVERYBODY)),
        ("11.0.0.1", "224.0.0.1", Some([1, 0, 0x5e, 0, 0, 1])),
        ("11.0.0.1", "10.77.0.1", Some(EVERYBODY)),
        ("11.0.0.1", "10.77.0.1", Some([1, 0, 0x5e, 0, 0, 1])),
        ("11.0.0.1", "255.255.255.255", None),
        ("11.0.0.1", "224.0.0.1", None),
        ("255.255.255.255", "10.77.0.1", None),
        ("224.0.0.1", "10.77.0.1", None),
    ];
    let v6 = [
        ("2001:db8:11::1", "ff02::1", Some([0x33, 0x33, 0, 0, 0, 1])),
        ("2001:db8:11::1", "fd77::1", Some([0x33, 0x33, 0, 0, 0, 1])),
        ("2001:db8:11::1", "ff02::1", None),
        ("ff02::1", "fd77::1", None),
    ];
    for (source, destination, mac) in v4.into_iter().chain(v6) {
        let server: std::net::IpAddr = destination.parse().expect("an address");
        let hand = hand(&front, source, 40_000, server);
        let frame = hand.frame(SYN);
        let bytes = frame.build();
        let from: [u8; 6] = bytes[6..12].try_into().expect("six bytes");
        let frame = mac.map_or(frame.clone(), |mac| frame.macs(from, mac));
        hand.send(&frame).expect("sent");
        fence(
            &front,
            &keeper,
            if server.is_ipv4() { lab::topology::FRONT_V4 } else { lab::topology::FRONT_V6 },
        );
        let own = SocketAddr::new(source.parse().expect("an address"), 40_000);
        let answer = std::iter::from_fn(|| hand.next())
            .find(|heard| heard.destination == own && heard.flags & SYN != 0);
        if answer.is_some() {
            answered.push(format!("from {source} to {destination}, {mac:x?}"));
        }
    }
    assert!(answered.is_empty(), "{answered:#?}");
}
