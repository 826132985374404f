//! That most attempts come from one place: from one network, one prefix of any length, or one or two
//! addresses.

use anyhow::Result;
use limiter_common::address::Address;
use limiter_common::sighting::Sighting;
use serde::Serialize;

use super::Ring;
use super::networks::{Attempts, Of, attempts, show, sorted};
use crate::kernel::Maps;
use crate::policy::Prefixes;

/// Fewer attempts than these say nothing.
const LITTLE: f64 = 200.0;
/// Of all attempts, in percent: what is most of them.
const MOST: f64 = 50.0;
/// A network is one if so many sources are in it.
const MANY: f64 = 8.0;
/// What a longer prefix keeps of the attempts of a shorter one.
const KEPT: f64 = 0.95;
/// Addresses that are few, and what they bring of all attempts, in percent.
const FEW: (usize, f64) = (2, 90.0);
/// The share of the attempts from one place, in percent, from which on everybody comes from there.
pub const EVERYBODY: f64 = 99.0;

/// That most attempts to a service come from one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The service.
    pub service: String,
    /// Percent of its attempts in the last two minutes, an estimate.
    pub percent: f64,
    /// From where: one network, or one or two addresses.
    pub from: Vec<String>,
    /// Sources of a network, an estimate; 0 if it is addresses.
    pub sources: u64,
    /// What to do. Where everybody comes from one network there is nothing: a limit of it would be
    /// one of all.
    pub advice: Option<String>,
}

impl Finding {
    /// In words.
    pub fn words(&self) -> String {
        let percent = self.percent;
        match (self.sources, &self.from[..]) {
            (0, [one]) => format!("{percent:.0}% of the attempts come from one address, {one}"),
            (0, many) => {
                let (number, from) = (many.len(), many.join(" and "));
                format!("{percent:.0}% of the attempts come from {number} addresses, {from}")
            }
            (sources, from) => format!(
                "{percent:.0}% of the attempts come from one network, {} (about {} sources in 2 min)",
                from.join(" "),
                sources
            ),
        }
    }
}

/// The longest prefix that most attempts come from, however long it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Common {
    /// The prefix.
    pub prefix: String,
    /// The service.
    pub service: String,
    /// Percent of the attempts to it in the last two minutes, an estimate.
    pub percent: f64,
    /// Sources of it, an estimate.
    pub sources: u64,
}

impl Common {
    /// In words.
    pub fn words(&self) -> String {
        let Self { prefix, service, percent, sources } = self;
        format!(
            "{percent:.0}% of the attempts to {service} come from {prefix} (about {sources} sources in 2 min)"
        )
    }
}

impl Attempts {
    /// The longest prefix of many sources that most of them come from. A longer one is taken as long
    /// as it loses next to nothing.
    pub fn common(&self, service: &str) -> Option<Common> {
        let all = self.all();
        let lengths =
            [(8, 20), (12, 24), (14, 28), (16, 32), (18, 36), (20, 40), (22, 44), (24, 48)];
        let mut found: Option<(Address, Of, Prefixes)> = None;
        for (v4, v6) in lengths {
            let prefixes = Prefixes { v4, v6 };
            let largest = self.networks(prefixes).into_iter().next();
            let Some((network, of)) = largest.filter(|(_, of)| of.sources >= MANY) else { break };
            let least = found.map_or(all * MOST / 100.0, |(_, before, _)| before.attempts * KEPT);
            if of.attempts < least {
                break;
            }
            found = Some((network, of, prefixes));
        }
        let (network, of, prefixes) = found.filter(|(.., prefixes)| prefixes.v4 > 8)?;
        (all >= LITTLE).then(|| Common {
            prefix: show(network, prefixes),
            service: service.to_owned(),
            percent: (100.0 * of.attempts / all).min(100.0),
            sources: of.sources.round() as u64,
        })
    }

    /// Where most of them come from, if that is one network of many sources, or few addresses.
    pub fn finding(&self, service: &str, prefixes: Prefixes) -> Option<Finding> {
        let all = self.all();
        if all < LITTLE {
            return None;
        }
        let percent = |attempts: f64| (100.0 * attempts / all).min(100.0);
        let (few, enough) = FEW;
        let mut largest = sorted(self.sources.clone());
        largest.truncate(few);
        if let Some((source, of)) = largest.first()
            && percent(of.attempts) >= MOST
        {
            largest = vec![(*source, *of)];
        }
        let together = percent(largest.iter().map(|(_, of)| of.attempts).sum());
        let is_one = largest.len() == 1;
        if together >= if is_one { MOST } else { enough } {
            let from: Vec<_> = largest
                .iter()
                .map(|(source, _)| show(*source, Prefixes { v4: 32, v6: 64 }))
                .collect();
            let advice = format!(
                "a proxy or a load balancer gets a class without a limit (`[class.proxies]` with `prefixes` and \
                 `source_rate = \"unlimited\"`), because its clients are not seen here; an attacker, `limiter ban add {} --for 1h`",
                from.join(" ")
            );
            let service = service.to_owned();
            return Some(Finding {
                service,
                percent: together,
                from,
                sources: 0,
                advice: Some(advice),
            });
        }
        let networks = self.networks(prefixes);
        let (network, of) = networks.first()?;
        if percent(of.attempts) < MOST || of.sources < MANY {
            return None;
        }
        let advice = (percent(of.attempts) < EVERYBODY).then(|| format!(
            "`limiter suggest --service {service} --networks` shows what a limit of each network would have refused; \
             `limiter set --service {service} --network-rate 200/s` holds each as one"
        ));
        Some(Finding {
            service: service.to_owned(),
            percent: percent(of.attempts),
            from: vec![show(*network, prefixes)],
            sources: of.sources.round() as u64,
            advice,
        })
    }
}

