//! The sources that weigh most on a node, for all to see: `limiter fleet top` adds them up. They
//! stand beside the keys that decide, so that no leader reads them.

use std::time::Duration;

use anyhow::Result;
use limiter_fleet::engine::{Engine, Transaction};
use serde::{Deserialize, Serialize};

use super::keys::{self, Keys};
use crate::kernel::{Maps, Pins};
use crate::observe::{Ranking, heavy};

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// What has not changed is told again after so many looks, so that it does not look old.
const AGAIN: u32 = 12;
/// Most sources that a node tells, of each kind.
pub const MOST: usize = 15;
/// After so many seconds nothing is heard of a node's sources any more, and they are left out.
pub const OLD: u64 = 120;

/// A node's heaviest sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Top {
    /// When, in seconds of its wall clock.
    #[serde(default)]
    pub at: u64,
    /// Those that were refused by their own limit.
    #[serde(default)]
    pub refused: Vec<Source>,
    /// Those that the budget had nothing for, a sample.
    #[serde(default)]
    pub budget: Vec<Source>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The address or prefix.
    pub source: String,
    /// The service that it comes to.
    pub service: String,
    /// How often, since it has a counter.
    pub count: u64,
}

/// Tells them, for ever. Without limiter or the engine there is nothing to tell.
pub async fn run<E: Engine>(engine: &E, keys: &Keys, name: &str, pins: &Pins) {
    let (mut last, mut looks) = (Top::default(), 0);
    loop {
        tokio::time::sleep(EVERY).await;
        looks += 1;
        let Ok(top) = look(pins) else { continue };
        let is_empty = top.refused.is_empty() && top.budget.is_empty();
        let is_due = top != last || looks >= AGAIN && !is_empty;
        if is_due && tell(engine, keys, name, &top).await.is_ok() {
            (last, looks) = (top, 0);
        }
    }
}

fn look(pins: &Pins) -> Result<Top> {
    let maps = Maps::open(&pins.root())?;
    let of = |kind| -> Result<Vec<Source>> {
        let found = heavy::read(&maps, kind, None, None, MOST)?.into_iter();
        Ok(found
            .map(|one| Source { source: one.source, service: one.service, count: one.count })
            .collect())
    };
    Ok(Top { at: 0, refused: of(Ranking::Refused)?, budget: of(Ranking::Budget)? })
}

async fn tell<E: Engine>(engine: &E, keys: &Keys, name: &str, top: &Top) -> Result<()> {
    let at = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let value = keys::bytes(&Top { at, ..top.clone() })?;
    let writes = vec![(keys.top(name), Some(value))];
    engine.transact(Transaction { conditions: vec![], writes }).await.map(drop)
}
