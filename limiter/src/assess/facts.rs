//! What the assessment rests on, gathered from one snapshot and what is beside it.

use limiter_common::challenge::Challenge;
use limiter_common::reason::{Limit, Reason};

use super::kind::{self, Sources, Traffic};
use super::network::{self, Network};
use super::usual::{self, Last};
use crate::history::{Entry, Moment};
use crate::kernel::listener::Listener;
use crate::kernel::{Maps, listener};
use crate::observe::{Distinct, Heavy, Kind, heavy};
use crate::report::{Counts, Snapshot};

/// What was seen. Everything that may be unknown can be said to be.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether what is over a limit is dropped.
    pub enforces: bool,
    /// Interfaces that limiter is attached to, and those that are gone.
    pub attached: usize,
    /// See `attached`.
    pub gone: usize,
    /// The services.
    pub services: Vec<Service>,
    /// Whether the kernel makes cookies for a challenge, or limiter may let it.
    pub cookies: bool,
    /// What came; `None`: not measured.
    pub now: Option<Now>,
    /// How many sources there are, with the attempts for each.
    pub sources: Option<Sources>,
    /// The source that is refused most, and how often it was.
    pub most: Option<(String, u64)>,
    /// The network that most of what is refused, or else of all attempts, comes from.
    pub network: Option<Network>,
    /// The share of the same that the heaviest few sources make.
    pub heaviest: Option<f64>,
    /// The fullest accept queue: what waits, and its room.
    pub queue: Option<(u64, u64)>,
    /// Attempts per second as usual.
    pub usual: Option<f64>,
    /// The last change.
    pub last: Option<Last>,
    /// Whether hardly anything was over a limit before the last change.
    pub began_with_change: bool,
}

/// A service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its budget in attempts per second, if it has one.
    pub budget: Option<f64>,
    /// Its budget as it was stated.
    pub stated: String,
    /// Whether newcomers may be challenged, and whether they are now.
    pub challenge: bool,
    /// See `challenge`.
    pub challenging: bool,
    /// Refused so far: which service is meant.
    pub refused: u64,
}

/// What came per second, by reason.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Attempts.
    pub attempts: f64,
    /// Attempts over a limit, in either mode.
    pub refused: f64,
    /// Of these, those over the limit or share of their source.
    pub own: f64,
    /// Of these, those that a full accept queue refused.
    pub queue_full: f64,
    /// Answered with a cookie.
    pub challenged: f64,
    /// Cookies that came back.
    pub proofs: f64,
    /// SYNs that went on to the server.
    pub passed: f64,
    /// Connections that the server's kernel opened; `None`: not known.
    pub opened: Option<f64>,
    /// Turned away by a full accept queue.
    pub overflows: f64,
}

impl Now {
    /// Of counts over so many seconds.
    pub fn of(counts: &Counts, seconds: f64) -> Self {
        let per_second = |count: u64| count as f64 / seconds.max(1e-9);
        let sum = |of: fn(Reason) -> bool| {
            per_second(Reason::ALL.iter().filter(|reason| of(**reason)).map(|reason| counts.one(*reason)).sum())
        };
        Self {
            attempts: sum(Reason::is_attempt),
            refused: sum(|reason| reason.is_attempt() && reason.drops()),
            own: sum(|reason| reason.limit() == Some(Limit::Own)),
            queue_full: per_second(counts.one(Reason::QueueFull)),
            challenged: per_second(counts.one(Reason::Challenged)),
            proofs: sum(Reason::is_proof),
            passed: per_second(counts.through),
            opened: counts.server.map(|[opened, _]| per_second(opened)),
            overflows: counts.server.map_or(0.0, |[_, overflows]| per_second(overflows)),
        }
    }

    /// The share of attempts that got no answer, from limiter or from the server.
    fn unanswered(&self, enforces: bool) -> f64 {
        let dropped = if enforces { self.refused } else { 0.0 };
        (dropped + self.overflows.min(self.passed)) / self.attempts.max(1e-9)
    }
}

