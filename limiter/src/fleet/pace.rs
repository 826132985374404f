//! How soon shares follow demand and bans are in force, in simulated time: three nodes and a leader
//! as they run, over an engine that answers after a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use limiter_fleet::engine::{Engine, KeyChange, Snapshot, Transaction, Watch};
use limiter_fleet::memory::{Memory, MemoryWatch};
use limiter_fleet::record::{Amount, Amounts};
use tokio::time::{Instant, sleep, sleep_until};

use super::demand::Demand;
use super::keys::{self, Keys};
use super::node::{Node, Site};
use super::{lead, lists};
use crate::report::fleet::Shared;

const ONE: Amount = 1000;
const BUDGET: u64 = 3000;
/// What each node's own policy states.
const ALONE: u64 = 100;
/// A question and its answer on their way, and etcd at work: some milliseconds on a local network.
const WAY: Duration = Duration::from_millis(5);
/// Moments between two looks at which demand moves: one every 20 ms of a second.
const PHASES: u32 = 50;
/// Within so long a node to which demand moves has 95% of its new share.
const PROMISE: Duration = Duration::from_millis(1500);

/// An engine that is some way off.
struct Far(Memory);

struct FarWatch {
    watch: MemoryWatch,
    /// Changes that are on their way, and when they are here.
    coming: Option<(Instant, Vec<KeyChange>)>,
}

impl Engine for Far {
    type Watch = FarWatch;

    async fn snapshot(&self, prefix: &str) -> Result<Snapshot> {
        sleep(WAY).await;
        let snapshot = self.0.snapshot(prefix).await;
        sleep(WAY).await;
        snapshot
    }

    async fn watch(&self, prefix: &str, revision: u64) -> Result<FarWatch> {
        sleep(WAY).await;
        Ok(FarWatch { watch: self.0.watch(prefix, revision).await?, coming: None })
    }

    async fn transact(&self, transaction: Transaction) -> Result<Option<u64>> {
        sleep(WAY).await;
        let done = self.0.transact(transaction).await;
        sleep(WAY).await;
        done
    }

    async fn lease(&self, key: &str, owner: &str, time: Duration) -> Result<bool> {
        sleep(WAY).await;
        self.0.lease(key, owner, time).await
    }
}

impl Watch for FarWatch {
    async fn next(&mut self) -> Result<Vec<KeyChange>> {
        if self.coming.is_none() {
            let changes = self.watch.next().await?;
            self.coming = Some((Instant::now() + WAY, changes));
        }
        if let Some((here, _)) = &self.coming {
            sleep_until(*here).await;
        }
        Ok(self.coming.take().map(|(_, changes)| changes).unwrap_or_default())
    }
}

/// A front end to which attempts come evenly.
#[derive(Clone)]
struct Front(Arc<Mutex<State>>);

struct State {
    began: Instant,
    demand: Demand,
    /// Attempts until `since`, and how many a second come from then on.
    count: f64,
    since: Instant,
    rate: u64,
    share: Amount,
}

impl Front {
    fn new(rate: u64) -> Self {
        let (began, since) = (Instant::now(), Instant::now());
        let demand = Demand::default();
        Self(Arc::new(Mutex::new(State { began, demand, count: 0.0, since, rate, share: 0 })))
    }

    /// From now on so many come a second.
    fn set(&self, rate: u64) {
        let mut state = self.0.lock().expect("no panic");
        state.count = state.counted();
        (state.since, state.rate) = (Instant::now(), rate);
    }

    /// Its share, a second.
    fn share(&self) -> u64 {
        self.0.lock().expect("no panic").share / ONE
    }
}

impl State {
    fn counted(&self) -> f64 {
        self.count + self.rate as f64 * self.since.elapsed().as_secs_f64()
    }
}

impl Site for Front {
    fn now(&self) -> Duration {
        self.0.lock().expect("no panic").began.elapsed()
    }

    fn stated(&mut self) -> Result<BTreeMap<String, (Amount, Amount)>> {
        Ok([("web".to_owned(), (ALONE * ONE, 0))].into())
    }

    fn demand(&mut self) -> Amounts {
        let mut state = self.0.lock().expect("no panic");
        let (at, count) = (state.began.elapsed(), state.counted() as u64);
        state.demand.look(at, [("web".to_owned(), count)].into());
        state.demand.rates().clone()
    }

    fn enforce(&mut self, shares: &Amounts, _: Duration) -> Result<()> {
        let mut state = self.0.lock().expect("no panic");
        state.share = shares.get("web").copied().unwrap_or(0);
        Ok(())
    }
}

