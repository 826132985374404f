//! The lines of a recorded series: what is written each second, and what happened in between.
//!
//! Counters are absolute, as the maps and /proc show them; who reads makes differences. Every field may be missing when it is read: the
//! line may be another version's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::{Entry, Moment};
use crate::observe::Sources;
use crate::report::Snapshot;
use crate::report::human::tried;

/// Counters by name.
pub type Counts = BTreeMap<String, u64>;

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The counters of one second.
    Tick(Box<Tick>),
    /// The sources that come most.
    Top(Top),
    /// The policy that decides since this moment.
    Policy(PolicyLine),
    /// An entry of the history.
    Change(Box<HistoryEntry>),
    /// Something about the recording itself.
    Note(Note),
}

/// Everything that is counted, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tick {
    /// Wall time.
    pub time: Option<Moment>,
    /// Seconds of CLOCK_MONOTONIC, which nobody sets; it begins again at a boot.
    pub monotonic: f64,
    /// What limiter counts; `None` while it is not loaded.
    pub limiter: Option<Limiter>,
    /// The kernel's own counters of TCP, for the whole network namespace.
    pub tcp: Counts,
    /// CPU time.
    pub cpu: Cpu,
    /// The interfaces that limiter is attached to.
    pub nics: Vec<Nic>,
}

/// What limiter counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limiter {
    /// `observe` or `enforce`.
    pub mode: String,
    /// Number of the policy.
    pub generation: u64,
    /// The profile, where the policy has one.
    pub profile: Option<String>,
    /// Seconds until the mode or the policy goes back by itself, if it does.
    pub reverts_in: Option<f64>,
    /// Percent of the host's budget that is used.
    pub budget_used: Option<f64>,
    /// The services.
    pub services: Vec<Service>,
    /// Packets of no service, by reason.
    pub other: Counts,
    /// Sources in debt now.
    pub live: u64,
    /// Debts that were forgotten for want of room.
    pub steals: u64,
    /// Entries of the allow list and of the ban list.
    pub lists: [u64; 2],
    /// How many sources there are; `None` where it is not measured.
    pub distinct: Option<Distinct>,
    /// Which of them come most, and how they come; `None` where it was not recorded.
    pub sources: Option<Sources>,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Packets by reason, whose verdict was carried out.
    pub decided: Counts,
    /// Packets by reason, that enforcing would have dropped or answered.
    pub observed: Counts,
    /// Percent of its budget that is used.
    pub budget_used: Option<f64>,
    /// Whether its sources are challenged now.
    pub challenging: bool,
    /// How often `auto` turned the challenge on.
    pub turns: u64,
    /// Resets sent so far.
    pub resets: u64,
    /// Seconds that whoever is let in by the line now has waited; `None` without a line.
    pub waited: Option<f64>,
    /// What limits in the shadow would have done since they were set; `None` where none are tried.
    pub shadow: Option<Shadow>,
}

/// Limits in the shadow of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shadow {
    /// Which they are.
    pub tried: String,
    /// Attempts that were judged.
    pub judged: u64,
    /// Of these, those that they would have refused.
    pub refused: u64,
}

/// How many sources made attempts lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Distinct {
    /// Seconds that it is of.
    pub seconds: f64,
    /// Sources.
    pub sources: u64,
    /// /24 prefixes of IPv4.
    pub prefixes_24: u64,
    /// /48 prefixes of IPv6.
    pub prefixes_48: u64,
    /// Percent of the sources that had been seen in the ten minutes before.
    pub returning_percent: Option<f64>,
    /// Standard error in percent.
    pub standard_error_percent: f64,
}

/// CPU time of the whole machine since it booted, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// All of it.
    pub total: u64,
    /// Not idle and not waiting for I/O.
    pub busy: u64,
    /// In soft interrupts, where packets are received and XDP runs.
    pub softirq: u64,
}

/// Counters of an interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// By direction and kind, `rx_packets`.
    pub counts: Counts,
}

/// The sources that come most, the most frequent first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Top {
    /// When.
    pub time: Option<Moment>,
    /// Those refused most by their own limit.
    pub refused: Vec<Heavy>,
}

/// A source that comes often.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heavy {
    /// The source as the limit counts it.
    pub source: String,
    /// The address of the last packet that was counted.
    pub address: String,
    /// The service.
    pub service: String,
    /// Name of its class.
    pub class: Option<String>,
    /// How often it was counted.
    pub count: u64,
    /// How many of these may be another source's.
    pub uncertain: u64,
    /// Seconds since it was first counted.
    pub first_seconds_ago: f64,
}

/// A policy that decides since some moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyLine {
    /// Since when.
    pub time: Option<Moment>,
    /// Its number.
    pub generation: u64,
    /// As `policy show` prints it.
    pub text: String,
    /// What differs from the one before; empty for the first.
    pub changed: Vec<String>,
}

/// An entry of the history that was written meanwhile.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// As the history has it.
    pub entry: Entry,
}

/// Something about the recording itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// When.
    pub time: Option<Moment>,
    /// What.
    pub text: String,
}

impl Limiter {
    /// What a snapshot says.
    pub fn of(snapshot: &Snapshot) -> Self {
        let named = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<Counts>()
        };
        let services = snapshot.services.iter().map(|service| Service {
            name: service.name.clone(),
            decided: named(&service.decided),
            observed: named(&service.observed),
            budget_used: service.admission.budget_used_percent,
            challenging: service.admission.challenging,
            turns: service.admission.challenge_turns,
            resets: service.admission.resets_sent,
            waited: service.admission.line.map(|line| line.wait_seconds),
            shadow: service.admission.shadow.as_ref().map(|shadow| Shadow {
                tried: tried(shadow),
                judged: shadow.judged,
                refused: shadow.refused(),
            }),
        });
        Self {
            mode: snapshot.mode.to_owned(),
            generation: snapshot.generation,
            profile: snapshot.profile.clone(),
            reverts_in: snapshot.reverts.as_ref().map(|revert| revert.in_seconds),
            budget_used: snapshot.budget_used_percent,
            services: services.collect(),
            other: named(&snapshot.other),
            live: snapshot.table.live as u64,
            steals: snapshot.table.steals,
            lists: [snapshot.allowed as u64, snapshot.banned as u64],
            distinct: same(&snapshot.distinct).filter(|distinct: &Distinct| distinct.seconds > 0.0),
            sources: Some(snapshot.sources.clone()),
        }
    }
}

impl Heavy {
    /// The same, to be read again.
    pub fn of(heavy: &crate::observe::Heavy) -> Option<Self> {
        same(heavy)
    }
}

/// By the names of the fields, so that what `status` calls a thing is what a record calls it.
fn same<T: serde::de::DeserializeOwned>(value: &impl Serialize) -> Option<T> {
    serde_json::to_value(value).ok().and_then(|value| serde_json::from_value(value).ok())
}
