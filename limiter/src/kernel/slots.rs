//! The two policy slots: reading the one that decides, writing the idle one, switching.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use limiter_common::address::SourceMask;
use limiter_common::budget::BudgetLimit;
use limiter_common::line::seats::BUCKETS;
use limiter_common::record::{
    self, HOST_BUDGET, ListenerKey, NAME, NETWORKS, PRESENT, SERVICES, UNANSWERABLE, UNPROVEN,
};
use limiter_common::share::{self, Share};
use limiter_common::source_table::SourceLimit;
use limiter_common::switch::{Selection, Switch};

use super::clock;
use super::maps::{Maps, Raw};
use crate::policy::decode::decode;
use crate::policy::encode::{Encoded, Ids, Known, encode, padded};
use crate::policy::{Name, Policy, text};

/// Where a policy comes from, and when it ends by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The profile that it was made with.
    pub profile: Option<Name>,
    /// When it ends once it is confirmed: CLOCK_MONOTONIC in nanoseconds; 0: it does not.
    pub ends: u64,
}

impl Maps {
    /// What decides now, after any revert.
    ///
    /// # Errors
    /// When the switch cannot be read.
    pub fn selection(&self) -> Result<Selection> {
        Ok(self.switch()?.at(clock::now()))
    }

    /// The policy in a slot.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn policy(&self, slot: u32) -> Result<Policy> {
        let Raw(host) = self.host.get(&slot, 0).context("cannot read the policy")?;
        let (services, classes) = (self.services(slot)?, self.classes(slot)?);
        Ok(decode(
            slot,
            &host,
            &services,
            &self.listeners()?,
            &classes,
            &self.class_prefixes(slot)?,
            &self.networks(slot)?,
        ))
    }

    /// Where the policy of a slot comes from.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn origin(&self, slot: u32) -> Result<Origin> {
        let Raw(host) = self.host.get(&slot, 0).context("cannot read the policy")?;
        Ok(Origin { profile: text::name(&host.profile), ends: host.ends })
    }

    /// Services of a slot by id.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn services(&self, slot: u32) -> Result<BTreeMap<u32, record::Service>> {
        let mut services = BTreeMap::new();
        for id in 0..SERVICES {
            let Raw(service) =
                self.service.get(&(slot * SERVICES + id), 0).context("cannot read the services")?;
            if service.name[0] != 0 {
                services.insert(id, service);
            }
        }
        Ok(services)
    }

    /// Writes `policy` whole into the idle slot and returns the switch that would select it, in the mode that counts now and
    /// with the same lists and revert time. Nothing decides differently until [`Maps::set_switch`].
    ///
    /// # Errors
    /// When the policy cannot be kept, or the other slot is needed for the way back (nothing was written then), or a map cannot be written.
    pub fn stage_policy(&mut self, policy: &Policy, origin: &Origin) -> Result<Switch> {
        let time = clock::now();
        let switch = self.fixed(time)?;
        let now = switch.at(time);
        if switch.trial(time).is_some() {
            bail!(
                "the policy is on trial, and the one to go back to must stay as it is: `limiter confirm` keeps the new one, `limiter rollback` goes back; then try again"
            );
        }
        let idle = if switch.is_ready() { 1 - now.slot } else { 0 };
        let known = self.known()?;
        let mut encoded = encode(policy, idle as u16, clock::cpus(), &known)?;
        let profile = origin.profile.as_ref().map_or([0; NAME], padded);
        encoded.host = record::Host {
            generation: self.generation()?.saturating_add(1),
            ends: origin.ends,
            profile,
            ..encoded.host
        };
        for (id, service) in &mut encoded.services {
            if is_new(service, &known) {
                service.number = record::Service::number_of(*id, encoded.host.generation);
            }
        }
        self.write_slot(idle, &encoded, &known)?;
        let selected = Selection { slot: idle, mode: now.mode };
        let staged = switch.select(selected);
        Ok(match switch.revert() {
            Some(revert) => {
                staged.until(revert, Selection { slot: idle, mode: switch.fallback().mode })
            }
            None => staged,
        })
    }

    /// The switch; if its revert time is past at `now`, what it went back to is made the whole of it, and no packet lives by the slot that it left.
    fn fixed(&self, now: u64) -> Result<Switch> {
        let switch = self.switch()?;
        if switch.revert().is_none_or(|revert| revert > now) {
            return Ok(switch);
        }
        let fixed = switch.select(switch.fallback());
        self.set_switch(fixed)?;
        Self::settle();
        Ok(fixed)
    }

    /// Puts the policy of a staged switch on trial: from `revert` (CLOCK_MONOTONIC, nanoseconds) on the policy that decides now decides again, in the
    /// mode that it would have then: an armed time that ends before is over by then.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn on_trial(&self, staged: Switch, revert: u64) -> Result<Switch> {
        let back = self.switch()?.at(revert);
        Ok(staged.until(revert, back))
    }

    /// The switch that keeps what decides now, a policy or a mode that would go back by itself: for good, or until its own end.
    ///
    /// # Errors
    /// When nothing would go back.
    pub fn confirmed(&self) -> Result<Switch> {
        let switch = self.switch()?;
        let now = clock::now();
        let Some(revert) = switch.revert().filter(|revert| *revert > now) else {
            bail!(
                "nothing is about to go back by itself, so there is nothing to confirm; `limiter status` shows what decides"
            );
        };
        let selection = switch.at(now);
        // Compared as the switch keeps it: an end too far away to say would be confirmed again and
        // again.
        let to_its_end = switch.until(self.origin(selection.slot)?.ends, switch.fallback());
        Ok(if to_its_end.revert() > Some(revert) { to_its_end } else { switch.select(selection) })
    }

    /// The switch that goes back at once to what a pending revert would go back to; without one, to the policy before this one.
    ///
    /// # Errors
    /// When there is none.
    pub fn rolled_back(&self) -> Result<Switch> {
        let time = clock::now();
        let switch = self.fixed(time)?;
        let now = switch.at(time);
        let back = match switch.revert() {
            Some(_) => switch.fallback(),
            None => Selection { slot: 1 - now.slot, ..now },
        };
        let (from, to) = (self.generation_of(now.slot)?, self.generation_of(back.slot)?);
        let Raw(host) = self.host.get(&back.slot, 0).context("cannot read the policy")?;
        if host.is_unfinished != 0 {
            bail!(
                "the policy before this one is gone: a command that did not come to its end was writing over it; apply the file that you want"
            );
        }
        if to == 0 {
            bail!("there is no policy before this one; `limiter disarm` stops dropping");
        }
        if to > from {
            bail!(
                "the policy before this one is gone: this is the one that was gone back to; apply the file that you want"
            );
        }
        Ok(switch.select(back))
    }

    /// The number of the newest policy.
    fn generation(&self) -> Result<u64> {
        Ok(self.generation_of(0)?.max(self.generation_of(1)?))
    }

    fn generation_of(&self, slot: u32) -> Result<u64> {
        let Raw(host) = self.host.get(&slot, 0).context("cannot read the policy")?;
        Ok(host.generation)
    }

    /// Waits until no packet is still being decided by what the switch said before.
    pub fn settle() {
        // MEMBARRIER_CMD_GLOBAL waits for an RCU grace period, in which every XDP run that has begun ends.
        // SAFETY: the call takes two numbers and touches no memory.
        let waited = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0) };
        if waited != 0 {
            // Refused on kernels with nohz_full: no run lasts that long.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ids of services and classes in either slot.
    fn known(&self) -> Result<Known> {
        let active = self.selection()?.slot;
        let [now, other] = [active, 1 - active].map(|slot| self.services(slot));
        let (now, other) = (now?, other?);
        let services = |services: &BTreeMap<u32, record::Service>| -> Vec<_> {
            services
                .iter()
                .filter_map(|(id, service)| Some((text::name(&service.name)?, *id)))
                .collect()
        };
        let classes = |slot| -> Result<Vec<_>> {
            let classes = self.classes(slot)?.into_iter();
            Ok(classes.filter_map(|(id, class)| Some((text::name(&class.name)?, id))).collect())
        };
        Ok(Known {
            services: Ids::of(services(&now), services(&other)),
            numbers: other.iter().chain(&now).map(|(id, service)| (*id, service.number)).collect(),
            classes: Ids::of(classes(active)?, classes(1 - active)?),
        })
    }

    /// What each service listens on, of both slots, and the service's id.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn listeners(&self) -> Result<Vec<(ListenerKey, u32)>> {
        let entries = self.listener.iter().map(|entry| entry.map(|(Raw(key), Raw(id))| (key, id)));
        entries.collect::<Result<_, _>>().context("cannot read the listeners")
    }

    fn write_slot(&mut self, slot: u32, encoded: &Encoded, known: &Known) -> Result<()> {
        let Raw(before) = self.host.get(&slot, 0).context("cannot read the policy")?;
        let unfinished = record::Host { is_unfinished: 1, ..before };
        self.host
            .set(slot, Raw(unfinished), 0)
            .context("cannot write the host's part of the policy")?;
        self.write_listeners(slot, encoded)?;
        self.write_classes(slot, encoded)?;
        self.write_networks(slot, encoded)?;
        for id in 0..SERVICES {
            let service = encoded.services.get(&id).copied().unwrap_or_else(unused);
            if is_new(&service, known) {
                self.forget(id)?;
            }
            self.service
                .set(slot * SERVICES + id, Raw(service), 0)
                .context("cannot write a service")?;
        }
        self.host
            .set(slot, Raw(encoded.host), 0)
            .context("cannot write the host's part of the policy")
    }

    /// Limits of networks of a slot, by [`record::Network::index`].
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn networks(&self, slot: u32) -> Result<BTreeMap<u32, record::Network>> {
        let mut networks = BTreeMap::new();
        for index in 0..NETWORKS {
            let Raw(network) = self
                .network
                .get(&(slot * NETWORKS + index), 0)
                .context("cannot read the limits of networks")?;
            if network != record::Network::NONE {
                networks.insert(index, network);
            }
        }
        Ok(networks)
    }

    /// The mark of what a service of a slot tries, 0 for nothing: [`limiter_common::shadow`].
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn tried(&self, slot: u32, id: u32) -> Result<u64> {
        let index = slot * NETWORKS + record::Network::index(id, 0);
        let Raw(network) = self.network.get(&index, 0).context("cannot read what is tried")?;
        Ok(network.shadow.mark)
    }

    /// Writes the limits of networks of an idle slot.
    fn write_networks(&mut self, slot: u32, encoded: &Encoded) -> Result<()> {
        for index in 0..NETWORKS {
            let network = encoded.networks.get(&index).copied().unwrap_or(record::Network::NONE);
            self.network
                .set(slot * NETWORKS + index, Raw(network), 0)
                .context("cannot write a limit of networks")?;
        }
        Ok(())
    }

    /// Replaces listeners and ports of an idle slot.
    fn write_listeners(&mut self, slot: u32, encoded: &Encoded) -> Result<()> {
        let mut ports = encoded.ports.clone();
        for (key, _) in self.listeners()? {
            if u32::from(key.slot) == slot {
                ports.entry(key.port).or_default();
                self.listener.remove(&Raw(key)).context("cannot remove a listener")?;
            }
        }
        for (key, id) in &encoded.listeners {
            self.listener.insert(Raw(*key), Raw(*id), 0).context("cannot write a listener")?;
        }
        for (port, services) in ports {
            let Raw(mut entry) = self.port.get(&port.into(), 0)?;
            // The other slot's half is written back as it is: its bytes do not change under a packet that reads them.
            entry.service[slot as usize] = services;
            self.port.set(port.into(), Raw(entry), 0).context("cannot write a port")?;
        }
        Ok(())
    }

    /// Clears the state of a service id that gets a new owner, and its share.
    fn forget(&mut self, id: u32) -> Result<()> {
        debug_assert!(id < HOST_BUDGET);
        let clear = record::BudgetLine { arrival: 0, padding: [0; 7] };
        let cpus = aya::util::nr_cpus()
            .map_err(|(what, error)| anyhow::anyhow!("cannot read {what}: {error}"))?;
        for index in [id, UNPROVEN + id, UNANSWERABLE + id, PRESENT + id] {
            self.budget.set(index, Raw(clear), 0)?;
            let lease = vec![Raw(Default::default()); cpus].try_into()?;
            self.lease.set(index, lease, 0)?;
        }
        self.set_share(id, Share::NONE)?;
        self.set_share_of_places(id, Share::NONE)?;
        self.set_share_of_places(share::OPEN + id, Share::NONE)?;
        self.challenge.set(id, Raw(Default::default()), 0)?;
        self.line.set(id, Raw(Default::default()), 0)?;
        self.seats.set(id, Raw([0; 2 + BUCKETS]), 0)?;
        let counters = vec![Raw(Default::default()); cpus].try_into()?;
        self.counter.set(id + 1, counters, 0)?;
        Ok(())
    }
}

/// Whether a record is of a service that no slot had.
fn is_new(service: &record::Service, known: &Known) -> bool {
    service.name[0] != 0
        && text::name(&service.name).is_none_or(|name| known.services.get(&name).is_none())
}

/// The record of an id that no service has: its name is empty, so nothing else of it is read.
fn unused() -> record::Service {
    record::Service {
        source: SourceLimit { interval: 0, window: 0 },
        mask: SourceMask::new(32, 64),
        budget: BudgetLimit::default(),
        admission: record::Admission::default(),
        number: 0,
        more: 0,
        line: Default::default(),
        stated: record::Stated::default(),
        name: [0; NAME],
        open: 0,
        open_budget: 0,
        room: Default::default(),
    }
}
