//! Open connections with real TCP: however they end, the count is what the kernel says.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::{PATIENCE, until_so};
use limiter::kernel::{listener, open};
use limiter::policy::Policy;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout, set_tcp_user_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Front, decided, limit, policy};

pub const PORT: u16 = 80;

/// A policy that counts, and refuses nothing.
pub fn counts() -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.open_budget = 1_000_000;
    policy
}

impl Front {
    /// Begins the count, as the policy needs it.
    pub fn count(&mut self) {
        let Self { lab, pins, maps, .. } = self;
        lab.front.run(|| open::settle(pins, maps)).expect("connections are counted");
    }

    pub fn counted(&self) -> u64 {
        open::state(&self.maps).expect("the count can be read").open
    }

    /// What the kernel says is open to the service.
    pub fn there(&self) -> u64 {
        let connections = self.lab.front.run(listener::connections).expect("sock_diag answers");
        connections.iter().filter(|one| one.local.port() == PORT).count() as u64
    }

    /// Waits until so many connections are there and counted.
    #[track_caller]
    pub fn until_open(&self, number: u64) {
        until_so("as many open connections", || self.there() == number && self.counted() == number);
    }

    pub fn listen(&self) -> TcpListener {
        self.lab.front.run(|| Ok(TcpListener::bind(("::", PORT))?)).expect("a listener")
    }

    /// Connections of one client of the crowd, each with its end at the server.
    pub fn connect(&self, to: &TcpListener, client: IpAddr, number: usize) -> Vec<Pair> {
        let pairs = (0..number).map(|_| {
            let dial = || Ok(dial_for(client, PATIENCE)?);
            let near = self.lab.crowd.run(dial).expect("a connection");
            Pair { near, far: to.accept().expect("it is accepted").0 }
        });
        pairs.collect()
    }
}

/// Both ends of a connection.
pub struct Pair {
    pub near: TcpStream,
    pub far: TcpStream,
}

/// A connection of a client of this thread's namespace to the service, if it is soon there.
pub fn dial(client: IpAddr) -> std::io::Result<TcpStream> {
    dial_for(client, Duration::from_millis(1500))
}

/// The same, from one that waits so long.
pub fn dial_for(client: IpAddr, patience: Duration) -> std::io::Result<TcpStream> {
    let (family, front) = match client {
        IpAddr::V4(_) => (AddressFamily::INET, FRONT_V4),
        IpAddr::V6(_) => (AddressFamily::INET6, FRONT_V6),
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    rustix::net::bind(&socket, &SocketAddr::new(client, 0))?;
    rustix::net::connect(&socket, &SocketAddr::new(front, PORT))?;
    Ok(TcpStream::from(socket))
}

/// One that the kernel goes on opening.
pub fn dial_without_waiting(client: IpAddr) -> OwnedFd {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    );
    let socket = socket.expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::new(client, 0)).expect("a port");
    let begun = rustix::net::connect(&socket, &SocketAddr::new(FRONT_V4, PORT));
    assert!(begun.is_ok() || begun == Err(rustix::io::Errno::INPROGRESS), "{begun:?}");
    socket
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).expect("it can be set");
    drop(stream);
}

#[test]
fn what_is_open_is_counted_however_it_ends() {
    let mut front = Front::new(&counts(), Mode::Enforce);
    front.count();
    for cookies in ["1", "2"] {
        front.lab.front.sysctl("ipv4/tcp_syncookies", cookies).expect("it can be set");
        let listener = front.listen();
        let clients = [front.lab.clients_v4()[0], front.lab.clients_v6()[1]];
        let mut pairs = Vec::new();
        for client in clients {
            pairs.extend(front.connect(&listener, client, 30));
        }
        front.until_open(60);
        // The client ends it, in order; the server; the client with a reset; the server.
        for Pair { near, far } in pairs.drain(..10) {
            drop(near);
            drop(far);
        }
        front.until_open(50);
        for Pair { near, far } in pairs.drain(..10) {
            drop(far);
            drop(near);
        }
        front.until_open(40);
        for Pair { near, far } in pairs.drain(..10) {
            reset(near);
            drop(far);
        }
        front.until_open(30);
        for Pair { near, far } in pairs.drain(..10) {
            reset(far);
            drop(near);
        }
        front.until_open(20);
        // One that nobody ends from the other side is there until it does.
        for Pair { near, far } in pairs.drain(..5) {
            far.shutdown(std::net::Shutdown::Write).expect("it is there");
            near.shutdown(std::net::Shutdown::Write).expect("it is there");
            drop((near, far));
        }
        front.until_open(15);
        // Nothing answers any more, and the server gives up.
        let far_device = ["link", "set", lab::topology::FAR_DEVICE, "down"];
        for Pair { far, .. } in &pairs {
            set_tcp_user_timeout(far, 500).expect("it can be set");
        }
        front.lab.crowd.ip(&far_device).expect("the device goes down");
        for Pair { far, .. } in &mut pairs {
            far.write_all(b"anybody?").expect("the kernel takes it");
        }
        front.until_open(0);
        drop(pairs);
        drop(listener);
        // The addresses and neighbours of the wire go with it.
        if cookies == "1" {
            front = Front::new(&counts(), Mode::Enforce);
            front.count();
        }
    }
}

