//! `cargo xtask demo`: limiter at work, on this machine alone.
//!
//! Everything happens in network namespaces of this machine. limiter is driven by its own command,
//! as an operator would.

mod drill;
mod fleet;
mod flood;
mod morning;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::output::Output;

/// How it is shown.
#[derive(Args)]
pub struct Arguments {
    /// Length of each act: of the morning 22, of a flood 6, of the fleet 14 by default.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=120))]
    seconds: Option<u64>,
    /// Another play than the morning: floods at full speed, beside clients whom the server can
    /// serve.
    #[arg(long, value_enum)]
    only: Option<Play>,
    /// Three front ends with one budget behind a router with ECMP: the crowd shifts, one dies, etcd
    /// dies and comes back.
    #[arg(long, conflicts_with_all = ["only", "flood"])]
    fleet: bool,
    /// An incident to find out and to cure, at the shell of a front end: one that you name, or one
    /// that is drawn and told at the end.
    #[arg(long, value_enum, value_name = "INCIDENT", num_args = 0..=1, default_missing_value = "any",
          conflicts_with_all = ["only", "flood", "fleet"])]
    drill: Option<drill::Incident>,
    /// What to flood with, of the play of floods.
    #[arg(long, value_enum, default_value_t = flood::Kind::Sources, requires = "only")]
    flood: flood::Kind,
    #[command(flatten)]
    output: Output,
}

/// What else can be shown.
#[derive(Clone, Copy, ValueEnum)]
enum Play {
    /// A flood at full speed, without limiter and with it.
    Flood,
}

/// Shows it.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(incident) = arguments.drill {
        return drill::run(incident);
    }
    if arguments.fleet {
        return fleet::run(arguments.seconds.unwrap_or(14), &arguments.output);
    }
    match arguments.only {
        None => morning::run(arguments.seconds.unwrap_or(22), &arguments.output),
        Some(Play::Flood) => {
            flood::run(arguments.flood, arguments.seconds.unwrap_or(6), arguments.output.json)
        }
    }
}
