//! The waiting room with real TCP: who is refused is shown another listener's answer, and never
//! reaches the server. That listener and its clients are in `asked`.

mod asked;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::{PATIENCE, until_so};
use lab::{Flood, Server, Sources};
use limiter::policy::Policy;
use limiter_common::challenge::Challenge;
use limiter_common::line::service::State;
use limiter_common::reason::Reason;
use limiter_common::record::Refuse;
use limiter_common::switch::Mode;

use super::{Front, challenge, decided, dropped, limit, policy};

pub(super) use asked::{By, Room, ask, at_once, request, request_from};

/// Connections that a crowd makes in a test, unless a variable says another number.
const CONNECTIONS: usize = 200;
/// See [`CONNECTIONS`].
pub(super) const VARIABLE: &str = "LIMITER_ROOM_CONNECTIONS";

fn connections() -> usize {
    let said = std::env::var(VARIABLE).ok();
    said.map_or(CONNECTIONS, |said| said.parse().expect("a number"))
}

/// Ten connections, and then one an hour.
pub(super) fn full(line: bool, challenge: Challenge) -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].budget = limit(1, 10);
    policy.services[0].budget.rate.period *= 3600;
    policy.services[0].admission.line = line;
    policy.services[0].admission.challenge = challenge;
    policy.services[0].admission.refuse = Refuse::Room;
    policy
}

fn targets(front: &Front) -> [(IpAddr, Vec<IpAddr>); 2] {
    let mut v4 = front.lab.clients_v4();
    v4.truncate(20);
    let mut v6 = front.lab.clients_v6();
    v6.truncate(20);
    [(FRONT_V4, v4), (FRONT_V6, v6)]
}

/// Whoever the budget has nothing for sees the room, and the server sees only whom it was let in:
/// with the kernel's cookies (the proof is diverted) and without (the attempt is).
#[test]
fn who_is_refused_is_shown_the_room() {
    for (cookies, index) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let policy = full(false, if cookies { Challenge::Auto } else { Challenge::Off });
        let mut front = match cookies {
            true => challenge::front(&policy),
            false => Front::new(&policy, Mode::Enforce),
        };
        let server = Server::start(&front.lab).expect("a server");
        let room = Room::open(&mut front);
        let (target, clients) = targets(&front)[index].clone();
        let each = connections().div_ceil(clients.len());
        let answers = ask(&front, target, &clients, each, PATIENCE);
        let counters = front.service(0);
        let what = format!("{cookies} {target} {answers:?} {counters:?}");
        assert_eq!(answers.nothing, 0, "{what}");
        assert_eq!(answers.served + answers.shown, (each * clients.len()) as u64, "{what}");
        let (let_in, diverted) = match cookies {
            true => (Reason::Proven, Reason::DivertedProof),
            false => (Reason::Admitted, Reason::Diverted),
        };
        // From a proof to its listener an emulated machine may take longer than a note lasts, which
        // is two seconds. Then the connection is the server's.
        let late = if connections() < CONNECTIONS { 2 } else { 0 };
        let paid = decided(&counters, let_in);
        assert!((paid..=paid + late).contains(&answers.served), "{what}");
        assert_eq!(answers.served, server.accepted(), "{what}");
        assert_eq!(room.seen(), answers.shown, "{what}");
        // More where the kernel was slow, and a client sent its SYN again.
        assert!(decided(&counters, diverted) >= answers.shown, "{what}");
        assert!((9..=11 + late).contains(&answers.served), "{what}");
    }
}

/// Without a room, or after it was closed, what a budget refuses is dropped; nothing of it reaches
/// the server.
#[test]
fn without_a_room_the_refused_are_dropped() {
    for cookies in [false, true] {
        let policy = full(false, if cookies { Challenge::Auto } else { Challenge::Off });
        let mut front = match cookies {
            true => challenge::front(&policy),
            false => Front::new(&policy, Mode::Enforce),
        };
        let server = Server::start(&front.lab).expect("a server");
        let (target, clients) = targets(&front)[0].clone();
        let few = Duration::from_millis(300);
        let before = ask(&front, target, &clients, 1, few);
        assert_eq!((before.shown, before.served), (0, server.accepted()), "{before:?}");
        let room = Room::open(&mut front);
        let open = ask(&front, target, &clients, 1, PATIENCE);
        assert_eq!((open.served, open.shown), (0, clients.len() as u64), "{open:?}");
        room.close(&front);
        let refused = dropped(&front.service(0));
        let after = ask(&front, target, &clients, 1, few);
        assert_eq!((after.served, after.shown), (0, 0), "{after:?}");
        assert!(dropped(&front.service(0)) > refused, "they are dropped");
        assert_eq!(server.accepted(), before.served, "nothing more reaches the server");
    }
}

