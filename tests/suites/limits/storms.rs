//! Floods that are not what the challenge is for: attempts that cannot be answered, and ACKs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use lab::frame::flags::{ACK, FIN, RST, SYN};
use lab::topology::FRONT_V4;
use lab::wait::until;
use lab::{Flood, FloodHandle, Hand, PageReport, Server, Sources};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;

use super::challenge::{front, kernel, pages, web};
use super::{Front, decided, limit};

const CLIENTS: usize = 200;

/// A challenged service on ports 80 and 81 with a budget of 1,000/s.
fn challenged() -> Front {
    let mut policy = web(Challenge::Always);
    policy.services[0].budget = limit(1000, 2000);
    policy.services[0].listeners.push("0.0.0.0:81".parse().expect("a place"));
    front(&policy)
}

/// Packets of a flood that the clients meet when they come: more than the budgets of this file let in in minutes.
const FLOODED: u64 = 100_000;

/// The flood from both CPUs.
fn spawn(front: &Front, flood: &Flood) -> [FloodHandle; 2] {
    [0, 1].map(|cpu| {
        let flood = Flood { frames: u64::MAX, seconds: 600.0, cpu: Some(cpu), ..flood.clone() };
        flood.spawn(&front.lab).expect("a flood")
    })
}

/// Strangers fetch pages during the flood; what they got, and how large it was.
fn strangers_during(front: &Front, flood: &Flood, seconds: f64) -> (PageReport, u64) {
    let before = front.seen();
    let floods = spawn(front, flood);
    front.floods(before + FLOODED);
    let mut clients = front.lab.clients_v4();
    clients.truncate(CLIENTS);
    let report = pages(front, FRONT_V4, clients, CLIENTS as f64 / seconds, seconds);
    (report, floods.map(|flood| flood.stop().expect("the flood ends").sent).iter().sum())
}

/// A spoofer picks what nobody can answer: to a port where nobody listens, in fragments, signed,
/// with a FIN. Strangers come in all the same.
#[test]
fn attempts_that_cannot_be_answered_keep_nobody_out() {
    let random = Flood::new((FRONT_V4, 80).into(), Sources::Random);
    let signed = [&[19, 18][..], &[0; 16]].concat();
    for (name, flood, reason) in [
        (
            "silent port",
            Flood { target: (FRONT_V4, 81).into(), ..random.clone() },
            Reason::Unanswerable,
        ),
        ("fragments", Flood { fragments: true, ..random.clone() }, Reason::Unanswerable),
        ("signed", Flood { options: Some(signed), ..random.clone() }, Reason::Unanswerable),
        ("with FIN", Flood { flags: SYN | FIN, ..random.clone() }, Reason::BadFlags),
    ] {
        let front = challenged();
        let _server = Server::start(&front.lab).expect("a server");
        let start = Instant::now();
        let (report, sent) = strangers_during(&front, &flood, 4.0);
        let (counters, took) = (front.service(0), start.elapsed().as_secs_f64());
        let passed = decided(&counters, Reason::Unanswered);
        println!("{name}: {sent} SYNs, {passed} passed; {} of {} pages", report.ok, report.tried);
        assert_eq!(report.ok, report.tried, "{name}: {counters:?}");
        assert_eq!(decided(&counters, reason) + passed, sent, "{name}: {counters:?}");
        // A sixteenth of 1,000/s and of a burst of 2,000.
        assert!(passed as f64 <= 126.0 + 63.0 * took, "{name}: {passed} passed in {took} s");
    }
}

/// What the front end answers the attacker: everything that comes in on its device.
fn sniffer(front: &Front) -> OwnedFd {
    let open = || {
        // SAFETY: the call takes three numbers; the descriptor is nobody else's.
        let socket =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(0x0003_u16.to_be())) };
        assert!(socket >= 0, "a packet socket");
        // SAFETY: as above.
        Ok(unsafe { OwnedFd::from_raw_fd(socket) })
    };
    front.lab.attacker.run(open).expect("a socket")
}

/// The cookie that a SYN from `source` with these numbers is answered with.
fn recorded_cookie(front: &Front, source: Ipv4Addr, port: u16, sequence: u32) -> u32 {
    let sniffer = sniffer(front);
    let syn = Flood::new((FRONT_V4, 80).into(), Sources::One(source.into()));
    Flood { frames: 1, fixed: Some((port, sequence)), ..syn }.run(&front.lab).expect("a SYN");
    until("an answer", || {
        let mut frame = [0_u8; 2048];
        // SAFETY: the buffer is as long as said.
        let length = unsafe {
            libc::recv(
                sniffer.as_raw_fd(),
                frame.as_mut_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
            )
        };
        let tcp = &frame[14 + 20..];
        let is_it = length >= 54 && tcp[2..4] == port.to_be_bytes() && tcp[13] == SYN | ACK;
        is_it.then(|| u32::from_be_bytes(tcp[4..8].try_into().expect("four bytes")))
    })
}

