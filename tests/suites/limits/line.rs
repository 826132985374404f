//! The line with real TCP clients: a crowd that asks for twice what a budget lets in waits in it, and
//! gets no fewer whole pages than by the budget alone. How many is decided in simulated time
//! (`limiter-common/tests/crowd`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::topology::FRONT_V4;
use lab::{Crowd, Flood, Lab, LabOptions, PageReport, Server, Sources};
use limiter::kernel::clock;
use limiter::policy::{Admission, Policy};
use limiter_common::challenge::Challenge;
use limiter_common::line::seats;
use limiter_common::line::service::State;
use limiter_common::reason::Reason;
use limiter_common::record::Counters;
use limiter_common::switch::Mode;

use super::{Front, challenge, decided, limit, policy};

const CONNECTIONS: u32 = 6;
/// Connections per second: ten pages.
const BUDGET: u64 = 60;
const SECONDS: f64 = 40.0;
/// How long a person waits for a page.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a crowd, and what the line says of it.
struct Seen {
    pages: PageReport,
    counters: Counters,
    line: State,
}

fn web(line: bool) -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].budget = limit(BUDGET, BUDGET);
    policy.services[0].admission.line = line;
    policy
}

/// Two hundred people come again every ten seconds: twice as many pages as there is room for.
fn come(front: &Front, patience: Duration) -> Seen {
    let _server = Server::start(&front.lab).expect("a server");
    let mut clients = front.lab.clients_v4();
    clients.truncate(200);
    let crowd = Crowd {
        pages_per_second: 20.0,
        seconds: SECONDS,
        connections_per_page: CONNECTIONS,
        timeout: patience,
        ..Crowd::new(SocketAddr::new(FRONT_V4, 80), clients)
    };
    let pages = crowd.run(&front.lab).expect("a crowd");
    let counters = front.service(0);
    let line = State::read(&front.maps.line.get(&0, 0).expect("the line").0, 0);
    println!(
        "{} of {} pages came whole, {} are possible at the rate; {} visits and {} pages were let \
         in; attempts that waited in line: {}",
        pages.ok,
        pages.tried,
        SECONDS * BUDGET as f64 / f64::from(CONNECTIONS),
        line.visits,
        line.pages,
        decided(&counters, Reason::InLine)
    );
    Seen { pages, counters, line }
}

/// Pages came, and nobody was let in but who came for one.
fn adds_up(Seen { pages, line, .. }: &Seen) {
    assert!(pages.ok > 0 && line.visits > 0, "{} whole of {line:?}", pages.ok);
    assert!(line.visits <= line.pages.min(pages.tried), "{} tried: {line:?}", pages.tried);
}

#[test]
fn a_crowd_gets_whole_pages() {
    // At once, each in a lab of its own: together they are 240 connections a second.
    let (seen, plain) = std::thread::scope(|scope| {
        let plain = scope.spawn(|| come(&Front::new(&web(false), Mode::Enforce), PATIENCE));
        let seen = come(&Front::new(&web(true), Mode::Enforce), PATIENCE);
        (seen, plain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    assert!(decided(&seen.counters, Reason::InLine) > 0, "nobody waits: {:?}", seen.counters);
    assert_eq!(decided(&plain.counters, Reason::InLine), 0, "there is no line");
    adds_up(&seen);
    let (whole, without) = (seen.pages.ok, plain.pages.ok);
    assert!(whole >= without, "{whole} in line, {without} without");
}

/// An attempt only asks, its proof is judged; forged attempts beside the crowd have no proof, and
/// so no place.
#[test]
fn forged_attempts_take_no_place_where_proofs_pay() {
    let mut policy = web(true);
    policy.services[0].admission.challenge = Challenge::Auto;
    let front = challenge::front(&policy);
    let forged = Flood {
        frames: u64::MAX,
        seconds: 600.0,
        rate: Some(2000),
        ..Flood::new(
            (FRONT_V4, 80).into(),
            Sources::Many { base: Ipv4Addr::new(11, 0, 0, 1).into(), count: 1 << 20 },
        )
    };
    let forged = forged.spawn(&front.lab).expect("a flood");
    // What waits here is data, which a client sends again after 0.2, 0.4, 0.8 s and so on.
    let seen = come(&front, 3 * PATIENCE);
    let forged = forged.stop().expect("it ends").sent;
    println!("beside {forged} forged attempts");
    assert!(decided(&seen.counters, Reason::Proven) > 0, "{:?}", seen.counters);
    adds_up(&seen);
}

/// The quota of users: two hundred of a thousand are let in and stay, never more; who is gone makes
/// room in less than a second, and others come in.
#[test]
fn no_more_than_so_many_users_are_present() {
    const USERS: u64 = 200;
    const CLIENTS: u32 = 1000;
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission = Admission { users: USERS, ..Admission::default() };
    let lab = Lab::with(LabOptions { clients: CLIENTS, ..LabOptions::default() });
    let front = Front::in_lab(lab.expect("a lab"), &policy, Mode::Enforce).expect("it attaches");
    let _server = Server::start(&front.lab).expect("a server");
    let clients = front.lab.clients_v4();
    let come = |clients: &[IpAddr], seconds| {
        let crowd = Crowd {
            // Each comes again every eight seconds.
            pages_per_second: clients.len() as f64 / 8.0,
            seconds,
            connections_per_page: 2,
            timeout: Duration::from_secs(7),
            ..Crowd::new(SocketAddr::new(FRONT_V4, 80), clients.to_vec())
        };
        crowd.run(&front.lab).expect("a crowd")
    };
    let slot = front.maps.switch().expect("the switch").at(clock::now()).slot;
    let rules = front.maps.services(slot).expect("the services")[&0].line;
    let present = |now| {
        let seats = front.maps.seats.get(&0, 0).expect("the seats").0;
        seats::present(&seats, &rules, now)
    };
    let visits = || State::read(&front.maps.line.get(&0, 0).expect("the line").0, 0).visits;
    let is_over = AtomicBool::new(false);
    let (pages, most) = std::thread::scope(|scope| {
        let most = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(present(clock::now()));
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let pages = come(&clients, 24.0);
        is_over.store(true, Ordering::Relaxed);
        (pages, most.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // From now on nobody comes: whatever the last of them did, it is done.
    let left = clock::now();
    assert_eq!((visits(), most), (USERS, USERS), "{pages:?}");
    println!("{} of {} pages came while {USERS} of {CLIENTS} were present", pages.ok, pages.tried);
    let in_turn = pages.tried * USERS / u64::from(CLIENTS);
    assert!((in_turn / 2..=in_turn + USERS).contains(&pages.ok), "{}", pages.ok);
    assert!(decided(&front.service(0), Reason::InLine) > 0);
    // Presence lasts for 30 s, and a seat is free within one more.
    assert_eq!(present(left + 31_000_000_000), 0);
    // The first that came are in, but for those whose SYNs overtook one another. They stay away.
    while visits() < USERS + USERS / 2 {
        let since = Duration::from_nanos(clock::now() - left);
        assert!(since < lab::wait::PATIENCE, "{} visits in all", visits());
        come(&clients[USERS as usize..], 4.0);
        assert!(present(clock::now()) <= USERS);
    }
    let since = Duration::from_nanos(clock::now() - left);
    println!("the others came in {:.1} s after they had gone", since.as_secs_f64());
}
