//! The challenge with real clients, a real kernel and real floods.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::{Crowd, Flood, Lab, Namespace, PageReport, Server, Sources};
use limiter::policy::{Admission, Policy};
use limiter_common::challenge::Challenge;
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

pub fn web(challenge: Challenge) -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission = Admission { challenge, ..Admission::usual() };
    policy
}

/// A counter of the front end's own TCP.
pub fn kernel(front: &Front, name: &str) -> u64 {
    netstat(&front.lab.front, name)
}

/// A counter of a namespace's TCP, from /proc/net/netstat.
pub fn netstat(namespace: &Namespace, name: &str) -> u64 {
    let text = namespace.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/netstat")?)).expect("netstat");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let pairs = lines.chunks_exact(2).flat_map(|pair| pair[0].iter().zip(&pair[1]));
    let (_, value) = pairs.into_iter().find(|(found, _)| **found == name).expect("the kernel counts it");
    value.parse().expect("a number")
}

/// Attempts and proofs that were charged.
fn charged(counters: &Counters) -> u64 {
    decided(counters, Reason::Admitted) + decided(counters, Reason::Proven)
}

pub fn pages(front: &Front, target: IpAddr, clients: Vec<IpAddr>, rate: f64, seconds: f64) -> PageReport {
    let crowd = Crowd {
        pages_per_second: rate,
        seconds,
        timeout: Duration::from_secs(8),
        ..Crowd::new(SocketAddr::new(target, 80), clients)
    };
    crowd.run(&front.lab).expect("a crowd")
}

/// Every client is challenged once, proves itself once, and has a ticket from then on; each connection is charged exactly once.
#[test]
fn clients_prove_themselves_and_get_tickets() {
    for v6 in [false, true] {
        let front = front(&web(Challenge::Always));
        let server = Server::start(&front.lab).expect("a server");
        let (target, mut clients) =
            if v6 { (FRONT_V6, front.lab.clients_v6()) } else { (FRONT_V4, front.lab.clients_v4()) };
        // IPv6 sources are /64s, and all clients live in one.
        clients.truncate(if v6 { 1 } else { 20 });
        let sources = clients.len() as u64;
        let report = pages(&front, target, clients, 100.0, 2.0);
        assert_eq!(report.ok, report.tried, "every page came");
        let counters = front.service(0);
        assert_eq!(decided(&counters, Reason::BadCookie), 0);
        assert_eq!(decided(&counters, Reason::Unanswered), 0);
        assert_eq!(counters.tickets, sources, "one ticket for each source");
        let challenged = decided(&counters, Reason::Challenged);
        assert!((sources..=sources * 6).contains(&challenged), "{challenged} challenged of {sources} sources");
        // A connection is a challenged attempt or an admitted one; both end in an ACK that brings a cookie.
        let connections = challenged + decided(&counters, Reason::Admitted);
        assert_eq!(connections, server.accepted(), "{counters:?}");
        // The kernel makes no cookie for a SYN that meets a connection in TIME_WAIT; all others had their proof, once.
        let proofs = decided(&counters, Reason::Proven) + decided(&counters, Reason::Redeemed);
        assert_eq!(proofs, kernel(&front, "SyncookiesRecv"), "{counters:?}");
        assert!(kernel(&front, "SyncookiesSent") <= decided(&counters, Reason::Admitted));
        assert_eq!(charged(&counters), server.accepted(), "{counters:?}");
        assert_eq!(kernel(&front, "SyncookiesFailed"), 0);
    }
}

/// A flood of random sources at full speed; ordinary clients, a budget of 1,000/s.
fn under_flood(challenge: Challenge) -> (Front, PageReport, u64, u64) {
    let mut policy = web(challenge);
    policy.services[0].budget = limit(1000, 2000);
    let front = front(&policy);
    let server = Server::start(&front.lab).expect("a server");
    // From both CPUs: a CPU without a flood draws its own lease, and its clients would not feel the other's.
    let floods = [0, 1].map(|cpu| {
        let flood = Flood::new((FRONT_V4, 80).into(), Sources::Random);
        let flood = Flood { frames: u64::MAX, seconds: 30.0, cpu: Some(cpu), ..flood };
        flood.spawn(&front.lab).expect("a flood")
    });
    std::thread::sleep(Duration::from_millis(500));
    let mut clients = front.lab.clients_v4();
    clients.truncate(200);
    let report = pages(&front, FRONT_V4, clients, 100.0, 5.0);
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
        assert!(sent > 1_000_000, "a flood worth the name: {sent}");
        assert!(report.share() >= 0.99, "{} of {} pages: {counters:?}", report.ok, report.tried);
        // The kernel answers the SYNs that reach it with a cookie each. None of the flood did; with `auto`, those before it turned on.
        let reached = kernel(&front, "SyncookiesSent");
        let before_it_was_on = if challenge == Challenge::Always { 0 } else { 2000 };
        assert!(reached <= 500 + before_it_was_on, "{reached} SYNs reached the kernel: {counters:?}");
        assert!(reached <= decided(&counters, Reason::Admitted));
        // Each proof became a connection. What was charged: attempts of ticket holders, and proofs of newcomers; with `auto` also SYNs of the
        // flood that came before it turned on.
        let proofs = decided(&counters, Reason::Proven) + decided(&counters, Reason::Redeemed);
        assert_eq!(kernel(&front, "SyncookiesRecv"), proofs, "{counters:?}");
        assert_eq!(report.tried, accepted, "one connection a page");
        assert_eq!(decided(&counters, Reason::Unanswered), 0, "{counters:?}");
        let spoofed = charged(&counters) - accepted;
        assert!(spoofed <= before_it_was_on, "{spoofed} charged without a connection: {counters:?}");
    }
}