/// ACKs at full speed, with random cookies and with one that was recorded, under the addresses of
/// others: they make no connection and cost nobody anything. The kernel answers them, as it would
/// alone.
#[test]
fn ack_floods_cost_nobody_anything() {
    let attacker = Ipv4Addr::new(11, 0, 0, 1);
    let (port, sequence) = (40_000, 77);
    let front = challenged();
    let server = Server::start(&front.lab).expect("a server");
    let cookie = recorded_cookie(&front, attacker, port, sequence);
    let random = Flood {
        flags: ACK,
        options: Some(Vec::new()),
        acknowledgment: 0x1234_5678,
        ..Flood::new((FRONT_V4, 80).into(), Sources::Random)
    };
    let others = Sources::Many { base: IpAddr::from([11, 0, 0, 2]), count: 1 << 20 };
    let recorded = Flood {
        sources: others,
        fixed: Some((port, sequence + 1)),
        acknowledgment: cookie.wrapping_add(1),
        ..random.clone()
    };
    for (name, flood) in [("random cookies", random), ("a recorded cookie", recorded)] {
        let fetched = server.accepted();
        let before = front.service(0);
        let (report, sent) = strangers_during(&front, &flood, 4.0);
        let counters = front.service(0);
        let moved = |reason| decided(&counters, reason) - decided(&before, reason);
        let proven = moved(Reason::Proven);
        println!("{name}: {sent} ACKs; {proven} proven, {} of {} pages", report.ok, report.tried);
        // A random cookie is one of those that are good with a probability of 2^-24 or so, and such a one makes a connection.
        let guessed = (server.accepted() - fetched).saturating_sub(report.tried);
        assert!(
            guessed <= 5 + sent / 1_000_000,
            "{name}: {guessed} of {sent} guessed: {counters:?}"
        );
        assert_eq!(
            proven + moved(Reason::Admitted),
            server.accepted() - fetched,
            "{name}: {counters:?}"
        );
        assert_eq!(
            kernel(&front, "SyncookiesRecv"),
            decided(&counters, Reason::Proven),
            "{name}: {counters:?}"
        );
    }
}

/// The one whose cookie it is may send it as often as it likes: it has one connection of it at a time, and is charged for each packet that comes
/// before the kernel has made that, in one batch with the first.
#[test]
fn a_replayed_cookie_makes_no_more_connections_than_are_charged() {
    /// What a device hands to a CPU at once, with some to spare.
    const BATCH: u64 = 100;
    let attacker = Ipv4Addr::new(11, 0, 0, 1);
    let (port, sequence) = (40_000, 77);
    let front = challenged();
    let server = Server::start(&front.lab).expect("a server");
    let cookie = recorded_cookie(&front, attacker, port, sequence);
    let replay = Flood {
        flags: ACK,
        options: Some(Vec::new()),
        acknowledgment: cookie.wrapping_add(1),
        fixed: Some((port, sequence + 1)),
        ..Flood::new((FRONT_V4, 80).into(), Sources::One(attacker.into()))
    };
    let (report, sent) = strangers_during(&front, &replay, 4.0);
    let counters = front.service(0);
    println!("{sent} replayed ACKs; {} of {} pages", report.ok, report.tried);
    assert_eq!(report.ok, report.tried, "{counters:?}");
    let charged = decided(&counters, Reason::Proven) + decided(&counters, Reason::Admitted);
    assert_eq!(server.accepted(), report.tried + 1, "{counters:?}");
    assert!(
        server.accepted() <= charged && charged <= report.tried + 2 * BATCH,
        "{charged} charged: {counters:?}"
    );
    assert_eq!(kernel(&front, "SyncookiesFailed"), 0);
}

/// In calm, with `tcp_syncookies` at 2, the kernel makes a connection of each ACK that brings its cookie: a client that resets its connection and
/// sends the ACK again gets as many as its limit lets it, and not any number for one attempt.
#[test]
fn a_cookie_of_the_kernel_is_charged_each_time_that_it_makes_a_connection() {
    const REPLAYS: u64 = 30;
    /// Longer than what comes right behind an ACK is let in for.
    const PAUSE: Duration = Duration::from_millis(140);
    let attacker = SocketAddr::from(([11, 0, 0, 1], 40_000));
    let mut policy = web(Challenge::Auto);
    policy.source = limit(1, 5);
    policy.source.rate.period *= 3600;
    let front = front(&policy);
    let server = Server::start(&front.lab).expect("a server");
    let mut hand = Hand::new(&front.lab, attacker, (FRONT_V4, 80).into()).expect("a packet socket");
    hand.ask().expect("a SYN-ACK");
    for _ in 0..REPLAYS {
        hand.send(&hand.frame(ACK)).expect("sent");
        hand.send(&hand.frame(RST)).expect("sent");
        std::thread::sleep(PAUSE);
    }
    let counters = front.service(0);
    let [asked, proven, waiting] =
        [Reason::Asked, Reason::Proven, Reason::Waiting].map(|reason| decided(&counters, reason));
    println!("{} connections of {REPLAYS} ACKs; {asked} asked, {proven} proven", server.accepted());
    assert_eq!((asked, proven, waiting), (1, 5, REPLAYS - 5), "{counters:?}");
    assert_eq!(kernel(&front, "SyncookiesRecv"), proven);
    assert_eq!(server.accepted(), proven);
    // Others come in as before.
    let report = pages(&front, FRONT_V4, front.lab.clients_v4(), 100.0, 1.0);
    assert_eq!(report.ok, report.tried, "{:?}", front.service(0));
}
