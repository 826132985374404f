//! Crowd or flood: what the numbers say, each with its reason, and what follows from them together.
//!
//! Two questions decide, and the rest is there to agree or not. Do the additional attempts become connections, which takes somebody who
//! answers at the address? And are they many sources with a few attempts each, or few with many?

use std::ops::Range;

use limiter_common::reason::Reason;
use limiter_common::record::REASONS;
use serde::Serialize;

use super::super::points::{Point, sum};
use super::super::series::Distinct;
use super::totals::Totals;
use crate::assess::{self, Cause, Facts, Signs};
use crate::observe;
use crate::report::numbers::count;
use crate::report::{Counts, Rates};

/// Attempts of each source, in the half minute that sources are counted over, from which on they
/// are a tool's: no client that TCP paces makes so many, and no address is drawn so often.
const REPEATS: f64 = 100.0;

/// What an indicator speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaks {
    /// Attempts that nobody means to finish.
    Flood,
    /// Clients that are there and want something.
    Crowd,
    /// Few sources.
    Few,
    /// Many sources.
    Many,
    /// Nothing.
    Neither,
}

/// One of the things that tell.
#[derive(Clone, Debug, Serialize)]
pub struct Indicator {
    /// What was measured.
    pub what: &'static str,
    /// In calm.
    pub before: String,
    /// In the surge.
    pub during: String,
    /// For what it speaks.
    pub speaks: Speaks,
    /// Why.
    pub why: &'static str,
}

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
    /// Attempts for each source in the time that sources are counted over, at the most sources; if it is known.
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

/// The share of additional attempts that were finished.
fn handshakes(calm: Option<&Totals>, during: &Totals) -> (Option<f64>, Indicator) {
    let why = "Only a client that is really at its address finishes a handshake; forged addresses never do.";
    let challenged = during.counted.decided[Reason::Challenged as usize];
    if challenged >= 100.0 {
        let share = |totals: &Totals| {
            let challenged = totals.counted.decided[Reason::Challenged as usize];
            let back = sum(&totals.counted.decided, Reason::is_proof);
            (challenged >= 1.0).then(|| (back / challenged).min(1.0))
        };
        let finished = share(during);
        let indicator = Indicator {
            what: "Challenged attempts that brought their cookie back",
            before: calm
                .and_then(share)
                .map_or_else(|| "nobody was challenged".to_owned(), percent),
            during: format!(
                "{} of {}",
                finished.map_or_else(String::new, percent),
                count(challenged as u64)
            ),
            speaks: finishing(finished),
            why,
        };
        return (finished, indicator);
    }
    let (passed, opened) = (during.passed(), during.tcp.opened);
    let quiet = |rate: fn(&Totals) -> f64| calm.map_or(0.0, rate);
    let usual_passed = quiet(|calm| calm.rate(calm.passed())) * during.counted_seconds;
    let usual_opened = quiet(|calm| calm.kernel_rate(calm.tcp.opened)) * during.kernel_seconds;
    let (more_passed, more_opened) = (passed - usual_passed, (opened - usual_opened).max(0.0));
    let enough = more_passed >= 50.0_f64.max(usual_passed * 0.2) && during.kernel_seconds > 0.0;
    let finished = enough.then(|| (more_opened / more_passed).min(1.0));
    // A server that is full cannot let anybody finish.
    let full = during.tcp.overflows > more_passed * 0.2;
    let finished = finished.filter(|share| *share > 0.6 || !full);
    let indicator = Indicator {
        what: "Additional attempts let through to the kernel that became connections",
        before: calm.map_or_else(unknown, |calm| {
            format!(
                "{} opened of {} let through",
                count(calm.tcp.opened as u64),
                count(calm.passed() as u64)
            )
        }),
        during: match finished {
            Some(share) => format!("{} of {}", percent(share), count(more_passed as u64)),
            None if full && enough => "the accept queue was full, so nobody could".to_owned(),
            None => "limiter let too few of them through to see".to_owned(),
        },
        speaks: finishing(finished),
        why,
    };
    (finished, indicator)
}

fn finishing(share: Option<f64>) -> Speaks {
    match share {
        Some(share) if share < 0.2 => Speaks::Flood,
        Some(share) if share > 0.6 => Speaks::Crowd,
        _ => Speaks::Neither,
    }
}

/// What tells whether few sources made most of it.
fn concentration(
    calm: Option<&Totals>,
    during: &Totals,
    sources: Option<Distinct>,
    quiet: Option<Distinct>,
    per_source: Option<f64>,
) -> Vec<Indicator> {
    let refused = during.counted.refused();
    let limit_share = (refused >= 100.0).then(|| during.over_own_limit() / refused);
    let mut indicators = vec![Indicator {
        what: "Refused because the source itself was over its limit",
        before: calm.map_or_else(unknown, |calm| {
            format!(
                "{} of {}",
                count(calm.over_own_limit() as u64),
                count(calm.counted.refused() as u64)
            )
        }),
        during: limit_share.map_or_else(
            || format!("{} refused in all", count(refused as u64)),
            |share| format!("{} of {} refused", percent(share), count(refused as u64)),
        ),
        speaks: match limit_share {
            Some(share) if share > 0.8 => Speaks::Few,
            Some(share) if share < 0.2 => Speaks::Many,
            _ => Speaks::Neither,
        },
        why: "Few heavy sources run into their own limits; many modest or ever new ones only into a budget.",
    }];
    if let Some(distinct) = sources {
        indicators.extend(of_sources(&distinct, quiet, per_source));
    }
    indicators
}

