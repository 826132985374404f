//! The leader of a fleet: one of its nodes, which divides the budgets. Every node tries to be it;
//! that two may take themselves for it for a moment does no harm.

use std::time::Duration;

use anyhow::{Result, bail};
use limiter_fleet::allocator::FleetView;
use limiter_fleet::engine::{Engine, KeyChange, Transaction, Watch as _};
use limiter_fleet::record::Amount;
use limiter_fleet::{Allocator, Round, Terms};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::keys::{self, Key, Keys};
use crate::report::fleet::{Led, Shared, Sums};

/// How long a leader stays one that is not heard of.
const LEADERSHIP: Duration = Duration::from_secs(5);
/// How often a node asks whether it leads, and a leader looks for who is silent.
const EVERY: Duration = Duration::from_secs(1);
/// How long news are gathered before they are decided upon.
const GATHER: Duration = Duration::from_millis(50);

/// What a leader has.
struct Lead<W> {
    allocator: Allocator,
    watch: W,
}

/// Leads whenever it may, for ever, and notes what it sees in `known`. `clock` is one that does not
/// stand still while the node works.
pub async fn run<E: Engine>(
    engine: &E,
    keys: &Keys,
    name: &str,
    known: &Shared,
    clock: impl Fn() -> Duration + Send,
) {
    let mut lead: Option<Lead<E::Watch>> = None;
    let (mut renew, mut decide) = (Instant::now(), None);
    loop {
        let due = decide.map_or(renew, |decide: Instant| decide.min(renew));
        let changes = async {
            match &mut lead {
                Some(lead) => lead.watch.next().await,
                None => std::future::pending().await,
            }
        };
        let changes = tokio::select! {
            () = tokio::time::sleep_until(due) => None,
            changes = changes => Some(changes),
        };
        let done = match (changes, &mut lead) {
            (Some(Ok(changes)), Some(lead)) => {
                decide = decide.or_else(|| Some(Instant::now() + GATHER));
                lead.hear(engine, keys, changes, clock()).await
            }
            (Some(Err(error)), _) => Err(error),
            _ if Instant::now() >= renew => {
                (renew, decide) = (Instant::now() + EVERY, Some(Instant::now()));
                stand(&mut lead, engine, keys, name, clock()).await
            }
            (_, Some(lead)) => {
                decide = None;
                known.change(|view| view.led = Some(led(&lead.allocator, clock())));
                lead.decide(engine, keys, clock()).await
            }
            _ => {
                decide = None;
                Ok(())
            }
        };
        if let Err(error) = done {
            if lead.take().is_some() {
                known.change(|view| view.led = None);
                warn!(error = format!("{error:#}"), "this node does not lead the fleet for now");
            } else {
                debug!(error = format!("{error:#}"), "it is not known who leads the fleet");
            }
        }
    }
}

/// Stands for leader, or stays it.
async fn stand<E: Engine>(
    lead: &mut Option<Lead<E::Watch>>,
    engine: &E,
    keys: &Keys,
    name: &str,
    now: Duration,
) -> Result<()> {
    let leads = engine.lease(&keys.leader(), name, LEADERSHIP).await?;
    match (leads, lead.is_some()) {
        (true, false) => {
            let snapshot = engine.snapshot(keys.all()).await?;
            let watch = engine.watch(keys.all(), snapshot.revision).await?;
            let seen = keys.seen(&snapshot)?;
            info!(nodes = seen.nodes.len(), "this node leads the fleet");
            *lead = Some(Lead { allocator: Allocator::new(Terms::default(), seen, now), watch });
        }
        (false, true) => bail!("another node leads it"),
        _ => {}
    }
    Ok(())
}

impl<W> Lead<W> {
    /// Takes what changed.
    async fn hear<E: Engine>(
        &mut self,
        engine: &E,
        keys: &Keys,
        changes: Vec<KeyChange>,
        now: Duration,
    ) -> Result<()> {
        let mut fits = true;
        for KeyChange { key, value, revision } in changes {
            let round = self.allocator.seen().round;
            fits &= match (keys.kind(&key), value) {
                (Key::Report(node), Some(value)) => {
                    self.allocator.heard(node, revision, &keys::said(&value).report, now)
                }
                (Key::Budget, Some(value)) => {
                    self.allocator.set_budgets(keys::budgets(&value)?);
                    true
                }
                // Its own rounds come back to it.
                (Key::Round | Key::Grant(_), Some(_)) => revision <= round,
                (Key::Away(_) | Key::Answer(_) | Key::Profile, _) => true,
                (Key::Ban(_) | Key::Allow(_) | Key::Other, _) => true,
                _ => false,
            };
        }
        if fits { Ok(()) } else { self.refresh(engine, keys, now).await }
    }

    async fn refresh<E: Engine>(&mut self, engine: &E, keys: &Keys, now: Duration) -> Result<()> {
        let seen: FleetView = keys.seen(&engine.snapshot(keys.all()).await?)?;
        self.allocator.refresh(seen, now);
        Ok(())
    }

    /// Decides and commits a round.
    async fn decide<E: Engine>(&mut self, engine: &E, keys: &Keys, now: Duration) -> Result<()> {
        let Some(round) = self.allocator.decide(now) else { return Ok(()) };
        match engine.transact(transaction(keys, &round)?).await? {
            Some(revision) => {
                self.allocator.committed(round, revision);
                Ok(())
            }
            None => self.refresh(engine, keys, now).await,
        }
    }
}

/// What a leader sees.
fn led(allocator: &Allocator, now: Duration) -> Led {
    let seen = allocator.seen();
    let silent = seen.nodes.keys().filter(|name| allocator.is_silent(name, now)).count();
    let per_second = |amount: Amount| amount as f64 / 1000.0;
    let sums = |(name, budget): (&String, &Amount)| {
        let claims = seen.nodes.values().filter_map(|node| node.report.1.claims.get(name));
        let demand = claims.map(|claim| per_second(claim.demand)).sum();
        let held = per_second(allocator.held(name, now));
        (name.clone(), Sums { budget: per_second(*budget), demand, held })
    };
    Led {
        reporting: seen.nodes.len() - silent,
        silent,
        budgets: seen.budgets.iter().map(sums).collect(),
    }
}

fn transaction(keys: &Keys, round: &Round) -> Result<Transaction> {
    let reports = round.unchanged.iter().map(|(node, at)| (keys.report(node), *at));
    let follows = (keys.round(), round.follows);
    let mut writes = vec![(keys.round(), Some(Vec::new()))];
    for (node, grant, _) in &round.grants {
        writes.push((keys.grant(node), Some(keys::bytes(grant)?)));
    }
    Ok(Transaction { conditions: std::iter::once(follows).chain(reports).collect(), writes })
}
