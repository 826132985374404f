//! How fast it is with limiter, in turns with what it is compared with.

use std::time::Duration;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::{Flood, Server, Sources};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;

use super::challenge::{front, pages, web};
use super::interop::{self, BULK, connect};
use super::{decided, limit};

/// The generator has a CPU of its own, as it would be another machine; server, clients and what XDP
/// does to them share the other. Each page is challenged. Other work on the machine only makes it
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
    let fetch = || pages(&front, FRONT_V4, front.lab.clients_v4(), 100.0, 4.0);
    let calm = fetch();
    let flood = Flood::new((FRONT_V4, 80).into(), Sources::Random);
    let flood = Flood { frames: u64::MAX, seconds: 600.0, cpu: Some(0), ..flood }
        .spawn(&front.lab)
        .expect("a flood");
    front.floods(100_000);
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
        assert_eq!(flooded.ok, flooded.tried, "every page came");
        best = best.min(flooded.connect_p99());
    }
    let sent = flood.stop().expect("the flood ends").sent;
    println!("{sent} SYNs");
    assert!(best <= 3.0 * calm.connect_p99(), "{best:.2} ms");
}

/// Binds this thread, and those that it starts from now on.
fn on_cpu_1() {
    let mut set = rustix::thread::CpuSet::new();
    set.set(1);
    rustix::thread::sched_setaffinity(None, &set).expect("two CPUs");
}

/// Where the options survive, a challenged connection is as fast as one without a challenge.
#[test]
fn bulk_transfers_are_as_fast() {
    const ROUNDS: usize = 8;
    // Both at once, and in turns: what else the machine does may slow down either.
    let fronts =
        [Challenge::Always, Challenge::Off].map(|challenge| interop::front(1500, challenge, "2"));
    let mut rounds = 0;
    for v6 in [false, true] {
        let (server, clients) = if v6 {
            (FRONT_V6, fronts[0].lab.clients_v6())
        } else {
            (FRONT_V4, fronts[0].lab.clients_v4())
        };
        // The fastest of each, because other work only makes one slower.
        let mut best = [Duration::MAX; 2];
        for (round, client) in clients.into_iter().take(ROUNDS).enumerate() {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for at in order {
                best[at] = best[at].min(connect(&fronts[at].lab, server, client, BULK).took);
            }
            rounds += 1;
        }
        let ratio = best[1].as_secs_f64() / best[0].as_secs_f64();
        println!(
            "100 MB up and down, IPv6 {v6}, {rounds} rounds so far: challenged and not challenged {best:.3?}"
        );
        assert!(
            ratio >= 0.8,
            "IPv6 {v6}: ratio {ratio:.2}, challenged and not challenged {best:.3?}"
        );
    }
    for (front, challenged) in fronts.iter().zip([rounds, 0]) {
        assert_eq!(decided(&front.service(0), Reason::Challenged), challenged);
    }
}
