//! The machine under a node: what the policy in force states, what is wanted of it, and the words
//! in which shares are put into force.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use limiter_common::reason::{Limit, Packet, Reason};
use limiter_common::record::{Counters, HOST_BUDGET};
use limiter_common::share::{PLACES, Share, WORDS};
use limiter_fleet::record::{Amount, Amounts};
use limiter_policy::fleet::Fleet;

use super::demand::Demand;
use super::node::Site;
use super::quota::{self, PLACE};
use crate::auto::Caps;
use crate::kernel::{Maps, Pins, clock};
use crate::report::Sample;

/// Nanoseconds of an amount of one.
const UNIT: u64 = 1_000_000_000_000;

/// A loaded limiter.
pub struct Machine {
    pins: Pins,
    most: BTreeMap<String, Amount>,
    /// What this node's servers can take.
    caps: Caps,
    /// The rates that it put into force; `None`: what is in force is of a daemon before this one.
    words: Option<BTreeMap<u32, Share>>,
    /// Index of each budget that is a rate.
    rates: BTreeMap<String, u32>,
    /// And of each that is of places.
    places: BTreeMap<String, u32>,
    /// The shares of places that it put into force.
    given: Amounts,
    /// The most places that may be taken, as far as that was seen.
    bound: Amounts,
    /// The rates that are wanted, and since when its looks are counted.
    demand: Demand,
    began: Instant,
    /// The places that are.
    wants: Amounts,
}

impl Machine {
    /// The limiter at `pins`, which takes at most what `fleet` says.
    pub fn new(pins: &Pins, fleet: &Fleet, caps: Caps) -> Self {
        let most = fleet.most.iter().map(|(name, rate)| {
            let amount = u128::from(rate.count) * u128::from(UNIT) / u128::from(rate.period.max(1));
            (name.to_string(), Amount::try_from(amount).unwrap_or(Amount::MAX))
        });
        Self {
            pins: pins.clone(),
            most: most.collect(),
            caps,
            words: None,
            rates: BTreeMap::new(),
            places: BTreeMap::new(),
            given: Amounts::new(),
            bound: Amounts::new(),
            demand: Demand::default(),
            began: Instant::now(),
            wants: Amounts::new(),
        }
    }

    fn maps(&self) -> Result<Maps> {
        Maps::open(&self.pins.root()).context("limiter is not loaded")
    }

    fn count(&mut self) -> Result<()> {
        let sample = Sample::take(&self.maps()?)?;
        let all = sample.counters.iter().map(wanted).fold(0, u64::wrapping_add);
        let count = |(name, index): (&String, &u32)| {
            let own = || sample.counters.get(*index as usize + 1).map_or(0, wanted);
            (name.clone(), if *index == HOST_BUDGET { all } else { own() })
        };
        let counts = self.rates.iter().map(count).collect();
        self.demand.look(sample.at.saturating_duration_since(self.began), counts);
        let used = self.used()?;
        self.wants = quota::wants(&self.maps()?, used)?;
        Ok(())
    }
}

impl Site for Machine {
    fn now(&self) -> Duration {
        Duration::from_nanos(clock::now())
    }

    fn stated(&mut self) -> Result<BTreeMap<String, (Amount, Amount)>> {
        let maps = self.maps()?;
        let found = maps.budgets()?;
        self.rates = found.iter().map(|(name, (index, _))| (name.clone(), *index)).collect();
        let quotas = maps.quotas()?;
        self.places = quotas.iter().map(|(name, (index, _))| (name.clone(), *index)).collect();
        let stated = found.into_iter().map(|(name, (_, limit))| {
            let most = self.most.get(&name).copied().unwrap_or(0);
            (name, (amount(limit.interval), most))
        });
        let places = quotas.into_iter().map(|(name, (_, places))| (name, (places * PLACE, 0)));
        Ok(stated.chain(places).collect())
    }

    fn demand(&mut self) -> Amounts {
        // Without counters nothing more is asked for than before.
        let _ = self.count();
        let mut demand = self.demand.rates().clone();
        demand.extend(self.wants.clone());
        for (name, wanted) in &mut demand {
            // More than its server can take is better given to other nodes.
            *wanted = self.caps.of(name).map_or(*wanted, |cap| cap.min(*wanted));
        }
        demand
    }

    fn used(&mut self) -> Result<Amounts> {
        // A change may be counting open connections anew, and has not seen all of them yet. Then it
        // is the most that there were and may be since.
        let Some(_quiet) = self.pins.between_changes() else {
            let bound = |name| Some((String::clone(name), *self.bound.get(name)?));
            let known: Amounts = self.places.keys().filter_map(bound).collect();
            ensure!(known.len() == self.places.len(), "limiter is being changed");
            return Ok(known);
        };
        let used = quota::used(&self.maps()?, &self.places)?;
        self.bound.clone_from(&self.given);
        raise(&mut self.bound, &used);
        Ok(used)
    }

