//! What a table of the file says about the host, a service or a class, and nothing that it does not say. The base policy is made
//! by it of one with nothing set; a profile changes the base by it.

use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Unkeepable};

use super::keys;
use crate::limits::LimitChange;
use crate::text::advice;
use crate::{Class, Name, Policy, Prefixes, Service};

/// Something that cannot be, found by what the file means rather than by how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Keys from the top of the file, joined by dots.
    pub at: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Prefix lengths that are said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixChange {
    /// IPv4, 1 to 32.
    pub v4: Option<u8>,
    /// IPv6, 1 to 128.
    pub v6: Option<u8>,
}

/// What `[defaults]` and `[host]` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Source limit of services that have none of their own.
    pub source: LimitChange,
    /// Prefixes of services that have none of their own.
    pub prefixes: PrefixChange,
    /// The global budget.
    pub budget: LimitChange,
}

/// What is said about a service, apart from where it listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceSettings {
    /// `source_rate = "default"`: no source limit of its own.
    pub follow_default: bool,
    /// Its own source limit.
    pub source: LimitChange,
    /// Its own prefixes.
    pub prefixes: PrefixChange,
    /// Its budget.
    pub budget: LimitChange,
    /// When sources are challenged.
    pub challenge: Option<Challenge>,
    /// Life of a ticket in seconds; 0 for none.
    pub tickets: Option<u64>,
    /// Percent of the budgets, 0 to 90.
    pub reserve: Option<u8>,
    /// Newcomers.
    pub newcomers: LimitChange,
    /// Whether a short budget is shared fairly.
    pub fair_share: Option<bool>,
    /// Whether refusals are answered with a reset.
    pub reset: Option<bool>,
}

/// What is said about a class, apart from its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassSettings {
    /// Its source limit.
    pub source: LimitChange,
    /// Its prefix lengths.
    pub prefixes: PrefixChange,
}

/// Where a table stands, and what was found wrong.
pub struct Scope<'a> {
    at: String,
    findings: &'a mut Vec<Finding>,
}

/// Joins keys to the path of a value.
pub fn path(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

impl<'a> Scope<'a> {
    /// The table at `at`.
    pub const fn new(at: String, findings: &'a mut Vec<Finding>) -> Self {
        Self { at, findings }
    }

    /// Notes that the value of `key` cannot be.
    pub fn find(&mut self, key: &str, message: String) {
        self.findings.push(Finding { at: path(&self.at, key), message });
    }

    /// Notes that this table is about something that the file does not have.
    pub fn find_missing<'n>(&mut self, what: &str, name: &Name, there: impl Iterator<Item = &'n Name>) {
        let names: Vec<&str> = there.map(Name::as_str).collect();
        let advice = match (names.is_empty(), keys::closest(name.as_str(), &names)) {
            (true, _) => format!("; add [{what}.{name}] above the profiles"),
            (_, Some(meant)) => format!("; did you mean {meant}?"),
            _ => format!("; there are: {}", names.join(", ")),
        };
        self.findings.push(Finding { at: self.at.clone(), message: format!("there is no {what} {name}{advice}") });
    }

    /// The limit that `change` makes of `old`, if it can be kept; else what is wrong is noted.
    fn limit<T>(
        &mut self,
        change: LimitChange,
        old: Limit,
        (rate, burst): (&str, &str),
        keep: impl FnOnce(&Limit) -> Result<T, Unkeepable>,
    ) -> Limit {
        if change.is_empty() {
            return old;
        }
        let key = if change.rate.is_some() { rate } else { burst };
        let limit = match change.apply(old, rate) {
            Ok(limit) => limit,
            Err(message) => {
                self.find(key, message);
                return old;
            }
        };
        if let Err(reason) = keep(&limit) {
            self.find(key, advice(limit, rate, reason));
        }
        limit
    }

    fn source(&mut self, change: LimitChange, old: Limit) -> Limit {
        self.limit(change, old, ("source_rate", "source_burst"), Limit::to_source)
    }

    fn budget(&mut self, change: LimitChange, old: Limit, names: (&str, &str)) -> Limit {
        // The number of CPUs changes the lease, not what can be kept.
        self.limit(change, old, names, |limit| limit.to_budget(1))
    }
}

impl PrefixChange {
    /// Whether nothing is said.
    pub const fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    fn apply(&self, old: Prefixes) -> Prefixes {
        Prefixes { v4: self.v4.unwrap_or(old.v4), v6: self.v6.unwrap_or(old.v6) }
    }

    fn apply_own(&self, old: Option<Prefixes>, default: Prefixes) -> Option<Prefixes> {
        if self.is_empty() { old } else { Some(self.apply(old.unwrap_or(default))) }
    }
}

impl HostSettings {
    /// Changes the host's part of `policy`. `at` is the table that holds `defaults` and `host`.
    pub fn apply(&self, policy: &mut Policy, at: &str, findings: &mut Vec<Finding>) {
        policy.source = Scope::new(path(at, "defaults"), findings).source(self.source, policy.source);
        policy.prefixes = self.prefixes.apply(policy.prefixes);
        let names = ("budget", "budget_burst");
        policy.budget = Scope::new(path(at, "host"), findings).budget(self.budget, policy.budget, names);
    }
}

impl ServiceSettings {
    /// Changes `service`; `source` and `prefixes` are the defaults that it follows without its own.
    pub fn apply(&self, service: &mut Service, source: Limit, prefixes: Prefixes, mut scope: Scope<'_>) {
        if self.follow_default {
            service.source = None;
        } else if !self.source.is_empty() {
            service.source = Some(scope.source(self.source, service.source.unwrap_or(source)));
        }
        service.prefixes = self.prefixes.apply_own(service.prefixes, prefixes);
        service.budget = scope.budget(self.budget, service.budget, ("budget", "budget_burst"));
        let admission = &mut service.admission;
        admission.newcomers = scope.budget(self.newcomers, admission.newcomers, ("newcomers", "newcomers_burst"));
        admission.challenge = self.challenge.unwrap_or(admission.challenge);
        admission.ticket_seconds = self.tickets.unwrap_or(admission.ticket_seconds);
        admission.reserve = self.reserve.unwrap_or(admission.reserve);
        admission.fair_share = self.fair_share.unwrap_or(admission.fair_share);
        admission.reset = self.reset.unwrap_or(admission.reset);
        let wants = if admission.challenge != Challenge::Off { "challenge" } else { "newcomers" };
        if admission.ticket_seconds == 0 && (wants == "challenge" || !admission.newcomers.is_none()) {
            let key = if self.tickets.is_some() { "tickets" } else { wants };
            scope.find(
                key,
                format!("`{wants}` needs tickets: who proved itself must be known again; add `tickets = \"15m\"`"),
            );
        }
    }
}

impl ClassSettings {
    /// Changes `class`; `prefixes` are the default lengths.
    pub fn apply(&self, class: &mut Class, prefixes: Prefixes, mut scope: Scope<'_>) {
        class.source = scope.source(self.source, class.source);
        class.prefixes = self.prefixes.apply_own(class.prefixes, prefixes);
    }
}
