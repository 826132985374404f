//! `limiter fleet profile`: the profile that nodes have which take it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use limiter_fleet::engine::{Engine as _, Snapshot, Transaction};
use serde::Serialize;

use super::{Context, PAUSE, Reached, Where};
use crate::fleet::keys::{self, Key};
use crate::fleet::profile::{Answer, Wanted};
use crate::history::Who;
use crate::policy::file::NORMAL;
use crate::policy::{Name, text};
use crate::report;
use crate::report::numbers::seconds;

/// How long a command waits for the nodes' answers.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `profile`.
#[derive(Args, Debug)]
pub struct Profile {
    /// The profile, which each node has in its own policy file; `normal` ends the one in force.
    /// Without a name, show which profile the fleet wants, and what each node has done.
    #[arg(value_name = "NAME")]
    name: Option<Name>,
    /// How long the profile lasts; then each kernel goes back by itself.
    #[arg(long = "for", value_name = "TIME", value_parser = text::duration, default_value = "1h")]
    time: Duration,
    /// The reason, for operators who see the profile on another node.
    #[arg(long, value_name = "TEXT", value_parser = super::list::why, default_value = "-")]
    because: String,
    #[command(flatten)]
    pub place: Where,
}

/// What the fleet wants, and what has become of it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    wanted: Option<Wanted>,
    left_seconds: f64,
    /// By node.
    nodes: BTreeMap<String, Standing>,
}

#[derive(Serialize)]
struct Standing {
    /// Whether it put it into force.
    took: bool,
    /// Why not.
    refused: Option<String>,
}

impl Profile {
    /// Does it; what changed.
    pub(super) async fn run(
        &self,
        context: &Context,
        reached: &Reached,
    ) -> Result<Option<Vec<String>>> {
        let Some(name) = &self.name else {
            let shown = shown(reached, &reached.snapshot().await?);
            report::print(context.format, &shown, describe)?;
            return Ok(None);
        };
        let key = reached.keys.profile();
        if name.as_str() == NORMAL {
            let there = reached.engine.snapshot(&key).await?.entries.contains_key(&key);
            ensure!(there, "fleet {} has no profile in force", reached.said.name);
            let writes = vec![(key, None)];
            reached.engine.transact(Transaction { conditions: vec![], writes }).await?;
            return Ok(Some(vec!["the fleet's profile is over: nodes go back".to_owned()]));
        }
        let wanted = Wanted {
            profile: name.clone(),
            until: ((now() + self.time.as_secs_f64()) * 1000.0) as u64,
            who: Who::now().to_string(),
            why: self.because.clone(),
        };
        let writes = vec![(key, Some(keys::bytes(&wanted)?))];
        reached.engine.transact(Transaction { conditions: vec![], writes }).await?;
        let time = seconds(self.time.as_secs_f64());
        let mut changed = vec![format!("profile {name} for {time}: {}", self.because)];
        changed.extend(answers(reached).await?);
        Ok(Some(changed))
    }
}

/// Waits until each node has answered, and says what.
async fn answers(reached: &Reached) -> Result<Vec<String>> {
    let start = Instant::now();
    loop {
        let snapshot = reached.snapshot().await?;
        let shown = shown(reached, &snapshot);
        let missing = shown.nodes.values().any(|one| !one.took && one.refused.is_none());
        if !missing || start.elapsed() > PATIENCE {
            return Ok(shown.nodes.iter().map(standing).collect());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn shown(reached: &Reached, snapshot: &Snapshot) -> Shown {
    let entry = snapshot.entries.get(&reached.keys.profile());
    let wanted: Option<Wanted> = entry.and_then(|one| serde_json::from_slice(&one.value).ok());
    let revision = entry.map_or(0, |entry| entry.revision);
    let mut nodes = BTreeMap::new();
    for key in snapshot.entries.keys().filter(|_| entry.is_some()) {
        let Key::Report(node) = reached.keys.kind(key) else { continue };
        let answer = snapshot.entries.get(&reached.keys.answer(node));
        let answer = answer.and_then(|one| serde_json::from_slice::<Answer>(&one.value).ok());
        let answer = answer.filter(|answer| answer.to == revision).unwrap_or_default();
        let took = answer.to != 0 && answer.refused.is_none() && answer.took.is_some();
        nodes.insert(node.to_owned(), Standing { took, refused: answer.refused });
    }
    let until = wanted.as_ref().map_or(0.0, |wanted| wanted.until as f64 / 1000.0);
    Shown { wanted, left_seconds: (until - now()).max(0.0), nodes }
}

fn describe(shown: &Shown) -> String {
    let mut text = match &shown.wanted {
        Some(Wanted { profile, who, why, .. }) => format!(
            "profile     {profile}: {} left, by {}: {}\n",
            seconds(shown.left_seconds),
            who.escape_debug(),
            why.escape_debug()
        ),
        None => "the fleet has no profile in force\n".to_owned(),
    };
    for line in shown.nodes.iter().map(standing) {
        text.push_str(&format!("node        {line}\n"));
    }
    text
}

fn standing((node, standing): (&String, &Standing)) -> String {
    match (&standing.refused, standing.took) {
        (Some(why), _) => format!("{node} refuses it: {}", why.escape_debug()),
        (None, true) => format!("{node} has taken it"),
        (None, false) => format!("{node} HAS NOT ANSWERED"),
    }
}

fn now() -> f64 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}
