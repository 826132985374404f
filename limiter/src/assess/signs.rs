//! What tells who comes: a few numbers, of what was counted now and of who came lately.

use limiter_common::reason::{Limit, Reason};
use serde::Serialize;

use super::{Facts, WAITING};
use crate::report::Counts;

/// The numbers that tell. Shares are from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Signs {
    /// Attempts per second.
    pub attempts: f64,
    /// How many times as usual that is, without SYNs that TCP sent again; `None`: what is usual is
    /// not known.
    pub times: Option<f64>,
    /// The share of the attempts that are refused, in either mode.
    pub refused: f64,
    /// The share that is dropped indeed.
    pub dropped: f64,
    /// The share that is challenged.
    pub challenged: f64,
    /// The share that is over its source's own limit.
    pub own: f64,
    /// The share of what was answered that became connections; `None`: it is not known.
    pub finished: Option<f64>,
    /// The share of what was let through that a full accept queue turned away.
    pub turned_away: f64,
    /// Whether an accept queue is full.
    pub is_full: bool,
    /// Whether connections that were opened wait long for the server.
    pub waits: bool,
    /// Segments of each connection that was opened; `None`: too few were opened.
    pub segments: Option<f64>,
    /// Sources lately.
    pub sources: f64,
    /// Sources of each network.
    pub neighbours: f64,
    /// The share of the sources that were here in the ten minutes before.
    pub returning: Option<f64>,
    /// The share of the attempts that the ten heaviest sources make, by their counters.
    pub of_ten: Option<f64>,
    /// The share of these ten that came long ago already.
    pub familiar: f64,
    /// How many times as often as since then they come now.
    pub grown: f64,
    /// The share of the attempts that sources make that come as most do.
    pub explained: Option<f64>,
    /// Sources in the sample.
    pub sampled: u64,
    /// The share of them with one page.
    pub once: f64,
    /// The share of the connections that came at once with another of their source.
    pub together: f64,
    /// The share of the connections that programs opened.
    pub programs: f64,
    /// Seconds between two pages of a program.
    pub gap: f64,
    /// Pages of programs that were let in.
    pub let_in: u64,
    /// The share of these that another followed soon.
    pub again: f64,
    /// The share of the SYNs of the sample that TCP sent again.
    pub repeats: f64,
}

impl Signs {
    /// What the facts say.
    pub fn of(facts: &Facts) -> Self {
        let attempts = facts.attempts();
        let share = |part: f64| part / attempts.max(1e-9);
        let manners = &facts.sources.manners[usize::from(facts.is_full())];
        let heavy = &facts.sources.heavy[2];
        let distinct = &facts.distinct;
        let sources = distinct.sources as f64;
        let networks = (distinct.prefixes_24 + distinct.prefixes_48).max(1) as f64;
        let through = facts.now.map_or(0.0, |now| now.of(|counts| counts.through));
        let sent = (manners.connections + manners.repeats).max(1) as f64;
        let explained = sources * manners.each / distinct.seconds.max(1.0);
        Self {
            attempts,
            times: facts.usual.map(|usual| facts.fresh() / usual.max(0.1)),
            refused: share(facts.refused()),
            dropped: if facts.enforces { share(facts.refused()) } else { 0.0 },
            challenged: share(facts.challenged()),
            own: share(facts.over(Limit::Own)),
            finished: facts.finished(),
            turned_away: facts.turned_away() / through.max(1.0),
            is_full: facts.is_full(),
            waits: facts.waits(),
            segments: facts.segments(),
            sources,
            neighbours: sources / networks,
            returning: distinct.returning_percent.map(|percent| percent / 100.0),
            of_ten: heavy.of_ten,
            familiar: heavy.familiar,
            grown: heavy.of_ten.unwrap_or(0.0) * attempts / heavy.rate.max(1e-9),
            explained: (manners.sources >= 10 && attempts > 0.0).then(|| share(explained).min(1.0)),
            sampled: manners.sources,
            once: manners.once,
            together: manners.together,
            programs: manners.programs,
            gap: manners.gap,
            let_in: manners.let_in,
            again: manners.again,
            repeats: manners.repeats as f64 / sent,
        }
    }
}

impl Facts {
    /// Whether connections that were opened wait long for the server.
    pub fn waits(&self) -> bool {
        let [waiting, room] = self.queue.unwrap_or_default();
        waiting >= WAITING || waiting > 0 && waiting * 2 >= room
    }

    /// Attempts per second, without SYNs that TCP sent again.
    pub fn fresh(&self) -> f64 {
        let manners = &self.sources.manners[usize::from(self.is_full())];
        let sent = (manners.connections + manners.repeats).max(1) as f64;
        self.attempts() * (1.0 - manners.repeats as f64 / sent)
    }

    /// Segments of each connection that was let in: fewer than four carry no request.
    pub fn segments(&self) -> Option<f64> {
        let counts: Counts = self.now?.counts;
        let opened = counts.server.map_or(0, |[opened, _]| opened);
        (opened >= 20).then(|| counts.one(Reason::NotAttempt) as f64 / opened as f64)
    }
}
