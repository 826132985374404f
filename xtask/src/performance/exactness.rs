//! What docs/performance.md says of exactness: cells in which the bound holds, for each who limits, and what became of limiter's own bounds.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::claim;

/// Who limits: its name in the cells, and in the table.
const PEERS: [(&str, &str); 3] =
    [("limiter", "limiter"), ("nftables-netdev", "nftables"), ("iptables-hashlimit", "iptables")];
/// What is limited: its name in the cells, and in the table.
const KINDS: [(&str, &str); 4] = [
    ("budget", "a budget"),
    ("source", "one source"),
    (MANY, "each of many sources"),
    ("budget_of_sources", "many sources' budget"),
];
const MANY: &str = "sources";

/// What `bench accuracy --json` prints, as far as the page tells it.
#[derive(Deserialize)]
struct Report {
    cells: Vec<Cell>,
    bounds: Vec<Bound>,
    conditions: String,
}

#[derive(Deserialize)]
struct Cell {
    peer: String,
    limited: String,
    how: String,
    sources: u32,
    places: u32,
    /// Admitted, of what is allowed; none where that says nothing.
    ratio: Option<f64>,
    holds: Option<bool>,
}

#[derive(Deserialize)]
struct Bound {
    bound: String,
    held: u32,
    cells: u32,
}

/// The part of the section.
pub fn words(json: &str) -> Result<String> {
    let report: Report = serde_json::from_str(json)?;
    let [limiter, nftables, iptables] = PEERS.map(|peer| peer.1);
    let mut table = format!("    {:<21}{limiter:>25}{nftables:>25}{iptables:>25}\n", "");
    for (kind, words) in KINDS {
        let [limiter, nftables, iptables] =
            PEERS.map(|(peer, _)| summary(&report.cells, peer, kind));
        writeln!(table, "    {words:<21}{limiter:>25}{nftables:>25}{iptables:>25}")?;
    }
    let many: Vec<&Cell> =
        report.cells.iter().filter(|cell| cell.limited == MANY && cell.how == "kernel").collect();
    let places = many.first().context("no cells of many sources")?.places;
    let most: Vec<String> =
        PEERS.iter().filter_map(|(peer, name)| most(&many, peer, name)).collect();
    let verdict = |Bound { bound, held, cells }: &Bound| {
        claim(held == cells, &format!("the bound of {bound}: in {held} of {cells} cells"))
    };
    Ok(format!(
        "### How exact it is\n\n\
         Real floods at limits of many sizes: in how many cells no more was admitted than limiter's own bound grants, of all that say anything, and how much\n\
         was admitted, in % of rate x time + burst. Whole in [accuracy.txt](bench/accuracy.txt), with plots beside it; the bounds below are also simulated.\n\n\
         {table}\n\
         Each source was held to its limit, with a table of {places} places, up to so many sources: {}. Once it is full,\n\
         nftables' set lets every newcomer in, and iptables' table none.\n\n\
         {}\n\
         {}\n",
        most.join(", "),
        report.bounds.iter().map(verdict).collect::<String>(),
        report.conditions.trim_end(),
    ))
}

/// `24 of 27, 82 to 107%`: of the cells of real floods that say anything.
fn summary(cells: &[Cell], peer: &str, kind: &str) -> String {
    let mine = cells
        .iter()
        .filter(|cell| (&*cell.peer, &*cell.limited, &*cell.how) == (peer, kind, "kernel"));
    let told: Vec<(f64, bool)> =
        mine.filter_map(|cell| Some((cell.ratio? * 100.0, cell.holds?))).collect();
    let admitted = || told.iter().map(|cell| cell.0);
    let Some((least, most)) = admitted().reduce(f64::min).zip(admitted().reduce(f64::max)) else {
        return "-".to_owned();
    };
    let held = told.iter().filter(|cell| cell.1).count();
    let (least, most) = (format!("{least:.0}"), format!("{most:.0}"));
    let range = if least == most { most } else { format!("{least} to {most}") };
    format!("{held} of {}, {range}%", told.len())
}

/// Up to how many sources nothing broke the limit of each, if that was measured.
fn most(cells: &[&Cell], peer: &str, name: &str) -> Option<String> {
    let mut mine = cells.iter().filter(|cell| cell.peer == peer && cell.ratio.is_some()).peekable();
    mine.peek()?;
    let held = mine.take_while(|cell| cell.holds == Some(true)).last();
    Some(format!(
        "{} by {name}",
        held.map_or_else(|| "none".to_owned(), |cell| cell.sources.to_string())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(peer: &str, sources: u32, ratio: Option<f64>, holds: Option<bool>) -> Cell {
        let text = |text: &str| text.to_owned();
        Cell {
            peer: text(peer),
            limited: text(MANY),
            how: text("kernel"),
            sources,
            places: 2048,
            ratio,
            holds,
        }
    }

    #[test]
    fn cells_of_real_floods_are_counted() {
        let cells = [
            cell("limiter", 256, Some(0.998), Some(true)),
            cell("limiter", 512, Some(1.919), Some(false)),
            cell("limiter", 1024, Some(0.5), Some(true)),
            cell("limiter", 2048, None, Some(true)),
            cell("nftables-netdev", 256, Some(1.995), Some(false)),
            cell("iptables-hashlimit", 256, None, None),
            Cell { how: "simulation".to_owned(), ..cell("limiter", 256, Some(9.0), Some(false)) },
        ];
        let summaries = PEERS.map(|(peer, _)| summary(&cells, peer, MANY));
        assert_eq!(summaries, ["2 of 3, 50 to 192%", "0 of 1, 200%", "-"]);
        let many: Vec<&Cell> = cells.iter().filter(|cell| cell.how == "kernel").collect();
        let most = PEERS.map(|(peer, name)| most(&many, peer, name));
        assert_eq!(
            most,
            [Some("256 by limiter".to_owned()), Some("none by nftables".to_owned()), None]
        );
    }
}
