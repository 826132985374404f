//! `cargo xtask bench`: what limiter costs per packet, above an empty program in the same run.
//!
//! BPF_PROG_TEST_RUN, median of several rounds in which all programs of a case take turns
//! (`measure`). Beside each case (`cases`) stands the same limiter over an LRU hash, and at the end
//! the floor (one clock read and one random line of the table) and two CPUs against one (`floor`).
//! What only a service with a challenge meets is in `challenge`, what classes cost in `classes`,
//! what the line costs in `line`, what it costs to ask who is present in `present`, and a share in
//! `share`.

mod cases;
mod challenge;
mod classes;
mod floor;
mod line;
mod measure;
mod present;
mod share;
mod table;

use anyhow::Result;
use clap::Args;
use limiter::kernel::Maps;
use limiter_common::source_table::WAYS;
use serde::Serialize;

use super::output::Output;
use cases::{Row, cases};
use floor::Floor;
use measure::Bench;
use table::table;

/// How much is measured.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    output: Output,
    /// Rounds; each figure is the median over them.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Packets per program and round.
    #[arg(long, default_value_t = 400_000)]
    packets: u32,
}

#[derive(Serialize)]
struct Report {
    cases: Vec<Row>,
    challenge: Vec<challenge::Row>,
    classes: Vec<classes::Row>,
    line: Vec<challenge::Row>,
    present: Vec<challenge::Row>,
    share: Vec<challenge::Row>,
    floor: Floor,
    scaling_2cpu: f64,
    conditions: String,
}

/// Measures, and gives what came of it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let report = measure(arguments)?;
    arguments.output.give("packets", &report, &table(&report), &[])
}

fn measure(arguments: &Arguments) -> Result<Report> {
    let mut bench = Bench::new(arguments)?;
    let mut rows = Vec::new();
    for case in cases()? {
        eprintln!("measuring {} ...", case.name);
        rows.push(bench.row(&case)?);
    }
    Ok(Report {
        cases: rows,
        challenge: challenge::rows(arguments)?,
        classes: bench.classes()?,
        line: bench.line()?,
        present: bench.present()?,
        share: bench.share()?,
        floor: bench.floor()?,
        scaling_2cpu: bench.scaling()?,
        conditions: conditions(arguments, &bench.maps)?,
    })
}

fn conditions(arguments: &Arguments, maps: &Maps) -> Result<String> {
    let kernel = rustix::system::uname();
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches([':', '\t', ' ']);
    let ways = maps.sets() as usize * WAYS;
    Ok(format!(
        "Linux {}, {model}; median of {} rounds of {} packets; source table of {ways} ways ({} MiB), LRU hash of 262144 entries; IPv4 where no other is named, without tags",
        kernel.release().to_string_lossy(),
        arguments.rounds,
        arguments.packets,
        (ways * 8) >> 20,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row refuses to measure packets that get another reason than its own, and the object
    /// must load as it is shipped.
    #[test]
    fn every_row_meets_the_packets_it_is_named_for() {
        let arguments = Arguments { output: Output::default(), rounds: 1, packets: 20_000 };
        let report = measure(&arguments).expect("each row is of its packets");
        assert!(report.cases.iter().all(|row| row.ns.is_finite()));
        assert!(!report.challenge.is_empty() && !report.line.is_empty());
    }
}
