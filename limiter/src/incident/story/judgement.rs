//! Crowd or flood: what follows from all that tells together, by the assessment that `status` and
//! `watch` make too.

use std::ops::Range;

use limiter_common::record::REASONS;
use serde::Serialize;

use super::super::points::Point;
use super::super::series::Distinct;
use super::evidence::{Indicator, REPEATS, concentration, handshakes, kernel};
use super::totals::Totals;
use crate::assess::{self, Cause, Facts, Signs};
use crate::observe;
use crate::report::{Counts, Rates};

/// What it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Attempts from addresses that nobody answers at, from ever new sources.
    SpoofedFlood,
    /// Attempts that are never finished, from few sources.
    FloodOfFew,
    /// Many clients that are there.
    Crowd,
    /// Few clients that are there, and ask far more than others.
    HeavyClients,
    /// Few sources that came before already, and ask far more.
    Familiar,
    /// Many machines that are there, and come by a clock.
    Botnet,
    /// Programs that connect one by one: a botnet, or an app that retries.
    Programs,
    /// Some of both.
    Mixed,
    /// Few sources, of which it is not known whether they would have finished.
    FewSources,
    /// The server took less than before, so that clients tried again and again.
    Server,
    /// Attempts did not surge.
    NoSurge,
    /// The data do not tell.
    Unknown,
}

/// What it was, and by what.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// What it looks like.
    pub kind: Pattern,
    /// Everything that tells, also what speaks against it.
    pub indicators: Vec<Indicator>,
    /// The share of the additional attempts that became connections, if it is known.
    pub finished: Option<f64>,
    /// Attempts for each source in the time that sources are counted over, at the most sources; if
    /// it is known.
    pub per_source: Option<f64>,
    /// Sources at the most of them.
    pub sources: Option<Distinct>,
}

/// Judges a surge; without one, only gathers.
pub fn judge(
    points: &[Point],
    main: Option<&Range<usize>>,
    calm: Option<&Totals>,
    during: &Totals,
) -> Judgement {
    let range = main.cloned().unwrap_or(0..points.len());
    let crowd = most_sources(&points[range.clone()]);
    let quiet = main.and_then(|main| {
        let all = points[..main.start].iter().chain(&points[main.end..]);
        all.filter_map(|point| point.distinct).min_by_key(|distinct| distinct.sources)
    });
    let sources = crowd.map(|(_, distinct)| distinct);
    let per_source = crowd.map(|(at, distinct)| {
        let at = range.start + at;
        attempts_before(points, at, distinct.seconds) / (distinct.sources.max(1) as f64)
    });
    let (finished, first) = handshakes(calm, during);
    let rest = concentration(calm, during, sources, quiet, per_source);
    let mut indicators = vec![first];
    indicators.extend(rest);
    indicators.extend(kernel(calm, during, finished));
    let told = told(points, &range);
    let facts = facts(told, calm, during, sources);
    // Records of before have nothing of how sources came; and where that tells nothing, what each
    // source asked for and what refused it may.
    let few = are_few(during, per_source).then_some(told.is_none());
    let kind = match main {
        None => Pattern::NoSurge,
        Some(_) if took_less(calm, during) => Pattern::Server,
        Some(_) => kind(&facts, finished, few, per_source),
    };
    Judgement { kind, indicators, finished, per_source, sources }
}

/// What it looks like, by the assessment that `status` and `watch` make too.
/// `few`: that few sources made most of it, and whether nothing else is to be asked.
fn kind(
    facts: &Facts,
    finished: Option<f64>,
    few: Option<bool>,
    per_source: Option<f64>,
) -> Pattern {
    let told = assess::who(&Signs::of(facts));
    let repeat = per_source.is_some_and(|each| each >= REPEATS);
    let who = match (told, few) {
        (_, Some(true)) | (Cause::Unclear, Some(false)) => Cause::Few,
        // Forged or not, so few addresses are held by a limit of their own, or by a ban.
        (Cause::Spoofed, Some(false)) if repeat => Cause::Few,
        _ => told,
    };
    match who {
        Cause::Spoofed => Pattern::SpoofedFlood,
        Cause::Mixed => Pattern::Mixed,
        Cause::Few if finished.is_some_and(|share| share < 0.2) => Pattern::FloodOfFew,
        Cause::Few if finished.is_some_and(|share| share > 0.6) => Pattern::HeavyClients,
        Cause::Few => Pattern::FewSources,
        Cause::Familiar => Pattern::Familiar,
        Cause::Botnet => Pattern::Botnet,
        Cause::Programs => Pattern::Programs,
        Cause::Crowd => Pattern::Crowd,
        _ => Pattern::Unknown,
    }
}

