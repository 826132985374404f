//! What was changed last, and what is usual, as the history tells it.

use crate::history::{Entry, Moment};

/// The shortest time between two entries of the history that is looked at, in seconds, and how much
/// of it says what is usual: more than an incident and what was changed in it take.
const LEAST: f64 = 60.0;
const LONG: f64 = 3600.0;
/// The shortest time before a change that says what was before it, in seconds.
const MOMENT: f64 = 5.0;

/// What came before the last change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Before {
    /// Attempts per second.
    pub attempts: f64,
    /// The share of them that was refused, in either mode.
    pub refused: f64,
}

/// The last change.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    /// Seconds since.
    pub seconds_ago: f64,
    /// Who made it.
    pub who: String,
    /// What changed.
    pub what: String,
    /// Whether it was about a limit.
    pub of_limits: bool,
    /// What came before it; `None`: the history does not tell.
    pub before: Option<Before>,
}

/// The last entry that changed something, and no list. What was on trial and went back changed
/// again then.
pub fn last(entries: &[Entry], now: Moment) -> Option<Last> {
    let mut changes = entries.iter().rev().filter(|entry| !entry.is_of_lists());
    let entry = changes.find(|entry| !entry.changed.is_empty())?;
    let is_limit = |line: &&String| {
        let words = ["limit:", "budget:", "users:", "line:", "challenge:", "class "];
        line.contains(" -> ") && words.iter().any(|word| line.contains(word))
    };
    let limit = entry.changed.iter().find(is_limit);
    let more = entry.changed.len() - 1;
    let what = limit.or(entry.changed.first())?;
    let more = if more > 0 { format!(" (+{more} more)") } else { String::new() };
    let went_back = entry.goes_back_at.filter(|at| now.seconds_since(*at) > 0.0);
    let back = if went_back.is_some() { ", which went back by itself" } else { "" };
    Some(Last {
        seconds_ago: now.seconds_since(went_back.unwrap_or(entry.time)).max(0.0),
        who: entry.who.to_string(),
        what: format!("{what}{more}{back}"),
        of_limits: limit.is_some(),
        before: before(entries, entry),
    })
}

/// What came between an entry and one that is at least a moment older.
fn before(entries: &[Entry], entry: &Entry) -> Option<Before> {
    let seconds = |older: &Entry| entry.time.seconds_since(older.time);
    let older = entries.iter().rev().find(|older| seconds(older) >= MOMENT)?;
    let (now, then) = (entry.counters?, older.counters?);
    let attempts = now.attempts.checked_sub(then.attempts)? as f64;
    let refused = now.refused.checked_sub(then.refused)? as f64;
    let is_one_life = older.after.is_some() && entry.before.is_some();
    let before =
        Before { attempts: attempts / seconds(older), refused: refused / attempts.max(1.0) };
    is_one_life.then_some(before)
}

/// Attempts per second between two entries of the history: of all such times the middle one, each
/// as heavy as it is long; `None` where the history does not tell. The time since the last entry is
/// none of them: the surge may be in it.
pub fn usual(entries: &[Entry]) -> Option<f64> {
    let mut rates: Vec<(f64, f64)> = entries
        .windows(2)
        .filter_map(|pair| {
            let [before, after] = [pair[0].counters?, pair[1].counters?].map(|sum| sum.attempts);
            let seconds = pair[1].time.seconds_since(pair[0].time);
            let is_one_life = pair[0].after.is_some() && pair[1].before.is_some();
            (is_one_life && seconds >= LEAST).then_some(())?;
            Some((after.checked_sub(before)? as f64 / seconds, seconds))
        })
        .collect();
    rates.sort_by(|one, other| one.0.total_cmp(&other.0));
    let half = rates.iter().map(|(_, seconds)| seconds).sum::<f64>() / 2.0;
    if half * 2.0 < LONG {
        return None;
    }
    let mut so_far = 0.0;
    rates.into_iter().find_map(|(rate, seconds)| {
        so_far += seconds;
        (so_far >= half).then_some(rate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{State, Totals, Who};

    fn entry(seconds: u64, attempts: u64, changed: &str, decides: &[&str]) -> Entry {
        let state = Some(State { mode: "observe".to_owned(), profile: None });
        Entry {
            time: Moment::of(seconds * 1_000_000_000).expect("a time"),
            who: Who::default(),
            command: Vec::new(),
            changed: vec![changed.to_owned()],
            before: state.clone(),
            after: state,
            goes_back_at: None,
            decides: decides.iter().map(|word| (*word).to_owned()).collect(),
            counters: Some(Totals { attempts, admitted: attempts, refused: 0 }),
        }
    }

    #[test]
    fn what_is_usual_is_the_rate_of_most_of_the_time() {
        let entries = [
            entry(0, 0, "mode observe -> enforce", &["switch"]),
            entry(3600, 65 * 3600, "mode enforce -> observe", &["switch"]),
            entry(3700, 65 * 3600 + 90_000, "mode observe -> enforce", &["switch"]),
        ];
        let surge = "a surge of 100 s is not usual";
        assert_eq!(usual(&entries).map(f64::round), Some(65.0), "{surge}");
        assert_eq!(usual(&entries[1..]), None, "a hundred seconds may be all of the incident");
        let again = [entry(0, 1000, "", &[]), entry(3600, 10, "", &[])];
        assert_eq!(usual(&again), None, "limiter was loaded anew");
    }

    #[test]
    fn what_went_back_changed_when_it_did() {
        let budget = "service web budget: 500/s, burst 1000 -> 5/s, burst 10";
        let at = |seconds: u64| Moment::of(seconds * 1_000_000_000).expect("a time");
        let entries = [Entry { goes_back_at: Some(at(160)), ..entry(100, 0, budget, &["switch"]) }];
        let on_trial = last(&entries, at(150)).expect("a change");
        assert_eq!((on_trial.seconds_ago.round(), on_trial.what.as_str()), (50.0, budget));
        let over = last(&entries, at(190)).expect("a change");
        assert_eq!(over.seconds_ago.round(), 30.0);
        assert_eq!(over.what, format!("{budget}, which went back by itself"));
    }

    #[test]
    fn the_last_change_is_none_of_a_list() {
        let budget = "service web budget: 500/s, burst 1000 -> 5/s, burst 10";
        let mut entries = vec![entry(100, 0, budget, &["switch"])];
        entries.push(entry(160, 0, "banned 192.0.2.1", &["ban 192.0.2.1"]));
        let now = Moment::of(190 * 1_000_000_000).expect("a time");
        let found = last(&entries, now).expect("a change");
        assert!(found.of_limits && found.what == budget, "{found:?}");
        assert_eq!(found.seconds_ago.round(), 90.0);
        entries.push(entry(170, 0, "mode observe -> enforce", &["switch"]));
        assert!(!last(&entries, now).expect("a change").of_limits);
    }
}
