//! `limiter fleet`: what a fleet has, and who is in it. It talks to the engine that `[fleet]` of
//! the policy file names; the daemon follows.

mod list;
mod profile;
mod status;
mod top;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use limiter_common::record::List;
use limiter_fleet::Terms;
use limiter_fleet::engine::{Engine as _, Snapshot, Transaction};
use limiter_fleet::record::{Amount, Amounts, OPEN, USERS, is_of_places};
use serde::Serialize;

use super::Context;
use crate::fleet::etcd::Etcd;
use crate::fleet::keys::{self, Keys};
use crate::fleet::{self, node};
use crate::kernel::Maps;
use crate::output;
use crate::policy::file::{DEFAULT_FILE, Document};
use crate::policy::fleet::HOST;
use crate::policy::{Name, text};
use crate::report;

/// How long a command waits for what a daemon does.
const PATIENCE: Duration = Duration::from_secs(15);
/// An amount that takes a budget back.
const NONE: Amount = 0;
/// What is said of a budget that no node has.
const UNKNOWN: &str = "; no node has a budget of that name";
/// How often it looks.
const PAUSE: Duration = Duration::from_millis(100);

/// What to do with a fleet.
#[derive(Debug, Subcommand)]
pub enum Fleet {
    /// Write the budgets of a new fleet.
    Init(Budgets),
    /// Show the fleet's budgets, its nodes, and their shares.
    Status(Where),
    /// Show the sources that are refused most on all nodes together.
    Top(top::Top),
    /// Change budgets of the fleet.
    Budget(Budgets),
    /// Sources that are banned on every node that takes bans from its fleet.
    #[command(subcommand)]
    Ban(list::ListAction),
    /// Sources that always pass on every node that takes the allow list from its fleet.
    #[command(subcommand)]
    Allow(list::ListAction),
    /// Put a profile into force on every node whose policy file takes it by name.
    Profile(profile::Profile),
    /// Take a node back in that `leave` took out, and wait until it has its shares.
    Join(One),
    /// Take a node out: its shares go to the others, and the budgets of its own policy are in force
    /// there. It takes the fleet's lists and profiles all the same.
    Leave(One),
    /// Free what the fleet keeps for a node that is gone for good. The command first watches for
    /// ten seconds whether the node is silent.
    ///
    /// If only the daemon of a machine is gone, that machine still admits what its own policy
    /// states: take its traffic away first.
    Forget(Gone),
}

/// Where the fleet is named.
#[derive(Args, Debug)]
pub struct Where {
    /// The policy file; its [fleet] says where the fleet is kept.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, env = "LIMITER_POLICY")]
    file: PathBuf,
}

/// Arguments of `init` and `budget`.
#[derive(Args, Debug)]
pub struct Budgets {
    /// A service and the rate that all nodes together may let in, such as web=30000/s; `host` is
    /// all services together. For places, give their number: web.users=5000 lets 5000 users be
    /// present, web.open=20000 lets 20000 connections be open. `none` removes a budget that no node
    /// has, such as a mistyped one.
    #[arg(value_name = "SERVICE=RATE", required = true, value_parser = budget)]
    budgets: Vec<(String, Amount)>,
    #[command(flatten)]
    place: Where,
}

/// Arguments of `join` and `leave`.
#[derive(Args, Debug)]
pub struct One {
    /// The node [default: this one].
    #[arg(value_name = "NODE")]
    node: Option<Name>,
    #[command(flatten)]
    place: Where,
}

/// Arguments of `forget`.
#[derive(Args, Debug)]
pub struct Gone {
    /// The node to forget.
    #[arg(value_name = "NODE")]
    node: Name,
    #[command(flatten)]
    place: Where,
}

#[derive(Serialize)]
struct Done {
    fleet: Name,
    changed: Vec<String>,
}

/// A fleet that can be asked.
struct Reached {
    said: crate::policy::fleet::Fleet,
    keys: Keys,
    engine: Etcd,
}

