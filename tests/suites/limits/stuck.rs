//! A server that takes no connections, because its accept queue is full: where the kernel makes
//! cookies the waiting room answers in its place, and the server again once it accepts.

use std::net::{SocketAddr, TcpListener};

use lab::topology::FRONT_V4;
use lab::wait::{PATIENCE, until_so};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::record::Refuse;
use rustix::net::{AddressFamily, SocketType};

use super::room::{By, Room, at_once, request, request_from};
use super::{challenge, decided, policy};

/// A listening socket with room for one connection.
fn room_for_one() -> anyhow::Result<TcpListener> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(FRONT_V4, 80))?;
    rustix::net::listen(&socket, 0)?;
    Ok(TcpListener::from(socket))
}

/// There is no limit here but the server's own queue. Who comes while it is full sees the page, and
/// who comes after the server has accepted again is served.
#[test]
fn a_server_whose_queue_is_full_has_the_room_answer() {
    for challenge in [Challenge::Auto, Challenge::Always] {
        let mut policy = policy(&["web=*:80"]);
        policy.services[0].admission.challenge = challenge;
        policy.services[0].admission.refuse = Refuse::Room;
        let mut front = challenge::front(&policy);
        let listener = front.lab.front.run(room_for_one).expect("a listener");
        let room = Room::open(&mut front);
        let clients = front.lab.clients_v4();
        // They hang in the queue of a server that accepts none of them.
        let crowd = front.lab.crowd.another().expect("a namespace");
        let fills = clients[0];
        let filler = std::thread::spawn(move || {
            crowd.run(|| Ok(request(fills, FRONT_V4, PATIENCE))).expect("a client")
        });
        until_so("the queue is full", || {
            challenge::netstat(&front.lab.front, "SyncookiesRecv") == 1
        });
        let seen = at_once(&front, &clients[1..21], |client| request(client, FRONT_V4, PATIENCE));
        let counters = front.service(0);
        assert!(seen.iter().all(|by| *by == By::Room), "{challenge:?}: {seen:?} {counters:?}");
        assert_eq!(room.seen(), 20, "{counters:?}");
        assert!(decided(&counters, Reason::DivertedFull) >= 20, "{counters:?}");
        // The server wakes up, and serves the one that waited and the next that comes.
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept()?;
                std::io::Read::read(&mut stream, &mut [0; 512])?;
                std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n")?;
            }
            std::io::Result::Ok(())
        });
        assert_eq!(filler.join().expect("a client"), By::Server);
        let next = front.lab.crowd.run(|| Ok(request(clients[30], FRONT_V4, PATIENCE)));
        assert_eq!(next.expect("a client"), By::Server, "{:?}", front.service(0));
        server.join().expect("a server").expect("it serves");
        assert_eq!(room.seen(), 20);
    }
}

/// Where a room is wanted and none is open, a full queue drops as ever, and charges nobody.
#[test]
fn without_a_room_a_full_queue_charges_nobody() {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission.challenge = Challenge::Always;
    policy.services[0].admission.refuse = Refuse::Room;
    let front = challenge::front(&policy);
    let listener = front.lab.front.run(room_for_one).expect("a listener");
    let clients = front.lab.clients_v4();
    let crowd = front.lab.crowd.another().expect("a namespace");
    let fills = clients[0];
    let filler = std::thread::spawn(move || {
        crowd.run(|| Ok(request(fills, FRONT_V4, PATIENCE))).expect("a client")
    });
    until_so("the queue is full", || challenge::netstat(&front.lab.front, "SyncookiesRecv") == 1);
    let few = std::time::Duration::from_millis(2500);
    let seen = at_once(&front, &clients[1..21], |client| request(client, FRONT_V4, few));
    let counters = front.service(0);
    assert!(seen.iter().all(|by| *by == By::Nobody), "{seen:?}");
    assert_eq!(decided(&counters, Reason::Proven), 1, "{counters:?}");
    assert!(decided(&counters, Reason::QueueFull) >= 20, "{counters:?}");
    drop(listener);
    filler.join().expect("it ends with the server");
}

/// A client that uses its port again within a minute meets what is left of the connection that the
/// room closed. It is shown the room all the same.
#[test]
fn a_port_that_is_used_again_is_shown_the_room() {
    for cookies in [false, true] {
        let challenge = if cookies { Challenge::Auto } else { Challenge::Off };
        let mut front = match cookies {
            true => challenge::front(&super::room::full(false, challenge)),
            false => {
                let policy = super::room::full(false, challenge);
                super::Front::new(&policy, limiter_common::switch::Mode::Enforce)
            }
        };
        let _server = lab::Server::start(&front.lab).expect("a server");
        let _room = Room::open(&mut front);
        let clients = front.lab.clients_v4();
        super::room::ask(&front, FRONT_V4, &clients[..20], 1, PATIENCE);
        let client = SocketAddr::new(clients[40], 40_000);
        for round in 0..3 {
            let by = front
                .lab
                .crowd
                .run(|| Ok(request_from(client, SocketAddr::new(FRONT_V4, 80), PATIENCE)));
            assert_eq!(
                by.expect("a client"),
                By::Room,
                "{cookies} {round}: {:?}",
                front.service(0)
            );
        }
    }
}
