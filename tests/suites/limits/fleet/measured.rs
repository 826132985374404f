//! A thousand nodes and one etcd, all on this machine: how long they take to join and to follow a
//! demand, and what they write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use limiter::fleet::etcd::Etcd;
use limiter::fleet::keys::{self, Keys};
use limiter::fleet::lead;
use limiter::fleet::node::{Node, Site};
use limiter::report::fleet::Shared;
use limiter_fleet::engine::{Engine as _, Transaction};
use limiter_fleet::record::{Amount, Amounts};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::sleep;

use super::world;

const NODES: usize = 1000;
/// Writes a second at most while nothing changes: a report of each node in a third of ten seconds,
/// and as many again of a third of them.
const CALM: f64 = 400.0;
/// A connection a second, in thousandths.
const ONE: Amount = 1000;

/// A machine without a kernel side.
#[derive(Clone)]
struct Machine {
    began: Instant,
    demand: Arc<AtomicU64>,
    share: Arc<AtomicU64>,
}

impl Site for Machine {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn stated(&mut self) -> Result<BTreeMap<String, (Amount, Amount)>> {
        Ok([("web".to_owned(), (100 * ONE, 0))].into())
    }

    fn demand(&mut self) -> Amounts {
        [("web".to_owned(), self.demand.load(Ordering::Relaxed))].into()
    }

    fn enforce(&mut self, shares: &Amounts, _: Duration) -> Result<()> {
        self.share.store(shares.get("web").copied().unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }
}

async fn revision(engine: &Etcd, keys: &Keys) -> u64 {
    engine.snapshot(&keys.budget()).await.expect("it answers").revision
}

async fn when(what: &str, is_so: impl Fn() -> bool) -> f64 {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < lab::wait::PATIENCE, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
    start.elapsed().as_secs_f64()
}

/// Waits until no more is written than reports need while nothing changes: how long that took, in
/// seconds, and how much that is a second. A machine that is slow has late reports for longer.
async fn calm(engine: &Etcd, keys: &Keys) -> (f64, f64) {
    let start = Instant::now();
    loop {
        let (began, before) = (Instant::now(), revision(engine, keys).await);
        sleep(Duration::from_secs(5)).await;
        let written = revision(engine, keys).await - before;
        let writes = written as f64 / began.elapsed().as_secs_f64();
        if writes <= CALM {
            return (start.elapsed().as_secs_f64(), writes);
        }
        println!("{writes:.0} writes/s");
        assert!(start.elapsed() < lab::wait::PATIENCE, "{writes} writes/s, and never calm");
    }
}

#[test]
fn a_thousand_nodes_on_one_etcd() {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("files");
    let mut etcd = world::Etcd::new(1, None);
    etcd.start();
    let pid = etcd.pid();
    etcd.namespace
        .run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, play(&etcd, pid));
            runtime.shutdown_background();
            Ok(())
        })
        .expect("it runs");
}

async fn play(engines: &world::Etcd, etcd: u32) {
    let keys: &'static Keys = Box::leak(Box::new(Keys::of(&"school".parse().expect("a name"))));
    let own = engines.engine();
    let budgets: Amounts = [("web".to_owned(), 1_000_000 * ONE)].into();
    let write = (keys.budget(), Some(keys::bytes(&budgets).expect("JSON")));
    let first = Transaction { conditions: vec![], writes: vec![write] };
    own.transact(first).await.expect("it answers").expect("it is written");
    let mut random = fastrand::Rng::with_seed(1);
    let machines: Vec<Machine> = (0..NODES)
        .map(|_| Machine {
            began: Instant::now(),
            demand: Arc::new(AtomicU64::new(random.u64(0..1500) * ONE)),
            share: Arc::default(),
        })
        .collect();
    for (number, machine) in machines.iter().enumerate() {
        let name: &'static str = Box::leak(format!("n{number:04}").into_boxed_str());
        let engine: &'static Etcd = Box::leak(Box::new(engines.engine()));
        let node = Node::new(engine, keys, name, "x".to_owned(), machine.clone());
        // All handshakes of TLS are made by this one thread.
        let begin = Duration::from_millis(10) * number as u32;
        tokio::task::spawn_local(async move {
            sleep(begin).await;
            node.run().await;
        });
        if number < 3 {
            let began = Instant::now();
            let known: &'static Shared = Box::leak(Box::default());
            let clock = move || began.elapsed();
            tokio::task::spawn_local(lead::run(engine, keys, name, known, clock));
        }
    }
    let share = |machine: &Machine| machine.share.load(Ordering::Relaxed);
    let all = when("every node has a share", || machines.iter().all(|one| share(one) > 0)).await;
    println!("{NODES} nodes, of which 100 begin a second, have a share after {all:.1} s");
    let full = || machines.iter().map(share).sum::<Amount>() >= 950_000 * ONE;
    let full = when("nearly all of the budget is given", full).await;
    println!("nearly all of the budget is given after {full:.1} s more");
    let (settled, writes) = calm(&own, keys).await;
    println!("after {settled:.0} s more it is calm, with {writes:.0} writes/s");
    machines[7].demand.store(100_000 * ONE, Ordering::Relaxed);
    let moved = when("a hot node has its share", || share(&machines[7]) >= 95_000 * ONE).await;
    println!("a hot node has 95% of what it wants after {moved:.1} s");
    let status = std::fs::read_to_string(format!("/proc/{etcd}/status")).expect("etcd");
    let memory = status.lines().find(|line| line.starts_with("VmHWM")).expect("its memory");
    println!("etcd: {}", memory.split_whitespace().collect::<Vec<_>>().join(" "));
}