#[test]
fn a_server_that_is_killed_leaves_nothing_counted() {
    let mut front = Front::new(&counts(), Mode::Enforce);
    front.count();
    let client = front.lab.clients_v4()[0];
    let listener = front.listen();
    let accepted = front.connect(&listener, client, 5);
    let dial = || Ok(dial_for(client, PATIENCE)?);
    let queued: Vec<_> = (0..30).map(|_| front.lab.crowd.run(dial).expect("it fits")).collect();
    front.until_open(35);
    // Another process holds the listener and its queue.
    let mut holder = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .spawn()
        .expect("sleep runs");
    front.until_open(35);
    holder.kill().expect("it is there");
    holder.wait().expect("it ends");
    front.until_open(5);
    drop(queued);
    drop(accepted);
    front.until_open(0);
}

#[test]
fn what_is_older_than_the_count_is_taken_over_once() {
    let mut front = Front::new(&counts(), Mode::Enforce);
    let listener = front.listen();
    let clients = [front.lab.clients_v4()[0], front.lab.clients_v6()[0]];
    let mut pairs = Vec::new();
    for client in clients {
        pairs.extend(front.connect(&listener, client, 20));
    }
    assert_eq!((front.there(), front.counted()), (40, 0), "nothing counts yet");
    front.count();
    front.until_open(40);
    pairs.extend(front.connect(&listener, clients[0], 10));
    front.until_open(50);
    for _ in 0..5 {
        let Front { lab, pins, maps, .. } = &mut front;
        lab.front.run(|| open::renew(pins, maps)).expect("it begins again");
        front.until_open(50);
    }
    pairs.drain(..25);
    front.until_open(25);
    pairs.clear();
    front.until_open(0);
}

#[test]
fn it_begins_and_ends_under_load() {
    let mut front = Front::new(&counts(), Mode::Enforce);
    front.count();
    let listener = front.listen();
    let clients = front.lab.clients_v4();
    let (ends, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let crowd = &front.lab.crowd.another().expect("the namespace again");
    std::thread::scope(|scope| {
        let acceptor = listener.try_clone().expect("a descriptor");
        let (ends, made) = (&ends, &made);
        scope.spawn(move || {
            let mut kept = Vec::new();
            for stream in acceptor.incoming().map_while(Result::ok) {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                kept.push(stream);
                if kept.len() > 50 {
                    kept.drain(..25);
                }
            }
        });
        for client in clients.iter().copied().take(4) {
            scope.spawn(move || {
                let load = || {
                    let mut kept = Vec::new();
                    while !ends.load(Ordering::SeqCst) {
                        kept.extend(dial(client).ok());
                        made.fetch_add(1, Ordering::SeqCst);
                        if kept.len() > 30 {
                            kept.drain(..20);
                        }
                    }
                    Ok(())
                };
                crowd.run(load).expect("a namespace");
            });
        }
        for _ in 0..100 {
            let before = made.load(Ordering::SeqCst);
            let Front { lab, pins, maps, .. } = &mut front;
            lab.front.run(|| open::renew(pins, maps)).expect("it begins again");
            until_so("some connections", || made.load(Ordering::SeqCst) > before + 20);
            // At most so many are kept, and as many as are on their way to an end.
            let counted = front.counted();
            assert!(counted < 2000, "{counted}: none is taken back twice");
        }
        ends.store(true, Ordering::SeqCst);
        // The one that lets the acceptor look.
        let _ = crowd.run(|| Ok(dial_for(clients[0], PATIENCE)?));
    });
    drop(listener);
    front.until_open(0);
}

#[test]
fn a_source_keeps_no_more_than_it_may() {
    const MOST: u64 = 50;
    // What comes while the first are on their way: the source's burst.
    const BURST: u64 = 20;
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission.open = MOST;
    policy.source = limit(BURST, BURST);
    let mut front = Front::new(&policy, Mode::Enforce);
    front.count();
    let listener = front.listen();
    let clients = front.lab.clients_v4();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let acceptor = listener.try_clone().expect("a descriptor");
        let ends = &ends;
        scope.spawn(move || {
            let mut kept = Vec::new();
            for stream in acceptor.incoming().map_while(Result::ok) {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                kept.push(stream);
            }
        });
        // TCP sends the SYNs of those that are refused again, so that as many come as may.
        let at_once = || Ok((0..500).map(|_| dial_without_waiting(clients[0])).collect());
        let dialled: Vec<OwnedFd> = front.lab.crowd.run(at_once).expect("a namespace");
        until_so("refusals of a source that has enough", || {
            decided(&front.service(0), Reason::OpenSource) >= 100
        });
        let kept = front.there();
        println!("{kept} of 500 at once are open, and may be {MOST}");
        assert!(
            (MOST..=MOST + BURST).contains(&kept),
            "{kept} are open, and may be {MOST} and what one round trip lets in"
        );
        assert!(decided(&front.service(0), Reason::OpenSource) > 0);
        // Others do not notice.
        for client in &clients[1..20] {
            let dial = || Ok(dial_for(*client, PATIENCE)?);
            front.lab.crowd.run(dial).expect("another source is let in");
        }
        // With resets: the server, which reads nothing, would keep its end open.
        dialled.into_iter().map(TcpStream::from).for_each(reset);
        until_so("its connections to end", || front.there() < MOST);
        let dial_again = || Ok(dial_for(clients[0], PATIENCE)?);
        front.lab.crowd.run(dial_again).expect("now there is room");
        ends.store(true, Ordering::SeqCst);
        let _ = front.lab.crowd.run(|| Ok(dial_for(clients[30], PATIENCE)?));
    });
}