/// What a person sees: whole and broken pages, and how long each first answer took.
#[derive(Default)]
struct Visitor {
    whole: u64,
    broken: u64,
    served: u64,
    shown: u64,
    waits: Vec<Duration>,
}

/// Comes for a page of six connections every ten seconds; where the room answers, its page asks
/// again. The other five go out once the first has its answer.
fn visit(client: IpAddr, start: Duration, seconds: u64) -> Visitor {
    let (mut seen, begun) = (Visitor::default(), Instant::now());
    std::thread::sleep(start);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let asked = Instant::now();
        let by = request(client, FRONT_V4, PATIENCE);
        seen.waits.push(asked.elapsed());
        if by != By::Server {
            seen.shown += u64::from(by == By::Room);
            // A tenth of what the real page waits.
            std::thread::sleep(Duration::from_millis(600 + u64::from(fastrand::u16(..900))));
            continue;
        }
        let others = (0..5).filter(|_| request(client, FRONT_V4, PATIENCE) == By::Server).count();
        seen.served += 1 + others as u64;
        if others == 5 {
            seen.whole += 1;
        } else {
            seen.broken += 1;
        }
        std::thread::sleep(Duration::from_secs(10).saturating_sub(asked.elapsed()));
    }
    seen
}

/// People, and how many times the budget they want; with LIMITER_ROOM_PEOPLE so many who want five
/// times of it.
fn people() -> (u64, u64) {
    let said = std::env::var("LIMITER_ROOM_PEOPLE").ok();
    said.map_or((200, 2), |said| (said.parse().expect("a number"), 5))
}

/// A crowd that wants twice what the budget lets in: everybody is served or shown the room, pages
/// are whole, and the server sees nobody else.
#[test]
fn a_crowd_is_served_in_line_or_shown_the_room() {
    const SECONDS: u64 = 20;
    for cookies in [false, true] {
        let mut policy = full(true, if cookies { Challenge::Auto } else { Challenge::Off });
        let (people, times) = people();
        // A page of six connections in ten seconds.
        let rate = people * 6 / 10 / times;
        policy.services[0].budget = limit(rate, rate);
        let mut front = match cookies {
            true => challenge::front(&policy),
            false => Front::new(&policy, Mode::Enforce),
        };
        let server = Server::start(&front.lab).expect("a server");
        let room = Room::open(&mut front);
        front.lab.crowd.ip_batch("route add local 10.78.0.0/16 dev lo\n").expect("a route");
        let client = |number| IpAddr::V4(Ipv4Addr::from_bits(0x0a4e_0001 + number));
        let clients: Vec<_> = (0..people as u32).map(client).collect();
        let one = |client| visit(client, Duration::from_millis(fastrand::u64(..2000)), SECONDS);
        let seen = at_once(&front, &clients, one);
        let sum = |of: fn(&Visitor) -> u64| seen.iter().map(of).sum::<u64>();
        let (whole, broken) = (sum(|one| one.whole), sum(|one| one.broken));
        let (served, shown) = (sum(|one| one.served), sum(|one| one.shown));
        let mut waits: Vec<_> = seen.into_iter().flat_map(|one| one.waits).collect();
        waits.sort_unstable();
        let quick = waits.iter().filter(|wait| **wait < Duration::from_secs(1)).count();
        let line = State::read(&front.maps.line.get(&0, 0).expect("the line").0, 0);
        println!(
            "cookies {cookies}, {people} people: {whole} pages whole, {broken} broken, {} let in; {shown} times the \
             room; {} of 1,000 first answers within a second, the slowest after {:?}; server saw \
             {}",
            line.pages,
            1000 * quick / waits.len(),
            waits[waits.len() - 1],
            server.accepted()
        );
        let counters = front.service(0);
        let (let_in, diverted) = match cookies {
            true => (Reason::Proven, Reason::DivertedProof),
            false => (Reason::Admitted, Reason::Diverted),
        };
        assert_eq!(room.seen(), shown, "{counters:?}");
        assert!(decided(&counters, diverted) >= shown, "{counters:?}");
        assert_eq!((server.accepted(), decided(&counters, let_in)), (served, served));
        assert!(shown > whole && 100 * whole >= 80 * line.pages, "{whole} whole of {line:?}");
    }
}

