//! Nodes and a leader with the engine in memory: what they do with what should not be there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use limiter_fleet::engine::{Engine, Snapshot, Transaction};
use limiter_fleet::memory::Memory;
use limiter_fleet::record::{Amount, Amounts};

use super::keys::{self, Keys};
use super::lead;
use super::node::{Node, Site, leave};
use crate::report::fleet::Shared;

/// How long something may take that takes a second or two.
const PATIENCE: Duration = Duration::from_secs(120);

/// A machine that notes which shares were put into force.
#[derive(Clone)]
struct Machine {
    began: Instant,
    demand: Amount,
    seen: Arc<Mutex<Vec<Amounts>>>,
}

impl Machine {
    fn new(demand: Amount) -> Self {
        Self { began: Instant::now(), demand, seen: Arc::default() }
    }

    /// The share of the service that was put into force last; 0: none.
    fn share(&self) -> Amount {
        let seen = self.seen.lock().expect("no panic");
        seen.last().and_then(|shares| shares.get("web").copied()).unwrap_or(0)
    }

    /// How often shares were put into force, or taken back.
    fn times(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

impl Site for Machine {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn stated(&mut self) -> Result<BTreeMap<String, (Amount, Amount)>> {
        Ok([("web".to_owned(), (100, 0))].into())
    }

    fn demand(&mut self) -> Amounts {
        [("web".to_owned(), self.demand)].into()
    }

    fn enforce(&mut self, shares: &Amounts, _: Duration) -> Result<()> {
        self.seen.lock().expect("no panic").push(shares.clone());
        Ok(())
    }
}

fn keys() -> Keys {
    Keys::of(&"school".parse().expect("a name"))
}

async fn put(engine: &Memory, key: String, value: &[u8]) {
    let writes = vec![(key, Some(value.to_vec()))];
    let done = engine.transact(Transaction { conditions: vec![], writes }).await;
    assert!(done.expect("it answers").is_some());
}

async fn budget(engine: &Memory, amount: Amount) {
    let budgets: Amounts = [("web".to_owned(), amount)].into();
    put(engine, keys().budget(), &keys::bytes(&budgets).expect("JSON")).await;
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a leader and nodes, each with its name, its start and its machine, while `story` is told.
async fn play(
    engine: &Memory,
    cast: [(&'static str, &str, &Machine); 2],
    story: impl Future<Output = ()>,
) {
    let (keys, [one, two]) = (keys(), cast);
    let node = |(name, boot, machine): (&'static str, &str, &Machine)| {
        Node::new(engine, &keys, name, boot.to_owned(), machine.clone())
    };

    let (one, two) = (node(one), node(two));
    let began = Instant::now();
    let known = Shared::default();
    let leads = lead::run(engine, &keys, "a", &known, || began.elapsed());
    tokio::select! {
        _ = async { tokio::join!(leads, one.run(), two.run()) } => panic!("they go on for ever"),
        () = story => {}
    }
}

#[tokio::test]
async fn two_machines_with_one_name_do_not_share_its_shares() {
    let engine = Memory::default();
    budget(&engine, 1000).await;
    let (one, two) = (Machine::new(900), Machine::new(900));
    // The first is in before the second begins.
    let alone = Machine::new(0);
    play(&engine, [("a", "x", &one), ("b", "x", &alone)], async {
        until("it has a share", || one.share() > 0).await;
    })
    .await;
    let (before, second) = (one.times(), two.times());
    play(&engine, [("a", "x", &one), ("a", "y", &two)], async {
        until("the first goes on", || one.times() > before + 4).await;
    })
    .await;
    assert_eq!(two.times(), second, "the second has a share");
}

#[tokio::test]
async fn what_makes_no_sense_ends_no_share_and_is_got_over() {
    let engine = Memory::default();
    budget(&engine, 1000).await;
    let (one, two) = (Machine::new(900), Machine::new(0));
    play(&engine, [("a", "x", &one), ("b", "x", &two)], async {
        until("one has most", || one.share() >= 850).await;
        for junk in [&b"{"[..], b"", b"\xff", b"{\"web\": -1}", b"[0]"] {
            put(&engine, keys().budget(), junk).await;
        }
        put(&engine, format!("{}ban/0.0.0.0/0", keys().all()), b"everything").await;
        put(&engine, keys().report("c"), b"no report").await;
        let (before, times) = (one.share(), one.times());
        until("it renews", || one.times() > times + 1).await;
        assert_eq!(one.share(), before);
        budget(&engine, 2000).await;
        until("one has most of the new budget", || one.share() >= 940).await;
        // A grant that is none is not known to be free: nothing more is given until it is
        // forgotten.
        put(&engine, keys().grant("b"), b"everything").await;
        let times = one.times();
        until("one goes on", || one.times() > times + 1).await;
        assert!(one.share() >= 940, "{}", one.share());
    })
    .await;
}

/// An engine where the node that leads decides a round just before some transactions, and where a
/// node may report just before one.
struct Overtaken<'a> {
    engine: &'a Memory,
    /// What is written just before the transactions that come, the last first.
    writes: Mutex<Vec<String>>,
}

impl Engine for Overtaken<'_> {
    type Watch = <Memory as Engine>::Watch;

    async fn snapshot(&self, prefix: &str) -> Result<Snapshot> {
        self.engine.snapshot(prefix).await
    }

    async fn watch(&self, prefix: &str, revision: u64) -> Result<Self::Watch> {
        self.engine.watch(prefix, revision).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<Option<u64>> {
        let key = self.writes.lock().expect("no panic").pop();
        if let Some(key) = key {
            put(self.engine, key, b"{}").await;
        }
        self.engine.transact(transaction).await
    }

    async fn lease(&self, key: &str, owner: &str, time: Duration) -> Result<bool> {
        self.engine.lease(key, owner, time).await
    }
}

#[tokio::test]
async fn a_node_is_taken_out_while_rounds_are_decided_and_not_once_it_reports() {
    let keys = keys();
    for (between, is_out) in [
        (vec![], true),
        (vec![keys.round()], true),
        (vec![keys.grant("c"), keys.round()], true),
        (vec![keys.report("c")], false),
        (vec![keys.report("c"), keys.round()], false),
    ] {
        let engine = Memory::default();
        for key in [keys.round(), keys.report("c"), keys.grant("c")] {
            put(&engine, key, b"{}").await;
        }
        let own = engine.snapshot(&keys.node("c")).await.expect("it answers").entries;
        let overtaken = Overtaken { engine: &engine, writes: Mutex::new(between.clone()) };
        let done = leave(&overtaken, &keys, "c", own[&keys.report("c")].revision).await;
        let left = engine.snapshot(&keys.node("c")).await.expect("it answers").entries;
        assert_eq!(done.is_ok(), is_out, "{between:?}: {done:?}");
        assert_eq!(left.is_empty(), is_out, "{between:?}: {left:?}");
    }
}
