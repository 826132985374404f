//! What a cookie's listening socket may be, and where it has no room.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use lab::Namespace;
use lab::wait::until_so;
use limiter_common::reason::Reason::*;

use super::{
    CLIENT, CLIENT_V6, DROP, Judge, PASS, SERVER, SERVER_V6, TX, ack, challenged, limit, syn,
    with_listener,
};

/// A socket that listens, and whose accept queue is full with one connection.
fn room_for_one(place: &str) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &place.parse::<SocketAddr>().expect("a place")).expect("bound");
    listen(&socket, 0).expect("it listens");
    socket
}

/// Connections in the accept queue of an IPv4 socket that listens on a port.
fn queued(port: u16) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("sockets");
    let mut sockets = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (place, listens) = (format!(":{port:04X}"), "0A");
    let socket = sockets
        .find(|fields| fields[1].ends_with(&place) && fields[3] == listens)
        .expect("it listens");
    let (_, waiting) = socket[4].split_once(':').expect("two queues");
    u64::from_str_radix(waiting, 16).expect("a number")
}

/// A socket that listens on a port which others have too.
fn shared(place: &str) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_reuseport(&socket, true).expect("shared");
    bind(&socket, &place.parse::<SocketAddr>().expect("a place")).expect("bound");
    listen(&socket, 64).expect("it listens");
    socket
}

/// Sockets that serve both families, and several sockets on one port: the cookie is that of whichever is found, and any takes it.
#[test]
fn other_kinds_of_listeners_make_cookies_too() {
    let namespace = Namespace::new().expect("a namespace");
    namespace.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
    let work = || {
        let _both = TcpListener::bind("[::]:80")?;
        let _shared = [(); 4].map(|()| shared("0.0.0.0:82"));
        let mut policy = challenged();
        policy.services[0].listeners.push("0.0.0.0:82".parse().expect("a place"));
        let judge = Judge::settled(&policy);
        for (index, server) in [SERVER, "127.0.0.1:82"].into_iter().enumerate() {
            for client in 0..20 {
                let client = format!("192.0.2.{}:{}", client + 1, 40_000 + index);
                let cookie = judge.cookie(&syn(&client, server));
                judge.says(&ack(&client, server, cookie).build(), 1, Proven, PASS);
            }
        }
        let cookie = judge.cookie(&syn(CLIENT_V6, SERVER_V6));
        judge.says(&ack(CLIENT_V6, SERVER_V6, cookie).build(), 1, Proven, PASS);
        Ok(())
    };
    namespace.run(work).expect("a test");
}

/// A listener of another namespace, as a container's is, is not found: its attempts cannot be challenged, and a few pass.
#[test]
fn a_listener_in_another_namespace_is_not_found() {
    let container = Namespace::new().expect("a namespace");
    let _listener = container.run(|| Ok(TcpListener::bind("0.0.0.0:83")?)).expect("a listener");
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].listeners.push("0.0.0.0:83".parse().expect("a place"));
        policy.services[0].budget = limit(1, 3600, 32);
        let judge = Judge::settled(&policy);
        let silent = "127.0.0.1:83";
        for _ in 0..2 {
            judge.says(&syn(CLIENT, silent).build(), 1, Unanswered, PASS);
        }
        judge.says(&syn(CLIENT, silent).build(), 1, Unanswerable, DROP);
        judge.cookie(&syn(CLIENT, SERVER));
        judge.says(&ack(CLIENT, silent, 7).build(), 0, NotAttempt, PASS);
    });
}

/// A listener whose accept queue is full makes no cookie. The kernel would drop the attempt; so do we, uncharged. Where no cookie was made
/// lately, it may be that the kernel makes none at all, and attempts are judged as if there were no challenge.
#[test]
fn a_full_accept_queue_charges_nobody() {
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].listeners.push("0.0.0.0:82".parse().expect("a place"));
        policy.services[0].budget = limit(1, 3600, 64);
        let judge = Judge::settled(&policy);
        let full = "127.0.0.1:82";
        let _listener = room_for_one(full);
        let _waiting = TcpStream::connect(full).expect("the one connection that it holds");
        // The client is connected a moment before its last ACK has put it into the queue.
        until_so("the queue is full", || queued(82) == 1);
        // No cookie was made lately: the kernel may make none at all, and the attempt pays.
        judge.says(&syn("192.0.2.3:40000", full).build(), 1, Admitted, PASS);
        for _ in 0..50 {
            // That the kernel makes cookies counts for ten seconds: less than fifty looks may take.
            judge.cookie(&syn(CLIENT, SERVER));
            judge.says(&syn("192.0.2.2:40000", full).build(), 1, QueueFull, DROP);
        }
    });
}

/// Who brings his cookie to a full queue is dropped, as the kernel would, and pays nothing until
/// there is room.
#[test]
fn a_proof_at_a_full_accept_queue_is_free() {
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].listeners.push("0.0.0.0:82".parse().expect("a place"));
        policy.source = limit(1, 3600, 1);
        let judge = Judge::settled(&policy);
        let full = "127.0.0.1:82";
        let listener = TcpListener::from(room_for_one(full));
        let cookie = judge.cookie(&syn(CLIENT, full));
        let _waiting = TcpStream::connect(full).expect("the one connection that it holds");
        let proof = ack(CLIENT, full, cookie);
        let other = syn("192.0.2.2:40000", full).build();
        until_so("the queue is full", || judge.action(&other) == DROP);
        for _ in 0..10 {
            judge.says(&proof.build(), 1, QueueFull, DROP);
        }
        // What comes past the first byte would make a connection with a hole.
        judge.says(
            &proof.clone().numbers(3, cookie.wrapping_add(1)).payload(b"o").build(),
            1,
            BadCookie,
            TX,
        );
        let _accepted = listener.accept().expect("the one that waits");
        judge.says(&proof.build(), 1, Proven, PASS);
        judge.says(&proof.build(), 1, Waiting, DROP);
    });
}