    fn enforce(&mut self, shares: &Amounts, ends: Duration) -> Result<()> {
        let maps = self.maps()?;
        let ends = u64::try_from(ends.as_nanos()).unwrap_or(u64::MAX);
        let is_first = self.words.is_none() && ends <= clock::now();
        // A share of a daemon before this one ends when it would have, and is no more than this.
        let ends_of = |there: Share| if is_first { there.ends() } else { ends };
        let (mut rates, mut places) = (BTreeMap::new(), BTreeMap::new());
        for (name, share) in shares {
            if let Some(index) = self.rates.get(name) {
                let (cap, there) = (self.caps.of(name).unwrap_or(Amount::MAX), maps.share(*index)?);
                let most = if is_first { there.interval(0, clock::now()) } else { 0 };
                let rate = interval(*share.min(&cap)).map(|interval| interval.max(most));
                rates.extend(word(*index, rate, ends_of(there)));
            }
            if let Some(index) = self.places.get(name) {
                let there = maps.share_of_places(*index)?;
                let most = if is_first { there.interval(0, clock::now()) } else { u64::MAX };
                let number = (share / PLACE).min(Share::LONGEST).min(most);
                places.extend(word(*index, Some(number), ends_of(there)));
            }
        }
        // A budget without a share may have a rate of this node's own in force.
        let ended = |index: &u32| self.words.as_ref().is_none_or(|words| words.contains_key(index));
        let mut words = rates.clone();
        for index in (0..WORDS).filter(ended) {
            words.entry(index).or_insert(Share::NONE);
        }
        if !is_first {
            self.words = Some(rates);
        }
        let given = shares.iter().filter(|(name, _)| self.places.contains_key(*name));
        self.given = given.map(|(name, share)| (name.clone(), *share)).collect();
        raise(&mut self.bound, &self.given);
        put(&maps, &words, &places)
    }
}

/// A word for the index of a budget, unless it has ended or there is nothing to say.
fn word(index: u32, amount: Option<u64>, ends: u64) -> Option<(u32, Share)> {
    let amount = amount.filter(|_| ends > clock::now())?;
    Some((index, Share::new(amount, ends)?))
}

/// Raises amounts to `others`, where those are more.
fn raise(amounts: &mut Amounts, others: &Amounts) {
    for (name, amount) in others {
        let most = amounts.entry(name.clone()).or_default();
        *most = (*most).max(*amount);
    }
}

/// Takes every share back: what the policy states is in force.
///
/// # Errors
/// When limiter is not loaded.
pub fn end(pins: &Pins) -> Result<()> {
    let rates = (0..WORDS).map(|index| (index, Share::NONE)).collect();
    put(&Maps::open(&pins.root())?, &rates, &BTreeMap::new())
}

/// Puts these words of rates into force and leaves others, and these of places and no others.
fn put(maps: &Maps, rates: &BTreeMap<u32, Share>, places: &BTreeMap<u32, Share>) -> Result<()> {
    for (index, word) in rates {
        if maps.share(*index)? != *word {
            maps.set_share(*index, *word)?;
        }
    }
    let mut are_fewer = false;
    for index in 0..PLACES {
        let word = places.get(&index).copied().unwrap_or(Share::NONE);
        let before = maps.share_of_places(index)?;
        if before != word {
            // Without a share it is what the policy states, which is never more.
            are_fewer |= word == Share::NONE || word.places(1, 0) < before.places(1, 0);
            maps.set_share_of_places(index, word)?;
        }
    }
    if are_fewer {
        // A packet that saw more of them may take one still: what is taken is counted after it.
        Maps::settle();
    }
    Ok(())
}

/// What got as far as a budget: what was let in, and what was refused for want of it. Of attempts
/// that are asked for a proof only the proofs count, so that forged addresses want nothing.
fn wanted(counters: &Counters) -> u64 {
    let counts = |reason: &&Reason| {
        reason.admits()
            || matches!(reason.limit(), Some(Limit::Budget))
            || matches!(reason.packet(), Packet::Proof | Packet::Diversion)
    };
    let reasons = Reason::ALL.iter().filter(counts).map(|reason| *reason as usize);
    reasons
        .flat_map(|index| [counters.decided[index], counters.observed[index]])
        .fold(0, u64::wrapping_add)
}

/// The amount of an interval in nanoseconds, rounded up: what is stated is reserved whole.
fn amount(interval: u64) -> Amount {
    UNIT.div_ceil(interval.max(1))
}

/// The interval of an amount in nanoseconds, rounded up: no share is more than was granted.
fn interval(amount: Amount) -> Option<u64> {
    (amount != 0).then(|| UNIT.div_ceil(amount).min(Share::LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rounding_makes_more_of_a_share() {
        for nanoseconds in [50, 33_333, 1_000_000, 1_000_000_007, Share::LONGEST] {
            let stated = amount(nanoseconds);
            let back = interval(stated).expect("an interval");
            assert!(back <= nanoseconds, "less than is stated");
            assert!(u128::from(stated) * u128::from(back) >= u128::from(UNIT), "more than granted");
        }
        assert_eq!(interval(0), None);
        assert_eq!(interval(1), Some(Share::LONGEST));
    }
}
