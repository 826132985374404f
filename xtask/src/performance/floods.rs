//! What docs/performance.md says of the comparison under floods: one row for each peer, and what became of the claims.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{claim, rounded};

/// Whose cost the others are held against.
const MEASURE: &str = "limiter";

/// What `bench peers --json` prints, as far as the page tells it.
#[derive(Deserialize)]
struct Report {
    cells: Vec<Cell>,
    claims: Vec<Claim>,
    conditions: String,
}

/// A peer under a flood; times are medians over rounds, spreads half of the way from the least to the greatest.
#[derive(Deserialize)]
struct Cell {
    /// `calm`, a number of sources, or `random`.
    flood: String,
    peer: String,
    cpu_ns_per_syn: Option<f64>,
    cpu_ns_per_syn_spread: Option<f64>,
    pages_share: Option<f64>,
    connect_ms_p99: Option<f64>,
    memory_bytes: Option<u64>,
    memory_entries: Option<u64>,
    memory_how: Option<String>,
    /// 4 or 6.
    family: u8,
}

#[derive(Deserialize)]
struct Claim {
    claim: String,
    holds: bool,
    worst: String,
    broken: Vec<String>,
}

/// The part of the section.
pub fn words(json: &str) -> Result<String> {
    let report: Report = serde_json::from_str(json)?;
    let (mut claims, mut broken) = (String::new(), String::new());
    for Claim { claim: words, holds, worst, broken: places } in &report.claims {
        let count =
            if places.len() > 1 { format!("in {} cells, ", places.len()) } else { String::new() };
        let words = claim(*holds, &format!("{words}: {count}at worst {worst}"));
        if *holds { &mut claims } else { &mut broken }.push_str(&words);
    }
    ensure!(!report.claims.is_empty(), "no claims");
    Ok(format!(
        "### Under a flood, beside what you have\n\n\
         SYNs come from one source, from several and from random ones, as fast as a CPU sends them, while ordinary clients fetch pages. Of IPv4 and IPv6\n\
         the worse is shown, and under `many` the worst of all floods but the first. No digit is shown that is within the spread of the rounds. Whole in\n\
         [peers.txt](bench/peers.txt), with plots beside it.\n\n\
         {}\n\
         `nothing` and `tcp_syncookies` are the kernel alone. `xdp-filter` only drops the port where the flood comes in: it limits nothing, and is the\n\
         least that an XDP program can cost. Who counts SYNs charges spoofed ones to the budget that clients need too; limiter with a challenge charges\n\
         those who answer. What that does for the clients stands on the right, what it costs on the left.\n\n\
         Memory: {}.\n\n\
         {claims}{broken}\n\
         {}\n",
        table(&report.cells)?,
        memory(&report.cells)?,
        report.conditions.trim_end(),
    ))
}

/// All different values, in the order in which they come.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all = Vec::new();
    values.for_each(|value| {
        if !all.contains(&value) {
            all.push(value)
        }
    });
    all
}

