//! Handshakes that have to wait: for a budget, or for their own ACK while the challenge ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use lab::topology::FRONT_V4;
use lab::wait::PATIENCE;
use lab::{Crowd, Lab, Server};
use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::Refuse;
use limiter_common::switch::Mode;

use super::challenge::{front, netstat, web};
use super::interop::{bound, try_bound};
use super::{Front, decided, limit};

/// A hundred strangers within two seconds and a budget of 20/s: what is over it is not asked for a
/// proof, or waits with its proof, and their own TCP sends it again until there is budget.
/// Everybody is served, and the budget holds.
#[test]
fn strangers_over_the_budget_wait_and_are_served() {
    strangers_wait("/");
}

/// The same where a request is more than one segment, as the first words of TLS are today: what
/// comes behind the first of them must not end the wait.
#[test]
fn strangers_with_large_requests_wait_and_are_served() {
    strangers_wait(&format!("/{}", "x".repeat(3000)));
}

fn strangers_wait(path: &str) {
    const CLIENTS: usize = 100;
    let mut policy = web(Challenge::Always);
    policy.services[0].budget = limit(20, 20);
    let front = front(&policy);
    let server = Server::start(&front.lab).expect("a server");
    let mut clients = front.lab.clients_v4();
    clients.truncate(CLIENTS);
    let crowd = Crowd {
        pages_per_second: 50.0,
        seconds: 2.0,
        timeout: PATIENCE,
        path: path.to_owned(),
        ..Crowd::new(SocketAddr::new(FRONT_V4, 80), clients)
    };
    let start = Instant::now();
    let report = crowd.run(&front.lab).expect("a crowd");
    let seconds = start.elapsed().as_secs_f64();
    let counters = front.service(0);
    let waiting = decided(&counters, Reason::Waiting);
    println!(
        "{} of {} pages in {seconds:.1} s; connect p99 {:.1} ms, page p50 {:.1} s, p99 {:.1} s; {waiting} waited",
        report.ok,
        report.tried,
        report.connect_p99(),
        report.page_p50() / 1e3,
        report.page_p99() / 1e3
    );
    assert_eq!((report.ok, report.tried), (CLIENTS as u64, CLIENTS as u64), "{counters:?}");
    // Each SYN is answered with a cookie, or refused because its proof would be for nothing.
    let reasons = [Reason::Challenged, Reason::ServiceBudget];
    let attempts: u64 = reasons.iter().map(|reason| decided(&counters, *reason)).sum();
    assert_eq!(attempts, CLIENTS as u64 + front.sent_again(), "{counters:?}");
    assert_eq!(decided(&counters, Reason::Proven), CLIENTS as u64, "{counters:?}");
    // A lease of a token on each of two CPUs.
    assert!(
        server.accepted() as f64 <= 20.0 * seconds + 20.0 + 2.0,
        "{} in {seconds} s",
        server.accepted()
    );
}

/// A client that waits for its server to speak first sends nothing that could be sent again. With resets it is told at once that the server
/// is busy.
#[test]
fn who_expects_the_server_to_speak_first_is_told() {
    let mut policy = web(Challenge::Always);
    // No more than the burst comes while this runs.
    policy.services[0].budget =
        Limit { rate: Rate { count: 1, period: 3_600_000_000_000 }, burst: 20 };
    policy.services[0].admission.refuse = Refuse::Reset;
    let front = front(&policy);
    let listener =
        front.lab.front.run(|| Ok(TcpListener::bind((FRONT_V4, 80))?)).expect("a listener");
    let _greeter = std::thread::spawn(move || {
        let mut connections = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            connection.write_all(b"220 ready\r\n").expect("greeted");
            connections.push(connection);
        }
    });
    let (mut greeted, mut told) = (0, 0);
    for client in front.lab.clients_v4().into_iter().take(30) {
        let outcome = front.lab.crowd.run(|| {
            // The reset may be there before the client has looked at its new connection.
            let read = |mut stream: TcpStream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.read(&mut [0; 64])
            };
            Ok(try_bound(client, SocketAddr::new(FRONT_V4, 80))
                .and_then(read)
                .map_err(|error| error.kind()))
        });
        match outcome.expect("a client") {
            Ok(11) => greeted += 1,
            Err(ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused) => told += 1,
            other => panic!("{other:?}"),
        }
    }
    println!("{greeted} greeted, {told} told");
    assert!((10..=20).contains(&greeted) && told >= 10, "{greeted} greeted, {told} told");
    assert_eq!(front.service(0).resets, told);
}

/// How a challenge ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// `limiter disarm`, or an armed time that is over.
    Disarmed,
    /// `limiter detach`.
    Detached,
    /// Not at all: nothing of limiter's user space is left.
    Killed,
}

/// Keeps the ACKs of clients to port 80 back, and everything else that they send but SYNs.
fn hold_acks(lab: &Lab, rules: &[&str]) {
    for rule in rules {
        let done = lab.crowd.command("nft").expect("a namespace").arg(rule).status();
        assert!(done.expect("nft is installed by `cargo xtask setup`").success(), "nft {rule}");
    }
}

/// A client has its SYN-ACK, and its ACK is on the way when the challenge ends, with `tcp_syncookies` back at what it was: the kernel
/// makes the connection, or resets it. Nobody is left hanging.
#[test]
fn open_handshakes_survive_the_end_of_the_challenge() {
    for before in ["0", "1", "2"] {
        for end in [End::Disarmed, End::Detached, End::Killed] {
            let front = front(&web(Challenge::Always));
            let outcome = held_through(&front, end, before);
            let made = netstat(&front.lab.front, "SyncookiesRecv");
            println!("{end:?}, tcp_syncookies {before}: {outcome:?}, {made} made");
            // While it enforces, limiter keeps the setting at 2.
            let expected = if before == "0" && !matches!(end, End::Killed) {
                Err(ErrorKind::ConnectionReset)
            } else {
                Ok(4)
            };
            assert_eq!(
                (outcome, made),
                (expected, u64::from(expected.is_ok())),
                "{end:?} {before}"
            );
        }
    }
}

/// What the client reads.
fn held_through(front: &Front, end: End, before: &str) -> Result<usize, ErrorKind> {
    let Front { lab, maps, pins, .. } = front;
    let address = SocketAddr::new(FRONT_V4, 80);
    let listener = lab.front.run(|| Ok(TcpListener::bind(address)?)).expect("a listener");
    let _server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0; 4])?;
        stream.write_all(b"pong")
    });
    hold_acks(
        lab,
        &[
            "add table inet lab",
            "add chain inet lab out { type filter hook output priority 0; }",
            "add rule inet lab out tcp dport 80 tcp flags & (syn | ack) == ack drop",
        ],
    );
    let client = lab.clients_v4()[0];
    let mut stream: TcpStream =
        lab.crowd.run(|| Ok(bound(client)(address))).expect("the SYN-ACK came");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"ping").expect("sent, and held back");
    assert_eq!(decided(&front.service(0), Reason::Challenged), 1);
    match end {
        End::Disarmed => {
            let switch = maps.switch().expect("the switch");
            let now =
                limiter_common::switch::Selection { mode: Mode::Observe, ..switch.fallback() };
            maps.set_switch(switch.select(now)).expect("switched");
        }
        End::Detached => pins.remove().expect("detached"),
        End::Killed => {}
    }
    if !matches!(end, End::Killed) {
        lab.front.sysctl("ipv4/tcp_syncookies", before).expect("the namespace's own setting");
    }
    hold_acks(lab, &["delete table inet lab"]);
    stream.read(&mut [0; 16]).map_err(|error| error.kind())
}
