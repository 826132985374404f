//! `cargo xtask bench --accuracy`: what is admitted against what is allowed, over rate, burst, CPUs and number of sources: limiter, nftables
//! and iptables side by side.
//!
//! Real floods at the real programs show what a second can show; a simulation of limiter's own algorithms with an injected clock goes on to
//! an hour and checks every window. Where both can be had, both are shown.

mod cell;
mod flood;
mod plot;
mod simulate;
mod table;

#[path = "../../../../limiter-common/tests/accuracy/simulation.rs"]
mod simulation;

use anyhow::Result;
use clap::Args;
use lab::peer::Peer;
use serde::Serialize;

use super::output::Output;
use cell::Row;
use flood::Stage;
use table::Bound;

/// What is to be measured.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    output: Output,
    /// How long each real flood lasts.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Only limiter, a few rates, short simulations: a minute instead of ten.
    #[arg(long)]
    quick: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    cells: Vec<Cell<'a>>,
    bounds: Vec<Bound>,
    conditions: String,
}

#[derive(Serialize)]
struct Cell<'a> {
    #[serde(flatten)]
    row: &'a Row,
    /// Admitted, of what is allowed; null where that says nothing.
    ratio: Option<f64>,
}

/// Measures, and gives what came of it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let rows = rows(arguments)?;
    let cells = rows.iter().map(|row| Cell { row, ratio: row.ratio() }).collect();
    let report = Report { cells, bounds: table::bounds(&rows), conditions: conditions(arguments) };
    let text =
        format!("{}{}{}", table::text(&rows), table::verdicts(&report.bounds), report.conditions);
    arguments.output.give("accuracy", &report, &text, &plot::plots(&rows))
}

fn rows(arguments: &Arguments) -> Result<Vec<Row>> {
    let peers: &[Peer] = if arguments.quick {
        &[Peer::Limiter]
    } else {
        &[Peer::Limiter, Peer::NftablesNetdev, Peer::Hashlimit]
    };
    let rates: &[u64] = if arguments.quick {
        &[1000, 100_000]
    } else {
        &[1, 10, 100, 1000, 10_000, 100_000, 1_000_000]
    };
    let attempts = if arguments.quick { 200_000 } else { 3_000_000 };
    eprintln!("simulating ...");
    let mut rows = simulate::rows(rates, attempts);
    let stage = Stage::set(arguments.seconds)?;
    for peer in peers {
        rows.extend(stage.rates(*peer, rates)?);
    }
    for peer in peers {
        rows.extend(stage.crowds(*peer)?);
    }
    Ok(rows)
}

fn conditions(arguments: &Arguments) -> String {
    let kernel = rustix::system::uname();
    format!(
        "Linux {}, {} CPUs; real floods of {} s at full speed, counted behind the peer by a rule of its own. What a flood\n\
         was too weak to ask for is `few`; what a tool refuses to be set to is n/a. Simulated: {} attempts.\n\
         A set of limiter's table has 8 places. With up to 1/8 of all places in debt at once one set in a million\n\
         overflows, with 1/4 one in 4,000, with 1/2 one in 50: its sources are then held by the budget alone.\n",
        kernel.release().to_string_lossy(),
        std::thread::available_parallelism().map_or(1, usize::from),
        arguments.seconds,
        if arguments.quick { "200,000" } else { "3,000,000" },
    )
}
