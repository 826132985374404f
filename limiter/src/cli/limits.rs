//! A rate and its burst as two options, and what they mean together.

use limiter_common::rate::{Limit, Rate};

use super::Usage;
use crate::policy::text;

/// The limit that `--X RATE --X-burst N` makes of `old`. A rate without a burst gets two seconds' worth, at least 10.
pub fn limit(name: &str, rate: Option<Rate>, burst: Option<u64>, old: Limit) -> Result<Limit, Usage> {
    match (rate, burst) {
        (None, None) => Ok(old),
        (Some(Rate { count: 0, .. }), None) => Ok(Limit::default()),
        (Some(Rate { count: 0, .. }), Some(_)) => Err(Usage(format!("--{name} none takes no burst"))),
        (Some(rate), burst) => Ok(Limit { rate, burst: burst.unwrap_or_else(|| text::usual_burst(rate)) }),
        (None, Some(_)) if old.is_none() => {
            Err(Usage(format!("a burst needs its rate: give --{name} too, such as 20/s")))
        }
        (None, Some(burst)) => Ok(Limit { burst, ..old }),
    }
}
