//! The table of what was measured.

use std::fmt::Write as _;

use super::cases::Row;
use super::floor::Floor;
use super::{Report, challenge, classes};

pub(super) fn table(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, report);
    text
}

/// In whole nanoseconds, which is what the kernel measures in.
fn write(to: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        to,
        "ns per packet above an empty XDP program    limiter    on an LRU hash    ratio    noting nobody    Mpps a CPU"
    )?;
    for Row { name, ns, ns_spread, ns_lru, ratio, ns_blind, mpps } in &report.cases {
        let ns = format!("{ns:.0} ±{ns_spread:.0}");
        writeln!(
            to,
            "{name:<42} {ns:>8} {ns_lru:>17.0} {ratio:>8.2} {ns_blind:>16.0} {mpps:>13.1}"
        )?;
    }
    let Floor { clock_and_random_line_ns, parse_and_count_ns } = report.floor;
    writeln!(to, "floor: parsed and counted                  {parse_and_count_ns:>8.0}")?;
    writeln!(to, "floor: clock and one random line           {clock_and_random_line_ns:>8.0}")?;
    writeln!(to, "ns per packet of a service with a challenge")?;
    for challenge::Row { name, ns, ns_spread } in &report.challenge {
        writeln!(to, "{name:<42} {:>8}", format!("{ns:.0} ±{ns_spread:.0}"))?;
    }
    writeln!(to, "ns per attempt, with a budget of the host")?;
    for challenge::Row { name, ns, ns_spread } in &report.line {
        writeln!(to, "{name:<42} {:>8}", format!("{ns:.0} ±{ns_spread:.0}"))?;
    }
    writeln!(to, "ns per attempt of 65,536 sources in 256 networks")?;
    for challenge::Row { name, ns, ns_spread } in &report.present {
        writeln!(to, "{name:<42} {:>8}", format!("{ns:.0} ±{ns_spread:.0}"))?;
    }
    writeln!(
        to,
        "ns per attempt, with a budget of the host and with a share of it in force, in turns"
    )?;
    for challenge::Row { name, ns, ns_spread } in &report.share {
        writeln!(to, "{name:<42} {:>8}", format!("{ns:.0} ±{ns_spread:.0}"))?;
    }
    writeln!(
        to,
        "ns per attempt of a random source, and of finding its class alone     attempt  boundaries   trie"
    )?;
    for classes::Row { prefixes, attempt, boundaries, trie } in &report.classes {
        let name = format!("{prefixes} prefixes in classes");
        writeln!(to, "{name:<58} {attempt:>18.0} {boundaries:>11.0} {trie:>6.0}")?;
    }
    writeln!(to, "two CPUs do {:.2} times the work of one (random sources)", report.scaling_2cpu)?;
    writeln!(to, "{}", report.conditions)
}
