//! The two policy slots: reading the one that decides, writing the idle one, switching.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context as _, Result};
use limiter_common::budget::BudgetLimit;
use limiter_common::pressure::Pressure;
use limiter_common::rate::{Limit, Rate};
use limiter_common::record::{self, ABOVE_FLOOR, HOST_BUDGET, ListenerKey, NAME, NEWCOMERS, SERVICES, UNPROVEN};
use limiter_common::switch::{Selection, Switch};

use super::clock;
use super::maps::{Maps, Raw};
use crate::policy::decode::decode;
use crate::policy::encode::{Encoded, encode};
use crate::policy::{Name, Policy, text};

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
        Ok(decode(slot, &host, &self.services(slot)?, &self.listeners()?))
    }

    /// Services of a slot by id.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn services(&self, slot: u32) -> Result<BTreeMap<u32, record::Service>> {
        let mut services = BTreeMap::new();
        for id in 0..SERVICES {
            let Raw(service) = self.service.get(&(slot * SERVICES + id), 0).context("cannot read the services")?;
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
    /// When the policy cannot be kept (nothing was written then), or a map cannot be written.
    pub fn stage_policy(&mut self, policy: &Policy) -> Result<Switch> {
        let switch = self.switch()?;
        let now = switch.at(clock::now());
        let idle = if switch.is_ready() { 1 - now.slot } else { 0 };
        let known = self.known_services()?;
        let encoded = encode(policy, idle as u16, clock::cpus(), &known)?;
        self.write_slot(idle, &encoded, &known)?;
        let selected = Selection { slot: idle, mode: now.mode };
        let staged = Switch::new(selected, switch.lists()).with_challenge(policy.may_challenge());
        Ok(match switch.revert().filter(|revert| *revert > clock::now()) {
            Some(revert) => staged.until(revert, Selection { slot: idle, mode: switch.fallback().mode }),
            None => staged,
        })
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

    /// Ids of services in either slot: they keep their counters, budgets and sources.
    fn known_services(&self) -> Result<HashMap<Name, u32>> {
        let mut known = HashMap::new();
        let active = self.selection()?.slot;
        for slot in [1 - active, active] {
            for (id, service) in self.services(slot)? {
                known.extend(text::name(&service.name).map(|name| (name, id)));
            }
        }
        Ok(known)
    }

    fn listeners(&self) -> Result<Vec<(ListenerKey, u32)>> {
        let entries = self.listener.iter().map(|entry| entry.map(|(Raw(key), id)| (key, id)));
        entries.collect::<Result<_, _>>().context("cannot read the listeners")
    }

    fn write_slot(&mut self, slot: u32, encoded: &Encoded, known: &HashMap<Name, u32>) -> Result<()> {
        self.write_listeners(slot, encoded)?;
        for id in 0..SERVICES {
            let service = encoded.services.get(&id).copied().unwrap_or(UNUSED);
            let is_new =
                service.name[0] != 0 && text::name(&service.name).is_none_or(|name| !known.contains_key(&name));
            if is_new {
                self.forget(id)?;
            }
            self.service.set(slot * SERVICES + id, Raw(service), 0).context("cannot write a service")?;
        }
        self.host.set(slot, Raw(encoded.host), 0).context("cannot write the host's part of the policy")
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
            self.listener.insert(Raw(*key), id, 0).context("cannot write a listener")?;
        }
        for (port, services) in ports {
            let Raw(mut entry) = self.port.get(&port.into(), 0)?;
            // The other slot's half is written back as it is: its bytes do not change under a packet that reads them.
            entry.service[slot as usize] = services;
            self.port.set(port.into(), Raw(entry), 0).context("cannot write a port")?;
        }
        Ok(())
    }

    /// Clears the state of a service id that gets a new owner.
    fn forget(&mut self, id: u32) -> Result<()> {
        debug_assert!(id < HOST_BUDGET);
        let clear = record::BudgetLine { arrival: 0, padding: [0; 7] };
        let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("cannot read {what}: {error}"))?;
        for index in [id, NEWCOMERS + id, UNPROVEN + id] {
            self.budget.set(index, Raw(clear), 0)?;
        }
        for index in [id, NEWCOMERS + id, UNPROVEN + id, ABOVE_FLOOR + id] {
            let lease = vec![Raw(Default::default()); cpus].try_into()?;
            self.lease.set(index, lease, 0)?;
        }
        self.challenge.set(id, Raw(Default::default()), 0)?;
        let counters = vec![Raw(Default::default()); cpus].try_into()?;
        self.counter.set(id + 1, counters, 0)?;
        Ok(())
    }
}

const UNUSED: record::Service = record::Service {
    source: limiter_common::source_table::SourceLimit { interval: 0, window: 0 },
    mask: limiter_common::address::SourceMask::new(32, 64),
    budget: NO_BUDGET,
    admission: record::Admission {
        challenge: 0,
        reset: 0,
        ticket_life: 0,
        floor: 0,
        host_floor: 0,
        newcomers: NO_BUDGET,
        pressure: NO_PRESSURE,
        host_pressure: NO_PRESSURE,
    },
    stated: record::Stated {
        source: NO_LIMIT,
        budget: NO_LIMIT,
        prefix_v4: 32,
        prefix_v6: 64,
        own_source: 0,
        own_prefix: 0,
        reserve: 0,
        fair_share: 0,
        reserved: [0; 2],
        newcomers: NO_LIMIT,
        ticket_seconds: 0,
    },
    name: [0; NAME],
};
const NO_BUDGET: BudgetLimit = BudgetLimit { interval: 0, capacity: 0, lease: 1 };
const NO_PRESSURE: Pressure = Pressure { low: 0, unit: 0, interval: 0 };
const NO_LIMIT: Limit = Limit { rate: Rate { count: 0, period: 0 }, burst: 0 };