/// What is found of where attempts come from, by the sample, of services whose networks have no
/// limit.
///
/// # Errors
/// When a map cannot be read.
pub fn findings(maps: &Maps, sightings: &[Sighting]) -> Result<Vec<Finding>> {
    let slot = maps.selection()?.slot;
    let policy = maps.policy(slot)?;
    let all = attempts(maps, &policy, slot, sightings)?.into_iter();
    let found = all.filter_map(|(name, networks, attempts)| {
        let found = attempts.finding(&name, networks.prefixes)?;
        (found.sources == 0 || networks.limit.is_none()).then_some(found)
    });
    Ok(found.collect())
}

/// The prefix that most attempts to each service come from, by the sample, where there is one.
///
/// # Errors
/// When a map cannot be read.
pub fn common(maps: &Maps, sightings: &[Sighting]) -> Result<Vec<Common>> {
    let slot = maps.selection()?.slot;
    let policy = maps.policy(slot)?;
    let all = attempts(maps, &policy, slot, sightings)?.into_iter();
    Ok(all.filter_map(|(name, _, attempts)| attempts.common(&name)).collect())
}

/// The same, with the sample read for it.
///
/// # Errors
/// When a map cannot be read.
pub fn common_now(maps: &Maps) -> Result<Vec<Common>> {
    common(maps, &Ring::attempts().look(maps)?.seen)
}

#[cfg(test)]
mod tests {
    use limiter_common::sighting::What;

    use super::*;
    use crate::policy::Networks;

    fn sighting(address: Address, halvings: u64) -> Sighting {
        let what = What::new(7, 10, true, false, halvings).0;
        Sighting { time: 1000, high: address.high, low: address.low, what }
    }

    fn of(seen: &[Sighting], counted: Vec<(Address, f64)>) -> Option<Finding> {
        let attempts = Attempts::of(seen, 7, 0, counted.into_iter());
        attempts.finding("web", Networks::default().prefixes)
    }

    fn crowd() -> Vec<Sighting> {
        (0..300_u32)
            .map(|number| sighting(Address::v4(number.wrapping_mul(0x9e37_79b9)), 0))
            .collect()
    }

    #[test]
    fn a_crowd_is_no_finding() {
        assert_eq!(of(&crowd(), Vec::new()), None);
        assert_eq!(of(&crowd()[..100], Vec::new()), None, "nor is little");
    }

    /// A botnet of one /16 beside people of everywhere.
    #[test]
    fn the_longest_common_prefix_is_found() {
        let mut seen = crowd();
        let bots = (0..900_u32).map(|bot| sighting(Address::v4(0xb914_0000 | (bot * 71)), 0));
        seen.extend(bots);
        let attempts = Attempts::of(&seen, 7, 0, std::iter::empty());
        let common = attempts.common("web").expect("a prefix");
        assert_eq!((common.prefix.as_str(), common.sources), ("185.20.0.0/16", 900));
        assert!((74.0..76.0).contains(&common.percent), "{common:?}");
        let crowd = Attempts::of(&crowd(), 7, 0, std::iter::empty());
        assert_eq!(crowd.common("web").map(|common| common.prefix), None);
    }

    #[test]
    fn one_network_of_many_sources_is_named() {
        let mut seen = crowd();
        let network = 0x2001_0db8_0001_0000_u64;
        seen.extend((0..900).map(|number| sighting(Address::v6(network | (number * 7), 1), 0)));
        let found = of(&seen, Vec::new()).expect("a finding");
        assert_eq!((&found.from[..], found.sources), (&["2001:db8:1::/48".to_owned()][..], 900));
        assert!((74.0..76.0).contains(&found.percent), "{found:?}");
        assert!(
            found.advice.as_ref().is_some_and(|advice| advice.contains("--network-rate")),
            "{found:?}"
        );
    }

    /// A school behind its own network, and no other client.
    #[test]
    fn where_everybody_comes_from_there_is_nothing_to_do() {
        let seen: Vec<_> =
            (0..900_u32).map(|one| sighting(Address::v4(0x0a05_0000 | (one % 200)), 0)).collect();
        let found = of(&seen, Vec::new()).expect("a finding");
        assert_eq!((&found.from[..], found.advice), (&["10.5.0.0/24".to_owned()][..], None));
    }

    /// Two proxies among a crowd of which one source in four is in the sample, and they are not.
    #[test]
    fn two_addresses_are_named_by_their_counters() {
        let seen: Vec<_> =
            (0..100_u32).map(|number| sighting(Address::v4(number << 9), 2)).collect();
        assert_eq!(of(&seen, Vec::new()), None);
        let proxies = [0xc000_0201, 0xc000_0202].map(|one| (Address::v4(one), 10_000.0));
        let found = of(&seen, proxies.to_vec()).expect("a finding");
        assert_eq!(
            (&found.from[..], found.sources),
            (&["192.0.2.1".to_owned(), "192.0.2.2".to_owned()][..], 0)
        );
        assert!(
            found.words().starts_with("98% of the attempts come from 2 addresses"),
            "{found:?}"
        );
    }
}
