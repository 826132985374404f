//! What the nodes of a fleet tell one another, as the engine keeps it. Unknown fields are ignored,
//! so that versions may differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A rate, in thousandths of a connection per second; of places, thousandths of a place.
pub type Amount = u64;

/// Amounts by the name of their budget.
pub type Amounts = BTreeMap<String, Amount>;

/// Places of sources that are present, behind the name of the service: `web.users`.
pub const USERS: &str = "users";
/// Places of open connections, likewise, and of the host: `host.open`.
pub const OPEN: &str = "open";

/// Whether a budget is one of places: what was given of it comes back only when its user has left,
/// and not when the share ends.
pub fn is_of_places(budget: &str) -> bool {
    budget.contains('.')
}

/// What a node says of itself. Committed, it renews the node's shares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The revision of the grant that is in force on it; 0: none.
    #[serde(default)]
    pub holds: u64,
    /// What it wants and what it falls back to, by budget.
    #[serde(default)]
    pub claims: BTreeMap<String, Claim>,
}

/// What a node says about one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Attempts a second that got as far as the budget, admitted or refused by it; where attempts
    /// are challenged, proofs.
    pub demand: Amount,
    /// What its own policy states: in force when its share has ended, and the least that it has.
    pub fallback: Amount,
    /// The most that it takes; 0: any.
    #[serde(default)]
    pub most: Amount,
    /// Of places, those that are taken now, by those who came under any share.
    #[serde(default)]
    pub used: Amount,
}

/// What a node may use, by budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its shares.
    pub shares: BTreeMap<String, Share>,
}

/// A share of one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// What it may use.
    pub rate: Amount,
    /// What is kept for it when its share has ended. Of places, `most` is kept until it reports how
    /// many are still taken.
    pub fallback: Amount,
    /// The most that may be in force on it until it reports that it holds this grant. A new leader
    /// reads here what the one before has given.
    pub most: Amount,
}

impl Share {
    /// The share of a node that is not heard of.
    pub const fn rest(fallback: Amount) -> Self {
        Self { rate: fallback, fallback, most: fallback }
    }
}
