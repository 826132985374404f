//! What the assessment rests on: one snapshot, what is beside it, and what follows by arithmetic.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use limiter_common::challenge::Challenge;
use limiter_common::reason::{Group, Limit, Reason};

use super::usual::{Last, last, usual};
use super::{
    CATCHES_UP, ELSEWHERE, ENOUGH, FULL, HARDLY, HEAVY, JUST, LOOKED_AT, MOSTLY, ORDINARY, SPREAD,
    SURGE, UNANSWERED,
};
use crate::history::{Entry, Moment};
use crate::kernel::listener;
use crate::observe::concentrated::{Common, EVERYBODY};
use crate::observe::waiting::Waiting;
use crate::observe::{Distinct, Lately, Sources};
use crate::report::{Counts, Rates, Snapshot};

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether what is over a limit is dropped.
    pub enforces: bool,
    /// Interfaces that limiter is attached to.
    pub attached: usize,
    /// Those that are gone, or that another tool took it off.
    pub gone: usize,
    /// The services.
    pub services: Vec<Service>,
    /// Whether the kernel makes cookies, or limiter may let it.
    pub cookies: bool,
    /// What came; `None`: not measured.
    pub now: Option<Rates>,
    /// How many sources there are.
    pub distinct: Distinct,
    /// Which of them come most, and how they come.
    pub sources: Sources,
    /// The prefix that most attempts come from.
    pub common: Option<Common>,
    /// Attempts per second as usual.
    pub usual: Option<f64>,
    /// Of the fullest accept queue of a service: connections that wait, and that may.
    pub queue: Option<[u32; 2]>,
    /// Clients without a first answer, and for how long half of them have waited.
    pub unanswered: (usize, Duration),
    /// The last change that was none of a list.
    pub last: Option<Last>,
    /// Sources that wait in line.
    pub waiting: Option<Waiting>,
    /// Interfaces of the policy file that limiter is not attached to.
    pub not_attached: Vec<String>,
    /// Whether a part of a budget is in force in place of it.
    pub is_shared: bool,
    /// Whether the waiting room answered more connections than were let in for ten minutes.
    pub long_wait: bool,
    /// Whether hardly anything was over a limit before the last change.
    pub began_with_change: bool,
}

/// A service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Whether a process listens for it in this network namespace.
    pub listens: bool,
    /// Whether its sources have a limit.
    pub has_source_limit: bool,
    /// Whether a budget, or a number of users, bounds all of them together.
    pub is_bounded: bool,
    /// Whether it may challenge.
    pub may_challenge: bool,
    /// Whether it does now.
    pub challenges: bool,
    /// How many users are present, of how many that may be.
    pub users: Option<[u64; 2]>,
    /// Refused so far: which service is meant.
    pub refused: u64,
}

impl Facts {
    /// What a snapshot, the history and the kernel say.
    pub fn of(snapshot: &Snapshot, entries: &[Entry]) -> Self {
        let listeners = listener::all().unwrap_or_default();
        let gone = snapshot.interfaces.iter().filter(|one| one.attachment.is_none()).count();
        let has_host_budget = snapshot.budget_used_percent.is_some();
        let services = snapshot.services.iter().map(|service| {
            let (said, line) = (&service.settings, service.admission.line.as_ref());
            Service {
                name: service.name.clone(),
                listens: (said.listeners.iter())
                    .any(|address| listeners.iter().any(|listener| listener.takes(*address))),
                has_source_limit: !service.source_limit.starts_with("none"),
                is_bounded: has_host_budget || !said.budget.is_none() || said.admission.users != 0,
                may_challenge: said.admission.challenge != Challenge::Off,
                challenges: service.admission.challenging,
                users: line.and_then(|line| Some([line.present?, line.users?])),
                refused: service.refused,
            }
        });
        let takes = |listener: &listener::Listener| {
            let mut all = snapshot.services.iter().flat_map(|one| &one.settings.listeners);
            all.any(|address| listener.takes(*address))
        };
        let queue = (listeners.iter().filter(|one| takes(one)))
            .map(|one| [one.waiting, one.room])
            .max_by_key(|[waiting, room]| u64::from(*waiting) * 1000 / u64::from(*room).max(1));
        Self {
            queue,
            unanswered: unanswered(snapshot),
            enforces: snapshot.mode == "enforce",
            attached: snapshot.interfaces.len() - gone,
            gone,
            services: services.collect(),
            cookies: snapshot.cookies.works() || snapshot.cookies.may_set,
            now: snapshot.now,
            distinct: snapshot.distinct.clone(),
            sources: snapshot.sources.clone(),
            common: snapshot.common.iter().max_by_key(|it| it.sources).cloned(),
            usual: usual(entries),
            last: last(entries, Moment::now()),
            is_shared: snapshot.shares.iter().any(|share| share.per_second.is_some()),
            waiting: snapshot.waiting.filter(|waiting| waiting.sources > 0),
            ..Self::default()
        }
    }

