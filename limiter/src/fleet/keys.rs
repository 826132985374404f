//! The keys of a fleet and what stands at them, as JSON:
//!
//! ```text
//! /limiter/NAME/v1/budget            what the fleet may use
//!                  round             written by every round of grants
//!                  leader            the node that writes them; it goes when that is gone
//!                  node/ID/report    what the node says of itself
//!                  node/ID/grant     what it may use
//!                  node/ID/away      there while the node is to stay out of the fleet
//!                  node/ID/answer    what it has done about the profile
//!                  profile           which one all nodes put into force that take it
//!                  list/ban/PREFIX   who is banned on all nodes that take bans; list/allow/PREFIX
//! /limiter/NAME/top/ID               the sources that weigh most on the node
//! ```

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use limiter_fleet::allocator::FleetView;
use limiter_fleet::engine::{Entry, Snapshot};
use limiter_fleet::record::{Amounts, Grant, Report};
use limiter_policy::Name;
use serde::{Deserialize, Serialize};

/// The keys of one fleet.
#[derive(Clone, Debug)]
pub struct Keys {
    all: String,
    tops: String,
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'k> {
    /// The budgets.
    Budget,
    /// The last round.
    Round,
    /// Of a node: its report.
    Report(&'k str),
    /// Its grant.
    Grant(&'k str),
    /// That it is to stay out.
    Away(&'k str),
    /// What it has done about the profile.
    Answer(&'k str),
    /// The profile.
    Profile,
    /// Who is banned: the prefix as text.
    Ban(&'k str),
    /// Who is allowed, likewise.
    Allow(&'k str),
    /// Anything else.
    Other,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// What decides.
    #[serde(flatten)]
    pub report: Report,
    /// Which start of which machine says so: two machines with one name do not share its shares.
    #[serde(default)]
    pub boot: String,
    /// The version of its limiter.
    #[serde(default)]
    pub version: String,
    /// How many entries of the fleet it refuses: of its lists, and its profile.
    #[serde(default)]
    pub refused: u64,
    /// When, in seconds of its wall clock, to be shown.
    #[serde(default)]
    pub at: u64,
}

impl Keys {
    /// Those of the fleet with this name.
    pub fn of(fleet: &Name) -> Self {
        Self { all: format!("/limiter/{fleet}/v1/"), tops: format!("/limiter/{fleet}/top/") }
    }

    /// What they all begin with.
    pub fn all(&self) -> &str {
        &self.all
    }

    /// What those begin with that tell which sources weigh most on each node. They decide nothing.
    pub fn tops(&self) -> &str {
        &self.tops
    }

    /// See [`Keys::tops`].
    pub fn top(&self, node: &str) -> String {
        format!("{}{node}", self.tops)
    }

    /// What those of one node begin with.
    pub fn node(&self, node: &str) -> String {
        format!("{}node/{node}/", self.all)
    }

    /// See [`Key`].
    pub fn budget(&self) -> String {
        format!("{}budget", self.all)
    }

    /// See [`Key`].
    pub fn round(&self) -> String {
        format!("{}round", self.all)
    }

    /// The key that the leader holds.
    pub fn leader(&self) -> String {
        format!("{}leader", self.all)
    }

    /// See [`Key`].
    pub fn report(&self, node: &str) -> String {
        format!("{}report", self.node(node))
    }

    /// See [`Key`].
    pub fn grant(&self, node: &str) -> String {
        format!("{}grant", self.node(node))
    }

    /// See [`Key`].
    pub fn away(&self, node: &str) -> String {
        format!("{}away", self.node(node))
    }

    /// See [`Key`].
    pub fn answer(&self, node: &str) -> String {
        format!("{}answer", self.node(node))
    }

    /// See [`Key`].
    pub fn profile(&self) -> String {
        format!("{}profile", self.all)
    }

    /// What those of both lists begin with.
    pub fn lists(&self) -> String {
        format!("{}list/", self.all)
    }

    /// See [`Key`].
    pub fn ban(&self, prefix: &str) -> String {
        format!("{}list/ban/{prefix}", self.all)
    }

    /// See [`Key`].
    pub fn allow(&self, prefix: &str) -> String {
        format!("{}list/allow/{prefix}", self.all)
    }

    /// What a key is.
    pub fn kind<'k>(&self, key: &'k str) -> Key<'k> {
        let Some(rest) = key.strip_prefix(&self.all) else { return Key::Other };
        // A prefix has a slash of its own.
        if let Some(prefix) = rest.strip_prefix("list/ban/") {
            return Key::Ban(prefix);
        }
        if let Some(prefix) = rest.strip_prefix("list/allow/") {
            return Key::Allow(prefix);
        }
        match rest.split('/').collect::<Vec<_>>()[..] {
            ["budget"] => Key::Budget,
            ["round"] => Key::Round,
            ["node", node, "report"] => Key::Report(node),
            ["node", node, "grant"] => Key::Grant(node),
            ["node", node, "away"] => Key::Away(node),
            ["node", node, "answer"] => Key::Answer(node),
            ["profile"] => Key::Profile,
            _ => Key::Other,
        }
    }

    /// Everything that decides.
    ///
    /// # Errors
    /// When a grant or the budgets cannot be read: then it is not known what may be in force.
    pub fn seen(&self, snapshot: &Snapshot) -> Result<FleetView> {
        let mut seen = FleetView::default();
        for (key, Entry { value, revision }) in &snapshot.entries {
            match self.kind(key) {
                Key::Budget => seen.budgets = budgets(value)?,
                Key::Round => seen.round = *revision,
                Key::Report(name) => {
                    let node = seen.nodes.entry(name.to_owned()).or_default();
                    node.report = (*revision, said(value).report);
                }
                Key::Grant(name) => {
                    let node = seen.nodes.entry(name.to_owned()).or_default();
                    node.grant = Some((*revision, grant(key, value)?));
                }
                Key::Away(_) | Key::Answer(_) | Key::Profile => {}
                Key::Ban(_) | Key::Allow(_) | Key::Other => {}
            }
        }
        Ok(seen)
    }
}

/// What is said in a report. Of one that makes no sense nothing is taken, and all that was granted
/// stays reserved.
pub fn said(value: &[u8]) -> Said {
    serde_json::from_slice(value).unwrap_or_default()
}

/// What is granted.
///
/// # Errors
/// When it makes no sense.
pub fn grant(key: &str, value: &[u8]) -> Result<Grant> {
    serde_json::from_slice(value).with_context(|| format!("the engine holds no grant at {key}"))
}

/// The budgets.
///
/// # Errors
/// When they make no sense.
pub fn budgets(value: &[u8]) -> Result<Amounts> {
    let budgets: BTreeMap<String, u64> = serde_json::from_slice(value)
        .context("the engine holds no budgets; `limiter fleet budget` writes them anew")?;
    Ok(budgets)
}

/// A value as it is kept.
pub fn bytes(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("this makes no JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_they_were_made_for() {
        let keys = Keys::of(&"school".parse().expect("a name"));
        for (key, kind) in [
            (keys.budget(), Key::Budget),
            (keys.round(), Key::Round),
            (keys.report("a"), Key::Report("a")),
            (keys.grant("a"), Key::Grant("a")),
            (keys.away("a"), Key::Away("a")),
            (keys.answer("a"), Key::Answer("a")),
            (keys.profile(), Key::Profile),
            (keys.ban("192.0.2.0/24"), Key::Ban("192.0.2.0/24")),
            (keys.allow("::1"), Key::Allow("::1")),
            (keys.leader(), Key::Other),
            ("/limiter/other/v1/budget".to_owned(), Key::Other),
            (format!("{}node/a/b/grant", keys.all()), Key::Other),
        ] {
            assert_eq!(keys.kind(&key), kind, "{key}");
        }
        assert!(keys.grant("a").starts_with(&keys.node("a")));
    }

    #[test]
    fn what_makes_no_sense_frees_nothing() {
        let keys = Keys::of(&"school".parse().expect("a name"));
        let with = |key: String, value: &str| {
            let entry = Entry { value: value.as_bytes().to_vec(), revision: 7 };
            keys.seen(&Snapshot { revision: 9, entries: [(key, entry)].into() })
        };
        for junk in ["", "{", "[]", "7", "{\"shares\": -3}", "\u{0}"] {
            assert!(with(keys.grant("a"), junk).is_err(), "{junk}");
            assert!(with(keys.budget(), junk).is_err(), "{junk}");
            let seen = with(keys.report("a"), junk).expect("it is left out");
            assert_eq!(seen.nodes["a"].report, (7, Report::default()), "{junk}");
        }
        let said = said(br#"{"holds": 3, "claims": {}, "from the future": [1]}"#);
        assert_eq!(said.report.holds, 3);
    }
}
