//! `limiter fleet top`: the sources that weigh most on all nodes together, of what each tells.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use clap::Args;
use limiter_fleet::engine::{Engine as _, Snapshot};
use serde::Serialize;

use super::{Context, Reached, Where};
use crate::fleet::top::{OLD, Top as Told};
use crate::report::{self, numbers};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Refused,
    Budget,
}

/// Arguments of `top`.
#[derive(Args, Debug)]
pub struct Top {
    /// What to count: attempts `refused` by the source's own limit, or refused by a `budget` (a
    /// sample).
    #[arg(long, value_name = "WHAT", value_enum, hide_possible_values = true, default_value_t = By::Refused)]
    by: By,
    /// Show this many sources. Each node reports its 15 heaviest.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    #[command(flatten)]
    pub place: Where,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Heavy {
    source: String,
    service: String,
    /// Nodes that tell of it.
    nodes: BTreeSet<String>,
    count: u64,
}

impl Top {
    /// Prints them.
    pub(super) async fn run(&self, context: &Context, reached: &Reached) -> Result<()> {
        let snapshot = reached.engine.snapshot(reached.keys.tops()).await?;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let top = add(&snapshot, reached.keys.tops(), self.by, now, self.lines);
        report::print(context.format, &top, |top| describe(top, self.by))
    }
}

/// Adds up what all nodes tell. What makes no sense, or is old, is left out.
fn add(snapshot: &Snapshot, prefix: &str, by: By, now: u64, lines: usize) -> Vec<Heavy> {
    let mut sums: BTreeMap<(String, String), Heavy> = BTreeMap::new();
    for (key, entry) in &snapshot.entries {
        let Some(node) = key.strip_prefix(prefix) else { continue };
        let Ok(told) = serde_json::from_slice::<Told>(&entry.value) else { continue };
        if now.saturating_sub(told.at) > OLD {
            continue;
        }
        for one in if by == By::Refused { told.refused } else { told.budget } {
            let new = || Heavy {
                source: one.source.escape_debug().to_string(),
                service: one.service.escape_debug().to_string(),
                ..Heavy::default()
            };
            let sum = sums.entry((one.source.clone(), one.service.clone())).or_insert_with(new);
            sum.count = sum.count.saturating_add(one.count);
            sum.nodes.insert(node.escape_debug().to_string());
        }
    }
    let mut all: Vec<Heavy> = sums.into_values().collect();
    all.sort_by_key(|one| Reverse(one.count));
    all.truncate(lines);
    all
}

fn describe(top: &[Heavy], by: By) -> String {
    let (none, counted) = match by {
        By::Refused => ("no node reports a source refused by its own limit\n", "REFUSED"),
        By::Budget => {
            ("no node reports an attempt refused by a budget\n", "REFUSED BY BUDGET (sampled)")
        }
    };
    if top.is_empty() {
        return none.to_owned();
    }
    let width = |label: &str, of: fn(&Heavy) -> &str| {
        top.iter().map(|one| of(one).len()).max().unwrap_or(0).max(label.len())
    };
    let sources = width("SOURCE", |one| &one.source);
    let services = width("SERVICE", |one| &one.service);
    let mut text =
        format!("{:<sources$}  {:<services$}  {counted:>7}  NODES\n", "SOURCE", "SERVICE");
    for one in top {
        let shown: Vec<&str> = one.nodes.iter().take(3).map(String::as_str).collect();
        let more = match one.nodes.len().saturating_sub(3) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        text.push_str(&format!(
            "{:<sources$}  {:<services$}  {:>width$}  {}{more}\n",
            one.source,
            one.service,
            numbers::count(one.count),
            shown.join(", "),
            width = counted.len(),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use limiter_fleet::engine::Entry;

    use super::*;

    #[test]
    fn nodes_are_added_up_and_what_is_old_or_junk_left_out() {
        let told = |at: u64, sources: &[(&str, u64)]| {
            let source = |(source, count): &(&str, u64)| crate::fleet::top::Source {
                source: (*source).to_owned(),
                service: "web".to_owned(),
                count: *count,
            };
            let refused = sources.iter().map(source).collect();
            serde_json::to_vec(&Told { at, refused, ..Told::default() }).expect("JSON")
        };
        let entries = [
            ("t/a", told(1000, &[("192.0.2.1", 7), ("192.0.2.2", 4)])),
            ("t/b", told(1000, &[("192.0.2.2", 5), ("192.0.2.3", u64::MAX)])),
            ("t/c", told(1000, &[("192.0.2.3", 9)])),
            ("t/old", told(1, &[("192.0.2.9", 1 << 40)])),
            ("t/junk", b"[7".to_vec()),
        ];
        let entry = |(key, value): (&str, Vec<u8>)| (key.to_owned(), Entry { value, revision: 1 });
        let snapshot = Snapshot { revision: 1, entries: entries.map(entry).into() };
        let top = add(&snapshot, "t/", By::Refused, 1000, 2);
        let brief: Vec<_> =
            top.iter().map(|one| (&*one.source, one.count, one.nodes.len())).collect();
        assert_eq!(brief, [("192.0.2.3", u64::MAX, 2), ("192.0.2.2", 9, 2)]);
        assert!(describe(&top, By::Refused).contains("a, b"));
        assert!(add(&snapshot, "t/", By::Budget, 1000, 9).is_empty());
    }
}
