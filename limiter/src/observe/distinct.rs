//! How many sources there are.

use serde::Serialize;

/// Estimates of how many sources made attempts lately.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Distinct {
    /// The time that they are of, up to now, in seconds: more than half a minute once limiter has run for that long.
    pub seconds: f64,
    /// Source addresses (of IPv6: /64 prefixes).
    pub sources: u64,
    /// /24 prefixes of IPv4.
    pub prefixes_24: u64,
    /// /48 prefixes of IPv6.
    pub prefixes_48: u64,
    /// Percent of these sources that had been seen in the ten minutes before; `None` before there are any.
    pub returning_percent: Option<f64>,
    /// Standard error of each estimate, in percent of it.
    pub standard_error_percent: f64,
}