impl Fleet {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let place = match self {
            Self::Init(one) | Self::Budget(one) => &one.place,
            Self::Status(place) => place,
            Self::Join(one) | Self::Leave(one) => &one.place,
            Self::Forget(one) => &one.place,
            Self::Ban(action) | Self::Allow(action) => action.place(),
            Self::Profile(one) => &one.place,
            Self::Top(one) => &one.place,
        };
        let reached = place.reach()?;
        let done = runtime.block_on(async {
            match self {
                Self::Status(_) => {
                    status::run(context, &reached).await?;
                    Ok(None)
                }
                Self::Top(one) => one.run(context, &reached).await.map(|()| None),
                Self::Init(one) => reached.init(&one.budgets).await.map(Some),
                Self::Budget(one) => reached.change(&one.budgets).await.map(Some),
                Self::Join(one) => reached.join(&reached.node(one)?).await.map(Some),
                Self::Leave(one) => reached.leave(&reached.node(one)?).await.map(Some),
                Self::Forget(one) => reached.forget(one.node.as_str()).await.map(Some),
                Self::Ban(action) => action.run(context, &reached, List::Ban).await,
                Self::Allow(action) => action.run(context, &reached, List::Allow).await,
                Self::Profile(one) => one.run(context, &reached).await,
            }
        });
        runtime.shutdown_background();
        let Some(changed) = done? else { return Ok(()) };
        let maps = Maps::open(&context.pins.root()).ok();
        let at = format!("fleet {}: ", reached.said.name);
        let told = changed.iter().map(|line| format!("{at}{line}")).collect();
        context.note(maps.as_ref()).record(maps.as_ref(), told);
        let done = Done { fleet: reached.said.name.clone(), changed };
        report::done(context.format, &done, |done| done.changed.join("\n") + "\n");
        Ok(())
    }
}

impl Where {
    fn reach(&self) -> Result<Reached> {
        let document = Document::read(&self.file)?;
        let file = self.file.display();
        let said = document.fleet.with_context(|| {
            format!("{file} names no fleet; add [fleet] with `name` and `endpoints`")
        })?;
        let directory = self.file.parent().unwrap_or(Path::new(""));
        Ok(Reached { keys: Keys::of(&said.name), engine: fleet::engine(&said, directory)?, said })
    }
}

impl Reached {
    fn node(&self, one: &One) -> Result<String> {
        one.node.as_ref().map_or_else(|| fleet::node_name(&self.said), |node| Ok(node.to_string()))
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.engine.snapshot(self.keys.all()).await
    }

    async fn init(&self, budgets: &[(String, Amount)]) -> Result<Vec<String>> {
        let key = self.keys.budget();
        ensure!(
            budgets.iter().all(|(_, amount)| *amount != NONE),
            "a new fleet has no budgets yet, so `none` has nothing to remove; give each a rate or \
             a number"
        );
        let amounts: Amounts =
            budgets.iter().map(|(name, amount)| (name.clone(), *amount)).collect();
        let write = (key.clone(), Some(keys::bytes(&amounts)?));
        let transaction = Transaction { conditions: vec![(key, 0)], writes: vec![write] };
        let done = self.engine.transact(transaction).await?;
        ensure!(
            done.is_some(),
            "fleet {} has budgets already; `limiter fleet budget` changes them",
            self.said.name
        );
        let line = |(name, amount): (&String, &Amount)| {
            format!("budget of {name} {}", shown(name, *amount))
        };
        Ok(amounts.iter().map(line).collect())
    }