fn table(cells: &[Cell]) -> Result<String> {
    let flooded = || cells.iter().filter(|cell| cell.flood != "calm");
    let floods = distinct(flooded().map(|cell| cell.flood.as_str()));
    let first = *floods.first().context("no flood")?;
    let head = |flood: &str| match flood.parse::<u32>() {
        Ok(count) if count >= 1024 => format!("{}k", count / 1024),
        _ => flood.to_owned(),
    };
    let (width, from) = (7 * floods.len(), format!("from {}", head(first)));
    let above = ["CPU ns per SYN, sources:", "times", "pages fetched", "connect, p99"];
    let mut text = format!(
        "    {:18}{:>width$}{:>12}{:>15}{:>25}\n    {:18}",
        "", above[0], above[1], above[2], above[3], ""
    );
    floods.iter().try_for_each(|flood| write!(text, "{:>7}", head(flood)))?;
    writeln!(text, "{:>12}{from:>8}{:>7}{:>9}{from:>8}{:>8}", "limiter's", "many", "calm", "many")?;
    for peer in distinct(flooded().map(|cell| cell.peer.as_str())) {
        write!(text, "    {peer:18}")?;
        // The worst cell of the peer under some floods; none where a figure of any of them is missing.
        let worst = |which: &dyn Fn(&str) -> bool,
                     badness: fn(&Cell) -> Option<f64>|
         -> Option<&Cell> {
            let mine = cells.iter().filter(|cell| cell.peer == peer && which(&cell.flood));
            let mine: Vec<(f64, &Cell)> =
                mine.map(|cell| Some((badness(cell)?, cell))).collect::<Option<_>>()?;
            mine.into_iter().max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, cell)| cell)
        };
        for flood in &floods {
            let cell = worst(&|name| name == *flood, |cell| cell.cpu_ns_per_syn);
            write!(
                text,
                "{:>7}",
                show(cell, |cell| Some(rounded(cell.cpu_ns_per_syn?, cell.cpu_ns_per_syn_spread?)))
            )?;
        }
        let (alone, many) =
            (|flood: &str| flood == first, |flood: &str| flood != "calm" && flood != first);
        write!(text, "{:>12}", times(cells, peer))?;
        for (which, width) in [(&alone as &dyn Fn(&str) -> bool, 8), (&many, 7)] {
            let cell = worst(which, |cell| cell.pages_share.map(|share| -share));
            write!(text, "{:>width$}", show(cell, |cell| cell.pages_share.map(percent)))?;
        }
        for (which, width) in [
            (&(|flood: &str| flood == "calm") as &dyn Fn(&str) -> bool, 9),
            (&alone, 8),
            (&many, 8),
        ] {
            let cell = worst(which, |cell| cell.connect_ms_p99);
            write!(text, "{:>width$}", show(cell, |cell| cell.connect_ms_p99.map(milliseconds)))?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// What a SYN costs a peer, in times of what the same one costs limiter: from the least to the most.
fn times(cells: &[Cell], peer: &str) -> String {
    if peer == MEASURE {
        return "1".to_owned();
    }
    let ratio = |other: &Cell| -> Option<(f64, f64)> {
        let is_same = |cell: &&Cell| {
            (cell.family, &cell.flood, &*cell.peer) == (other.family, &other.flood, MEASURE)
        };
        let mine = cells.iter().find(is_same)?;
        let (ns, limiter) = (other.cpu_ns_per_syn?, mine.cpu_ns_per_syn.filter(|ns| *ns > 0.0)?);
        // What is below the generator's own cost is noise, and no less than nothing.
        let times = ns.max(0.0) / limiter;
        Some((
            times,
            (other.cpu_ns_per_syn_spread? + times * mine.cpu_ns_per_syn_spread?) / limiter,
        ))
    };
    let mut ratios: Vec<_> =
        cells.iter().filter(|cell| cell.peer == peer).filter_map(ratio).collect();
    ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (Some(least), Some(most)) = (ratios.first(), ratios.last()) else { return "-".to_owned() };
    let (least, most) = (rounded(least.0, least.1), rounded(most.0, most.1));
    if least == most { most } else { format!("{least} to {most}") }
}

/// `nftables-netdev 56 MiB for 262144 sources, ...` of those that keep sources. How many limiter keeps was settled when it
/// was attached: of it the rest is told.
fn memory(cells: &[Cell]) -> Result<String> {
    let mut parts = Vec::new();
    for peer in distinct(cells.iter().map(|cell| cell.peer.as_str())) {
        let mine = cells.iter().filter(|cell| cell.peer == peer);
        let Some(most) = mine.max_by_key(|cell| (cell.memory_bytes, cell.memory_entries)) else {
            continue;
        };
        let Some(mebibytes) = most.memory_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20))
        else {
            continue;
        };
        if peer == MEASURE {
            let how = most
                .memory_how
                .as_deref()
                .and_then(|how| how.split_once(": "))
                .context("how limiter's memory is known")?;
            parts.push(format!("{peer} {mebibytes:.0} MiB ({})", how.1));
        } else if let Some(entries) = most.memory_entries {
            parts.push(format!("{peer} {mebibytes:.0} MiB for {entries} sources"));
        }
    }
    ensure!(!parts.is_empty(), "no memory");
    Ok(parts.join(", "))
}

fn show(cell: Option<&Cell>, value: impl Fn(&Cell) -> Option<String>) -> String {
    cell.and_then(value).unwrap_or_else(|| "-".to_owned())
}

/// Never rounded up to all of them.
fn percent(share: f64) -> String {
    if share >= 1.0 {
        "100%".to_owned()
    } else {
        format!("{:.1}%", (share * 1000.0).floor() / 10.0)
    }
}

fn milliseconds(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{:.1} s", value / 1000.0),
        value if value >= 10.0 => format!("{value:.0} ms"),
        value => format!("{value:.2} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(
        flood: &str,
        family: u8,
        peer: &str,
        ns: Option<(f64, f64)>,
        share: f64,
        p99: f64,
    ) -> Cell {
        Cell {
            flood: flood.to_owned(),
            peer: peer.to_owned(),
            cpu_ns_per_syn: ns.map(|ns| ns.0),
            cpu_ns_per_syn_spread: ns.map(|ns| ns.1),
            pages_share: Some(share),
            connect_ms_p99: Some(p99),
            memory_bytes: None,
            memory_entries: None,
            memory_how: None,
            family,
        }
    }

    #[test]
    fn the_worse_family_and_the_worst_flood_are_shown() {
        let cells = [
            cell("calm", 4, "other", None, 1.0, 0.17),
            cell("1", 4, "other", Some((2633.0, 170.0)), 1.0, 0.16),
            cell("1", 6, "other", Some((2972.0, 31.0)), 0.9999, 0.2),
            cell("65536", 4, "other", Some((3217.0, 5.0)), 0.8, 2500.0),
            cell("calm", 4, "limiter", None, 1.0, 12.2),
            cell("1", 4, "limiter", Some((61.0, 5.0)), 1.0, 0.2),
            cell("65536", 4, "limiter", Some((48.0, 0.2)), 1.0, 0.3),
        ];
        let table = table(&cells).expect("a table");
        let rows: Vec<String> = table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            rows,
            [
                "1 64k limiter's from 1 many calm from 1 many",
                "other 2970 3217 43 to 67.0 99.9% 80.0% 0.17 ms 0.20 ms 2.5 s",
                "limiter 61 48.0 1 100% 100% 12 ms 0.20 ms 0.30 ms",
            ]
        );
    }

    #[test]
    fn a_report_without_its_parts_is_an_error() {
        assert!(words("{\"cells\": [], \"claims\": [], \"conditions\": \"\"}").is_err());
        assert!(words("{\"cells\": []}").is_err());
    }
}
