//! A rate and its burst as two options.

use limiter_common::rate::{Limit, Rate};

use super::Usage;
use crate::policy::limits::LimitChange;

/// The limit that `--X RATE --X-burst N` makes of `old`. A rate without a burst gets two seconds' worth, at least 10.
pub fn limit(name: &str, rate: Option<Rate>, burst: Option<u64>, old: Limit) -> Result<Limit, Usage> {
    LimitChange { rate, burst }.apply(old, &format!("--{name}")).map_err(Usage)
}