fn of_sources(
    distinct: &Distinct,
    quiet: Option<Distinct>,
    per_source: Option<f64>,
) -> Vec<Indicator> {
    let sources =
        |distinct: &Distinct| format!("{} in {:.0} s", count(distinct.sources), distinct.seconds);
    let each = |distinct: &Distinct| distinct.sources as f64 / distinct.prefixes_24.max(1) as f64;
    let returning = |distinct: &Distinct| distinct.returning_percent.map(|percent| percent / 100.0);
    let enough = distinct.sources >= 1000 && distinct.prefixes_48 < distinct.sources / 2;
    vec![
        Indicator {
            what: "Sources, and attempts for each",
            before: quiet.as_ref().map_or_else(unknown, sources),
            during: format!(
                "{}, {:.1} attempts each",
                sources(distinct),
                per_source.unwrap_or(0.0)
            ),
            speaks: match per_source {
                Some(each) if each >= REPEATS => Speaks::Few,
                Some(each) if each <= 1.5 && distinct.sources >= 10_000 => Speaks::Flood,
                Some(each) if each <= 20.0 && distinct.sources >= 1000 => Speaks::Many,
                _ => Speaks::Neither,
            },
            why: "A browser tries a few times; a forged address is drawn once; a tool repeats itself without end.",
        },
        Indicator {
            what: "Sources for each /24 that they come from",
            before: quiet.as_ref().map_or_else(unknown, |quiet| format!("{:.1}", each(quiet))),
            during: format!("{:.1}", each(distinct)),
            speaks: match each(distinct) {
                each if enough && each >= 2.0 => Speaks::Crowd,
                each if enough && each < 1.2 => Speaks::Flood,
                _ => Speaks::Neither,
            },
            why: "People share the networks of their providers; addresses drawn at random are spread over all networks alike.",
        },
        Indicator {
            what: "Sources that had been there in the ten minutes before",
            before: quiet.as_ref().and_then(returning).map_or_else(unknown, percent),
            during: returning(distinct).map_or_else(unknown, percent),
            speaks: match returning(distinct) {
                Some(share) if share >= 0.2 => Speaks::Crowd,
                Some(share) if share < 0.02 && distinct.sources >= 10_000 => Speaks::Flood,
                _ => Speaks::Neither,
            },
            why: "People come back, and those who are refused try again; forged addresses never repeat.",
        },
    ]
}

/// What the kernel noticed by itself.
fn kernel(calm: Option<&Totals>, during: &Totals, finished: Option<f64>) -> Vec<Indicator> {
    let [sent, back, _] = during.tcp.cookies;
    let rate = |count: f64, totals: &Totals| format!("{:.1}/s", totals.kernel_rate(count));
    let usual =
        |counts: fn(&Totals) -> f64| calm.map_or_else(unknown, |calm| rate(counts(calm), calm));
    let share = (sent >= 100.0).then(|| (back / sent).min(1.0));
    let over = during.kernel_rate(during.tcp.overflows);
    let again = during.kernel_rate(during.tcp.retransmitted);
    let usually_again = calm.map_or(0.0, |calm| calm.kernel_rate(calm.tcp.retransmitted));
    vec![
        Indicator {
            what: "Cookies that the kernel sent by itself, and got back (SyncookiesSent, SyncookiesRecv)",
            before: calm.map_or_else(unknown, |calm| count(calm.tcp.cookies[0] as u64)),
            during: share.map_or_else(
                || format!("{} sent", count(sent as u64)),
                |share| format!("{} of {}", percent(share), count(sent as u64)),
            ),
            speaks: finishing(share),
            why: "The kernel sends cookies when it has more half-open connections than it can keep.",
        },
        Indicator {
            what: "Turned away by a full accept queue (ListenOverflows)",
            before: usual(|calm| calm.tcp.overflows),
            during: rate(during.tcp.overflows, during),
            speaks: if over >= 1.0 && finished.is_none_or(|share| share > 0.2) {
                Speaks::Crowd
            } else {
                Speaks::Neither
            },
            why: "Only finished handshakes fill this queue, when the server accepts slower than clients come.",
        },
        Indicator {
            what: "Segments that the kernel sent again (RetransSegs)",
            before: usual(|calm| calm.tcp.retransmitted),
            during: rate(during.tcp.retransmitted, during),
            speaks: match again >= 50.0_f64.max(usually_again * 3.0)
                && finished.is_none_or(|share| share < 0.6)
            {
                true => Speaks::Flood,
                false => Speaks::Neither,
            },
            why: "Answers to forged addresses are sent again, since nobody confirms them; but lost packets are too.",
        },
    ]
}

fn unknown() -> String {
    "not known".to_owned()
}

/// A share in words.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 0.1 => "under 0.1%".to_owned(),
        percent if percent < 10.0 && percent > 0.0 => format!("{percent:.1}%"),
        percent => format!("{percent:.0}%"),
    }
}
