//! What tells a crowd from a flood: what the numbers say, each with its reason.
//!
//! Two questions decide, and the rest is there to agree or not. Do the additional attempts become
//! connections, which takes somebody who answers at the address? And are they many sources with a
//! few attempts each, or few with many?

use limiter_common::reason::Reason;
use serde::Serialize;

use super::super::points::sum;
use super::super::series::Distinct;
use super::totals::Totals;
use crate::report::numbers::count;

/// Attempts of each source, in the half minute that sources are counted over, from which on they
/// are a tool's: no client that TCP paces makes so many, and no address is drawn so often.
pub(super) const REPEATS: f64 = 100.0;

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

/// The share of additional attempts that were finished.
pub(super) fn handshakes(calm: Option<&Totals>, during: &Totals) -> (Option<f64>, Indicator) {
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
pub(super) fn concentration(
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
pub(super) fn kernel(
    calm: Option<&Totals>,
    during: &Totals,
    finished: Option<f64>,
) -> Vec<Indicator> {
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
