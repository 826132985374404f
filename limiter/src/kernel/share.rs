//! Shares of budgets, which end in the kernel: a word for each, written with one store.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use limiter_common::budget::BudgetLimit;
use limiter_common::record::HOST_BUDGET;
use limiter_common::share::{self, Share};
use limiter_fleet::record::{OPEN, USERS};
use serde::Serialize;

use super::clock;
use super::maps::Maps;
use super::words::Access;
use crate::policy::{fleet, text};

/// A share that is in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InForce {
    /// Of which budget: a service's name, or `host`; of places `web.users` or `web.open`.
    pub budget: String,
    /// Connections a second, of a rate.
    pub per_second: Option<f64>,
    /// Their number, of places.
    pub places: Option<u64>,
    /// When it ends, unless it is renewed.
    pub ends_in_seconds: f64,
}

impl std::fmt::Display for InForce {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { budget, ends_in_seconds, .. } = self;
        let amount = self.amount();
        write!(to, "{budget} {amount}, which ends in {ends_in_seconds:.0} s unless renewed")
    }
}

impl InForce {
    /// In a few words: `web 1912/s for 9 s`.
    pub fn brief(&self) -> String {
        format!("{} {} for {:.0} s", self.budget, self.amount(), self.ends_in_seconds)
    }

    fn amount(&self) -> String {
        match (self.per_second, self.places) {
            (Some(rate), _) => format!("{rate:.0}/s"),
            (None, places) => places.unwrap_or(0).to_string(),
        }
    }
}

impl Maps {
    /// The share at the index of a budget: a service's id, or
    /// [`limiter_common::record::HOST_BUDGET`]. It may have ended.
    ///
    /// # Errors When the map cannot be mapped.
    pub fn share(&self, index: u32) -> Result<Share> {
        let words = self.share.words(Access::Read).context("cannot read the shares")?;
        Ok(Share(words.get(index as usize).unwrap_or(0)))
    }

    /// Puts a share into force, at once for every CPU; [`Share::NONE`] puts the stated rate back.
    ///
    /// # Errors
    /// When the map cannot be mapped.
    pub fn set_share(&self, index: u32, share: Share) -> Result<()> {
        let words = self.share.words(Access::Write).context("cannot write a share")?;
        words.store(index as usize, share.0);
        Ok(())
    }

    /// The share of places at an index of [`limiter_common::share`].
    ///
    /// # Errors
    /// When the map cannot be mapped.
    pub fn share_of_places(&self, index: u32) -> Result<Share> {
        let words = self.places.words(Access::Read).context("cannot read the shares of places")?;
        Ok(Share(words.get(index as usize).unwrap_or(0)))
    }

    /// Puts one into force, as [`Maps::set_share`].
    ///
    /// # Errors
    /// When the map cannot be mapped.
    pub fn set_share_of_places(&self, index: u32, share: Share) -> Result<()> {
        let words = self.places.words(Access::Write).context("cannot write a share of places")?;
        words.store(index as usize, share.0);
        Ok(())
    }

    /// The places of the policy in force, by name: their index, and how many are stated.
    ///
    /// # Errors
    /// When the policy cannot be read.
    pub fn quotas(&self) -> Result<BTreeMap<String, (u32, u64)>> {
        let slot = self.selection()?.slot;
        let host = self.host.get(&slot, 0).context("cannot read the policy")?.0;
        let open =
            |name: &str, index, stated| (format!("{name}.{OPEN}"), (share::OPEN + index, stated));
        let mut found = BTreeMap::from([open(fleet::HOST, HOST_BUDGET, host.open_budget)]);
        for (id, service) in self.services(slot)? {
            if let Some(name) = text::name(&service.name) {
                found.insert(format!("{name}.{USERS}"), (id, service.line.users));
                found.extend([open(name.as_str(), id, service.open_budget)]);
            }
        }
        found.retain(|_, (_, stated)| *stated != 0);
        Ok(found)
    }

    /// The budgets of the policy in force, by name: their index, and what is stated.
    ///
    /// # Errors
    /// When the policy cannot be read.
    pub fn budgets(&self) -> Result<BTreeMap<String, (u32, BudgetLimit)>> {
        let slot = self.selection()?.slot;
        let host = self.host.get(&slot, 0).context("cannot read the policy")?.0;
        let mut found = BTreeMap::from([(fleet::HOST.to_owned(), (HOST_BUDGET, host.budget))]);
        for (id, service) in self.services(slot)? {
            if let Some(name) = text::name(&service.name) {
                found.insert(name.to_string(), (id, service.budget));
            }
        }
        found.retain(|_, (_, limit)| limit.interval != 0);
        Ok(found)
    }

    /// The shares that are in force now.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn shares(&self) -> Result<Vec<InForce>> {
        let mut found = Vec::new();
        for (budget, (index, limit)) in self.budgets()? {
            let (share, now) = (self.share(index)?, clock::now());
            if share.ends() > now {
                let per_second = Some(1e9 / share.interval(limit.interval, now).max(1) as f64);
                let ends_in_seconds = (share.ends() - now) as f64 / 1e9;
                found.push(InForce { budget, per_second, places: None, ends_in_seconds });
            }
        }
        for (budget, (index, stated)) in self.quotas()? {
            let (share, now) = (self.share_of_places(index)?, clock::now());
            if share.ends() > now {
                let places = Some(share.places(stated, now));
                let ends_in_seconds = (share.ends() - now) as f64 / 1e9;
                found.push(InForce { budget, per_second: None, places, ends_in_seconds });
            }
        }
        Ok(found)
    }
}