    async fn change(&self, budgets: &[(String, Amount)]) -> Result<Vec<String>> {
        let (key, snapshot) = (self.keys.budget(), self.snapshot().await?);
        let entry = snapshot.entries.get(&key).with_context(|| {
            format!("fleet {} has no budgets yet; `limiter fleet init` writes them", self.said.name)
        })?;
        // Budgets that make no sense are replaced.
        let mut amounts = keys::budgets(&entry.value).unwrap_or_default();
        let mut changed = Vec::new();
        for (name, amount) in budgets {
            let kept = reserved(&self.keys, &snapshot, name);
            if *amount == NONE {
                ensure!(
                    kept == 0 && !is_claimed(&self.keys, &snapshot, name),
                    "nodes have a budget {name}, so the fleet keeps it; take it out of their \
                     policies first"
                );
                let before = amounts.remove(name);
                let before = before.with_context(|| format!("the fleet has no budget {name}"))?;
                changed.push(format!("budget of {name} {} -> none", shown(name, before)));
                continue;
            }
            ensure!(
                kept <= *amount,
                "the nodes' own policies state {} of {name} together, so the fleet cannot have \
                 less; lower them first, or `limiter fleet forget` a node that is gone",
                shown(name, kept)
            );
            let before = amounts.insert(name.clone(), *amount);
            let before = before.map_or_else(|| "none".to_owned(), |amount| shown(name, amount));
            let has = if is_claimed(&self.keys, &snapshot, name) { "" } else { UNKNOWN };
            changed.push(format!("budget of {name} {before} -> {}{has}", shown(name, *amount)));
        }
        let write = (key.clone(), Some(keys::bytes(&amounts)?));
        let transaction =
            Transaction { conditions: vec![(key, entry.revision)], writes: vec![write] };
        let done = self.engine.transact(transaction).await?;
        ensure!(
            done.is_some(),
            "another command changed the budgets meanwhile; look at `limiter fleet status`, and \
             try again"
        );
        Ok(changed)
    }