/// Users that a server with `PLACES` serves while ten sources hold all idle connections they get.
fn served(most: u64) -> usize {
    const PLACES: usize = 300;
    const USERS: usize = 20;
    // Idle connections of a source, how long it waits for one, and how long a user waits.
    let (each, opens, asks) = match most {
        // Places and queue have room for all of them.
        0 => (40, PATIENCE, Duration::from_millis(1500)),
        _ => (100, Duration::from_millis(1500), PATIENCE),
    };
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission.open = most;
    policy.open_budget = 1_000_000;
    let mut front = Front::new(&policy, Mode::Enforce);
    front.count();
    let listener = front.listen();
    let clients = front.lab.clients_v4();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let acceptor = listener.try_clone().expect("a descriptor");
        let ends = &ends;
        // A place is taken until its client has asked. Without a free one nothing is accepted.
        scope.spawn(move || {
            let mut places: Vec<TcpStream> = Vec::new();
            acceptor.set_nonblocking(true).expect("it can be set");
            while !ends.load(Ordering::SeqCst) {
                while places.len() < PLACES
                    && let Ok((stream, _)) = acceptor.accept()
                {
                    stream.set_nonblocking(true).expect("it can be set");
                    places.push(stream);
                }
                places.retain_mut(|stream| match stream.read(&mut [0; 64]) {
                    Ok(0) => false,
                    Ok(_) => {
                        let _ = stream.write_all(b"here you are");
                        false
                    }
                    Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
                });
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let idle: Vec<_> = clients[..10]
            .iter()
            .map(|client| {
                let dials = move || {
                    let all = (0..each).map_while(|_| dial_for(*client, opens).ok());
                    Ok(all.collect::<Vec<_>>())
                };
                let crowd = &front.lab.crowd;
                scope.spawn(move || crowd.run(dials).expect("a namespace"))
            })
            .collect();
        let idle: Vec<_> = idle.into_iter().flat_map(|one| one.join().expect("a client")).collect();
        let ask = |client: IpAddr| -> std::io::Result<usize> {
            let mut stream = dial_for(client, asks)?;
            stream.set_read_timeout(Some(asks))?;
            stream.write_all(b"a page, please")?;
            stream.read(&mut [0; 64])
        };
        let users = clients[20..20 + USERS].iter();
        let served = front
            .lab
            .crowd
            .run(|| Ok(users.filter(|client| ask(**client).is_ok_and(|bytes| bytes > 0)).count()));
        ends.store(true, Ordering::SeqCst);
        drop(idle);
        served.expect("a namespace")
    })
}

#[test]
fn slow_readers_keep_nobody_out() {
    assert_eq!(served(20), 20, "all users, where a source may have 20 connections");
    assert_eq!(served(0), 0, "and none, where it may have any number");
}

#[test]
fn other_namespaces_are_not_counted() {
    let mut front = Front::new(&counts(), Mode::Enforce);
    front.count();
    let elsewhere = front.lab.crowd.run(|| Ok(TcpListener::bind(("10.78.0.1", PORT))?));
    let elsewhere = elsewhere.expect("a listener");
    let address = elsewhere.local_addr().expect("an address");
    let near = front.lab.crowd.run(|| Ok(TcpStream::connect(address)?)).expect("connected");
    let far = elsewhere.accept().expect("accepted");
    let listener = front.listen();
    let pairs = front.connect(&listener, front.lab.clients_v4()[3], 2);
    front.until_open(2);
    drop((near, far));
    front.until_open(2);
    drop(pairs);
    front.until_open(0);
}
