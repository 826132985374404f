//! The policy as records: the only place that converts units.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use limiter_common::address::SourceMask;
use limiter_common::budget::BudgetLimit;
use limiter_common::challenge::Challenge;
use limiter_common::pressure::{self, Pressure};
use limiter_common::rate::Limit;
use limiter_common::rate::Rate;
use limiter_common::record::{self, LISTENERS, ListenerKey, NAME, Port, SERVICES, Stated};
use limiter_common::source_table::SourceLimit;
use limiter_common::ticket::UNIT_SHIFT;

use super::prefix::address;
use super::text::advice;
use super::{Admission, Name, Policy, Prefixes, Service};

/// Resets that the host sends per second, at most.
const RESETS: Limit = Limit { rate: Rate::per_second(1000), burst: 1000 };

/// A policy slot, ready to be written.
pub struct Encoded {
    /// The host part.
    pub host: record::Host,
    /// Services by id. Ids that are not here are unused.
    pub services: BTreeMap<u32, record::Service>,
    /// Listeners and the ids of their services. The slot in the key is the one asked for.
    pub listeners: Vec<(ListenerKey, u32)>,
    /// By port: what `record::Port` holds for this slot.
    pub ports: BTreeMap<u16, [u16; 2]>,
}

/// Encodes `policy` for `slot` on a machine with `cpus` CPUs. A service that `known` names keeps its id, and so its counters,
/// budget and sources; a new one gets an id that nobody has.
///
/// # Errors
/// What in the policy cannot be kept, and what to do.
pub fn encode(policy: &Policy, slot: u16, cpus: u64, known: &HashMap<Name, u32>) -> Result<Encoded> {
    let ids = assign(policy, known)?;
    let mut encoded =
        Encoded { host: host(policy, cpus)?, services: BTreeMap::new(), listeners: Vec::new(), ports: BTreeMap::new() };
    let mut owners: HashMap<SocketAddr, &Name> = HashMap::new();
    for service in &policy.services {
        let id = ids[&service.name];
        let record = self::service(policy, service, &encoded.host.budget, cpus)?;
        let share = if service.admission.fair_share { pressure::HORIZON } else { 0 };
        encoded.host.horizon = encoded.host.horizon.max(record.source.horizon()).max(share);
        encoded.services.insert(id, record);
        ensure!(!service.listeners.is_empty(), "service {}: give it at least one ADDR:PORT", service.name);
        for listener in &service.listeners {
            if let Some(owner) = owners.insert(*listener, &service.name) {
                bail!("{listener} is in service {owner} and in service {}; take it out of one", service.name);
            }
            encoded.listeners.push((listener_key(*listener, slot), id));
            port(&mut encoded.ports, *listener, id);
        }
    }
    let most = LISTENERS as usize / 2;
    ensure!(encoded.listeners.len() <= most, "a policy holds at most {most} address:port pairs");
    Ok(encoded)
}

/// Listener keys of a slot.
pub fn listener_key(listener: SocketAddr, slot: u16) -> ListenerKey {
    ListenerKey { address: address(listener.ip()).to_bytes(), port: listener.port(), slot, padding: 0 }
}

fn assign(policy: &Policy, known: &HashMap<Name, u32>) -> Result<HashMap<Name, u32>> {
    let most = SERVICES as usize;
    ensure!(policy.services.len() <= most, "a policy holds at most {most} services");
    let names: HashSet<_> = policy.services.iter().map(|service| &service.name).collect();
    ensure!(names.len() == policy.services.len(), "two services have the same name; merge them or rename one");
    let taken: HashSet<u32> = known.values().copied().collect();
    // First ids that no slot uses, then ids of services that only the slot to be overwritten may still name.
    let kept: HashSet<u32> = names.iter().filter_map(|name| known.get(*name)).copied().collect();
    let mut free =
        (0..SERVICES).filter(|id| !taken.contains(id)).chain(taken.iter().copied().filter(|id| !kept.contains(id)));
    let mut ids = HashMap::new();
    for service in &policy.services {
        let id = known.get(&service.name).copied().or_else(|| free.next());
        let Some(id) = id else { bail!("no service id is free") };
        ids.insert(service.name.clone(), id);
    }
    Ok(ids)
}

