//! `limiter fleet status`: what the engine holds, and what is in force here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use limiter_fleet::Terms;
use limiter_fleet::engine::Snapshot;
use limiter_fleet::record::Amount;
use serde::Serialize;

use super::{Context, Reached, UNKNOWN, shown};
use crate::fleet::keys::{self, Key};
use crate::fleet::node_name;
use crate::kernel::Maps;
use crate::kernel::share::InForce;
use crate::report;
use crate::report::numbers::seconds_short;

/// A fleet.
#[derive(Serialize)]
struct Status {
    fleet: String,
    engine: Engine,
    leader: Option<String>,
    /// The name of this node.
    this_node: String,
    budgets: BTreeMap<String, Budget>,
    nodes: BTreeMap<String, Node>,
    in_force: Here,
}

/// What is in force here of the fleet's shares.
#[derive(Serialize)]
#[serde(transparent)]
struct Here {
    shares: Vec<InForce>,
    #[serde(skip)]
    is_loaded: bool,
}

/// What is known while the engine does not answer.
#[derive(Serialize)]
struct Away<'a> {
    fleet: &'a str,
    this_node: String,
    in_force: Here,
}

#[derive(Serialize)]
struct Engine {
    version: String,
    bytes: u64,
    alarms: Vec<String>,
}

/// One budget, in connections a second or in places.
#[derive(Serialize)]
struct Budget {
    budget: f64,
    demand: f64,
    granted: f64,
    /// Kept for the nodes whatever happens: what their own policies state.
    reserved: f64,
    /// Nodes that have such a budget.
    nodes: usize,
}

#[derive(Serialize)]
struct Node {
    /// By its wall clock and this machine's.
    reported_seconds_ago: Option<u64>,
    silent: bool,
    /// `limiter fleet leave` took it out.
    away: bool,
    version: String,
    /// Entries of the fleet that it refuses, of its lists and its profile; its log says why.
    refused: u64,
    shares: BTreeMap<String, Share>,
    /// Budgets of the fleet of which it has no share, and what its own policy states of each.
    without: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct Share {
    granted: f64,
    demand: f64,
    fallback: f64,
}

/// Prints it.
///
/// # Errors
/// When the engine does not answer; what is in force here is printed all the same.
pub async fn run(context: &Context, reached: &Reached) -> Result<()> {
    let maps = Maps::open(&context.pins.root()).ok();
    let is_loaded = maps.is_some();
    let shares = maps.map(|maps| maps.shares()).transpose()?.unwrap_or_default();
    let in_force = Here { shares, is_loaded };
    let asked = async { anyhow::Ok((reached.engine.health().await?, reached.snapshot().await?)) };
    let (health, snapshot) = match asked.await {
        Ok(answers) => answers,
        Err(error) => {
            let (fleet, this_node) = (reached.said.name.as_str(), node_name(&reached.said)?);
            report::print(context.format, &Away { fleet, this_node, in_force }, describe_away)?;
            return Err(error);
        }
    };
    let leader = snapshot.entries.get(&reached.keys.leader());
    let status = Status {
        fleet: reached.said.name.to_string(),
        engine: Engine { version: health.version, bytes: health.bytes, alarms: health.alarms },
        leader: leader.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()),
        this_node: node_name(&reached.said)?,
        budgets: budgets(reached, &snapshot)?,
        nodes: nodes(reached, &snapshot)?,
        in_force,
    };
    report::print(context.format, &status, describe)
}

fn per_second(amount: Amount) -> f64 {
    amount as f64 / 1000.0
}

fn budgets(reached: &Reached, snapshot: &Snapshot) -> Result<BTreeMap<String, Budget>> {
    let seen = reached.keys.seen(snapshot)?;
    let budgets = seen.budgets.iter().map(|(name, amount)| {
        let claims = || seen.nodes.values().filter_map(|node| node.report.1.claims.get(name));
        let grants = seen.nodes.values().filter_map(|node| node.grant.as_ref());
        let grants = grants.filter_map(|(_, grant)| grant.shares.get(name));
        let (granted, reserved) = grants.fold((0.0, 0.0), |(granted, reserved), share| {
            (granted + per_second(share.rate), reserved + per_second(share.fallback))
        });
        let demand = claims().map(|claim| per_second(claim.demand)).sum();
        let (budget, nodes) = (per_second(*amount), claims().count());
        (name.clone(), Budget { budget, demand, granted, reserved, nodes })
    });
    Ok(budgets.collect())
}

