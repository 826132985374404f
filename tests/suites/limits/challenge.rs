//! The challenge with real clients, a real kernel and real floods.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::PATIENCE;
use lab::{Crowd, Flood, Lab, Namespace, PageReport, Server, Sources};
use limiter::policy::Policy;
use limiter_common::challenge::{self, Challenge};
use limiter_common::reason::Reason;
use limiter_common::record::Counters;
use limiter_common::switch::Mode;

use super::{Front, decided, limit, policy};

/// A front end whose kernel makes cookies, as `attach --set-syncookies` would have it.
pub fn front(policy: &Policy) -> Front {
    front_in(Lab::new().expect("a lab"), policy)
}

/// The same in a lab that is there.
pub fn front_in(lab: Lab, policy: &Policy) -> Front {
    lab.front.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
    let mut front = Front::in_lab(lab, policy, Mode::Enforce).expect("limiter attaches in the lab");
    let Front { lab, maps, .. } = &mut front;
    lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
    front
}

/// A challenge without a line: each connection is challenged while it is on.
pub fn web(challenge: Challenge) -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission.challenge = challenge;
    policy
}

/// A counter of the front end's own TCP.
pub fn kernel(front: &Front, name: &str) -> u64 {
    netstat(&front.lab.front, name)
}

/// A counter of a namespace's TCP, from /proc/net/netstat.
pub fn netstat(namespace: &Namespace, name: &str) -> u64 {
    let text = namespace
        .run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/netstat")?))
        .expect("netstat");
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    let pairs = lines.chunks_exact(2).flat_map(|pair| pair[0].iter().zip(&pair[1]));
    let (_, value) =
        pairs.into_iter().find(|(found, _)| **found == name).expect("the kernel counts it");
    value.parse().expect("a number")
}

/// Attempts and proofs that were charged.
fn charged(counters: &Counters) -> u64 {
    decided(counters, Reason::Admitted) + decided(counters, Reason::Proven)
}

pub fn pages(
    front: &Front,
    target: IpAddr,
    clients: Vec<IpAddr>,
    rate: f64,
    seconds: f64,
) -> PageReport {
    pages_within(front, target, clients, rate, seconds, PATIENCE)
}

/// The same, for clients that give up.
fn pages_within(
    front: &Front,
    target: IpAddr,
    clients: Vec<IpAddr>,
    rate: f64,
    seconds: f64,
    timeout: Duration,
) -> PageReport {
    let crowd = Crowd {
        pages_per_second: rate,
        seconds,
        timeout,
        ..Crowd::new(SocketAddr::new(target, 80), clients)
    };
    crowd.run(&front.lab).expect("a crowd")
}

/// Every client proves itself, and each connection is charged exactly once. In a line whoever is
/// present is not challenged: the kernel asks him.
#[test]
fn clients_prove_themselves() {
    for (v6, line) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut policy = web(Challenge::Always);
        policy.services[0].budget = limit(1000, 2000);
        policy.services[0].admission.line = line;
        let front = front(&policy);
        let server = Server::start(&front.lab).expect("a server");
        let (target, mut clients) = if v6 {
            (FRONT_V6, front.lab.clients_v6())
        } else {
            (FRONT_V4, front.lab.clients_v4())
        };
        // IPv6 sources are /64s, and all clients live in one.
        clients.truncate(if v6 { 1 } else { 20 });
        let sources = clients.len() as u64;
        let report = pages(&front, target, clients, 100.0, 2.0);
        assert_eq!(report.ok, report.tried, "every page came");
        let counters = front.service(0);
        assert_eq!(decided(&counters, Reason::BadCookie), 0);
        assert_eq!(decided(&counters, Reason::Unanswered), 0);
        let [challenged, asked] =
            [Reason::Challenged, Reason::Asked].map(|reason| decided(&counters, reason));
        if line {
            assert!(
                (sources..report.tried).contains(&challenged),
                "{challenged} challenged of {sources} sources"
            );
        } else {
            assert_eq!(asked, 0, "each connection is challenged: {counters:?}");
        }
        // A connection is an attempt that limiter or the kernel asked for a proof, or one that
        // reused a port and paid itself.
        let attempts = challenged + asked + decided(&counters, Reason::Admitted);
        assert_eq!(attempts, server.accepted() + front.sent_again(), "{counters:?}");
        // The kernel makes no cookie for a SYN that meets a connection in TIME_WAIT; all others had their proof, once.
        assert_eq!(
            decided(&counters, Reason::Proven),
            kernel(&front, "SyncookiesRecv"),
            "{counters:?}"
        );
        assert!(kernel(&front, "SyncookiesSent") <= asked);
        let once = server.accepted()..=server.accepted() + front.sent_again();
        assert!(once.contains(&charged(&counters)), "{once:?}: {counters:?}");
        assert_eq!(kernel(&front, "SyncookiesFailed"), 0);
    }
}

/// SYNs of a flood that the clients meet when they come: more than the budget lets in in a minute.
const FLOODED: u64 = 100_000;

/// How often the challenge of service 0 was turned on.
fn turns(front: &Front) -> u64 {
    challenge::State::read(&front.maps.challenge.get(&0, 0).expect("a line").0.words).turns
}

