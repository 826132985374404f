//! What was changed, by whom, and whether the numbers after it differ from those before.

use std::ops::Range;

use serde::Serialize;

use super::super::archive::Record;
use super::super::points::Point;
use crate::history::Entry;

/// Seconds before and after a change that are compared.
const SPAN: f64 = 10.0;
/// Seconds within which two sources tell of the same change.
const SAME: f64 = 2.5;
/// Changes that are told.
const MOST: usize = 200;
/// Sentences of one change that are told.
const SENTENCES: usize = 4;

/// A change.
#[derive(Clone, Debug, Serialize)]
pub struct ToldChange {
    /// Seconds from the beginning of the series.
    pub at: f64,
    /// Who made it.
    pub who: String,
    /// What was typed; empty when nothing was.
    pub typed: String,
    /// What changed.
    pub what: String,
    /// Rates before; `None` where they are not known.
    pub before: Option<Rates>,
    /// Rates after.
    pub after: Option<Rates>,
}

/// Averages a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Seconds that they are of.
    pub seconds: f64,
    /// Attempts.
    pub attempts: f64,
    /// Let through to the server.
    pub let_through: f64,
    /// Dropped, or answered with a cookie.
    pub held_back: f64,
    /// Connections that the server's kernel opened.
    pub opened: f64,
}

/// All changes, oldest first. Nothing is compared over an edge of a surge.
pub fn list(record: &Record, surges: &[Range<usize>]) -> Vec<ToldChange> {
    let points = &record.series.points;
    let began = record.series.began as f64;
    let mut changes: Vec<ToldChange> =
        record.changes.iter().map(|entry| of_entry(entry, began)).collect();
    for pair in record.policies.windows(2) {
        let at = pair[1].time.map_or(0.0, |time| (time.millis() as f64 - began) / 1e3);
        let what = sentences(&pair[1].changed);
        let what =
            if what.is_empty() { "another policy, which says the same".to_owned() } else { what };
        add(&mut changes, at, "not in the history", what);
    }
    for pair in points.windows(2) {
        let at = pair[1].at - pair[1].seconds / 2.0;
        if let (Some(was), Some(is)) = (pair[0].enforces, pair[1].enforces)
            && was != is
        {
            let back = record.changes.iter().filter_map(|entry| entry.goes_back_at);
            let by_itself = back
                .map(|time| (time.millis() as f64 - began) / 1e3)
                .any(|time| (time - at).abs() < SAME);
            let who =
                if by_itself { "limiter, when the time was over" } else { "not in the history" };
            let words = if is { "mode observe -> enforce" } else { "mode enforce -> observe" };
            add(&mut changes, at, who, words.to_owned());
        }
        if pair[0].challenging != pair[1].challenging {
            let words = if pair[1].challenging {
                "sources are challenged"
            } else {
                "sources are not challenged any more"
            };
            add(&mut changes, at, "limiter itself", words.to_owned());
        }
    }
    changes.sort_by(|one, other| one.at.total_cmp(&other.at));
    changes.truncate(MOST);
    let times: Vec<f64> = changes.iter().map(|change| change.at).collect();
    // The first and the last second of a surge are part of it only in part.
    let edges: Vec<[f64; 2]> = surges
        .iter()
        .flat_map(|surge| [&points[surge.start], &points[surge.end - 1]])
        .map(|point| [point.at - point.seconds, point.at])
        .collect();
    for change in &mut changes {
        let at = change.at;
        let earlier = times
            .iter()
            .copied()
            .filter(|time| *time < at)
            .chain(edges.iter().map(|edge| edge[1]).filter(|end| *end <= at));
        let later = times
            .iter()
            .copied()
            .filter(|time| *time > at)
            .chain(edges.iter().map(|edge| edge[0]).filter(|start| *start >= at));
        let (from, to) = (earlier.fold(f64::MIN, f64::max), later.fold(f64::MAX, f64::min));
        (change.before, change.after) = around(points, at, from, to);
    }
    changes
}

/// Adds what nobody told yet.
fn add(changes: &mut Vec<ToldChange>, at: f64, who: &str, what: String) {
    if !changes.iter().any(|change| (change.at - at).abs() < SAME) {
        changes.push(ToldChange {
            at,
            who: who.to_owned(),
            typed: String::new(),
            what,
            before: None,
            after: None,
        });
    }
}

fn of_entry(entry: &Entry, began: f64) -> ToldChange {
    let what = sentences(&entry.changed);
    ToldChange {
        at: (entry.time.millis() as f64 - began) / 1e3,
        who: entry.who.to_string(),
        typed: format!("limiter {}", entry.command.join(" ")),
        what: if what.is_empty() { "nothing changed".to_owned() } else { what },
        before: None,
        after: None,
    }
}

fn sentences(changed: &[String]) -> String {
    let mut text = changed.iter().take(SENTENCES).cloned().collect::<Vec<_>>().join("; ");
    if changed.len() > SENTENCES {
        text.push_str(&format!("; and {} more", changed.len() - SENTENCES));
    }
    text
}

/// Rates before and after a change, which end at the change before and at the next.
fn around(points: &[Point], at: f64, from: f64, to: f64) -> (Option<Rates>, Option<Rates>) {
    // The second in which it happened is neither.
    let before = points
        .iter()
        .filter(|point| point.at <= at && point.at - point.seconds >= (at - SPAN).max(from));
    let after = points
        .iter()
        .filter(|point| point.at - point.seconds >= at && point.at <= (at + SPAN + 1.0).min(to));
    (rates(before), rates(after))
}

fn rates<'a>(points: impl Iterator<Item = &'a Point>) -> Option<Rates> {
    let mut sum = Rates::default();
    for point in points {
        let Some(counted) = &point.counted else { continue };
        let seconds = point.seconds;
        sum.seconds += seconds;
        sum.attempts += counted.attempts() * seconds;
        sum.let_through += counted.let_through() * seconds;
        sum.held_back += counted.held_back() * seconds;
        sum.opened += point.tcp.map_or(0.0, |tcp| tcp.opened) * seconds;
    }
    (sum.seconds > 0.0).then(|| Rates {
        seconds: sum.seconds,
        attempts: sum.attempts / sum.seconds,
        let_through: sum.let_through / sum.seconds,
        held_back: sum.held_back / sum.seconds,
        opened: sum.opened / sum.seconds,
    })
}

impl ToldChange {
    /// What differs after it, by name, before and after: more than chance and more than a quarter.
    pub fn differs(&self) -> Vec<(&'static str, f64, f64)> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else { return Vec::new() };
        let pairs = [
            ("attempts", before.attempts, after.attempts),
            ("let through", before.let_through, after.let_through),
            ("kept from the server", before.held_back, after.held_back),
            ("opened by the server", before.opened, after.opened),
        ];
        // Counts of independent events scatter by their square root.
        let chance = |was: f64, is: f64| 3.0 * (was / before.seconds + is / after.seconds).sqrt();
        let differ =
            |was: f64, is: f64| (was - is).abs() > chance(was, is).max(0.25 * was.max(is)).max(0.2);
        pairs.into_iter().filter(|(_, was, is)| differ(*was, *is)).collect()
    }
}
