//! Everything that `status` shows, as one value.

use serde::Serialize;

use super::sample::ByReason;
use super::shadow::Shadow;
use super::{Counts, Rates};
use crate::kernel::cookies::Cookies;
use crate::kernel::interface::Attachment;
use crate::kernel::share::InForce;
use crate::observe::waiting::Waiting;
use crate::observe::{Distinct, Heavy, Sources, concentrated};
use crate::policy::{self, Prefixes};

/// The state of a loaded limiter. `version` changes when a field changes its meaning.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Version of this structure.
    pub version: u32,
    /// `observe` or `enforce`.
    pub mode: &'static str,
    /// When the mode or the policy goes back by itself, if it does.
    pub reverts: Option<Revert>,
    /// Name of the profile that the policy was made with.
    pub profile: Option<String>,
    /// Number of this policy among those that were written since limiter was loaded, from 1.
    pub generation: u64,
    /// Prefixes with limits of their own.
    pub classes: Vec<Class>,
    /// Where it is attached.
    pub interfaces: Vec<Interface>,
    /// The global budget.
    pub budget: String,
    /// Percent of it that is used now; `None` without one.
    pub budget_used_percent: Option<f64>,
    /// Shares of a fleet's budgets that are in force instead of what is stated.
    pub shares: Vec<InForce>,
    /// Source limit of services that have none of their own.
    pub source_limit: String,
    /// Prefixes that make a source.
    pub prefixes: Prefixes,
    /// What is protected.
    pub services: Vec<Service>,
    /// Packets that are about no service, by reason.
    pub other: ByReason,
    /// All packets, by reason: the verdict of the reason was carried out.
    pub decided: ByReason,
    /// All packets that enforcing would have dropped, by reason.
    pub observed: ByReason,
    /// Seconds over which the `_per_second` fields were measured; 0 if they were not.
    pub measured_seconds: f64,
    /// The source table.
    pub table: Table,
    /// Who waits in line; `None` where no service has one.
    pub waiting: Option<Waiting>,
    /// The waiting room; `None` where no service has one.
    pub room: Option<Room>,
    /// Open connections; `None` where the policy does not bound them.
    pub open: Option<Open>,
    /// The kernel's settings that the challenge depends on.
    pub cookies: Cookies,
    /// Entries of the allow list.
    pub allowed: usize,
    /// Entries of the ban list.
    pub banned: usize,
    /// How many sources there are.
    pub distinct: Distinct,
    /// The sources that were refused most by their own limit, the most refused first: at most ten.
    pub refused_most: Vec<Heavy>,
    /// The prefix that most attempts to a service come from.
    #[serde(skip)]
    pub common: Vec<concentrated::Common>,
    /// Where most attempts come from, if that is one network or few addresses.
    pub concentrated: Vec<concentrated::Finding>,
    /// Which of them come most, and how they come.
    #[serde(skip)]
    pub sources: Sources,
    /// What was counted since limiter was loaded, with the kernel's own counters.
    #[serde(skip)]
    pub counts: Counts,
    /// What came while it was measured; `None` if it was not.
    #[serde(skip)]
    pub now: Option<Rates>,
}

/// A revert that is due.
#[derive(Clone, Debug, Serialize)]
pub struct Revert {
    /// Seconds until then.
    pub in_seconds: f64,
    /// The mode from then on.
    pub mode: &'static str,
    /// Whether the policy goes back too: to the one before.
    pub policy: bool,
}

/// The waiting room.
#[derive(Clone, Debug, Serialize)]
pub struct Room {
    /// Ports of services that send there whom they refuse, and for which a room listens.
    pub open: Vec<u16>,
    /// Those for which none does: what they refuse is dropped.
    pub closed: Vec<u16>,
}