/// How long it takes until the first node has 95% of what it has in the end of what it wants, where
/// the demands of all change at `phase` after a second.
async fn moved(before: [u64; 3], after: [u64; 3], phase: Duration) -> Duration {
    let engine = Far(Memory::default());
    let keys = Keys::of(&"school".parse().expect("a name"));
    let budgets: Amounts = [("web".to_owned(), BUDGET * ONE)].into();
    let write = (keys.budget(), Some(keys::bytes(&budgets).expect("JSON")));
    let first = Transaction { conditions: vec![], writes: vec![write] };
    assert!(engine.transact(first).await.expect("it answers").is_some());
    let fronts = before.map(Front::new);
    let nodes = ["a", "b", "c"].iter().zip(&fronts).zip(0..).map(|((name, front), number)| {
        let node = Node::new(&engine, &keys, name, "x".to_owned(), front.clone());
        async move {
            // They look at other moments.
            sleep(Duration::from_millis(170) * number).await;
            node.run().await;
        }
    });
    let nodes: [_; 3] = nodes.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("three"));
    let [one, two, three] = nodes;
    let (began, known) = (Instant::now(), Shared::default());
    let leads = lead::run(&engine, &keys, "a", &known, || began.elapsed());
    let story = async {
        sleep(Duration::from_secs(20) + phase).await;
        fronts.iter().zip(after).for_each(|(front, rate)| front.set(rate));
        let (start, mut seen) = (Instant::now(), Vec::new());
        while start.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(1)).await;
            seen.push((start.elapsed(), fronts[0].share()));
            let sum: u64 = fronts.iter().map(Front::share).sum();
            assert!(sum <= BUDGET, "{sum}/s in force");
        }
        // What it has beyond what it wants is what no node wants.
        let last = fronts[0].share().min(after[0]);
        let there = seen.iter().find(|(_, share)| *share * 100 >= last * 95);
        there.expect("it is there in the end").0
    };
    tokio::select! {
        _ = async { tokio::join!(leads, one, two, three) } => panic!("they go on for ever"),
        seen = story => seen,
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_to_which_demand_moves_has_its_share_as_soon_as_is_promised() {
    let mut late = false;
    for (before, after) in [
        // A flood on one of three that are idle.
        ([0, 0, 0], [5000, 0, 0]),
        // A crowd that was on all of them, and is on one.
        ([1000, 1000, 1000], [3000, 0, 0]),
        ([2000, 2000, 2000], [6000, 0, 0]),
        // It goes from another one alone.
        ([0, 2500, 0], [2500, 0, 0]),
        // And where the others keep some of it.
        ([300, 1200, 900], [1500, 600, 300]),
        ([100, 2000, 200], [400, 1700, 200]),
    ] {
        let (mut worst, mut sum) = (Duration::ZERO, Duration::ZERO);
        for phase in 0..PHASES {
            let time = moved(before, after, Duration::from_millis(20) * phase).await;
            (worst, sum) = (worst.max(time), sum + time);
        }
        let mean = sum / PHASES;
        println!("{before:?} -> {after:?}: 95% after {mean:.2?}, at worst {worst:.2?}");
        late |= worst > PROMISE;
    }
    assert!(!late, "95% of a new share takes more than {PROMISE:?}");
}

/// What notes how many entries are in force.
#[derive(Clone, Default)]
struct Entries(Arc<AtomicUsize>);

impl lists::Listing for Entries {
    fn apply(&mut self, _: &Keys, entries: &BTreeMap<String, Vec<u8>>) -> Result<()> {
        self.0.store(entries.len(), Ordering::Relaxed);
        Ok(())
    }
}

/// No node waits for a moment of its own: a ban is in force when the engine has told of it.
#[tokio::test(start_paused = true)]
async fn a_ban_is_in_force_as_soon_as_the_engine_has_it() {
    let engine = Far(Memory::default());
    let keys = Keys::of(&"school".parse().expect("a name"));
    let nodes: [Entries; 3] = std::array::from_fn(|_| Entries::default());
    let [one, two, three] = nodes.clone().map(|node| lists::run(&engine, &keys, node));
    let story = async {
        for number in 1..=40_u32 {
            // Whatever the nodes do at times of their own.
            sleep(Duration::from_millis(1370)).await;
            let write = (keys.ban(&format!("192.0.2.{number}")), Some(b"{}".to_vec()));
            let start = Instant::now();
            let ban = Transaction { conditions: vec![], writes: vec![write] };
            assert!(engine.transact(ban).await.expect("it answers").is_some());
            let is_there =
                || nodes.iter().all(|node| node.0.load(Ordering::Relaxed) == number as usize);
            while !is_there() {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(start.elapsed() <= 3 * WAY, "ban {number}: {:?}", start.elapsed());
        }
    };
    tokio::select! {
        _ = async { tokio::join!(one, two, three) } => panic!("they go on for ever"),
        () = story => {}
    }
}
