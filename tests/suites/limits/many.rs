//! Many diverted connections by real TCP, while the room stays, while it restarts all the time, and
//! while it is closed: none of them reaches the server.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lab::topology::FRONT_V4;
use lab::wait::{PATIENCE, until_so};
use lab::{Namespace, Server};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::room::{By, Room, VARIABLE, ask, full, request};
use super::{Front, challenge, decided, dropped, limit};

/// Connections of the test with cookies and without, each, unless [`VARIABLE`] says another number.
const CONNECTIONS: u64 = 10_000;
/// Threads of clients.
const THREADS: usize = 16;

/// What became of connections.
#[derive(Debug, Default)]
struct Seen {
    served: AtomicU64,
    shown: AtomicU64,
    nothing: AtomicU64,
}

impl Seen {
    fn count(&self, by: By) {
        let count = match by {
            By::Server => &self.served,
            By::Room => &self.shown,
            By::Nobody => &self.nothing,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }

    fn shown(&self) -> u64 {
        self.shown.load(Ordering::SeqCst)
    }

    fn all(&self) -> u64 {
        self.shown() + self.served.load(Ordering::SeqCst) + self.nothing.load(Ordering::SeqCst)
    }
}

/// The crowd's clients.
struct Clients {
    crowd: Namespace,
    addresses: Vec<IpAddr>,
}

impl Clients {
    /// They connect one after the other, on all threads, until `ends`.
    fn connect(
        &self,
        patience: impl Fn() -> Duration + Sync,
        seen: &Seen,
        ends: impl Fn() -> bool + Sync,
    ) {
        std::thread::scope(|scope| {
            for part in self.addresses.chunks(self.addresses.len().div_ceil(THREADS)) {
                let (patience, ends) = (&patience, &ends);
                let work = move || {
                    let clients = part.iter().cycle().take_while(|_| !ends());
                    clients.for_each(|client| seen.count(request(*client, FRONT_V4, patience())));
                    Ok(())
                };
                scope.spawn(move || self.crowd.run(work).expect("clients"));
            }
        });
    }
}

/// Half of them meet a room that stays, and half of them one that ends and begins again all the
/// time; a twentieth more come while none is open. The server accepts whom the budget lets in.
#[test]
fn of_many_diverted_connections_none_reaches_the_server() {
    let said = std::env::var(VARIABLE).ok().map(|said| said.parse().expect("a number"));
    let wanted = said.unwrap_or(CONNECTIONS);
    for cookies in [false, true] {
        let mut policy = full(false, if cookies { Challenge::Auto } else { Challenge::Off });
        policy.diverts = Some(limit(1_000_000, 1_000_000));
        let mut front = match cookies {
            true => challenge::front(&policy),
            false => Front::new(&policy, Mode::Enforce),
        };
        let server = Server::start(&front.lab).expect("a server");
        let crowd = front.lab.crowd.another().expect("a namespace");
        let clients = Clients { crowd, addresses: front.lab.clients_v4() };
        let room = Room::open(&mut front);
        let first = ask(&front, FRONT_V4, &clients.addresses[..20], 1, PATIENCE);
        let begun = Instant::now();

        let stays = Seen::default();
        clients.connect(|| PATIENCE, &stays, || stays.all() >= wanted / 2);
        assert_eq!(stays.shown(), stays.all(), "{cookies}: {stays:?}");
        assert_eq!(room.seen(), first.shown + stays.shown(), "{cookies}: {stays:?}");

        let (restarts, is_over, mut rooms) = (Seen::default(), AtomicBool::new(false), 0);
        let few = AtomicU64::new(200);
        let room = std::thread::scope(|scope| {
            let (is_over, few) = (&is_over, &few);
            let patience = || Duration::from_millis(few.load(Ordering::SeqCst));
            let ends = || is_over.load(Ordering::SeqCst);
            let (clients, restarts) = (&clients, &restarts);
            scope.spawn(move || clients.connect(patience, restarts, ends));
            let mut room = room;
            while restarts.shown() < wanted / 2 {
                let shown = restarts.shown();
                until_so("the room is asked", || room.seen() > 50);
                room.close(&front);
                room = Room::open(&mut front);
                rooms += 1;
                // On a slow machine an answer takes longer.
                if restarts.shown() == shown {
                    few.fetch_add(200, Ordering::SeqCst);
                }
            }
            is_over.store(true, Ordering::SeqCst);
            room
        });

        room.close(&front);
        let (closed, refused) = (Seen::default(), dropped(&front.service(0)));
        let (few, start) = (Duration::from_millis(100), Instant::now());
        let are_dropped = || dropped(&front.service(0)) >= refused + wanted / 20;
        clients.connect(|| few, &closed, || are_dropped() || start.elapsed() > PATIENCE);
        until_so("they are dropped", are_dropped);
        assert_eq!(closed.shown(), 0, "{cookies}: {closed:?}");
        let counters = front.service(0);

        let (let_in, diverted) = match cookies {
            true => (Reason::Proven, Reason::DivertedProof),
            false => (Reason::Admitted, Reason::Diverted),
        };
        println!(
            "cookies {cookies}: {} diverted in {:.0} s, beside {rooms} restarts of the room: the \
             server accepted {}, the budget let in {}; {} tries while it was closed",
            decided(&counters, diverted),
            begun.elapsed().as_secs_f64(),
            server.accepted(),
            decided(&counters, let_in),
            closed.all()
        );
        assert_eq!(server.accepted(), decided(&counters, let_in), "{counters:?}");
        // The budget has one an hour.
        let earned = (begun.elapsed() + PATIENCE).as_secs() / 3600;
        let due = first.served..=first.served + earned;
        assert!(due.contains(&decided(&counters, let_in)), "{due:?}: {counters:?}");
        let diverted = decided(&counters, diverted) + decided(&counters, Reason::Diverted);
        assert!(diverted >= wanted, "{diverted}: {counters:?}");
    }
}