/// A flood of random sources at full speed; ordinary clients, a budget of 1,000/s.
fn under_flood(challenge: Challenge) -> (Front, PageReport, u64, u64) {
    let mut policy = web(challenge);
    policy.services[0].budget = limit(1000, 2000);
    let mut front = front(&policy);
    if challenge == Challenge::Off {
        let Front { lab, maps, .. } = &mut front;
        lab.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
        lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
    }
    let server = Server::start(&front.lab).expect("a server");
    // From both CPUs: a CPU without a flood draws its own lease, and its clients would not feel the other's.
    let floods = [0, 1].map(|cpu| {
        let flood = Flood::new((FRONT_V4, 80).into(), Sources::Random);
        let flood = Flood { frames: u64::MAX, seconds: 600.0, cpu: Some(cpu), ..flood };
        flood.spawn(&front.lab).expect("a flood")
    });
    front.floods(FLOODED);
    let mut clients = front.lab.clients_v4();
    clients.truncate(200);
    // Without a challenge hardly any comes in, and their waiting shows nothing.
    let patience = if challenge == Challenge::Off { Duration::from_secs(2) } else { PATIENCE };
    let report = pages_within(&front, FRONT_V4, clients, 100.0, 5.0, patience);
    let sent = floods.map(|flood| flood.stop().expect("the flood ends").sent).iter().sum();
    let accepted = server.accepted();
    (front, report, sent, accepted)
}

#[test]
fn a_spoofer_cannot_spend_the_budget() {
    for challenge in [Challenge::Always, Challenge::Auto] {
        let (front, report, sent, accepted) = under_flood(challenge);
        let counters = front.service(0);
        println!(
            "{challenge:?}: {sent} SYNs of the flood, {} challenged; {} of {} pages, connect p50 {:.1} ms, p99 {:.1} ms",
            decided(&counters, Reason::Challenged),
            report.ok,
            report.tried,
            report.connect_p50(),
            report.connect_p99()
        );
        assert_eq!(report.ok, report.tried, "every page came: {counters:?}");
        // The kernel answers the SYNs that reach it with a cookie each. None of the flood did; with `auto`, those before it turned
        // on, each time no more than the burst.
        let reached = kernel(&front, "SyncookiesSent");
        let before_it_was_on =
            if challenge == Challenge::Always { 0 } else { 2000 * turns(&front) };
        let again = front.sent_again();
        assert!(
            reached <= report.tried + again + before_it_was_on,
            "{reached} SYNs reached the kernel: {counters:?}"
        );
        assert!(reached <= decided(&counters, Reason::Asked));
        // Each proof became a connection, and nothing else was charged but a port that was used
        // again.
        assert_eq!(
            kernel(&front, "SyncookiesRecv"),
            decided(&counters, Reason::Proven),
            "{counters:?}"
        );
        assert_eq!(report.tried, accepted, "one connection a page");
        assert_eq!(decided(&counters, Reason::Unanswered), 0, "{counters:?}");
        assert_eq!(charged(&counters), accepted, "{counters:?}");
    }
}

/// One source is present in the line, and a spoofer bears its address at full speed: he spends
/// nothing, and everybody else comes in.
#[test]
fn a_spoofer_cannot_spend_the_budget_in_the_name_of_one_who_is_present() {
    let mut policy = web(Challenge::Always);
    policy.services[0].budget = limit(1000, 2000);
    policy.services[0].admission.line = true;
    let front = front(&policy);
    let server = Server::start(&front.lab).expect("a server");
    let mut clients = front.lab.clients_v4();
    clients.truncate(201);
    let present = clients.pop().expect("a client");
    let first = pages(&front, FRONT_V4, vec![present], 10.0, 0.1);
    assert_eq!((first.ok, decided(&front.service(0), Reason::Proven)), (1, 1));
    let floods = [0, 1].map(|cpu| {
        let flood = Flood::new((FRONT_V4, 80).into(), Sources::One(present));
        let flood = Flood { frames: u64::MAX, seconds: 600.0, cpu: Some(cpu), ..flood };
        flood.spawn(&front.lab).expect("a flood")
    });
    front.floods(FLOODED);
    let report = pages(&front, FRONT_V4, clients, 100.0, 5.0);
    let sent: u64 = floods.map(|flood| flood.stop().expect("the flood ends").sent).iter().sum();
    let counters = front.service(0);
    let [challenged, asked] =
        [Reason::Challenged, Reason::Asked].map(|reason| decided(&counters, reason));
    println!(
        "{sent} SYNs in his name, {asked} passed, {challenged} challenged; {} of {} pages",
        report.ok, report.tried
    );
    assert_eq!(report.ok, report.tried, "every page came: {counters:?}");
    assert!(asked > 1000 && challenged > FLOODED / 2, "{counters:?}");
    // A port in TIME_WAIT that is used again, or that he hits by chance, pays as an attempt.
    let (proven, accepted) = (decided(&counters, Reason::Proven), server.accepted());
    let within = accepted..=accepted + 10;
    assert!(proven <= accepted && within.contains(&charged(&counters)), "{counters:?}");
}

/// The same where the kernel makes no cookies, beside it: the spoofer has spent the budget. How
/// many clients come in all the same is luck here: with two CPUs they run just when the flood does
/// not, which is when the clock has ticked and tokens are there. On other machines they are out.
#[test]
fn without_a_challenge_the_spoofer_spends_it() {
    let (front, report, sent, accepted) = under_flood(Challenge::Off);
    let counters = front.service(0);
    let spoofed = charged(&counters) - accepted;
    println!(
        "Off: {sent} SYNs of the flood, {spoofed} admitted; {} of {} pages",
        report.ok, report.tried
    );
    // It had all of the burst before the first client came, but for a lease on each of two CPUs.
    assert!(spoofed >= 1990, "{spoofed} of the spoofer, {accepted} of clients");
    assert!(decided(&counters, Reason::ServiceBudget) > FLOODED / 2, "{counters:?}");
}
