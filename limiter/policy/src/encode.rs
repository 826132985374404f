//! The policy as records: the only place that converts units.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use limiter_common::address::SourceMask;
use limiter_common::budget::BudgetLimit;
use limiter_common::line::{Habits, Rules};
use limiter_common::purse;
use limiter_common::rate::Limit;
use limiter_common::rate::Rate;
use limiter_common::record::{
    self, CLASS_LINES, CLASS_PREFIXES, CLASSES, ClassPrefix, ListenerKey, NAME, POLICY_LISTENERS,
    Port, SERVICES, Stated,
};
use limiter_common::shadow::Shadow;
use limiter_common::source_table::SourceLimit;

use super::classes::{self, Trees};
use super::prefix::{Prefix, address};
use super::settings::{CLASS, DEFAULTS, HOST, SERVICE, Setting};
use super::text::advice;
use super::{Admission, Class, Name, Networks, Policy, Prefixes, Service};

/// Resets that the host sends per second, at most.
const RESETS: Limit = Limit { rate: Rate::per_second(1000), burst: 1000 };
/// What goes to the waiting room, at most, where the policy does not say.
pub const DIVERTS: Limit = Limit { rate: Rate::per_second(2000), burst: 4000 };

/// A policy slot, ready to be written.
pub struct Encoded {
    /// The host part.
    pub host: record::Host,
    /// Services by id. Ids that are not here are unused.
    pub services: BTreeMap<u32, record::Service>,
    /// Listeners and the ids of their services. The slot in the key is the one asked for.
    pub listeners: Vec<(ListenerKey, u32)>,
    /// By port: what `record::Port` holds for this slot.
    pub ports: BTreeMap<u16, [u8; 2]>,
    /// Classes by id. Ids that are not here are unused.
    pub classes: BTreeMap<u32, record::Class>,
    /// Their prefixes, as stated.
    pub prefixes: Vec<ClassPrefix>,
    /// Their prefixes, as they are searched.
    pub trees: Trees,
    /// Limits of networks by [`record::Network::index`]: of every service and class that is here.
    pub networks: BTreeMap<u32, record::Network>,
}

/// Names that have ids already, each id of one name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Services: they keep their counters, budgets and sources.
    pub services: Ids,
    /// Numbers of services by id: their sources keep places in line and debts.
    pub numbers: HashMap<u32, u32>,
    /// Classes: their sources keep their debts.
    pub classes: Ids,
}

/// Ids by name, and which of them packets are decided by now.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    names: HashMap<Name, u32>,
    active: HashSet<u32>,
}

impl Ids {
    /// Those of the slot that decides, and of the others, the one that matters most first, what does
    /// not contradict them: an id that has a new owner is known by that one alone.
    pub fn of(
        active: impl IntoIterator<Item = (Name, u32)>,
        idle: impl IntoIterator<Item = (Name, u32)>,
    ) -> Self {
        let mut names: HashMap<Name, u32> = active.into_iter().collect();
        let active: HashSet<u32> = names.values().copied().collect();
        let mut owned = active.clone();
        for (name, id) in idle {
            if !names.contains_key(&name) && owned.insert(id) {
                names.insert(name, id);
            }
        }
        Self { names, active }
    }

    /// The id of a name, if it has one.
    pub fn get(&self, name: &Name) -> Option<u32> {
        self.names.get(name).copied()
    }
}

/// Encodes `policy` for `slot` on a machine with `cpus` CPUs. What `known` names keeps its id; what is new gets an id that nobody has.
///
/// # Errors
/// What in the policy cannot be kept, and what to do.
pub fn encode(policy: &Policy, slot: u16, cpus: u64, known: &Known) -> Result<Encoded> {
    let names: Vec<_> = policy.services.iter().map(|service| &service.name).collect();
    let ids = assign("services", &names, &known.services, 0..SERVICES)?;
    let mut encoded = Encoded {
        host: host(policy, cpus)?,
        services: BTreeMap::new(),
        listeners: Vec::new(),
        ports: BTreeMap::new(),
        classes: BTreeMap::new(),
        prefixes: Vec::new(),
        trees: Trees::default(),
        networks: BTreeMap::new(),
    };
    encode_classes(policy, slot, known, &mut encoded)?;
    let mut owners: HashMap<SocketAddr, &Name> = HashMap::new();
    for service in &policy.services {
        let id = ids[&service.name];
        let mut record = self::service(policy, service, &encoded.host.budget, cpus)?;
        record.number = known.numbers.get(&id).copied().unwrap_or(id);
        encoded.host.horizon = encoded.host.horizon.max(record.source.horizon());
        encoded.services.insert(id, record);
        let network =
            network(&SERVICE, service, &service.networks, &format!("service {}", service.name))?;
        encoded.add_network(record::Network::index(id, 0), shadowed(service, network)?);
        ensure!(
            !service.listeners.is_empty(),
            "service {}: give it at least one ADDR:PORT",
            service.name
        );
        for listener in &service.listeners {
            if let Some(owner) = owners.insert(*listener, &service.name) {
                bail!(
                    "{listener} is in service {owner} and in service {}; take it out of one",
                    service.name
                );
            }
            encoded.listeners.push((listener_key(*listener, slot), id));
            port(&mut encoded.ports, *listener, id);
        }
    }
    // A class has its own at every service.
    let of_classes = encoded.networks.range(SERVICES..).any(|(_, one)| has_limits(one));
    for (id, record) in &mut encoded.services {
        let own = encoded.networks.get(id).is_some_and(has_limits);
        record.more |= if own || of_classes { record::Service::NETWORKS } else { 0 };
        let tries = encoded.networks.get(id).is_some_and(|one| one.shadow.mark != 0);
        record.more |= if tries { record::Service::SHADOW } else { 0 };
    }
    let most = POLICY_LISTENERS as usize;
    ensure!(encoded.listeners.len() <= most, "a policy holds at most {most} address:port pairs");
    Ok(encoded)
}

