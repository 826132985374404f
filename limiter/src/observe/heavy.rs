//! Which sources come most.

use serde::Serialize;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Attempts over the source limit or the fair share: every one.
    Refused,
    /// Attempts refused by a budget: a sample.
    Budget,
    /// All attempts: a sample.
    Attempts,
}

/// A source that comes often.
#[derive(Clone, Debug, Serialize)]
pub struct Heavy {
    /// The source as the limit counts it: an address, or a prefix.
    pub source: String,
    /// The address of the last packet that was counted.
    pub address: String,
    /// The service.
    pub service: String,
    /// Name of its class, if it has one.
    pub class: Option<String>,
    /// How often it was counted, an estimate.
    pub count: u64,
    /// How many of these may be another source's: most often 0.
    pub uncertain: u64,
    /// Seconds since it was first counted.
    pub first_seconds_ago: f64,
    /// Seconds since it was last counted.
    pub last_seconds_ago: f64,
}
