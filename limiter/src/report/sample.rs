//! The counters at one moment, summed over CPUs.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::{Counters, SERVICES};

use crate::kernel::Maps;
use crate::kernel::maps::Raw;

/// All counters. Index 0 is what belongs to no service, the rest are services by id + 1.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When they were read.
    pub at: Instant,
    /// By index.
    pub counters: Vec<Counters>,
}

impl Sample {
    /// Reads them.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn take(maps: &Maps) -> Result<Self> {
        let at = Instant::now();
        let counters = (0..=SERVICES).map(|index| {
            let cpus = maps.counter.get(&index, 0).context("cannot read the counters")?;
            Ok(cpus.iter().fold(Counters::default(), |sum, Raw(cpu)| add(sum, cpu)))
        });
        Ok(Self { at, counters: counters.collect::<Result<_>>()? })
    }

    /// The sum over everything.
    pub fn total(&self) -> Counters {
        self.counters.iter().fold(Counters::default(), add)
    }
}

fn add(mut sum: Counters, more: &Counters) -> Counters {
    let pairs = sum.decided.iter_mut().chain(&mut sum.observed).zip(more.decided.iter().chain(&more.observed));
    pairs.for_each(|(sum, more)| *sum += more);
    sum.steals += more.steals;
    sum.tickets += more.tickets;
    sum.resets += more.resets;
    sum
}

/// Counts by the name of their reason, without the zeros.
pub type ByReason = BTreeMap<&'static str, u64>;

/// Packets that were decided, by reason.
pub fn decided(counters: &Counters) -> ByReason {
    by_reason(&counters.decided)
}

/// Packets that enforcing would have dropped, by reason.
pub fn observed(counters: &Counters) -> ByReason {
    by_reason(&counters.observed)
}

/// Packets with a dropping reason, whether the mode let them drop or not.
pub fn refused(counters: &Counters) -> u64 {
    Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() == Verdict::Drop)
        .map(|reason| counters.decided[*reason as usize] + counters.observed[*reason as usize])
        .sum()
}

/// Attempts to protected services that a limit judged.
pub fn attempts(counters: &Counters) -> u64 {
    let judged = Reason::ALL.iter().filter(|reason| reason.is_attempt());
    judged.map(|reason| counters.decided[*reason as usize] + counters.observed[*reason as usize]).sum()
}

/// Connections that were let in, each counted once: attempts, and ACKs of challenged ones.
pub fn admitted(counters: &Counters) -> u64 {
    let admitting = Reason::ALL.iter().filter(|reason| reason.admits());
    admitting.map(|reason| counters.decided[*reason as usize]).sum()
}

fn by_reason(counts: &[u64]) -> ByReason {
    let all = Reason::ALL.iter().map(|reason| (reason.name(), counts[*reason as usize]));
    all.filter(|(_, count)| *count > 0).collect()
}