/// The room has a budget of its own; what is beyond it is dropped.
#[test]
fn no_more_are_shown_the_room_than_its_budget_says() {
    for cookies in [false, true] {
        let mut policy = full(false, if cookies { Challenge::Auto } else { Challenge::Off });
        policy.diverts = Some(policy.services[0].budget);
        let mut front = match cookies {
            true => challenge::front(&policy),
            false => Front::new(&policy, Mode::Enforce),
        };
        let server = Server::start(&front.lab).expect("a server");
        let room = Room::open(&mut front);
        let (target, clients) = targets(&front)[0].clone();
        let answers = ask(&front, target, &clients, 2, Duration::from_millis(500));
        let counters = front.service(0);
        // Two CPUs may each hold a lease of one.
        assert!((9..=11).contains(&answers.shown), "{answers:?}");
        assert_eq!((room.seen(), server.accepted()), (answers.shown, answers.served));
        assert!(answers.nothing > 0 && dropped(&counters) > 0, "{answers:?} {counters:?}");
    }
}

/// Forged attempts beside a crowd, where the kernel makes cookies: they have no proof, so none of
/// them takes anything of the room, and every client is let in or shown it.
#[test]
fn forged_attempts_spend_nothing_of_the_room() {
    let policy = full(false, Challenge::Auto);
    let mut front = challenge::front(&policy);
    let server = Server::start(&front.lab).expect("a server");
    let room = Room::open(&mut front);
    let flood = Flood {
        frames: u64::MAX,
        seconds: 600.0,
        ..Flood::new(
            (FRONT_V4, 80).into(),
            Sources::Many { base: Ipv4Addr::new(11, 0, 0, 1).into(), count: 1 << 20 },
        )
    };
    let flood = flood.spawn(&front.lab).expect("a flood");
    front.floods(100_000);
    let mut clients = front.lab.clients_v4();
    clients.truncate(100);
    let answers = ask(&front, FRONT_V4, &clients, 5, PATIENCE);
    let forged = flood.stop().expect("it ends").sent;
    let counters = front.service(0);
    println!("{answers:?} beside {forged} forged attempts");
    assert_eq!((answers.nothing, answers.served + answers.shown), (0, 500), "{counters:?}");
    assert_eq!(decided(&counters, Reason::Diverted), 0, "{counters:?}");
    assert!(decided(&counters, Reason::DivertedProof) >= answers.shown, "{counters:?}");
    assert_eq!((room.seen(), server.accepted()), (answers.shown, answers.served));
}

/// The room ends and begins again, twenty times, while clients ask: whatever each of them meets, the
/// server sees only whom the budget let in.
#[test]
fn nobody_reaches_the_server_while_the_room_restarts() {
    for cookies in [false, true] {
        let policy = full(false, if cookies { Challenge::Auto } else { Challenge::Off });
        let mut front = match cookies {
            true => challenge::front(&policy),
            false => Front::new(&policy, Mode::Enforce),
        };
        let server = Server::start(&front.lab).expect("a server");
        let (target, clients) = targets(&front)[0].clone();
        let room = Room::open(&mut front);
        let used = ask(&front, target, &clients, 1, PATIENCE);
        assert_eq!(used.served + used.shown, clients.len() as u64, "{used:?}");
        let ends = AtomicBool::new(false);
        let (crowd, lab) = (front.lab.crowd.another().expect("a namespace"), &ends);
        let (answers, seen) = std::thread::scope(|scope| {
            let ask = |client: IpAddr| {
                let mut seen = Vec::new();
                while !lab.load(Ordering::SeqCst) {
                    seen.push(request(client, target, Duration::from_millis(200)));
                }
                seen
            };
            let threads: Vec<_> = clients
                .iter()
                .map(|client| {
                    let crowd = crowd.another().expect("a namespace");
                    scope.spawn(move || crowd.run(|| Ok(ask(*client))).expect("a client"))
                })
                .collect();
            let (mut room, mut seen) = (room, 0);
            for _ in 0..20 {
                let before = room.seen();
                until_so("the room is asked", || room.seen() > before + 20);
                seen += room.seen();
                room.close(&front);
                room = Room::open(&mut front);
            }
            until_so("the room is asked", || room.seen() > 20);
            ends.store(true, Ordering::SeqCst);
            let answers = threads.into_iter().flat_map(|thread| thread.join().expect("a client"));
            (answers.collect::<Vec<_>>(), seen + room.seen())
        });
        let by = |who| answers.iter().filter(|by| **by == who).count() as u64;
        println!(
            "cookies {cookies}: {} shown, {} without an answer, of {seen} that the rooms took",
            by(By::Room),
            by(By::Nobody)
        );
        let counters = front.service(0);
        let let_in = if cookies { Reason::Proven } else { Reason::Admitted };
        assert_eq!(by(By::Server) + used.served, decided(&counters, let_in), "{counters:?}");
        assert_eq!(server.accepted(), decided(&counters, let_in), "{counters:?}");
    }
}
