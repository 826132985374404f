//! One moment of limiter, of a snapshot what the screen needs.

use limiter_common::challenge::Challenge;

use crate::assess::Facts;
use crate::kernel::interface::Attachment;
use crate::kernel::share::InForce;
use crate::observe::{Distinct, Heavy};
use crate::policy::text;
use crate::report::{Counts, Snapshot};

/// A budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// As it was stated, or `none`.
    pub stated: String,
    /// Percent that is used; `None` without a budget.
    pub used_percent: Option<f64>,
}

/// When and where it goes back by itself.
#[derive(Clone, Debug)]
pub struct Back {
    pub in_seconds: f64,
    /// The mode from then on.
    pub mode: String,
    /// Whether the policy goes back too.
    pub policy: bool,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub listeners: String,
    pub source_limit: String,
    pub budget: Budget,
    /// `off`, `auto` or `always`.
    pub challenge: String,
    pub challenging: bool,
    /// Seconds that whoever is let in by its line now has waited; `None` where it has none.
    pub waited: Option<f64>,
    /// Attempts that limits in the shadow judged since they were set, and would have refused;
    /// `None` where none are tried.
    pub shadow: Option<[u64; 2]>,
    pub counts: Counts,
}

/// A change that somebody noted.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeMark {
    /// When, in seconds of the watch; negative before it began.
    pub at: f64,
    /// The same as people say it.
    pub clock: String,
    pub who: String,
    pub what: String,
}

/// One moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Seconds since the watch began.
    pub at: f64,
    /// Which loading of limiter this is: counters of two are not compared.
    pub life: u64,
    pub enforces: bool,
    pub back: Option<Back>,
    pub profile: Option<String>,
    pub generation: u64,
    /// `web0 native`.
    pub interfaces: Vec<String>,
    /// `web 1,912/s for 9 s`: shares of a fleet's budgets.
    pub shares: Vec<String>,
    pub host: Budget,
    pub services: Vec<Service>,
    pub counts: Counts,
    /// Percent of the source table that is in use.
    pub table_percent: f64,
    pub steals: u64,
    pub allowed: usize,
    pub banned: usize,
    pub distinct: Distinct,
    pub refused_most: Vec<Heavy>,
    /// What is wrong, and what to do.
    pub warnings: Vec<String>,
    /// The latest changes that the history knows, oldest first.
    pub changes: Vec<ChangeMark>,
    /// What the assessment rests on, but for the rates.
    pub facts: Facts,
}

impl Reading {
    pub fn of(
        snapshot: Snapshot,
        at: f64,
        life: u64,
        changes: Vec<ChangeMark>,
        facts: Facts,
    ) -> Self {
        let warnings = warnings(&snapshot);
        let table = &snapshot.table;
        let interfaces = snapshot.interfaces.iter().filter_map(|one| {
            let place = match one.attachment? {
                Attachment::Native => "native",
                Attachment::Generic => "GENERIC",
                Attachment::Offloaded => "in the NIC",
            };
            Some(format!("{} {place}", one.name.as_deref().unwrap_or("?")))
        });
        Self {
            at,
            life,
            enforces: snapshot.mode == "enforce",
            back: snapshot.reverts.as_ref().map(|revert| Back {
                in_seconds: revert.in_seconds,
                mode: revert.mode.to_owned(),
                policy: revert.policy,
            }),
            generation: snapshot.generation,
            interfaces: interfaces.collect(),
            shares: snapshot.shares.iter().map(InForce::brief).collect(),
            host: Budget {
                stated: snapshot.budget.clone(),
                used_percent: snapshot.budget_used_percent,
            },
            counts: snapshot.counts,
            table_percent: 100.0 * table.live as f64 / table.ways.max(1) as f64,
            steals: table.steals,
            allowed: snapshot.allowed,
            banned: snapshot.banned,
            services: snapshot.services.iter().map(service).collect(),
            profile: snapshot.profile,
            distinct: snapshot.distinct,
            refused_most: snapshot.refused_most,
            warnings,
            changes,
            facts,
        }
    }

    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }
}

fn service(service: &crate::report::Service) -> Service {
    let admission = &service.admission;
    Service {
        name: service.name.clone(),
        listeners: service.listeners.join(" "),
        source_limit: service.source_limit.clone(),
        budget: Budget {
            stated: service.budget.clone(),
            used_percent: admission.budget_used_percent,
        },
        challenge: text::show_challenge(service.settings.admission.challenge).to_owned(),
        challenging: admission.challenging,
        waited: admission.line.as_ref().map(|line| line.wait_seconds),
        shadow: admission.shadow.as_ref().map(|shadow| [shadow.judged, shadow.refused()]),
        counts: Counts::of(&service.decided, &service.observed),
    }
}

/// What would make the numbers mean something else than they seem to, the worst first.
fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut say = |condition: bool, words: String| {
        if condition {
            warnings.push(words);
        }
    };
    let attached = |place: Option<Attachment>| {
        snapshot.interfaces.iter().filter(move |one| one.attachment == place)
    };
    say(
        snapshot.interfaces.is_empty(),
        "attached to no interface: `limiter attach IFACE`".to_owned(),
    );
    let gone = attached(None).count();
    say(
        gone > 0,
        format!("{gone} interface(s) gone, or in another network namespace: `limiter status`"),
    );
    say(snapshot.services.is_empty(), "no service is protected, so everything passes".to_owned());
    let challenges = snapshot
        .services
        .iter()
        .any(|service| service.settings.admission.challenge != Challenge::Off);
    let cookies = &snapshot.cookies;
    say(
        snapshot.mode == "enforce" && challenges && !cookies.works(),
        format!("NOBODY IS CHALLENGED: net.ipv4.tcp_syncookies is {}, not 2", cookies.syncookies),
    );
    let generic: Vec<_> =
        attached(Some(Attachment::Generic)).filter_map(|one| one.name.as_deref()).collect();
    say(
        !generic.is_empty(),
        format!("slow path (generic) on {}: see `limiter attach --help`", generic.join(", ")),
    );
    let table = &snapshot.table;
    // From an eighth on a source's own limit is no longer exact, and from a half sources are held by the budget alone.
    say(
        table.live * 8 > table.ways,
        "many sources in the table: source limits are not exact (attach --sources)".to_owned(),
    );
    warnings
}
