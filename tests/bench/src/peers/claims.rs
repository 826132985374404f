//! What the figures must show, each line with its verdict. Medians are judged; nothing is forgiven for noise.

use lab::peer::{Family, Peer};

use crate::results::Results;
use crate::shape::Shape;
use crate::table::flood;

/// A refused SYN costs limiter at most this share of what it costs the peer.
const SHARES: [(Peer, f64); 2] = [(Peer::NftablesNetdev, 5.0), (Peer::Hashlimit, 8.0)];
/// From one source to random ones the cost grows at most so many times.
const GROWTH: f64 = 3.0;
/// Share of the pages that clients complete.
const PAGES: f64 = 0.999;
/// The 99th percentile of connecting grows at most so many times from the calm.
const DELAY: f64 = 3.0;

/// One line a claim, and one for each cell where it does not hold.
pub fn check(results: &Results) -> String {
    let mut lines = Vec::new();
    for (peer, times) in SHARES {
        let claim = format!("a refused SYN costs limiter at most 1/{times:.0} of {}", peer.name());
        lines.extend(judge(&claim, &shares(results, peer), times, Bound::AtLeast, "1/"));
    }
    let claim = format!("limiter's cost grows at most {GROWTH:.0} times from 1 source to random sources");
    lines.extend(judge(&claim, &growth(results), GROWTH, Bound::AtMost, "x"));
    for peer in [Peer::Limiter, Peer::LimiterChallenge] {
        let claim = format!("with {} clients complete at least {}% of their pages", peer.name(), PAGES * 100.0);
        lines.extend(judge(&claim, &pages(results, peer), PAGES * 100.0, Bound::AtLeast, "%"));
        let claim = format!("with {} p99 of connecting is at most {DELAY:.0} times that of the calm", peer.name());
        lines.extend(judge(&claim, &delays(results, peer), DELAY, Bound::AtMost, "x"));
    }
    lines.join("\n") + "\n"
}

#[derive(Clone, Copy, PartialEq)]
enum Bound {
    AtLeast,
    AtMost,
}

type Figures = Vec<(String, f64)>;

/// The claim's line with the worst figure, or a line for each figure that breaks it.
fn judge(claim: &str, figures: &Figures, bound: f64, kind: Bound, unit: &str) -> Vec<String> {
    let show = |value: f64| match unit {
        "1/" => format!("1/{value:.1}"),
        "%" => format!("{:.2}%", (value * 100.0).floor() / 100.0),
        _ => format!("{value:.2} times"),
    };
    let keeps = |value: f64| if kind == Bound::AtLeast { value >= bound } else { value <= bound };
    let broken: Vec<String> = figures
        .iter()
        .filter(|(_, value)| !keeps(*value))
        .map(|(place, value)| format!("does NOT hold: {claim}: {} ({place})", show(*value)))
        .collect();
    if !broken.is_empty() {
        return broken;
    }
    let worst = figures.iter().reduce(|worst, next| {
        let worse = if kind == Bound::AtLeast { next.1 < worst.1 } else { next.1 > worst.1 };
        if worse { next } else { worst }
    });
    worst.map(|(place, value)| format!("holds: {claim}: at worst {} ({place})", show(*value))).into_iter().collect()
}

fn each(results: &Results, mut work: impl FnMut(Family, Shape) -> Option<f64>) -> Figures {
    let mut figures = Vec::new();
    for family in results.families() {
        for shape in results.floods() {
            figures.extend(work(family, shape).map(|value| (flood(shape, family), value)));
        }
    }
    figures
}

fn ns(results: &Results, shape: Shape, family: Family, peer: Peer) -> Option<f64> {
    Some(results.cell(shape, family, peer)?.ns()?.median)
}

fn shares(results: &Results, peer: Peer) -> Figures {
    each(results, |family, shape| Some(ns(results, shape, family, peer)? / ns(results, shape, family, Peer::Limiter)?))
}

fn growth(results: &Results) -> Figures {
    let figures = results.families().into_iter().filter_map(|family| {
        let random = ns(results, Shape::Random, family, Peer::Limiter)?;
        Some((format!("IPv{}", family.number()), random / ns(results, Shape::One, family, Peer::Limiter)?))
    });
    figures.collect()
}

fn pages(results: &Results, peer: Peer) -> Figures {
    each(results, |family, shape| Some(results.cell(shape, family, peer)?.pages().share() * 100.0))
}

fn delays(results: &Results, peer: Peer) -> Figures {
    each(results, |family, shape| {
        let calm = results.cell(Shape::Calm, family, peer)?.pages().connect_p99();
        Some(results.cell(shape, family, peer)?.pages().connect_p99() / calm)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_figure_decides() {
        let figures = vec![("a".to_owned(), 6.0), ("b".to_owned(), 4.9)];
        let lines = judge("so", &figures, 5.0, Bound::AtLeast, "1/");
        assert_eq!(lines, ["does NOT hold: so: 1/4.9 (b)"]);
        let lines = judge("so", &figures, 6.0, Bound::AtMost, "x");
        assert_eq!(lines, ["holds: so: at worst 6.00 times (a)"]);
        // A figure that is none keeps no bound.
        let none = vec![("a".to_owned(), f64::NAN)];
        assert!(judge("so", &none, 6.0, Bound::AtMost, "x")[0].starts_with("does NOT"));
        assert!(judge("so", &none, 6.0, Bound::AtLeast, "x")[0].starts_with("does NOT"));
    }
}