fn nodes(reached: &Reached, snapshot: &Snapshot) -> Result<BTreeMap<String, Node>> {
    let wall = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let seen = reached.keys.seen(snapshot)?;
    let mut nodes = BTreeMap::new();
    for (name, node) in &seen.nodes {
        let said = snapshot.entries.get(&reached.keys.report(name));
        let said = said.map(|entry| keys::said(&entry.value));
        let ago = said.as_ref().map(|said| wall.saturating_sub(said.at));
        let shares = node.grant.iter().flat_map(|(_, grant)| &grant.shares);
        let shares = shares.map(|(name, share)| {
            let claim = node.report.1.claims.get(name).copied().unwrap_or_default();
            let [granted, demand, fallback] =
                [share.rate, claim.demand, share.fallback].map(per_second);
            (name.clone(), Share { granted, demand, fallback })
        });
        let has = |name: &String| {
            node.grant.as_ref().is_some_and(|(_, grant)| grant.shares.contains_key(name))
        };
        let claims = node.report.1.claims.iter();
        let without = claims
            .filter(|(name, _)| seen.budgets.contains_key(*name) && !has(name))
            .map(|(name, claim)| (name.clone(), per_second(claim.fallback)));
        let shown = Node {
            without: without.collect(),
            reported_seconds_ago: ago,
            silent: ago.is_none_or(|ago| ago > Terms::default().silence().as_secs()),
            away: false,
            refused: said.as_ref().map_or(0, |said| said.refused),
            version: said.map(|said| said.version).unwrap_or_default(),
            shares: shares.collect(),
        };
        nodes.insert(name.clone(), shown);
    }
    for key in snapshot.entries.keys() {
        if let Key::Away(name) = reached.keys.kind(key) {
            let away = || Node {
                reported_seconds_ago: None,
                silent: false,
                away: true,
                version: String::new(),
                refused: 0,
                shares: BTreeMap::new(),
                without: BTreeMap::new(),
            };
            nodes.entry(name.to_owned()).or_insert_with(away).away = true;
        }
    }
    Ok(nodes)
}

fn describe_away(away: &Away<'_>) -> String {
    let mut text = format!("fleet       {}: its engine does not answer\n", away.fleet);
    text.push_str(&in_force(&away.in_force));
    text
}

fn in_force(here: &Here) -> String {
    if here.is_loaded && here.shares.is_empty() {
        return "in force    no share: this node admits what its own policy states\n".to_owned();
    }
    here.shares.iter().map(|share| format!("in force    {share}\n")).collect()
}

fn describe(status: &Status) -> String {
    let amount = |name: &str, rate: f64| shown(name, (rate * 1000.0).round() as Amount);
    let mut text = String::new();
    let silent = status.nodes.values().filter(|node| node.silent).count();
    let count = report::numbers::plural(status.nodes.len() as u64, ["node", "nodes"]);
    let silent = if silent == 0 { String::new() } else { format!(", {silent} silent") };
    // Writing to a String does not fail.
    let _ = writeln!(text, "fleet       {}: {count}{silent}", status.fleet);
    let Engine { version, bytes, alarms } = &status.engine;
    let alarms =
        if alarms.is_empty() { String::new() } else { format!(", ALARM {}", alarms.join(" ")) };
    let _ = writeln!(text, "engine      etcd {version}, {} KiB{alarms}", bytes / 1024);
    let _ = writeln!(text, "leader      {}", status.leader.as_deref().unwrap_or("none for now"));
    for (name, budget) in &status.budgets {
        let _ = writeln!(
            text,
            "budget      {name} {}: demand {}, granted {}, kept for the nodes in any case {}{}",
            amount(name, budget.budget),
            amount(name, budget.demand),
            amount(name, budget.granted),
            amount(name, budget.reserved),
            if budget.nodes == 0 { UNKNOWN } else { "" }
        );
    }
    for (name, node) in &status.nodes {
        let here = if *name == status.this_node { " (this one)" } else { "" };
        let state = match (node.away, node.silent, node.reported_seconds_ago) {
            (true, ..) => "taken out".to_owned(),
            (_, true, Some(ago)) => format!("SILENT for {}", seconds_short(ago as f64)),
            (_, true, None) => "has never reported".to_owned(),
            _ => format!("limiter {}", node.version),
        };
        let refused = match node.refused {
            0 => String::new(),
            refused => format!(", refuses {refused} of the fleet's entries"),
        };
        let _ = writeln!(text, "node        {name}{here}: {state}{refused}");
        for (name, share) in &node.shares {
            let _ = writeln!(
                text,
                "              {name} {}, demand {}, alone {}",
                amount(name, share.granted),
                amount(name, share.demand),
                amount(name, share.fallback)
            );
        }
        for (name, stated) in &node.without {
            let stated = amount(name, *stated);
            let _ = writeln!(
                text,
                "              {name} NO SHARE: does the fleet have room for the {stated} that its \
                 policy states?"
            );
        }
    }
    text.push_str(&in_force(&status.in_force));
    text
}
