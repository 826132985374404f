//! The tables, at most 110 columns wide, and a line for every bound that does not hold.

use std::fmt::{self, Write as _};

use lab::peer::Peer;
use serde::Serialize;

use super::cell::{EIGHTHS, How, Kind, PLACES, Row};

/// A column: whose cells, how found, under which load.
type Column = (&'static str, How, usize, &'static str);

/// All tables.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = rates(&mut text, rows, Kind::Budget, "budget")
        .and_then(|()| rates(&mut text, rows, Kind::Source, "source limit"))
        .and_then(|()| crowds(&mut text, rows));
    text
}

fn columns(rows: &[Row], kind: Kind) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for row in rows.iter().filter(|row| row.limited == kind) {
        let column = (row.peer, row.how, row.cpus, row.skew);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

fn rates(to: &mut String, rows: &[Row], kind: Kind, title: &str) -> fmt::Result {
    let columns = columns(rows, kind);
    writeln!(to, "{title}: admitted, in % of rate x t + burst; ! where the bound is broken")?;
    let mut heads = vec![String::new(); 2];
    let mut last = None;
    for (peer, how, cpus, skew) in &columns {
        let alone =
            columns.iter().filter(|column| (column.0, column.1) == (*peer, *how)).count() == 1;
        let block = match block(peer, *how) {
            _ if last == Some((peer, how)) => "",
            _ if alone => "simul.",
            block => block,
        };
        last = Some((peer, how));
        write!(heads[0], " {block:<7}")?;
        let simulated_alone = *how == How::Simulation && *cpus == 1;
        write!(heads[1], "{:>8}", if simulated_alone { "1 CPU" } else { *skew })?;
    }
    writeln!(to, "{:<18}{}", "", heads[0].trim_end())?;
    writeln!(to, "{:>8}/s{:>8}{}", "rate", "burst", heads[1])?;
    let mut limits: Vec<(u64, u64)> = Vec::new();
    for row in rows.iter().filter(|row| row.limited == kind) {
        if !limits.contains(&(row.rate, row.burst)) {
            limits.push((row.rate, row.burst));
        }
    }
    limits.sort_unstable();
    for (rate, burst) in limits {
        write!(to, "{rate:>10}{burst:>8}")?;
        for column in &columns {
            let found = rows.iter().find(|row| {
                row.limited == kind
                    && (row.rate, row.burst) == (rate, burst)
                    && (row.peer, row.how, row.cpus, row.skew) == *column
            });
            write!(to, "{:>8}", found.map_or_else(|| "n/a".to_owned(), cell))?;
        }
        to.push('\n');
    }
    to.push('\n');
    Ok(())
}

/// The head over the columns of a peer: eight characters a column.
fn block(peer: &str, how: How) -> &'static str {
    match (peer, how) {
        (_, How::Simulation) => "limiter, simulated",
        (peer, _) if peer == Peer::Limiter.name() => "limiter",
        (peer, _) if peer == Peer::Hashlimit.name() => "iptables",
        _ => "nftables",
    }
}

fn cell(row: &Row) -> String {
    match (row.admitted, row.ratio()) {
        (None, _) => "n/a".to_owned(),
        (_, None) => "few".to_owned(),
        (_, Some(ratio)) => {
            format!("{:.1}{}", ratio * 100.0, if row.holds == Some(false) { "!" } else { " " })
        }
    }
}

fn crowds(to: &mut String, rows: &[Row]) -> fmt::Result {
    let (rate, burst) = super::cell::EACH;
    writeln!(
        to,
        "many sources, {rate}/s burst {burst} each, at a table of {PLACES} places: admitted, in %"
    )?;
    writeln!(
        to,
        "{:>10}{:>10}{:>11}{:>9}{:>9}{:>10}{:>10}   with a budget for all: limiter",
        "sources", "simulated", "over bound", "steals", "limiter", "nftables", "iptables"
    )?;
    for eighths in EIGHTHS {
        let sources = PLACES / 8 * eighths;
        let find = |kind: Kind, how: How, peer: Peer| {
            let wanted = move |row: &&Row| {
                (row.limited, row.how, row.peer, row.sources) == (kind, how, peer.name(), sources)
            };
            rows.iter().find(wanted)
        };
        let show = |row: Option<&Row>| row.map_or_else(|| "n/a".to_owned(), cell);
        let simulated = find(Kind::Sources, How::Simulation, Peer::Limiter);
        let over = simulated
            .and_then(|row| row.sources_over)
            .map_or(f64::NAN, |over| f64::from(over) / f64::from(sources));
        let steals = simulated.and_then(|row| row.steals).unwrap_or_default();
        let [limiter, nftables, iptables] = [Peer::Limiter, Peer::NftablesNetdev, Peer::Hashlimit]
            .map(|peer| show(find(Kind::Sources, How::Kernel, peer)));
        let budget = show(find(Kind::BudgetOfSources, How::Kernel, Peer::Limiter));
        writeln!(
            to,
            "{sources:>10}{:>10}{:>10.1}%{steals:>9}{limiter:>9}{nftables:>10}{iptables:>10}{budget:>33}",
            show(simulated),
            over * 100.0
        )?;
    }
    to.push('\n');
    Ok(())
}

/// What became of one of limiter's bounds.
#[derive(Serialize)]
pub struct Bound {
    /// What it is of.
    bound: &'static str,
    /// Cells in which it holds.
    held: usize,
    /// All cells.
    cells: usize,
    /// Those in which it does not hold, in words.
    broken: Vec<String>,
}

/// Limiter's bounds, for each kind of cell.
pub fn bounds(rows: &[Row]) -> Vec<Bound> {
    let kinds = [Kind::Budget, Kind::Source, Kind::BudgetOfSources, Kind::Sources];
    let bound = |kind| {
        let mine = || {
            rows.iter().filter(|row| {
                row.peer == Peer::Limiter.name() && row.limited == kind && row.holds.is_some()
            })
        };
        let broken: Vec<_> = mine().filter(|row| row.holds == Some(false)).map(describe).collect();
        Bound {
            bound: words(kind),
            held: mine().count() - broken.len(),
            cells: mine().count(),
            broken,
        }
    };
    kinds.into_iter().map(bound).collect()
}

/// A line for each bound, and one for each cell in which it does not hold.
pub fn verdicts(bounds: &[Bound]) -> String {
    let mut text = String::new();
    for Bound { bound, held, cells, broken } in bounds {
        text += &format!("limiter, {bound}: the bound holds in {held} of {cells} cells\n");
        broken.iter().for_each(|cell| text += &format!("  does NOT hold: {cell}\n"));
    }
    text
}

const fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Budget => "budgets (rate x t + burst + CPUs x lease)",
        Kind::Source => "one source (rate x (t + one tick) + burst)",
        Kind::Sources => "each of many sources (the same)",
        Kind::BudgetOfSources => "a budget under many sources",
    }
}

fn describe(row: &Row) -> String {
    let Row { how, rate, burst, skew, sources, attempts, allowed, bound, .. } = row;
    let admitted = row.admitted.unwrap_or_default();
    let over =
        row.sources_over.map_or_else(String::new, |over| format!(", {over} sources over it"));
    format!(
        "{how:?}, {rate}/s burst {burst}, CPUs {skew}, {sources} sources at {} places: {admitted} of {attempts} admitted, \
         {allowed:.0} allowed, bound {bound:.0}{over}",
        row.places
    )
}
