//! A rate and its burst, either of which may be left unsaid, and what they mean together: as options and in a file.

use limiter_common::rate::{Limit, Rate};

use super::text;

/// What is said about a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitChange {
    /// The rate; a count of 0 is `none`.
    pub rate: Option<Rate>,
    /// The burst.
    pub burst: Option<u64>,
}

impl LimitChange {
    /// Whether nothing is said.
    pub const fn is_empty(&self) -> bool {
        self.rate.is_none() && self.burst.is_none()
    }

    /// The limit that it makes of `old`. A rate without a burst gets the usual one. `name` is what the rate is called where it was
    /// said.
    ///
    /// # Errors
    /// When a burst has no rate: what to do.
    pub fn apply(&self, old: Limit, name: &str) -> Result<Limit, String> {
        match (self.rate, self.burst) {
            (None, None) => Ok(old),
            (Some(Rate { count: 0, .. }), None) => Ok(Limit::default()),
            (Some(Rate { count: 0, .. }), Some(_)) => Err(format!("{name} none takes no burst")),
            (Some(rate), burst) => Ok(Limit { rate, burst: burst.unwrap_or_else(|| text::usual_burst(rate)) }),
            (None, Some(_)) if old.is_none() => Err(format!("a burst needs its rate: give {name} too, such as 20/s")),
            (None, Some(burst)) => Ok(Limit { burst, ..old }),
        }
    }
}
