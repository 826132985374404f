//! What the nodes of a fleet tell one another, as the engine keeps it. Unknown fields are ignored,
//! so that versions may differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A rate, in thousandths of a connection per second.
pub type Amount = u64;

/// Rates by the name of their budget.
pub type Amounts = BTreeMap<String, Amount>;

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
    /// What is kept for it when its share has ended.
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
