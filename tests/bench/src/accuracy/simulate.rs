//! The cells that are simulated: limiter only, whose algorithms take their clock as an argument.

use lab::peer::Peer;
use limiter_common::rate::{Limit, Rate};

use super::cell::{EACH, EIGHTHS, How, Kind, Load, PLACES, Row, bursts};
use super::simulation::{Outcome, Skew, budget, source, sources};

/// What a flood of the lab can do, in attempts per second.
const FASTEST: u64 = 3_000_000;
/// The highest rate of a source that limiter takes, as a power of ten: its clock has ticks of 1024 ns.
pub const FASTEST_SOURCE: u64 = 10_000;
/// One CPU; two that share the load in three ways.
pub const LOADS: [Load; 4] = [
    Load { cpus: 1, skew: Skew::One },
    Load { cpus: 2, skew: Skew::One },
    Load { cpus: 2, skew: Skew::Even },
    Load { cpus: 2, skew: Skew::Ninety },
];

/// All of them, with so many attempts each.
pub fn rows(rates: &[u64], attempts: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for rate in rates {
        for burst in bursts(*rate) {
            let limit = Limit { rate: Rate::per_second(*rate), burst };
            let demand = (100 * rate).min(FASTEST);
            for load in LOADS {
                let outcome = budget(&limit, load.cpus, load.skew, demand, attempts);
                rows.push(row(
                    Kind::Budget,
                    *rate,
                    burst,
                    load,
                    &outcome,
                    attempts as f64 / demand as f64,
                ));
            }
            if *rate <= FASTEST_SOURCE {
                let outcome = source(&limit, demand, attempts);
                rows.push(row(
                    Kind::Source,
                    *rate,
                    burst,
                    LOADS[0],
                    &outcome,
                    attempts as f64 / demand as f64,
                ));
            }
        }
    }
    rows.extend(EIGHTHS.map(|eighths| crowd(PLACES / 8 * eighths)));
    rows
}

/// Each source comes as often as in a second's flood, for two seconds.
fn crowd(count: u32) -> Row {
    const DEMAND: u64 = 150;
    let (rate, burst) = EACH;
    let limit = Limit { rate: Rate::per_second(rate), burst };
    let attempts = 2 * DEMAND * u64::from(count);
    let (outcome, crowded) = sources(&limit, count, PLACES / 8, DEMAND, attempts);
    let mut row = row(Kind::Sources, rate, burst, LOADS[0], &outcome, 2.0);
    (row.sources, row.steals, row.sources_over) = (count, Some(crowded.steals), Some(crowded.over));
    row.note =
        Some(format!("the luckiest source got {:.2} times what it is allowed", crowded.worst));
    row
}

fn row(limited: Kind, rate: u64, burst: u64, load: Load, outcome: &Outcome, seconds: f64) -> Row {
    Row {
        peer: Peer::Limiter.name(),
        limited,
        how: How::Simulation,
        rate,
        burst,
        cpus: load.cpus,
        skew: load.skew_name(),
        sources: 1,
        places: PLACES,
        seconds,
        attempts: outcome.attempts,
        admitted: Some(outcome.admitted),
        allowed: outcome.allowed,
        bound: outcome.bound,
        holds: Some(outcome.holds && outcome.admitted as f64 <= outcome.bound),
        steals: None,
        sources_over: None,
        note: None,
    }
}