    /// The same, where the policy file names these interfaces.
    #[must_use]
    pub fn named(mut self, snapshot: &Snapshot, interfaces: &[String]) -> Self {
        let attached = |name: &&String| {
            snapshot
                .interfaces
                .iter()
                .any(|one| one.name.as_ref() == Some(name) && one.attachment.is_some())
        };
        self.not_attached = interfaces.iter().filter(|name| !attached(name)).cloned().collect();
        self
    }

    fn of_now(&self, pick: impl Fn(&Counts) -> u64) -> f64 {
        self.now.map_or(0.0, |now| now.of(pick))
    }

    fn sum(&self, holds: impl Fn(Reason) -> bool) -> f64 {
        self.of_now(|counts| counts.total(&holds))
    }

    /// Attempts per second.
    pub fn attempts(&self) -> f64 {
        self.of_now(Counts::attempts)
    }

    /// Attempts per second that are refused, in either mode.
    pub fn refused(&self) -> f64 {
        self.sum(|reason| reason.is_attempt() && reason.drops())
    }

    /// Those that a limit refuses.
    pub fn over(&self, limit: Limit) -> f64 {
        self.sum(|reason| reason.limit() == Some(limit))
    }

    /// Attempts per second that are asked for a proof.
    pub fn challenged(&self) -> f64 {
        self.of_now(|counts| counts.one(Reason::Challenged))
    }

    /// Those that no proof answered, and proofs that were refused.
    pub fn unproven(&self) -> f64 {
        let answered = self.of_now(Counts::proofs);
        (self.challenged() - answered).max(0.0) + self.sum(|reason| reason == Reason::Waiting)
    }

    /// Attempts and proofs per second that the waiting room answers.
    pub fn diverted(&self) -> f64 {
        self.of_now(Counts::diverted)
    }

    /// Whether the waiting room answers more connections than are let in.
    pub fn most_wait(&self) -> bool {
        self.diverted() > 0.0 && self.diverted() > self.of_now(Counts::admitted)
    }

    /// Packets per second of banned sources.
    pub fn banned(&self) -> f64 {
        self.of_now(|counts| counts.one(Reason::Banned))
    }

    /// Packets per second of allowed sources.
    pub fn allowed(&self) -> f64 {
        self.of_now(|counts| counts.one(Reason::Allowed))
    }

    /// SYNs per second to no service.
    pub fn not_named(&self) -> f64 {
        self.of_now(|counts| counts.one(Reason::NotProtected))
    }

    /// Connections per second that this kernel opened, at all ports.
    pub fn opened(&self) -> Option<f64> {
        let now = self.now?;
        Some(now.counts.server?[0] as f64 / now.seconds)
    }

    /// Attempts per second that a full accept queue turned away, in the kernel or before it.
    pub fn turned_away(&self) -> f64 {
        self.of_now(|counts| {
            let overflows = counts.server.map_or(0, |[_, overflows]| overflows);
            let refused = counts.one(Reason::QueueFull);
            // What limiter only counts, the kernel counts once more.
            if self.enforces { overflows + refused } else { overflows.max(refused) }
        })
    }

    /// Whether connections come, and none over an interface that limiter is attached to, where the
    /// policy file names another one. (Of a host's own connections there may be more than of
    /// clients.)
    pub fn come_beside(&self) -> bool {
        let comes = self.opened().is_some_and(|opened| opened >= ELSEWHERE);
        let sees_none =
            self.attempts() < 0.5 && self.banned() + self.allowed() <= 0.0 && !self.holds_back();
        sees_none && !self.not_attached.is_empty() && (comes || self.is_full())
    }

    /// Whether no process listens for any service, and this kernel resets those who come. Where a
    /// container serves them it does not, but for a few at other ports.
    pub fn is_down(&self) -> bool {
        let [through, resets] = [|counts: &Counts| counts.through, |counts: &Counts| counts.resets]
            .map(|of| self.of_now(of));
        self.services.iter().all(|service| !service.listens)
            && through >= ELSEWHERE
            && (SPREAD..2.0).contains(&((resets - self.not_named()) / through))
    }

    /// Whether accept queues turn clients away.
    pub fn is_full(&self) -> bool {
        self.turned_away() > (self.attempts() * 0.02).max(1.0)
    }

    /// Whether the server answers late: clients wait that it has accepted, or in its accept queue.
    pub fn answers_late(&self) -> bool {
        let (clients, median) = self.unanswered;
        clients >= UNANSWERED && median >= listener::LATE
    }

    /// Whether far more come than usual; `None`: what is usual is not known.
    pub fn surges(&self) -> Option<bool> {
        Some(self.fresh() > (SURGE * self.usual?).max(20.0))
    }

    /// Whether those of the challenged that proved to be there are a surge for themselves.
    pub fn is_real_surge(&self) -> bool {
        let usual = self.usual.map_or(ORDINARY, |usual| (SURGE * usual).max(20.0));
        let proofs = self.of_now(Counts::proofs);
        self.asked().is_some() && proofs > usual
    }

