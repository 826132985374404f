//! The counters at one moment, summed over CPUs.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result};
use limiter_common::reason::Reason;
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
        let slot = maps.selection()?.slot;
        let counters = (0..=SERVICES).map(|index| {
            let cpus = maps.counter.get(&index, 0).context("cannot read the counters")?;
            let tried = index.checked_sub(1).map_or(Ok(0), |id| maps.tried(slot, id))?;
            let of_this = |Raw(cpu): &Raw<Counters>| of_try(*cpu, tried);
            Ok(cpus.iter().map(of_this).fold(Counters::default(), |sum, cpu| add(sum, &cpu)))
        });
        Ok(Self { at, counters: counters.collect::<Result<_>>()? })
    }

    /// The sum over everything.
    pub fn total(&self) -> Counters {
        self.counters.iter().fold(Counters::default(), add)
    }
}

/// The same, with nothing of limits in the shadow that were tried before those with this mark: a
/// CPU begins to count anew with the first attempt that it judges.
fn of_try(mut counters: Counters, mark: u64) -> Counters {
    if counters.shadow[0] != mark {
        counters.shadow = [mark, 0, 0, 0];
    }
    counters
}

/// Counters wrap, as those of the kernel side do.
fn add(mut sum: Counters, more: &Counters) -> Counters {
    let pairs = sum
        .decided
        .iter_mut()
        .chain(&mut sum.observed)
        .zip(more.decided.iter().chain(&more.observed));
    pairs.for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
    sum.debts.iter_mut().zip(&more.debts).for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
    sum.steals = sum.steals.wrapping_add(more.steals);
    sum.resets = sum.resets.wrapping_add(more.resets);
    sum.shadow[0] = more.shadow[0];
    let tried = sum.shadow.iter_mut().zip(&more.shadow).skip(1);
    tried.for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
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

/// Packets that are kept from the service, whether the mode let that be or not.
pub fn refused(counters: &Counters) -> u64 {
    total(counters, Reason::refuses)
}

/// Attempts to protected services that a limit judged.
pub fn attempts(counters: &Counters) -> u64 {
    total(counters, Reason::is_attempt)
}

/// Connections that were let in, each counted once: attempts, and ACKs of challenged ones.
pub fn admitted(counters: &Counters) -> u64 {
    let admitting = Reason::ALL.iter().filter(|reason| reason.admits());
    admitting.map(|reason| counters.decided[*reason as usize]).fold(0, u64::wrapping_add)
}

fn total(counters: &Counters, counts: impl Fn(Reason) -> bool) -> u64 {
    let reasons =
        Reason::ALL.iter().filter(|reason| counts(**reason)).map(|reason| *reason as usize);
    reasons
        .flat_map(|index| [counters.decided[index], counters.observed[index]])
        .fold(0, u64::wrapping_add)
}

fn by_reason(counts: &[u64]) -> ByReason {
    let all = Reason::ALL.iter().map(|reason| (reason.name(), counts[*reason as usize]));
    all.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use limiter_common::record::REASONS;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever stands in the maps.
        #[test]
        fn any_counters_are_summed(
            words in proptest::collection::vec(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 2 * REASONS + 2),
        ) {
            let mut counters = Counters::default();
            counters.decided.copy_from_slice(&words[..REASONS]);
            counters.observed.copy_from_slice(&words[REASONS..2 * REASONS]);
            (counters.steals, counters.resets) = (words[2 * REASONS], words[2 * REASONS + 1]);
            let twice = add(counters, &counters);
            prop_assert_eq!(attempts(&twice), attempts(&counters).wrapping_mul(2));
            prop_assert_eq!(refused(&twice), refused(&counters).wrapping_mul(2));
            prop_assert_eq!(admitted(&twice), admitted(&counters).wrapping_mul(2));
            let shown = Reason::ALL.iter().filter(|reason| counters.decided[**reason as usize] > 0).count();
            prop_assert_eq!(decided(&counters).len(), shown);
        }
    }
}