    async fn join(&self, node: &str) -> Result<Vec<String>> {
        let away = (self.keys.away(node), None);
        self.engine.transact(Transaction { conditions: vec![], writes: vec![away] }).await?;
        let start = Instant::now();
        loop {
            let snapshot = self.snapshot().await?;
            let key = self.keys.grant(node);
            if let Some(entry) = snapshot.entries.get(&key) {
                let shares = keys::grant(&key, &entry.value)?.shares;
                let share = |(name, share): (&String, &limiter_fleet::record::Share)| {
                    format!("{node} has {} of {name}", shown(name, share.rate))
                };
                let shares: Vec<String> = shares.iter().map(share).collect();
                if !shares.is_empty() {
                    return Ok(shares);
                }
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "{node} may join, but has no share yet: does its daemon run with [fleet], and do \
                 the budgets have room for what its policy states? `limiter fleet status` shows \
                 them"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn leave(&self, node: &str) -> Result<Vec<String>> {
        let snapshot = self.snapshot().await?;
        self.known(&snapshot, node)?;
        let away = (self.keys.away(node), Some(Vec::new()));
        self.engine.transact(Transaction { conditions: vec![], writes: vec![away] }).await?;
        let start = Instant::now();
        while self.snapshot().await?.entries.contains_key(&self.keys.grant(node)) {
            ensure!(
                start.elapsed() < PATIENCE,
                "{node} was told to leave, but its daemon does not answer; if the node is gone, \
                 `limiter fleet forget {node}` frees what is kept for it"
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(vec![format!("{node} is out: what its own policy states is in force there")])
    }

    async fn forget(&self, node: &str) -> Result<Vec<String>> {
        let before = self.snapshot().await?;
        self.known(&before, node)?;
        let key = self.keys.report(node);
        let revision = |found: &Snapshot| found.entries.get(&key).map_or(0, |one| one.revision);
        let silence = Terms::default().silence();
        output::note(format_args!(
            "limiter: watching for {} s whether {node} is silent",
            silence.as_secs() + 1
        ));
        let start = Instant::now();
        while start.elapsed() < silence {
            ensure!(
                revision(&self.snapshot().await?) == revision(&before),
                "{node} is not gone: it has just reported; `limiter fleet leave {node}` takes it out"
            );
            tokio::time::sleep(PAUSE * 5).await;
        }
        node::leave(&self.engine, &self.keys, node, revision(&before)).await?;
        let writes = [self.keys.away(node), self.keys.answer(node), self.keys.top(node)];
        let writes = writes.map(|key| (key, None)).to_vec();
        self.engine.transact(Transaction { conditions: vec![], writes }).await?;
        Ok(vec![format!("{node} is forgotten, and what was kept for it is free")])
    }

    /// Refuses a name that the fleet does not have.
    fn known(&self, snapshot: &Snapshot, node: &str) -> Result<()> {
        let seen = self.keys.seen(snapshot)?;
        let names: Vec<&str> = seen.nodes.keys().map(String::as_str).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        ensure!(names.contains(&node), "there is no node {node}; there are: {there}");
        Ok(())
    }
}

/// What is kept for all nodes of a budget, whatever happens.
fn reserved(keys: &Keys, snapshot: &Snapshot, budget: &str) -> Amount {
    let Ok(seen) = keys.seen(snapshot) else { return 0 };
    let kept = seen.nodes.values().map(|node| {
        let claim = node.report.1.claims.get(budget).map_or(0, |claim| claim.fallback);
        let grant = node.grant.as_ref().and_then(|(_, grant)| grant.shares.get(budget));
        grant.map_or(0, |share| share.fallback.max(claim))
    });
    kept.fold(0, Amount::saturating_add)
}

/// Whether a node says that it has a budget.
fn is_claimed(keys: &Keys, snapshot: &Snapshot, budget: &str) -> bool {
    let seen = keys.seen(snapshot).unwrap_or_default();
    seen.nodes.values().any(|node| node.report.1.claims.contains_key(budget))
}

/// Reads `SERVICE=RATE`, `SERVICE.users=COUNT` or `SERVICE.open=COUNT`.
fn budget(text: &str) -> Result<(String, Amount), String> {
    let (name, rate) =
        text.split_once('=').ok_or_else(|| "write SERVICE=RATE, such as web=30000/s".to_owned())?;
    if rate == "none" {
        return Ok((name.to_owned(), NONE));
    }
    if let Some((service, what)) = name.split_once('.') {
        let is_known = what == OPEN || what == USERS && service != HOST;
        let places: u64 =
            rate.parse().map_err(|_| format!("`{rate}` is not a number of places"))?;
        return match service.parse::<Name>() {
            Err(message) => Err(message),
            Ok(_) if !is_known => Err(format!(
                "there are no places {name}; write web.{USERS}=5000, web.{OPEN}=20000 or \
                 {HOST}.{OPEN}=50000"
            )),
            Ok(_) if places == 0 => Err("a fleet's budget is a number, and never none".to_owned()),
            Ok(_) => Ok((name.to_owned(), places.saturating_mul(1000))),
        };
    }
    let rate = text::rate(rate)?;
    if rate.count == 0 {
        return Err("a fleet's budget is a rate, and never none".to_owned());
    }
    let amount = u128::from(rate.count) * 1_000_000_000_000 / u128::from(rate.period.max(1));
    let amount = Amount::try_from(amount).unwrap_or(Amount::MAX);
    if amount == 0 {
        return Err("the lowest rate of a fleet is one in a thousand seconds".to_owned());
    }
    Ok((name.parse::<Name>()?.to_string(), amount))
}

/// An amount of a budget as a person reads it.
fn shown(budget: &str, amount: Amount) -> String {
    match amount {
        _ if is_of_places(budget) => report::numbers::count(amount / 1000),
        0..10_000 if !amount.is_multiple_of(1000) => format!("{:.1}/s", amount as f64 / 1000.0),
        _ => format!("{}/s", report::numbers::count(amount.div_ceil(1000))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_shown() {
        let read = budget;
        assert_eq!(read("web=30k/s"), Ok(("web".to_owned(), 30_000_000)));
        assert_eq!(read("host=6/min"), Ok(("host".to_owned(), 100)));
        assert_eq!(read("web.users=5000"), Ok(("web.users".to_owned(), 5_000_000)));
        assert_eq!(read("host.open=7"), Ok(("host.open".to_owned(), 7000)));
        for bad in ["web.users=5/s", "web.open=0", "host.users=5", "web.seats=5", ".open=5"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read("wbe=none"), Ok(("wbe".to_owned(), NONE)));
        for bad in ["web", "web=", "web=0/s", "=1/s", "a b=1/s", "web=1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(
            [30_000_000, 1_500, 2_000].map(|amount| shown("web", amount)),
            ["30,000/s", "1.5/s", "2/s"]
        );
    }
}