    /// The share of attempts that became connections, or of the challenged that proved to be there;
    /// `None`: it is not known.
    pub fn finished(&self) -> Option<f64> {
        let counts = self.now?.counts;
        let [opened, full] = counts.server.unwrap_or_default().map(|count| count as f64);
        if let Some(asked) = self.asked().map(|asked| asked as f64) {
            let share = (counts.proofs() as f64 / asked).min(1.0);
            return (share > MOSTLY || full <= asked * FULL).then_some(share);
        }
        counts.server?;
        let through = counts.through as f64;
        let share = opened / through.max(1.0);
        // None at all: the server may be down, or in a network namespace that counts for itself.
        // Far more than came through: they are of other ports, or of another interface.
        let listens = self.service().is_some_and(|service| service.listens);
        let tells = listens && through >= ENOUGH as f64 && opened > 0.0 && share <= 1.5;
        // Where the server is full, clients cannot finish either.
        (tells && (share > MOSTLY || full <= through * FULL)).then(|| share.min(1.0))
    }

    /// Whether few sources that make nearly all of it finish none.
    pub fn finish_nothing(&self) -> bool {
        let share = self.heavy().of_ten.unwrap_or(0.0);
        share >= HEAVY && self.finished().is_some_and(|share| share < HARDLY)
    }

    /// Attempts that were asked for a proof, if they tell who is there. In observe mode nothing is
    /// asked.
    pub fn asked(&self) -> Option<u64> {
        let counts = self.now.filter(|_| self.enforces)?.counts;
        let asked = counts.total(|reason| reason.group() == Some(Group::Challenged));
        (asked >= ENOUGH && asked >= counts.through).then_some(asked)
    }

    /// The last change, if it was about a limit and within so many seconds.
    pub fn changed(&self, within: f64) -> Option<&Last> {
        self.last.as_ref().filter(|last| last.of_limits && last.seconds_ago < within)
    }

    /// Whether a part of a budget is in force since limits came into force, within the minute that a
    /// server which is behind has to catch up.
    pub fn catches_up(&self) -> bool {
        let is_new = self.last.as_ref().is_some_and(|last| last.seconds_ago < CATCHES_UP);
        let is_behind = self.is_full() || self.waits() || self.answers_late();
        self.enforces && self.is_shared && is_new && is_behind
    }

    /// The same, in the first seconds of it.
    pub fn has_just_begun(&self) -> bool {
        self.catches_up() && self.last.as_ref().is_some_and(|last| last.seconds_ago < JUST)
    }

    /// Whether limits hold somebody back, in a moment in which nobody new comes.
    pub fn holds_back(&self) -> bool {
        let held = self.sum(|reason| matches!(reason, Reason::Waiting | Reason::Held));
        self.enforces && (self.waiting.is_some() || held + self.refused() > 0.0)
    }

    /// Whether our own line holds back most of all who come, and not only those of one network.
    pub fn holds_everybody(&self) -> bool {
        let is_all = |common: &Common| common.percent >= EVERYBODY;
        self.enforces
            && self.over(Limit::Budget) > self.attempts() * SPREAD
            && self.common.as_ref().is_some_and(is_all)
    }

    /// Which part the heaviest have of all attempts.
    pub fn heavy(&self) -> &Lately {
        &self.sources.heavy[2]
    }

    /// Whether so few come that they tell nothing.
    pub fn is_little(&self) -> bool {
        self.attempts() < ENOUGH as f64 && !self.is_full()
    }

    /// Whether each service that attempts may come to has a process here that listens for it.
    pub fn is_served(&self) -> bool {
        self.attempts() < 0.5 || self.services.iter().all(|service| service.listens)
    }

    /// Whether the addresses look as if they were drawn at random. A crowd from all over the world
    /// may look so too.
    pub fn look_drawn(&self) -> bool {
        let distinct = &self.distinct;
        let sources = distinct.sources as f64;
        let networks = (distinct.prefixes_24 + distinct.prefixes_48) as f64;
        let each = self.attempts() * distinct.seconds / sources.max(1.0);
        sources >= 10_000.0
            && networks >= 0.9 * sources
            && each <= 3.0
            && distinct.returning_percent.is_none_or(|percent| percent < 10.0)
    }

    /// The service that is meant: the one that was refused most.
    pub fn service(&self) -> Option<&Service> {
        self.services.iter().max_by_key(|service| service.refused)
    }
}

/// At all services.
fn unanswered(snapshot: &Snapshot) -> (usize, Duration) {
    let all = snapshot.services.iter().flat_map(|service| &service.settings.listeners);
    let ports: BTreeSet<u16> = all.map(SocketAddr::port).collect();
    let asked =
        ports.into_iter().flat_map(|port| listener::asked(port, LOOKED_AT).unwrap_or_default());
    let mut waits: Vec<Duration> = asked.map(|one| one.waits).collect();
    (waits.len(), listener::median(&mut waits))
}
