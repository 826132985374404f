//! What the figures must show, each line with its verdict. Medians are judged; nothing is forgiven for noise.

use lab::peer::{Family, Peer};
use serde::Serialize;

use super::results::Results;
use super::shape::Shape;
use super::table::flood;

/// A refused SYN costs limiter at most this share of what it costs the peer.
const SHARES: [(Peer, f64); 2] = [(Peer::NftablesNetdev, 5.0), (Peer::Hashlimit, 8.0)];
/// From one source to random ones the cost grows at most so many times.
const GROWTH: f64 = 3.0;
/// Share of the pages that clients complete.
const PAGES: f64 = 0.999;
/// The 99th percentile of connecting grows at most so many times from the calm.
const DELAY: f64 = 3.0;

/// What became of a claim.
#[derive(Serialize)]
pub struct Claim {
    claim: String,
    holds: bool,
    /// The worst figure, and where it is.
    worst: String,
    /// All that break the claim.
    broken: Vec<String>,
}

/// All claims that there are figures for.
pub fn check(results: &Results) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (peer, times) in SHARES {
        let claim = format!("a refused SYN costs limiter at most 1/{times:.0} of {}", peer.name());
        claims.extend(judge(claim, &shares(results, peer), times, Bound::AtLeast, "1/"));
    }
    let claim =
        format!("limiter's cost grows at most {GROWTH:.0} times from 1 source to random sources");
    claims.extend(judge(claim, &growth(results), GROWTH, Bound::AtMost, "x"));
    for peer in [Peer::Limiter, Peer::LimiterChallenge] {
        let claim = format!(
            "with {} clients complete at least {}% of their pages",
            peer.name(),
            PAGES * 100.0
        );
        claims.extend(judge(claim, &pages(results, peer), PAGES * 100.0, Bound::AtLeast, "%"));
        let claim = format!(
            "with {} p99 of connecting is at most {DELAY:.0} times that of the calm",
            peer.name()
        );
        claims.extend(judge(claim, &delays(results, peer), DELAY, Bound::AtMost, "x"));
    }
    claims
}

/// One line a claim, or one for each figure that breaks it.
pub fn text(claims: &[Claim]) -> String {
    let lines = claims.iter().flat_map(|Claim { claim, holds, worst, broken }| match holds {
        true => vec![format!("holds: {claim}: at worst {worst}\n")],
        false => {
            broken.iter().map(|figure| format!("does NOT hold: {claim}: {figure}\n")).collect()
        }
    });
    lines.collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Bound {
    AtLeast,
    AtMost,
}

type Figures = Vec<(String, f64)>;

/// The verdict on a claim, by the worst figure; none without figures.
fn judge(claim: String, figures: &Figures, bound: f64, kind: Bound, unit: &str) -> Option<Claim> {
    let show = |(place, value): &(String, f64)| match unit {
        "1/" => format!("1/{value:.1} ({place})"),
        "%" => format!("{:.2}% ({place})", (value * 100.0).floor() / 100.0),
        _ if *value >= 100.0 => format!("{value:.0} times ({place})"),
        _ => format!("{value:.2} times ({place})"),
    };
    // A figure that is none keeps no bound.
    let keeps = |value: f64| if kind == Bound::AtLeast { value >= bound } else { value <= bound };
    let worst = figures.iter().reduce(|worst, next| {
        let worse = if kind == Bound::AtLeast { next.1 < worst.1 } else { next.1 > worst.1 };
        if worse || next.1.is_nan() { next } else { worst }
    })?;
    let broken: Vec<String> = figures.iter().filter(|figure| !keeps(figure.1)).map(show).collect();
    Some(Claim { claim, holds: broken.is_empty(), worst: show(worst), broken })
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
    each(results, |family, shape| {
        Some(ns(results, shape, family, peer)? / ns(results, shape, family, Peer::Limiter)?)
    })
}

fn growth(results: &Results) -> Figures {
    let figures = results.families().into_iter().filter_map(|family| {
        let random = ns(results, Shape::Random, family, Peer::Limiter)?;
        Some((
            format!("IPv{}", family.number()),
            random / ns(results, Shape::One, family, Peer::Limiter)?,
        ))
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
        let lines = |figures: &Figures, bound, kind, unit| {
            text(&[judge("so".to_owned(), figures, bound, kind, unit).expect("a verdict")])
        };
        let figures = vec![("a".to_owned(), 6.0), ("b".to_owned(), 4.9)];
        assert_eq!(lines(&figures, 5.0, Bound::AtLeast, "1/"), "does NOT hold: so: 1/4.9 (b)\n");
        assert_eq!(
            lines(&figures, 6.0, Bound::AtMost, "x"),
            "holds: so: at worst 6.00 times (a)\n"
        );
        let none = vec![("a".to_owned(), f64::NAN), ("b".to_owned(), 5.0)];
        for kind in [Bound::AtMost, Bound::AtLeast] {
            assert_eq!(lines(&none, 5.0, kind, "x"), "does NOT hold: so: NaN times (a)\n");
        }
        assert!(judge("so".to_owned(), &Figures::new(), 1.0, Bound::AtMost, "x").is_none());
    }
}