/// One source with a ticket, whose address a spoofer bears at full speed: its share is small, and everybody else comes in.
#[test]
fn a_spoofer_cannot_spend_the_budget_with_one_ticket() {
    let mut policy = web(Challenge::Always);
    policy.services[0].budget = limit(1000, 2000);
    let front = front(&policy);
    let _server = Server::start(&front.lab).expect("a server");
    let mut clients = front.lab.clients_v4();
    clients.truncate(201);
    let holder = clients.pop().expect("a client");
    let first = pages(&front, FRONT_V4, vec![holder], 10.0, 0.1);
    assert_eq!((first.ok, front.service(0).tickets), (1, 1));
    let floods = [0, 1].map(|cpu| {
        let flood = Flood::new((FRONT_V4, 80).into(), Sources::One(holder));
        let flood = Flood { frames: u64::MAX, seconds: 30.0, cpu: Some(cpu), ..flood };
        flood.spawn(&front.lab).expect("a flood")
    });
    std::thread::sleep(Duration::from_millis(500));
    let report = pages(&front, FRONT_V4, clients, 100.0, 5.0);
    let sent: u64 = floods.map(|flood| flood.stop().expect("the flood ends").sent).iter().sum();
    let counters = front.service(0);
    let shares = decided(&counters, Reason::FairShare);
    println!("{sent} SYNs with a ticket, {shares} over their share; {} of {} pages", report.ok, report.tried);
    assert!(sent > 1_000_000, "a flood worth the name: {sent}");
    assert!(report.share() >= 0.99, "{} of {} pages: {counters:?}", report.ok, report.tried);
    assert!(shares > sent / 2, "{counters:?}");
}

/// The same without a challenge, beside it: the spoofer has spent the budget. How many clients come in all the same is luck here: with two CPUs
/// they run just when the flood does not, which is when the clock has ticked and tokens are there. On other machines they are out.
#[test]
fn without_a_challenge_the_spoofer_spends_it() {
    let (front, report, sent, accepted) = under_flood(Challenge::Off);
    let counters = front.service(0);
    let spoofed = charged(&counters) - accepted;
    println!("Off: {sent} SYNs of the flood, {spoofed} admitted; {} of {} pages", report.ok, report.tried);
    assert!(spoofed > 4000 && spoofed > accepted * 4, "{spoofed} of the spoofer, {accepted} of clients");
    assert!(decided(&counters, Reason::ServiceBudget) + decided(&counters, Reason::Newcomer) > 1_000_000);
}

/// The generator has a CPU of its own, as it would be another machine; server, clients and what XDP does to them share the other. Each
/// round has clients without tickets, so that more than one page in a hundred is challenged. Other work on the machine only makes it
/// slower: the best of six rounds counts.
#[test]
fn connecting_takes_no_longer_than_in_the_calm() {
    // A thread of its own, because it binds itself to a CPU.
    std::thread::spawn(connecting_in_a_flood).join().expect("it takes no longer");
}

fn connecting_in_a_flood() {
    const ROUNDS: usize = 6;
    let mut policy = web(Challenge::Always);
    policy.services[0].budget = limit(1000, 2000);
    let front = front(&policy);
    on_cpu_1();
    let _server = Server::start(&front.lab).expect("a server");
    let clients = front.lab.clients_v4();
    let mut strangers = clients.chunks_exact(clients.len() / (ROUNDS + 1));
    let mut fetch = || pages(&front, FRONT_V4, strangers.next().expect("clients").to_vec(), 100.0, 4.0);
    let calm = fetch();
    let flood = Flood::new((FRONT_V4, 80).into(), Sources::Random);
    let flood = Flood { frames: u64::MAX, seconds: 60.0, cpu: Some(0), ..flood }.spawn(&front.lab).expect("a flood");
    std::thread::sleep(Duration::from_millis(500));
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let flooded = fetch();
        println!(
            "{} of {} pages; connect p50 {:.2} ms, p99 {:.2} ms; in the calm {:.2} ms, {:.2} ms",
            flooded.ok,
            flooded.tried,
            flooded.connect_p50(),
            flooded.connect_p99(),
            calm.connect_p50(),
            calm.connect_p99()
        );
        assert!(flooded.share() >= 0.99, "{} of {} pages", flooded.ok, flooded.tried);
        best = best.min(flooded.connect_p99());
        if best <= 3.0 * calm.connect_p99() {
            break;
        }
    }
    let sent = flood.stop().expect("the flood ends").sent;
    assert!(sent > 300_000, "a flood worth the name, also where others use the CPU: {sent}");
    assert!(best <= 3.0 * calm.connect_p99(), "{best:.2} ms");
}

/// Binds this thread, and those that it starts from now on.
fn on_cpu_1() {
    let mut set = rustix::thread::CpuSet::new();
    set.set(1);
    rustix::thread::sched_setaffinity(None, &set).expect("two CPUs");
}