/// Open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Open {
    /// Whether they are counted; where they are not, none is refused for them.
    pub counted: bool,
    /// Connections that are open to all services.
    pub connections: u64,
    /// How many may be; `None` for any number.
    pub budget: Option<u64>,
    /// Connections, since the count began, whose sources found no place in the table.
    pub uncounted: u64,
    /// Connections that were there when the count began, and that it could not take over.
    pub older: u64,
}

/// Open connections of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OpenOfService {
    /// Connections that are open.
    pub connections: u64,
    /// How many may be; `None` for any number.
    pub budget: Option<u64>,
    /// How many one source may have; `None` for any number.
    pub source: Option<u64>,
}

/// A class.
#[derive(Clone, Debug, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Number of its prefixes.
    pub prefixes: usize,
    /// Limit of each of its sources to each service.
    pub source_limit: String,
    /// Limit of each of their networks; `None` without one.
    pub network_limit: Option<String>,
    /// Most open connections of each source, 0 for any number; `None`: as the service has it.
    pub open: Option<u64>,
}

/// An interface with a link.
#[derive(Clone, Debug, Serialize)]
pub struct Interface {
    /// Its name; `None` if it is gone or in another network namespace.
    pub name: Option<String>,
    /// Its index.
    pub index: u32,
    /// Where the program runs; `None` if it does not.
    pub attachment: Option<Attachment>,
    /// Whether it runs there as a component of a dispatcher.
    pub in_dispatcher: bool,
}

/// A service and its counters.
#[derive(Clone, Debug, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What it listens on.
    pub listeners: Vec<String>,
    /// Limit of each source, and whether it is the service's own.
    pub source_limit: String,
    /// Its budget.
    pub budget: String,
    /// Attempts since it was loaded.
    pub attempts: u64,
    /// Those within every limit.
    pub admitted: u64,
    /// Packets with a dropping reason, dropped or (in observe mode) not.
    pub refused: u64,
    /// Attempts per second now.
    pub attempts_per_second: f64,
    /// Refused per second now.
    pub refused_per_second: f64,
    /// By reason.
    pub decided: ByReason,
    /// By reason, what enforcing would have dropped.
    pub observed: ByReason,
    /// Attempts by the debt of their source when they came: none, then sixteenths of its limit, then over it.
    pub debts: Vec<u64>,
    /// What was said about it, by the keys of the policy file.
    pub settings: policy::Service,
    /// Where its way of letting sources in stands.
    pub admission: Admission,
}

/// Where a service's way of letting sources in stands.
#[derive(Clone, Debug, Serialize)]
pub struct Admission {
    /// Whether sources are challenged now: in enforce mode, with a kernel that makes cookies.
    pub challenging: bool,
    /// How often `auto` turned it on.
    pub challenge_turns: u64,
    /// Where its line stands; `None` where it has none.
    pub line: Option<Line>,
    /// Resets sent so far.
    pub resets_sent: u64,
    /// Percent of the service's budget that is used now; `None` without a budget.
    pub budget_used_percent: Option<f64>,
    /// Its open connections; `None` where the policy does not bound any.
    pub open: Option<OpenOfService>,
    /// The limits that it tries; `None` where it tries none.
    pub shadow: Option<Shadow>,
}

/// Where a service's line stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Line {
    /// How long whoever is let in now has waited.
    pub wait_seconds: f64,
    /// Visits let in: sources that were not present.
    pub visits: u64,
    /// Pages let in, the first ones of visits too.
    pub pages: u64,
    /// Connections of a page, as they were seen.
    pub connections_per_page: f64,
    /// Sources that are present; `None` where any number may be.
    pub present: Option<u64>,
    /// How many may be.
    pub users: Option<u64>,
}

/// The source table.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Sources that it can hold.
    pub ways: usize,
    /// Sources in debt now: each was admitted less than its interval ago. In a table of more than 32,768 an estimate, from 4,096 of its sets.
    pub live: usize,
    /// Debts that were forgotten because eight sources in debt shared a set.
    pub steals: u64,
}
