//! `cargo xtask bench --peers`: limiter beside what a sysadmin could use instead, under the same floods, in alternating rounds.
//!
//! One CPU sends the flood at its full speed, and receives it too: a veth's softirq runs where the sender does. Server and clients have the
//! other CPUs. What a SYN costs is the CPU time of the sending thread and of its CPU's ksoftirqd, less what the same flood costs against
//! an XDP program that drops everything.

mod claims;
mod measure;
mod plot;
mod results;
mod shape;
mod table;

use anyhow::{Result, ensure};
use clap::Args;
use lab::peer::{Family, Peer};
use serde::Serialize;

use super::output::Output;
use claims::Claim;
use measure::{Stage, Timing};
use results::{Results, Row};
use shape::Shape;

/// What is to be measured.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    output: Output,
    /// Rounds, in each of which every peer meets every flood once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// How long clients come in each cell; the flood lasts until the last of them has its page or has given up.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How long a client waits for its page, in seconds.
    #[arg(long, default_value_t = 2.5)]
    patience: f64,
    /// Only these floods.
    #[arg(long, value_delimiter = ',', value_parser = shape::parse)]
    floods: Vec<Shape>,
    /// Only these families: 4, 6.
    #[arg(long, value_delimiter = ',', value_parser = family)]
    families: Vec<Family>,
    /// Only these peers.
    #[arg(long, value_delimiter = ',', value_parser = peer)]
    only: Vec<Peer>,
}

#[derive(Serialize)]
struct Report {
    cells: Vec<Row>,
    claims: Vec<Claim>,
    conditions: String,
}

/// Measures, and gives what came of it.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.seconds > 0.0 && arguments.patience > 0.0,
        "seconds and patience are above 0"
    );
    let timing = Timing { seconds: arguments.seconds, patience: arguments.patience };
    let stage = Stage::set(timing)?;
    let results = measure(arguments, &stage)?;
    let conditions = measure::conditions(&stage, arguments.rounds)?;
    let report = Report { cells: results.rows(), claims: claims::check(&results), conditions };
    let text = format!(
        "{}\n{}\n{}",
        table::text(&results),
        claims::text(&report.claims),
        report.conditions
    );
    let plots = plot::plots(&results, &report.conditions);
    arguments.output.give("peers", &report, &text, &plots)
}

fn measure(arguments: &Arguments, stage: &Stage) -> Result<Results> {
    let floods = or_all(&arguments.floods, &Shape::FLOODS);
    let families = or_all(&arguments.families, &Family::ALL);
    let peers = or_all(&arguments.only, &Peer::ALL);
    let mut results = Results::default();
    for round in 0..arguments.rounds {
        let last = round + 1 == arguments.rounds;
        for family in &families {
            for shape in std::iter::once(&Shape::Calm).chain(&floods) {
                eprintln!(
                    "round {} of {}, {shape} over IPv{}",
                    round + 1,
                    arguments.rounds,
                    family.number()
                );
                // Everybody is first in some round: what comes early meets a colder machine.
                let mut turn = peers.clone();
                turn.rotate_left(round as usize % peers.len());
                for (peer, sample) in stage.turn(&turn, *shape, *family, last)? {
                    results.add(*shape, *family, peer, sample);
                }
            }
        }
    }
    Ok(results)
}

fn or_all<T: Copy>(chosen: &[T], all: &[T]) -> Vec<T> {
    if chosen.is_empty() { all.to_vec() } else { chosen.to_vec() }
}

fn family(text: &str) -> Result<Family, String> {
    match text {
        "4" => Ok(Family::V4),
        "6" => Ok(Family::V6),
        _ => Err("4 or 6".to_owned()),
    }
}

fn peer(text: &str) -> Result<Peer, String> {
    let names = || Peer::ALL.map(Peer::name).join(", ");
    Peer::ALL
        .into_iter()
        .find(|peer| peer.name() == text)
        .ok_or_else(|| format!("one of {}", names()))
}