fn host(policy: &Policy, cpus: u64) -> Result<record::Host> {
    let stated = Stated {
        source: policy.source,
        budget: policy.budget,
        prefix_v4: policy.prefixes.v4,
        prefix_v6: policy.prefixes.v6,
        ..Stated::default()
    };
    let horizon = source(policy.source, "default source limit")?.horizon();
    let (resets, budget) = (budget(RESETS, "resets", cpus)?, budget(policy.budget, "global budget", cpus)?);
    Ok(record::Host { budget, horizon, resets, stated })
}

fn budget(limit: Limit, what: &str, cpus: u64) -> Result<BudgetLimit> {
    limit.to_budget(cpus).map_err(|reason| anyhow::anyhow!(advice(limit, what, reason)))
}

fn admission(service: &Service, own: &BudgetLimit, host: &BudgetLimit, cpus: u64) -> Result<record::Admission> {
    let Admission { challenge, ticket_seconds, reserve, newcomers, fair_share, reset } = service.admission;
    let name = &service.name;
    ensure!(reserve <= 90, "service {name}: at most 90% of a budget can be kept for tickets, not {reserve}%");
    ensure!(
        ticket_seconds != 0 || (challenge == Challenge::Off && newcomers.is_none()),
        "service {name}: a challenge and a rate of newcomers need tickets; give them a life, such as 15m"
    );
    // Newcomers can always draw one token of a full budget.
    let floor = |budget: &BudgetLimit| {
        let part = u128::from(budget.capacity) * u128::from(reserve) / 100;
        (part as u64).min(budget.capacity - budget.interval.min(budget.capacity))
    };
    let pressure = |budget| if fair_share { Pressure::of(budget) } else { Pressure::default() };
    Ok(record::Admission {
        challenge: challenge as u32,
        reset: reset.into(),
        ticket_life: (ticket_seconds * 1_000_000_000).div_ceil(1 << UNIT_SHIFT),
        floor: floor(own),
        host_floor: floor(host),
        newcomers: budget(newcomers, &format!("newcomers of service {name}"), cpus)?,
        pressure: pressure(own),
        host_pressure: pressure(host),
    })
}

fn source(limit: Limit, what: &str) -> Result<SourceLimit> {
    limit.to_source().map_err(|reason| anyhow::anyhow!(advice(limit, what, reason)))
}

fn service(policy: &Policy, service: &Service, host: &BudgetLimit, cpus: u64) -> Result<record::Service> {
    let limit = service.source.unwrap_or(policy.source);
    let prefixes = service.prefixes.unwrap_or(policy.prefixes);
    let budget = budget(service.budget, &format!("budget of service {}", service.name), cpus)?;
    let mut name = [0; NAME];
    name[..service.name.as_str().len()].copy_from_slice(service.name.as_str().as_bytes());
    Ok(record::Service {
        source: source(limit, &format!("source limit of service {}", service.name))?,
        mask: mask(prefixes)?,
        budget,
        admission: admission(service, &budget, host, cpus)?,
        stated: Stated {
            source: limit,
            budget: service.budget,
            prefix_v4: prefixes.v4,
            prefix_v6: prefixes.v6,
            own_source: service.source.is_some().into(),
            own_prefix: service.prefixes.is_some().into(),
            reserve: service.admission.reserve,
            fair_share: service.admission.fair_share.into(),
            reserved: [0; 2],
            newcomers: service.admission.newcomers,
            ticket_seconds: service.admission.ticket_seconds,
        },
        name,
    })
}

fn mask(prefixes: Prefixes) -> Result<SourceMask> {
    let Prefixes { v4, v6 } = prefixes;
    ensure!((1..=32).contains(&v4), "an IPv4 source has a prefix of 1 to 32 bits, not {v4}");
    ensure!((1..=128).contains(&v6), "an IPv6 source has a prefix of 1 to 128 bits, not {v6}");
    Ok(SourceMask::new(v4, v6))
}

/// Marks a port: with the service where every address of the family is its own, else for a look at the address.
fn port(ports: &mut BTreeMap<u16, [u16; 2]>, listener: SocketAddr, id: u32) {
    let entry = &mut ports.entry(listener.port()).or_default()[usize::from(listener.is_ipv6())];
    let direct = listener.ip().is_unspecified() && *entry == Port::NONE;
    *entry = if direct { id as u16 + 1 } else { Port::BY_ADDRESS };
}