impl Encoded {
    fn add_network(&mut self, index: u32, network: record::Network) {
        self.host.horizon = self.host.horizon.max(network.limit.horizon());
        self.host.tried_horizon = self.host.tried_horizon.max(network.shadow.limit.horizon());
        self.networks.insert(index, network);
    }
}

/// The same record, and what the service tries.
fn shadowed(service: &Service, network: record::Network) -> Result<record::Network> {
    let what = format!("source limit in the shadow of service {}", service.name);
    let shadow = Shadow { limit: source(service.shadow.source, &what)?, ..network.shadow };
    Ok(record::Network { shadow: shadow.marked(), ..network })
}

/// Whether networks are limited there.
const fn has_limits(network: &record::Network) -> bool {
    network.limit.interval != 0 || network.open != 0
}

/// The limits of networks of a service or a class: `whose` they are.
fn network<T, R>(
    rows: &[Setting<T, R>],
    model: &T,
    networks: &Networks,
    whose: &str,
) -> Result<record::Network> {
    let mut record = record::Network {
        limit: source(networks.limit, &format!("network limit of {whose}"))?,
        mask: mask(networks.prefixes)?,
        ..record::Network::NONE
    };
    for row in rows {
        (row.network.set)(&mut record, row.get(model));
    }
    Ok(record)
}

/// Listener keys of a slot.
pub fn listener_key(listener: SocketAddr, slot: u16) -> ListenerKey {
    ListenerKey {
        address: address(listener.ip()).to_bytes(),
        port: listener.port(),
        slot,
        padding: 0,
    }
}

/// Ids within `range` for `names`, of which `known` has some.
fn assign(
    what: &str,
    names: &[&Name],
    known: &Ids,
    range: Range<u32>,
) -> Result<HashMap<Name, u32>> {
    ensure!(names.len() <= range.len(), "a policy holds at most {} {what}", range.len());
    let unique: HashSet<_> = names.iter().collect();
    ensure!(unique.len() == names.len(), "two {what} have the same name; merge them or rename one");
    let taken: HashSet<u32> = known.names.values().copied().collect();
    let kept: HashSet<u32> = names.iter().filter_map(|name| known.get(name)).collect();
    // First ids that no slot uses, then those that only another slot than the one that decides still holds, then those of names that go.
    let mut free: Vec<u32> = range.filter(|id| !kept.contains(id)).collect();
    free.sort_by_key(|id| (taken.contains(id), known.active.contains(id)));
    let mut free = free.into_iter();
    let mut ids = HashMap::new();
    for name in names {
        let id = known.get(name).or_else(|| free.next());
        ids.insert((*name).clone(), id.with_context(|| format!("no id is free for {name}"))?);
    }
    Ok(ids)
}

fn encode_classes(policy: &Policy, slot: u16, known: &Known, encoded: &mut Encoded) -> Result<()> {
    let names: Vec<_> = policy.classes.iter().map(|class| &class.name).collect();
    let ids = assign("classes", &names, &known.classes, 1..CLASSES)?;
    let mut owners: HashMap<Prefix, &Name> = HashMap::new();
    let mut members = Vec::new();
    for class in &policy.classes {
        let id = ids[&class.name];
        let record = self::class(class)?;
        encoded.host.horizon = encoded.host.horizon.max(record.source.horizon());
        encoded.classes.insert(id, record);
        let network = network(&CLASS, class, &class.networks, &format!("class {}", class.name))?;
        encoded.add_network(record::Network::index(0, id), network);
        ensure!(!class.members.is_empty(), "class {}: give it at least one prefix", class.name);
        for prefix in &class.members {
            if let Some(owner) = owners.insert(*prefix, &class.name) {
                bail!(
                    "{prefix} is in class {owner} and in class {}; take it out of one",
                    class.name
                );
            }
            members.push((*prefix, id as u16));
            let Prefix { address, length } = *prefix;
            encoded.prefixes.push(ClassPrefix {
                address: address.to_bytes(),
                class: id as u16,
                length,
                reserved: [0; 5],
            });
        }
    }
    let most = CLASS_PREFIXES as usize;
    ensure!(
        members.len() <= most,
        "the classes of a policy hold at most {most} prefixes, not {}",
        members.len()
    );
    encoded.host.class_prefixes = members.len() as u32;
    encoded.trees = classes::build(&members, u32::from(slot) * CLASS_LINES)?;
    Ok(())
}