impl Facts {
    /// Of a snapshot that measured for a while, and what the history and the kernel say beside it.
    pub fn of(snapshot: &Snapshot, maps: &Maps, entries: &[Entry]) -> Self {
        let now = snapshot.grown.as_ref().map(|grown| Now::of(grown, snapshot.measured_seconds));
        let mut facts = Self { now, ..Self::standing(snapshot) };
        facts.queue = queue(snapshot, &listener::all().unwrap_or_default());
        if let Some(now) = facts.now {
            (facts.network, facts.heaviest) = common(maps, &now);
        }
        facts.with_history(entries)
    }

    /// What a snapshot says without having measured.
    pub fn standing(snapshot: &Snapshot) -> Self {
        let services = snapshot.services.iter().map(|service| Service {
            name: service.name.clone(),
            budget: (!service.settings.budget.is_none()).then(|| {
                let rate = service.settings.budget.rate;
                rate.count as f64 * 1e9 / rate.period.max(1) as f64
            }),
            stated: service.budget.clone(),
            challenge: service.settings.admission.challenge != Challenge::Off,
            challenging: service.admission.challenging,
            refused: service.refused,
        });
        let gone = snapshot.interfaces.iter().filter(|one| one.attachment.is_none()).count();
        Self {
            enforces: snapshot.mode == "enforce",
            attached: snapshot.interfaces.len() - gone,
            gone,
            services: services.collect(),
            cookies: snapshot.cookies.works() || snapshot.cookies.may_set,
            sources: sources(&snapshot.distinct),
            most: snapshot.refused_most.first().map(|most| (most.source.clone(), most.count)),
            ..Self::default()
        }
    }

    /// With what the history tells.
    #[must_use]
    pub fn with_history(self, entries: &[Entry]) -> Self {
        Self { usual: usual::usual(entries), last: usual::last(entries, Moment::now()), ..self }
    }

    /// What the rule is asked about.
    pub fn traffic(&self) -> Traffic {
        let Some(now) = self.now else { return Traffic::default() };
        let each = |sources: Sources| Sources {
            each: if sources.each > 0.0 {
                sources.each
            } else {
                now.attempts * sources.seconds / sources.sources as f64
            },
            ..sources
        };
        Traffic {
            finished: kind::finished(now.challenged, now.proofs, now.passed, now.opened, now.overflows),
            own: (now.refused >= 5.0).then(|| now.own / now.refused),
            unanswered: now.unanswered(self.enforces),
            sources: self.sources.map(each),
            common: self.network.as_ref().map(|network| network.share),
            heaviest: self.heaviest,
        }
    }

    /// The service that is meant: the one that is refused most.
    pub fn service(&self) -> Option<&Service> {
        self.services.iter().max_by_key(|service| service.refused)
    }
}

/// Sources without the attempts for each, which are those of now.
pub fn sources(distinct: &Distinct) -> Option<Sources> {
    (distinct.sources > 0).then_some(Sources {
        seconds: distinct.seconds,
        sources: distinct.sources,
        networks: distinct.prefixes_24 + distinct.prefixes_48,
        returning_percent: distinct.returning_percent,
        each: 0.0,
    })
}

/// The network that most of what is refused comes from, and the share of the heaviest few; of all
/// attempts, if hardly any is refused.
pub fn common(maps: &Maps, now: &Now) -> (Option<Network>, Option<f64>) {
    let kind = match now {
        _ if now.refused < now.attempts * 0.05 => Kind::Attempts,
        _ if now.own * 2.0 >= now.refused => Kind::Refused,
        _ => Kind::Budget,
    };
    let mut counted: Vec<Heavy> = heavy::read(maps, kind, None, None, usize::MAX).unwrap_or_default();
    counted.retain(|heavy| heavy.last_seconds_ago <= network::LATELY);
    (network::common(&counted), network::heaviest(counted.iter().map(|heavy| heavy.count)))
}

/// The fullest accept queue of a service.
fn queue(snapshot: &Snapshot, listeners: &[Listener]) -> Option<(u64, u64)> {
    let addresses = || snapshot.services.iter().flat_map(|service| &service.settings.listeners);
    let queues = listeners.iter().filter(|listener| addresses().any(|address| listener.takes(*address)));
    queues
        .map(|listener| (u64::from(listener.waiting), u64::from(listener.room)))
        .max_by(|one, other| (one.0 * other.1.max(1)).cmp(&(other.0 * one.1.max(1))))
}
