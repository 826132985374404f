//! `limiter fleet ban` and `limiter fleet allow`: the lists that all nodes have which take them.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use limiter_common::record::List;
use limiter_fleet::engine::{Engine as _, Transaction};
use serde::Serialize;

use super::{Context, Reached, Where};
use crate::fleet::keys::{self, Key};
use crate::fleet::lists::Listed;
use crate::history::Who;
use crate::kernel::Maps;
use crate::policy::prefix::Prefix;
use crate::policy::text;
use crate::report;
use crate::report::numbers::seconds;

/// What to do with a list of the fleet.
#[derive(Debug, Subcommand)]
pub enum ListAction {
    /// Put addresses or prefixes on the list of every node that takes it.
    Add(Add),
    /// Take addresses or prefixes off the list again. Entries that an operator made on a node
    /// itself stay there.
    Del(Del),
    /// Show each entry, who put it there and why, and whether it is in force on this node.
    List(Where),
}

/// Arguments of `add`.
#[derive(Args, Debug)]
pub struct Add {
    /// Addresses or prefixes.
    #[arg(value_name = "PREFIX", required = true)]
    prefixes: Vec<Prefix>,
    /// How long the entry lasts; no entry lasts for ever.
    #[arg(long = "for", value_name = "TIME", value_parser = text::duration)]
    time: Duration,
    /// The reason, for operators who see the entry on another node.
    #[arg(long, value_name = "TEXT", value_parser = why)]
    because: String,
    #[command(flatten)]
    pub place: Where,
}

/// Arguments of `del`.
#[derive(Args, Debug)]
pub struct Del {
    /// Addresses or prefixes.
    #[arg(value_name = "PREFIX", required = true)]
    prefixes: Vec<Prefix>,
    #[command(flatten)]
    pub place: Where,
}

#[derive(Serialize)]
struct Shown {
    prefix: String,
    /// None: the entry makes no sense.
    #[serde(flatten)]
    listed: Option<Listed>,
    left_seconds: f64,
    in_force_here: bool,
}

impl ListAction {
    /// Where the fleet is named.
    pub const fn place(&self) -> &Where {
        match self {
            Self::Add(add) => &add.place,
            Self::Del(del) => &del.place,
            Self::List(place) => place,
        }
    }

    /// Does it; what changed.
    pub(super) async fn run(
        &self,
        context: &Context,
        reached: &Reached,
        list: List,
    ) -> Result<Option<Vec<String>>> {
        match self {
            Self::Add(add) => reached.add(add, list).await.map(Some),
            Self::Del(del) => reached.del(del, list).await.map(Some),
            Self::List(_) => show(context, reached, list).await.map(|()| None),
        }
    }
}

impl Reached {
    fn entry(&self, list: List, prefix: &Prefix) -> String {
        match list {
            List::Ban => self.keys.ban(&prefix.to_string()),
            List::Allow => self.keys.allow(&prefix.to_string()),
        }
    }

    async fn add(&self, add: &Add, list: List) -> Result<Vec<String>> {
        let until = now() + add.time.as_secs_f64();
        let (verb, who) = (verb(list), Who::now().to_string());
        let mut changed = Vec::new();
        for prefix in &add.prefixes {
            let listed = Listed {
                until: (until * 1000.0) as u64,
                who: who.clone(),
                why: add.because.clone(),
            };
            let write = (self.entry(list, prefix), Some(keys::bytes(&listed)?));
            self.engine.transact(Transaction { conditions: vec![], writes: vec![write] }).await?;
            let time = seconds(add.time.as_secs_f64());
            changed.push(format!("{verb} {prefix} for {time}: {}", add.because));
        }
        Ok(changed)
    }

    async fn del(&self, del: &Del, list: List) -> Result<Vec<String>> {
        let snapshot = self.engine.snapshot(&self.keys.lists()).await?;
        for prefix in &del.prefixes {
            ensure!(
                snapshot.entries.contains_key(&self.entry(list, prefix)),
                "{prefix} is not on this list of the fleet; `limiter fleet {list} list` shows its \
                 entries",
                list = name(list)
            );
        }
        let writes = del.prefixes.iter().map(|prefix| (self.entry(list, prefix), None)).collect();
        self.engine.transact(Transaction { conditions: vec![], writes }).await?;
        let line =
            |prefix: &Prefix| format!("{prefix} is no longer on the fleet's {} list", name(list));
        Ok(del.prefixes.iter().map(line).collect())
    }
}

async fn show(context: &Context, reached: &Reached, list: List) -> Result<()> {
    let snapshot = reached.engine.snapshot(&reached.keys.lists()).await?;
    let maps = Maps::open(&context.pins.root()).ok();
    let mut all = Vec::new();
    for (key, entry) in &snapshot.entries {
        let prefix = match (reached.keys.kind(key), list) {
            (Key::Ban(prefix), List::Ban) | (Key::Allow(prefix), List::Allow) => prefix,
            _ => continue,
        };
        let listed: Option<Listed> = serde_json::from_slice(&entry.value).ok();
        let until = listed.as_ref().map_or(0.0, |listed| listed.until as f64 / 1000.0);
        let parsed = prefix.parse::<Prefix>().ok();
        let in_force_here = match (&maps, parsed) {
            (Some(maps), Some(prefix)) => maps.is_listed(list, prefix)?,
            _ => false,
        };
        let left_seconds = (until - now()).max(0.0);
        let prefix = prefix.escape_debug().to_string();
        all.push(Shown { prefix, listed, left_seconds, in_force_here });
    }
    report::print(context.format, &all, |all| match all.is_empty() {
        true => format!("the fleet's {} list is empty\n", name(list)),
        false => all.iter().map(describe).collect(),
    })
}

fn describe(shown: &Shown) -> String {
    let here = if shown.in_force_here { "" } else { "  (NOT IN FORCE HERE)" };
    let told = match &shown.listed {
        Some(Listed { who, why, .. }) => {
            let (who, why) = (who.escape_debug(), why.escape_debug());
            format!("{} left, by {who}: {why}", seconds(shown.left_seconds))
        }
        None => "cannot be read".to_owned(),
    };
    format!("{:<43} {told}{here}\n", shown.prefix)
}

fn now() -> f64 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

const fn name(list: List) -> &'static str {
    match list {
        List::Allow => "allow",
        List::Ban => "ban",
    }
}

const fn verb(list: List) -> &'static str {
    match list {
        List::Allow => "allowed",
        List::Ban => "banned",
    }
}

/// A reason on one line.
pub fn why(text: &str) -> Result<String, String> {
    let fits = !text.trim().is_empty() && text.len() <= 200 && !text.contains(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(|| "write a reason of 1 to 200 bytes".to_owned())
}
