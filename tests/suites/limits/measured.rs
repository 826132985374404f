//! How fast it is with limiter, in turns with what it is compared with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::until;
use lab::{Flood, Server, Sources};
use limiter::report;
use limiter_common::challenge::Challenge;
use limiter_common::names;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::challenge::{front, pages, web};
use super::interop::{self, BULK, connect};
use super::spoofed::discard_behind_xdp;
use super::{Front, decided, limit, policy};

/// The generator has a CPU of its own, as it would be another machine; server, clients and what XDP
/// does to them share the other. Each page is challenged. Other work on the machine only makes it
/// slower: the best of six rounds counts.
#[test]
fn connecting_takes_no_longer_than_in_the_calm() {
    // A thread of its own, because it binds itself to a CPU.
    thread::spawn(connecting_in_a_flood).join().expect("it takes no longer");
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

/// A hundred readers, each of whom looks at all of it every second, while packets are measured by the kernel itself.
#[test]
fn reading_disturbs_nobody() {
    const MOST: f64 = 1.05;
    const PAIRS: usize = 15;
    /// Of which a cost is the mean.
    const PACKETS: f64 = 100_000.0;
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(20, 40);
    let front = Front::new(&policy, Mode::Enforce);
    discard_behind_xdp(&front.lab);
    let _statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime).expect("the kernel counts");
    let program = || {
        let info = aya::programs::ProgramInfo::from_pin(front.root().join(names::PROGRAM))
            .expect("a program");
        (info.run_time().as_nanos() as f64, info.run_count() as f64)
    };
    let flood = Flood::new((FRONT_V4, 80).into(), Sources::Random);
    let flood = Flood { frames: u64::MAX, seconds: 600.0, cpu: Some(0), ..flood };
    let flooding = flood.spawn(&front.lab).expect("a flood");
    let cost = || {
        let (time, count) = program();
        let (after, more) = until("packets are judged", || {
            let (after, more) = program();
            (more - count >= PACKETS).then_some((after, more))
        });
        (after - time) / (more - count)
    };
    let (mut ratios, mut noise) = (Vec::new(), Vec::new());
    let mut before = cost();
    for _ in 0..PAIRS {
        let read = beside_readers(&front, cost);
        // Between the two beside it: the machine's own pace drifts.
        let after = cost();
        ratios.push(read / ((before + after) / 2.0));
        noise.push((after / before - 1.0).abs());
        before = after;
    }
    flooding.stop().expect("the flood ends");
    // How far the median of so many is off, by what two costs without readers differ.
    let (median, error) = (median(&ratios), 1.25 * median(&noise) / (PAIRS as f64).sqrt());
    println!(
        "cost of a packet with a hundred readers, to that without: {median:.3}, off by {error:.3}, of {ratios:.3?}"
    );
    assert!(median < MOST + 2.0 * error, "{median:.3}, off by {error:.3}: {ratios:.3?}");
}

/// What `cost` says while a hundred look at all of it every second.
fn beside_readers(front: &Front, cost: impl Fn() -> f64) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = |reader: u64| {
            let stop = &stop;
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(reader * 4));
                while !stop.load(Ordering::Relaxed) {
                    report::take(&front.pins, &front.maps, Duration::ZERO).expect("a snapshot");
                    thread::park_timeout(Duration::from_secs(1));
                }
            })
        };
        let readers: Vec<_> = (0..100).map(reader).collect();
        let read = cost();
        stop.store(true, Ordering::Relaxed);
        readers.iter().for_each(|reader| reader.thread().unpark());
        read
    })
}

fn median(ratios: &[f64]) -> f64 {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
