//! When attempts were far above the calm.

use std::ops::Range;

use super::super::points::Point;

/// Times the calm rate that are no calm any more.
const FACTOR: f64 = 3.0;
/// Attempts per second above the calm that a surge has at least: below, nobody is worried.
const LEAST: f64 = 20.0;
/// Seconds of calm between two surges; with less between them they are one.
const PAUSE: f64 = 15.0;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Surges {
    /// Attempts per second in calm.
    pub calm: Option<f64>,
    /// Points of each surge, oldest first.
    pub all: Vec<Range<usize>>,
    /// The largest, by attempts.
    pub main: Option<Range<usize>>,
}

/// Finds them.
pub fn find(points: &[Point]) -> Surges {
    let rate = |point: &Point| point.counted.as_ref().map(|counted| counted.attempts());
    let mut rates: Vec<f64> = points.iter().filter_map(rate).collect();
    rates.sort_by(f64::total_cmp);
    // The tenth part that is lowest is calm, if anything is.
    let Some(low) = rates.get(rates.len() / 10).copied() else { return Surges::default() };
    let limit = (low * FACTOR).max(low + LEAST);
    let calm: Vec<f64> = rates.iter().copied().filter(|rate| *rate <= limit).collect();
    let mut all: Vec<Range<usize>> = Vec::new();
    for (at, point) in
        points.iter().enumerate().filter(|(_, point)| rate(point).is_some_and(|rate| rate > limit))
    {
        match all.last_mut() {
            Some(last) if point.at - points[last.end - 1].at <= PAUSE => last.end = at + 1,
            _ => all.push(at..at + 1),
        }
    }
    let attempts = |range: &Range<usize>| -> f64 {
        points[range.clone()].iter().map(|point| rate(point).unwrap_or(0.0) * point.seconds).sum()
    };
    let main = all.iter().max_by(|one, other| attempts(one).total_cmp(&attempts(other))).cloned();
    Surges { calm: calm.get(calm.len() / 2).copied(), all, main }
}
