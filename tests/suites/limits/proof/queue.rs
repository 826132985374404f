//! A server that does not accept: what the kernel drops for lack of room is not paid.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use lab::frame::flags::ACK;
use lab::topology::FRONT_V4;
use limiter_common::challenge::Challenge;

use super::{PAIRS, hand, kernel, proofs, strict, until_so};

/// A listening socket with room for one connection.
fn room_for_one() -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::new(FRONT_V4, 80)).expect("bound");
    listen(&socket, 0).expect("it listens");
    socket
}

/// A user has his cookie, and others fill the queue before he brings it back. He asks again and
/// again, pays nothing, and comes in as soon as there is room.
#[test]
fn a_proof_that_finds_no_room_is_not_charged() {
    const TRIES: usize = 6;
    for challenge in [Challenge::Always, Challenge::Auto] {
        let front = strict(challenge);
        let listener =
            TcpListener::from(front.lab.front.run(|| Ok(room_for_one())).expect("a listener"));
        let mut user = hand(&front, PAIRS[0].0, 40_000, FRONT_V4);
        user.ask().expect("a cookie");
        hand(&front, "11.0.1.1", 40_000, FRONT_V4).connect().expect("a SYN-ACK");
        until_so("the queue is full", || kernel(&front, "SyncookiesRecv") == 1);
        let request = user.frame(ACK).payload(b"GET / HTTP/1.0\r\n\r\n");
        for _ in 0..TRIES {
            user.send(&request).expect("sent");
            // What follows one that was let in comes free for a moment.
            std::thread::sleep(Duration::from_millis(150));
        }
        let counters = front.service(0);
        assert_eq!(proofs(&front), 1, "{challenge:?}: {counters:?}");
        let _other = listener.accept().expect("the first connection");
        user.send(&request).expect("sent");
        let (_, from) = listener.accept().expect("the user's connection");
        assert_eq!(
            (from, proofs(&front)),
            (user.client, 2),
            "{challenge:?}: {:?}",
            front.service(0)
        );
    }
}
