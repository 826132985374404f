//! Which networks attempts come from: of the sample of attempts, and of the counters of sources
//! that are too few to be left to a draw.
//!
//! The kernel side keeps every attempt of a sample of the *sources*. A network of many sources has
//! its part in the sample, however seldom each of them comes; a proxy that sends half of everything
//! may not be in it at all, but its counter knows.

use std::cmp::Reverse;
use std::collections::HashMap;

use anyhow::Result;
use limiter_common::address::{Address, SourceMask};
use limiter_common::sighting::{Sighting, What};
use serde::Serialize;

use super::{Ranking, Ring, heavy};
use crate::kernel::{Maps, clock};
use crate::policy::prefix::{self, Prefix};
use crate::policy::{Networks, Policy, Prefixes, text};

/// How long back is looked, in nanoseconds.
const LOOKED_AT: u64 = 120_000_000_000;

/// The part that a network has of the attempts to a service in the last two minutes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The network.
    pub network: String,
    /// The service.
    pub service: String,
    /// Its class, if a class has the addresses that were seen last.
    pub class: Option<String>,
    /// Attempts, an estimate.
    pub attempts: u64,
    /// Percent of those to the service.
    pub percent: f64,
    /// Sources, an estimate.
    pub sources: u64,
}

/// What came of one source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Of {
    pub(super) attempts: f64,
    /// How many sources it stands for.
    pub(super) sources: f64,
}

/// The attempts to one service, by address cut to what the sample draws: an IPv4 address or a /64.
#[derive(Debug, Default)]
pub struct Attempts {
    pub(super) sources: HashMap<Address, Of>,
}

impl Attempts {
    /// Those to service number `service` since `since`, and what is `counted` of sources.
    pub fn of(
        sightings: &[Sighting],
        service: u32,
        since: u64,
        counted: impl Iterator<Item = (Address, f64)>,
    ) -> Self {
        let cut = SourceMask::new(32, 64);
        let mut sources: HashMap<Address, Of> = HashMap::new();
        let mut is_whole = true;
        for sighting in sightings.iter().filter(|sighting| sighting.time >= since) {
            let what = What(sighting.what);
            if what.service() != service {
                continue;
            }
            let weight = f64::from(what.halvings()).exp2();
            is_whole &= weight == 1.0;
            let source = cut.apply(Address { high: sighting.high, low: sighting.low });
            let of = sources.entry(source).or_default();
            of.attempts += weight;
            of.sources = of.sources.max(weight);
        }
        if !is_whole {
            for (source, attempts) in counted {
                sources.insert(cut.apply(source), Of { attempts, sources: 1.0 });
            }
        }
        Self { sources }
    }

    pub(super) fn all(&self) -> f64 {
        self.sources.values().map(|of| of.attempts).sum()
    }

    /// By network, the largest first.
    pub(super) fn networks(&self, prefixes: Prefixes) -> Vec<(Address, Of)> {
        let mask = SourceMask::new(prefixes.v4, prefixes.v6);
        let mut networks: HashMap<Address, Of> = HashMap::new();
        for (source, of) in &self.sources {
            let network = networks.entry(mask.apply(*source)).or_default();
            network.attempts += of.attempts;
            network.sources += of.sources;
        }
        // An estimate may be more than there are addresses.
        let most = (1_u64 << (32 - prefixes.v4.min(32))) as f64;
        let v4 = networks.iter_mut().filter(|(network, _)| network.is_v4());
        v4.for_each(|(_, of)| of.sources = of.sources.min(most));
        sorted(networks)
    }
}

pub(super) fn sorted(all: HashMap<Address, Of>) -> Vec<(Address, Of)> {
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by(|(one, of), (other, more)| {
        more.attempts.total_cmp(&of.attempts).then(one.cmp(other))
    });
    all
}

/// A network as it is written.
pub(super) fn show(network: Address, prefixes: Prefixes) -> String {
    let (bits, whole) = if network.is_v4() { (prefixes.v4, 32) } else { (prefixes.v6, 128) };
    let ip = prefix::ip(network);
    if bits >= whole { ip.to_string() } else { format!("{ip}/{bits}") }
}

/// The attempts to each service, with what limits networks there.
pub(super) fn attempts(
    maps: &Maps,
    policy: &Policy,
    slot: u32,
    sightings: &[Sighting],
) -> Result<Vec<(String, Networks, Attempts)>> {
    let since = clock::now().saturating_sub(LOOKED_AT);
    let counted = heavy::read(maps, Ranking::Attempts, None, None, usize::MAX)?;
    let records = maps.services(slot)?;
    let services = records.values().filter_map(|record| {
        let name = text::name(&record.name)?;
        let service = policy.service(&name)?;
        let name = name.to_string();
        let lately = counted.iter().filter(|one| one.service == name && one.count > one.uncertain);
        let lately = lately.filter_map(|one| {
            let address = prefix::address(one.address.parse().ok()?);
            // Since when it is counted is often longer than what is looked at.
            let span = (one.first_seconds_ago - one.last_seconds_ago).max(1.0);
            let seconds = (LOOKED_AT as f64 / 1e9 - one.last_seconds_ago).max(0.0);
            let count = (one.count - one.uncertain) as f64;
            Some((address, count * (seconds / span).min(1.0)))
        });
        let attempts = Attempts::of(sightings, record.number, since, lately);
        Some((name, service.networks, attempts))
    });
    Ok(services.collect())
}

/// The `most` networks that most attempts come from, by the prefixes of each service's networks.
///
/// # Errors
/// When a map cannot be read.
pub fn shares(maps: &Maps, service: Option<&str>, most: usize) -> Result<Vec<Share>> {
    let slot = maps.selection()?.slot;
    let policy = maps.policy(slot)?;
    let mut shares = Vec::new();
    let sightings = Ring::attempts().look(maps)?.seen;
    for (name, networks, attempts) in attempts(maps, &policy, slot, &sightings)? {
        if service.is_some_and(|asked| asked != name) {
            continue;
        }
        let all = attempts.all();
        for (network, of) in attempts.networks(networks.prefixes) {
            let class = policy.class_of(&Prefix { address: network, length: 128 });
            shares.push(Share {
                network: show(network, networks.prefixes),
                service: name.clone(),
                class: class.map(|class| class.name.to_string()),
                attempts: of.attempts.round() as u64,
                percent: 100.0 * of.attempts / all.max(1.0),
                sources: of.sources.round() as u64,
            });
        }
    }
    shares.sort_by_key(|share| Reverse(share.attempts));
    shares.truncate(most);
    Ok(shares)
}