fn class(class: &Class) -> Result<record::Class> {
    let mut record = record::Class {
        source: source(class.source, &format!("source limit of class {}", class.name))?,
        mask: mask(class.prefixes.unwrap_or_default())?,
        own_mask: 0,
        unlimited: class.source.is_none().into(),
        stated: Limit::default(),
        prefix_v4: 0,
        prefix_v6: 0,
        reserved: [0; 6],
        name: padded(&class.name),
        open: 0,
        own_open: 0,
    };
    state(&CLASS, class, &mut record);
    Ok(record)
}

/// Settings as they were said, beside what the kernel side makes of them.
fn state<T, R>(rows: &[Setting<T, R>], model: &T, record: &mut R) {
    for row in rows {
        (row.record.set)(record, row.get(model));
    }
}

/// A name as records hold it.
pub fn padded(name: &Name) -> [u8; NAME] {
    let mut padded = [0; NAME];
    padded[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
    padded
}

fn host(policy: &Policy, cpus: u64) -> Result<record::Host> {
    let horizon = source(policy.source, "default source limit")?.horizon();
    let mut record = record::Host {
        budget: budget(policy.budget, "global budget", cpus)?,
        horizon,
        resets: budget(RESETS, "resets", cpus)?,
        stated: Stated::default(),
        generation: 0,
        ends: 0,
        class_prefixes: 0,
        is_unfinished: 0,
        profile: [0; NAME],
        diverts: budget(policy.diverts.unwrap_or(DIVERTS), "room budget", cpus)?,
        stated_diverts: Limit::default(),
        open_budget: 0,
        counts_open: policy.counts_open().into(),
        tried_horizon: 0,
        before: 0,
        room: Default::default(),
    };
    state(&DEFAULTS, policy, &mut record);
    state(&HOST, policy, &mut record);
    Ok(record)
}

fn budget(limit: Limit, what: &str, cpus: u64) -> Result<BudgetLimit> {
    limit.to_budget(cpus).map_err(|reason| anyhow::anyhow!(advice(limit, what, reason)))
}

fn admission(own: &BudgetLimit, host: &BudgetLimit) -> record::Admission {
    record::Admission {
        unproven: purse::unproven([own, host]),
        unanswerable: purse::unanswerable([own, host]),
        ..record::Admission::default()
    }
}

fn source(limit: Limit, what: &str) -> Result<SourceLimit> {
    limit.to_source().map_err(|reason| anyhow::anyhow!(advice(limit, what, reason)))
}

fn service(
    policy: &Policy,
    service: &Service,
    host: &BudgetLimit,
    cpus: u64,
) -> Result<record::Service> {
    let limit = service.source.unwrap_or(policy.source);
    let prefixes = service.prefixes.unwrap_or(policy.prefixes);
    let budget = budget(service.budget, &format!("budget of service {}", service.name), cpus)?;
    let mut record = record::Service {
        source: source(limit, &format!("source limit of service {}", service.name))?,
        mask: mask(prefixes)?,
        budget,
        admission: admission(&budget, host),
        number: 0,
        more: 0,
        line: line(service, &budget, host),
        // What a service follows is stated too.
        stated: Stated {
            source: limit,
            prefix_v4: prefixes.v4,
            prefix_v6: prefixes.v6,
            ..Stated::default()
        },
        name: padded(&service.name),
        open: 0,
        open_budget: 0,
        mss: 0,
        room: Default::default(),
    };
    state(&SERVICE, service, &mut record);
    Ok(record)
}

/// How the line of a service lets in: by its own budget, or where it has none by the host's, and by
/// how many users may be present. Without any of these there is none.
fn line(service: &Service, own: &BudgetLimit, host: &BudgetLimit) -> Rules {
    let Admission { line, users, .. } = service.admission;
    let budget = match line {
        true if own.interval != 0 => own,
        true => host,
        false => &BudgetLimit::default(),
    };
    Rules::of(budget, &Habits { users, ..Habits::default() })
}

fn mask(prefixes: Prefixes) -> Result<SourceMask> {
    let Prefixes { v4, v6 } = prefixes;
    ensure!(
        (1..=32).contains(&v4),
        "an IPv4 source or network has a prefix of 1 to 32 bits, not {v4}"
    );
    ensure!(
        (1..=128).contains(&v6),
        "an IPv6 source or network has a prefix of 1 to 128 bits, not {v6}"
    );
    Ok(SourceMask::new(v4, v6))
}

/// Marks a port: with the service where every address of the family is its own, else for a look at the address.
fn port(ports: &mut BTreeMap<u16, [u8; 2]>, listener: SocketAddr, id: u32) {
    let entry = &mut ports.entry(listener.port()).or_default()[usize::from(listener.is_ipv6())];
    let direct = listener.ip().is_unspecified() && *entry == Port::NONE;
    *entry = if direct { id as u8 + 1 } else { Port::BY_ADDRESS };
}