/// Whether few sources made most of it, by the attempts of each and by what refused them.
fn are_few(during: &Totals, per_source: Option<f64>) -> bool {
    let refused = during.counted.refused();
    let own = (refused >= 100.0).then(|| during.over_own_limit() / refused);
    let most_own = own.is_some_and(|share| share > 0.8);
    per_source.map_or(most_own, |each| each >= REPEATS || each >= 20.0 && most_own)
}

/// Whether the server opened fewer connections than in calm, while its accept queue was full.
fn took_less(calm: Option<&Totals>, during: &Totals) -> bool {
    let opened = |totals: &Totals| totals.kernel_rate(totals.tcp.opened);
    let is_full = during.kernel_rate(during.tcp.overflows) >= 1.0;
    is_full && calm.is_some_and(|calm| opened(during) < opened(calm) * 0.7)
}

/// The surge as the assessment takes it: what came beyond the calm.
fn facts(
    point: Option<&Point>,
    calm: Option<&Totals>,
    during: &Totals,
    sources: Option<Distinct>,
) -> Facts {
    let seconds = during.counted_seconds.max(1e-9);
    let beyond = |count: f64, usual: f64, length: f64| (count - usual * length).max(0.0) as u64;
    let numbers = |pick: fn(&Totals) -> &[f64; REASONS]| {
        let usual = calm.map_or([0.0; REASONS], |calm| pick(calm).map(|count| calm.rate(count)));
        std::array::from_fn(|at| beyond(pick(during)[at], usual[at], seconds))
    };
    let mut counts = Counts::of_numbers(
        &numbers(|totals| &totals.counted.decided),
        &numbers(|totals| &totals.counted.observed),
    );
    let opened = calm.map_or(0.0, |calm| calm.kernel_rate(calm.tcp.opened));
    counts.server = (during.kernel_seconds > 0.0).then(|| {
        let more = beyond(during.tcp.opened, opened, during.kernel_seconds);
        // None at all says that the server is down. That no more are opened than in calm does not.
        let opened = more.max(u64::from(during.tcp.opened > 0.0));
        [opened, during.tcp.overflows as u64]
    });
    let distinct = sources.map(|it| observe::Distinct {
        seconds: it.seconds,
        sources: it.sources,
        prefixes_24: it.prefixes_24,
        prefixes_48: it.prefixes_48,
        returning_percent: it.returning_percent,
        standard_error_percent: it.standard_error_percent,
    });
    Facts {
        enforces: during.enforced_seconds * 2.0 > during.seconds,
        attached: 1,
        services: vec![assess::Service { listens: true, ..assess::Service::default() }],
        now: Some(Rates { counts, seconds }),
        distinct: distinct.unwrap_or_default(),
        sources: point.and_then(|point| point.sources.clone()).unwrap_or_default(),
        usual: calm.map(|calm| calm.rate(calm.counted.attempts())),
        ..Facts::default()
    }
}

/// The last second of it that says how sources came.
fn told<'a>(points: &'a [Point], range: &Range<usize>) -> Option<&'a Point> {
    points[range.clone()].iter().rev().find(|point| point.sources.is_some())
}

fn most_sources(points: &[Point]) -> Option<(usize, Distinct)> {
    let known = points.iter().enumerate().filter_map(|(at, point)| Some((at, point.distinct?)));
    known.max_by_key(|(_, distinct)| distinct.sources)
}

/// Attempts in the `seconds` before and with point `at`.
fn attempts_before(points: &[Point], at: usize, seconds: f64) -> f64 {
    let from = points[at].at - seconds;
    let inside = points[..=at].iter().rev().take_while(|point| point.at > from);
    inside
        .map(|point| {
            point.counted.as_ref().map_or(0.0, |counted| counted.attempts()) * point.seconds
        })
        .sum()
}
