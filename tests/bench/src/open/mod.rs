//! Slow readers: ten sources that hold connections and ask for nothing, before a server with places
//! for 2,000. How many users are served beside them, with each way to bound what a source has
//! open, and what that way costs a packet of a connection, and a connection.

mod cost;
mod slow;
mod ways;

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::output::Output;
use slow::Served;
use ways::Way;

/// Most connections of a source, in every way that bounds them.
const MOST: u64 = 50;

/// How much is measured.
#[derive(Args)]
pub struct Arguments {
    /// Rounds of what costs are measured by, the ways in turns.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    /// Requests and answers on one connection, of each way and round.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    exchanges: u64,
    /// Connections that are made and ended, of each way and round.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=20_000))]
    connections: u64,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Row {
    way: &'static str,
    served: Served,
    /// Of a request of 64 bytes and its answer, both ends on one CPU, in microseconds.
    exchange_us: f64,
    /// CPU time of a connection that is made and ended, of both ends, in microseconds.
    connection_us: f64,
}

#[derive(Serialize)]
struct Report {
    sources: usize,
    idle_of_each: usize,
    places: usize,
    most_of_a_source: u64,
    rows: Vec<Row>,
}

/// Measures, and gives what came of it.
pub fn run(arguments: &Arguments) -> Result<()> {
    lab_limits()?;
    let mut rows = Vec::new();
    let costs = cost::measure(arguments.rounds, arguments.exchanges, arguments.connections)?;
    for (way, [exchange_us, connection_us]) in Way::ALL.into_iter().zip(costs) {
        let served = slow::serve(way)?;
        rows.push(Row { way: way.name(), served, exchange_us, connection_us });
    }
    let (sources, idle_of_each, places) = (slow::SOURCES, slow::IDLE, slow::PLACES);
    let report = Report { sources, idle_of_each, places, most_of_a_source: MOST, rows };
    arguments.output.give("open", &report, &text(&report, arguments), &[])
}

fn text(report: &Report, arguments: &Arguments) -> String {
    let Report { sources, idle_of_each, places, most_of_a_source, rows } = report;
    let mut text = format!(
        "{sources} sources that each want {idle_of_each} idle connections, before a server with {places} places;\n\
         each way lets a source have {most_of_a_source}:\n\n{:<28}{:>15}{:>14}{:>17}{:>17}\n",
        "", "places held", "users served", "us an exchange", "us a connection"
    );
    for Row { way, served, exchange_us, connection_us } in rows {
        let users = format!("{} of {}", served.users_served, served.users);
        let held = served.held;
        let _ = writeln!(
            text,
            "{way:<28}{held:>15}{users:>14}{exchange_us:>17.2}{connection_us:>17.1}"
        );
    }
    let _ = writeln!(
        text,
        "\nAn exchange is a request of 64 bytes and its answer on one connection over veth, both ends on one\n\
         CPU: the fastest twentieth of {}, median of {} rounds in turns. A connection is made and ended {}\n\
         times in each, both ends in one thread, whose CPU time it costs: the least of the rounds.",
        arguments.exchanges, arguments.rounds, arguments.connections
    );
    text
}

/// As many files as this process may have: a connection is one.
fn lab_limits() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
