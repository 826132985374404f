//! What was changed last, and what is usual, as the history tells it.

use serde::Serialize;

use crate::history::{Entry, Moment};

/// The shortest time between two entries that says what is usual, in seconds.
const LEAST: f64 = 60.0;

/// The last change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Last {
    /// Seconds since.
    pub seconds_ago: f64,
    /// Who made it.
    pub who: String,
    /// What changed.
    pub what: String,
    /// Whether it was about a limit, and not about the mode or a list.
    pub of_limits: bool,
}

/// The last entry that changed something.
pub fn last(entries: &[Entry], now: Moment) -> Option<Last> {
    let entry = entries.iter().rev().find(|entry| !entry.changed.is_empty())?;
    let is_limit = |line: &String| {
        line.contains(" -> ") && ["budget", "limit", "newcomer", "share"].iter().any(|word| line.contains(word))
    };
    let told = entry.changed.iter().find(|line| is_limit(line)).or(entry.changed.first())?;
    let more = entry.changed.len() - 1;
    Some(Last {
        seconds_ago: now.seconds_since(entry.time).max(0.0),
        who: entry.who.to_string(),
        what: if more > 0 { format!("{told} (+{more} more)") } else { told.clone() },
        of_limits: entry.changed.iter().any(is_limit),
    })
}

/// Attempts per second between two entries of the history, the middle one of all such times by
/// their length; `None` where the history does not tell. The time since the last entry is not
/// among them: the surge may be in it.
pub fn usual(entries: &[Entry]) -> Option<f64> {
    let mut rates: Vec<(f64, f64)> = entries
        .windows(2)
        .filter_map(|pair| {
            let [before, after] = [pair[0].counters?, pair[1].counters?].map(|totals| totals.attempts);
            let seconds = pair[1].time.seconds_since(pair[0].time);
            let same = pair[0].after.is_some() && pair[1].before.is_some();
            (same && seconds >= LEAST).then_some(())?;
            Some((after.checked_sub(before)? as f64 / seconds, seconds))
        })
        .collect();
    rates.sort_by(|one, other| one.0.total_cmp(&other.0));
    let half = rates.iter().map(|(_, seconds)| seconds).sum::<f64>() / 2.0;
    let mut so_far = 0.0;
    rates.into_iter().find_map(|(rate, seconds)| {
        so_far += seconds;
        (so_far >= half).then_some(rate)
    })
}
