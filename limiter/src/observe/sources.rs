//! Who comes, of what the kernel side keeps of sources: which come most, and how they come.

use std::collections::HashSet;

use anyhow::Result;
use limiter_common::address::{Address, SourceMask};
use limiter_common::sighting::Sighting;
use serde::{Deserialize, Serialize};

use super::{Lately, Manners, Ranking, heavy};
use crate::kernel::{Maps, clock};
use crate::policy::prefix;

/// Who comes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sources {
    /// Which part the heaviest have of what their own limit refuses, of what a budget does, and of
    /// all attempts.
    pub heavy: [Lately; 3],
    /// How sources come: where SYNs that were let in are answered, and where a full accept queue
    /// leaves some of these without an answer too.
    pub manners: [Manners; 2],
}

impl Sources {
    /// Of the counters of a kind, and of the sample, up to `now` (coarse clock, nanoseconds).
    pub fn of(
        counted: impl Fn(Ranking) -> Vec<heavy::Heavy>,
        sample: &[Sighting],
        now: u64,
    ) -> Self {
        let cut = SourceMask::new(32, 64);
        let before = now.saturating_sub((heavy::OLD * 1e9) as u64);
        let old: HashSet<Address> = (sample.iter().take_while(|seen| seen.time <= before))
            .map(|seen| cut.apply(Address { high: seen.high, low: seen.low }))
            .collect();
        let is_old = |heavy: &heavy::Heavy| {
            let address = heavy.address.parse().ok().map(prefix::address);
            address.is_some_and(|address| old.contains(&cut.apply(address)))
        };
        Self {
            heavy: [Ranking::Refused, Ranking::Budget, Ranking::Attempts]
                .map(|kind| Lately::of(&counted(kind), kind != Ranking::Refused, is_old)),
            manners: [false, true].map(|full| Manners::of(sample.iter(), now, full)),
        }
    }

    /// Reads the counters; the sample was read already.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn read(maps: &Maps, sample: &[Sighting]) -> Result<Self> {
        let read = |kind| heavy::read(maps, kind, None, None, usize::MAX);
        let [refused, budget, attempts] =
            [read(Ranking::Refused)?, read(Ranking::Budget)?, read(Ranking::Attempts)?];
        let counted = |kind| match kind {
            Ranking::Refused => refused.clone(),
            Ranking::Budget => budget.clone(),
            Ranking::Attempts => attempts.clone(),
        };
        Ok(Self::of(counted, sample, clock::now()))
    }
}
