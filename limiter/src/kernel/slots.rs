//! The policy slots: reading the one that decides, writing a free one, switching.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use limiter_common::address::SourceMask;
use limiter_common::budget::BudgetLimit;
use limiter_common::line::seats::BUCKETS;
use limiter_common::record::{
    self, HOST_BUDGET, ListenerKey, NAME, NETWORKS, PRESENT, SERVICES, SLOTS, UNANSWERABLE,
    UNPROVEN,
};
use limiter_common::reply::Own;
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
        let (services, classes) = (self.services(slot)?, self.classes(slot)?);
        Ok(decode(
            slot,
            &self.host_record(slot)?,
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
        let host = self.host_record(slot)?;
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

    /// Writes `policy` whole into a free slot and returns the switch that would select it, in the
    /// mode that counts now, with the same lists and revert time. What decides now on trial is
    /// followed by it on trial: the way back is the same. Nothing decides differently until
    /// [`Maps::set_switch`].
    ///
    /// # Errors
    /// When the policy cannot be kept (nothing was written then), or a map cannot be written.
    pub fn stage_policy(&mut self, policy: &Policy, origin: &Origin) -> Result<Switch> {
        let time = clock::now();
        let switch = self.fixed(time)?;
        let now = switch.at(time);
        let others = self.others(switch, now.slot)?;
        let known = self.known(now.slot, &others)?;
        let free = if switch.is_ready() { others[others.len() - 1] } else { 0 };
        let mut encoded = encode(policy, free as u16, clock::cpus(), &known)?;
        let profile = origin.profile.as_ref().map_or([0; NAME], padded);
        encoded.host = record::Host {
            generation: self.generation()?.saturating_add(1),
            before: self.host_record(now.slot)?.generation,
            ends: origin.ends,
            profile,
            ..encoded.host
        };
        for (id, service) in &mut encoded.services {
            if is_new(service, &known) {
                service.number = record::Service::number_of(*id, encoded.host.generation);
            }
        }
        self.write_slot(free, &encoded, &known)?;
        let selected = Selection { slot: free, mode: now.mode };
        Ok(match (switch.revert(), switch.trial(time)) {
            (None, _) => switch.select(selected),
            (Some(_), Some(_)) => switch.with_now(selected),
            (Some(revert), None) => {
                let fallback = Selection { slot: free, ..switch.fallback() };
                switch.select(selected).until(revert, fallback)
            }
        })
    }

    /// The slots other than `now`, that which matters most first: what it goes back to, the policy
    /// before this one, the newer. The last one is free to be written over.
    fn others(&self, switch: Switch, now: u32) -> Result<Vec<u32>> {
        let before = self.host_record(now)?.before;
        let back = switch.revert().map(|_| switch.fallback().slot);
        let mut others = Vec::new();
        for slot in (0..SLOTS).filter(|slot| *slot != now) {
            let host = self.host_record(slot)?;
            let is_whole = host.is_unfinished == 0;
            let is_before = is_whole && host.generation == before;
            others.push((back == Some(slot), is_before, is_whole, host.generation, slot));
        }
        others.sort_unstable();
        Ok(others.into_iter().rev().map(|(.., slot)| slot).collect())
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
                "no change is about to go back by itself, so there is nothing to confirm; `limiter \
                 status` shows the mode and policy in force"
            );
        };
        let selection = switch.at(now);
        // Compared as the switch keeps it: an end too far away to say would be confirmed again and
        // again. An armed time is no trial, and ends no policy.
        let to_its_end = switch.until(self.origin(selection.slot)?.ends, switch.fallback());
        let is_later = to_its_end.revert() > Some(revert) && switch.trial(now).is_some();
        Ok(if is_later { to_its_end } else { switch.select(selection) })
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
            None => Selection { slot: self.before(now.slot)?, ..now },
        };
        if self.host_record(back.slot)?.is_unfinished != 0 {
            bail!(
                "the policy before this one is gone: a command that did not come to its end was writing over it; apply the file that you want"
            );
        }
        Ok(switch.select(back))
    }

    /// The slot of the policy that decided before that of `now`.
    fn before(&self, now: u32) -> Result<u32> {
        let host = self.host_record(now)?;
        if self.generation()? > host.generation {
            bail!(
                "the policy before this one is gone: limiter has already gone back to this one; \
                 apply the file that you want"
            );
        }
        if host.before == 0 {
            bail!("there is no policy before this one; `limiter disarm` stops dropping");
        }
        for slot in (0..SLOTS).filter(|slot| *slot != now) {
            if self.host_record(slot)?.generation == host.before {
                return Ok(slot);
            }
        }
        bail!("the policy before this one is gone; apply the file that you want")
    }

    /// The number of the newest policy.
    fn generation(&self) -> Result<u64> {
        let mut newest = 0;
        for slot in 0..SLOTS {
            newest = newest.max(self.host_record(slot)?.generation);
        }
        Ok(newest)
    }

    fn host_record(&self, slot: u32) -> Result<record::Host> {
        let Raw(host) = self.host.get(&slot, 0).context("cannot read the policy")?;
        Ok(host)
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

    /// Ids of services and classes in every slot: that of `now`, and the others in this order.
    fn known(&self, now: u32, others: &[u32]) -> Result<Known> {
        type Names = Vec<(Name, u32)>;
        let (mut numbers, mut services, mut classes) = (HashMap::new(), Vec::new(), Vec::new());
        for slot in [now].iter().chain(others) {
            let mut names = Names::new();
            for (id, service) in self.services(*slot)? {
                numbers.entry(id).or_insert(service.number);
                names.extend(text::name(&service.name).map(|name| (name, id)));
            }
            services.push(names);
            let of_slot = self.classes(*slot)?.into_iter();
            classes.push(
                of_slot.filter_map(|(id, class)| Some((text::name(&class.name)?, id))).collect(),
            );
        }
        let ids = |slots: Vec<Names>| {
            let mut slots = slots.into_iter();
            Ids::of(slots.next().unwrap_or_default(), slots.flatten())
        };
        Ok(Known { services: ids(services), numbers, classes: ids(classes) })
    }

    /// What each service listens on, of every slot, and the service's id.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn listeners(&self) -> Result<Vec<(ListenerKey, u32)>> {
        let entries = self.listener.iter().map(|entry| entry.map(|(Raw(key), Raw(id))| (key, id)));
        entries.collect::<Result<_, _>>().context("cannot read the listeners")
    }

    fn write_slot(&mut self, slot: u32, encoded: &Encoded, known: &Known) -> Result<()> {
        let unfinished = record::Host { is_unfinished: 1, ..self.host_record(slot)? };
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

    /// Writes the limits of networks of a free slot.
    fn write_networks(&mut self, slot: u32, encoded: &Encoded) -> Result<()> {
        for index in 0..NETWORKS {
            let network = encoded.networks.get(&index).copied().unwrap_or(record::Network::NONE);
            self.network
                .set(slot * NETWORKS + index, Raw(network), 0)
                .context("cannot write a limit of networks")?;
        }
        Ok(())
    }

    /// Replaces listeners and ports of a free slot.
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
            // What the other slots hold is written back as it is: no byte of it changes under a packet
            // that reads it.
            let Raw(entry) = self.port.get(&port.into(), 0)?;
            self.port
                .set(port.into(), Raw(entry.with(slot, services)), 0)
                .context("cannot write a port")?;
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
        for is_v6 in [false, true] {
            self.set_own_answer(id, is_v6, Own::UNKNOWN)?;
        }
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
        mss: 0,
        room: Default::default(),
    }
}
