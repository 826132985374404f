//! What is looked at while proofs pay, time and again.

use std::collections::BTreeMap;

use anyhow::Result;
use limiter_common::reason::Reason;
use limiter_common::record::Counters;

use super::rules::{Does, rules};
use super::{Hindrance, Ways, challenging, standing};
use crate::kernel::{Maps, Pins};
use crate::policy::{Name, Policy, text};
use crate::report::Sample;
use crate::tcp;
use crate::tree::Tree;

/// Proofs after which a service is judged.
const ENOUGH: u64 = 16;
/// Attempts that were challenged before it says anything that none was proven.
const CHALLENGED: u64 = 8;

/// Counters of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    challenged: u64,
    proven: u64,
}

impl Counted {
    fn of(counters: &Counters) -> Self {
        let decided = |reason: Reason| counters.decided[reason as usize];
        Self { challenged: decided(Reason::Challenged), proven: decided(Reason::Proven) }
    }
}

/// From which counters on a service is judged.
#[derive(Clone, Copy, Debug)]
struct Window {
    counted: Counted,
    /// Connections that the kernel had made of cookies.
    received: u64,
}

/// What was seen last.
#[derive(Debug, Default)]
pub struct Watcher {
    windows: BTreeMap<Name, Window>,
    last: BTreeMap<Name, Counted>,
    ways: Ways,
}

impl Watcher {
    /// What keeps challenges from working now.
    ///
    /// # Errors
    /// When maps, interfaces or sockets cannot be read.
    pub fn look(&mut self, pins: &Pins, maps: &Maps, policy: &Policy) -> Result<Vec<Hindrance>> {
        let mut found = standing(pins, policy)?;
        // First what limiter counted: the kernel counts after it.
        let now = counted(maps, policy)?;
        let kernel = tcp::counters(&Tree::at("/"));
        if let Some(received) = kernel.get("SyncookiesRecv") {
            let parted = self.parted(&now, *received);
            found.extend(parted.into_iter().map(|parted| parted.hindrance(policy)));
        }
        if self.is_silent(&now)
            && let Some(way) = self.ways.look(pins, maps, policy)?
        {
            found.push(way);
        }
        self.last = now;
        Ok(found)
    }

    /// Whether attempts were challenged since the last look and none was proven.
    fn is_silent(&self, now: &BTreeMap<Name, Counted>) -> bool {
        let since = now.iter().filter_map(|(name, now)| {
            let last = self.last.get(name)?;
            Some((
                now.challenged.saturating_sub(last.challenged),
                now.proven.saturating_sub(last.proven),
            ))
        });
        let (challenged, proven) = since.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
        challenged >= CHALLENGED && proven == 0
    }

    /// Services of whose proofs the kernel made no connections. `received` counts those of all
    /// listeners, so it is never too low for one of them.
    fn parted(&mut self, now: &BTreeMap<Name, Counted>, received: u64) -> Vec<Parted> {
        self.windows.retain(|name, _| now.contains_key(name));
        let mut found = Vec::new();
        for (name, counted) in now {
            let new = Window { counted: *counted, received };
            let window = self.windows.entry(name.clone()).or_insert(new);
            // A service that gets the id of another begins anew.
            let Some(proven) = counted.proven.checked_sub(window.counted.proven) else {
                *window = new;
                continue;
            };
            if proven < ENOUGH {
                continue;
            }
            let made = received.saturating_sub(window.received);
            // A quarter, so that one who spoils his own ACKs behind a good cookie, and pays for
            // each, must bring three of four of all proofs to end the challenge.
            if made < proven / 4 {
                found.push(Parted { service: name.clone(), proven, made });
            }
            *window = new;
        }
        found
    }
}

fn counted(maps: &Maps, policy: &Policy) -> Result<BTreeMap<Name, Counted>> {
    let sample = Sample::take(maps)?;
    let mut counted = BTreeMap::new();
    for (id, record) in maps.services(maps.selection()?.slot)? {
        if let Some(name) = text::name(&record.name)
            && challenging(policy).any(|service| service.name == name)
        {
            counted.insert(name, Counted::of(&sample.counters[id as usize + 1]));
        }
    }
    Ok(counted)
}

/// A service whose proofs become no connections.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parted {
    service: Name,
    proven: u64,
    made: u64,
}

impl Parted {
    /// With the rule that is likely the cause, if it can be found.
    fn hindrance(self, policy: &Policy) -> Hindrance {
        let Self { service, proven, made } = self;
        let ports = super::ports(policy);
        let loose = Tree::at("/").number("proc/sys/net/netfilter/nf_conntrack_tcp_loose");
        let rule = rules(&ports).unwrap_or_default().into_iter().next();
        let cause = match (&rule, loose) {
            (Some(rule), _) if rule.does == Does::Moves => {
                format!("{} hands them to another server", rule.place)
            }
            (_, Some(0)) => {
                "net.netfilter.nf_conntrack_tcp_loose is 0, so a rule drops them as invalid"
                    .to_owned()
            }
            (Some(rule), _) => format!("{} keeps out new packets that are no SYN", rule.place),
            (None, _) => {
                "a rule of the firewall, DNAT or another network namespace takes them".to_owned()
            }
        };
        Hindrance {
            what: format!(
                "ACKs that prove a source do not reach the server: of {proven} that were admitted the \
                 kernel made {made} connections; {cause}"
            ),
            advice: "take the services' ports out of that rule (`nft -a list ruleset`, `iptables-save`), \
                     then challenge again: `limiter set --service NAME --challenge auto`"
                .to_owned(),
            services: vec![service],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn counted(proven: u64) -> BTreeMap<Name, Counted> {
        [(name("web"), Counted { challenged: 0, proven })].into()
    }

    #[test]
    fn proofs_and_connections_part() {
        let mut watcher = Watcher::default();
        let mut look = |proven, received| watcher.parted(&counted(proven), received);
        assert_eq!(look(1000, 50), [], "what was before is not judged");
        assert_eq!(look(1000 + ENOUGH - 1, 50), [], "too few to say");
        let parted = [Parted { service: name("web"), proven: ENOUGH, made: 1 }];
        assert_eq!(look(1000 + ENOUGH, 51), parted);
        assert_eq!(look(1000 + 2 * ENOUGH, 51 + ENOUGH), [], "anew, and all arrive");
        assert_eq!(
            look(1000 + 3 * ENOUGH, 51 + ENOUGH + ENOUGH / 4),
            [],
            "a quarter is not enough"
        );
        assert_eq!(look(0, 51).len(), 0, "counters that began anew");
    }

    #[test]
    fn nobody_proves_itself() {
        let mut watcher = Watcher::default();
        let now = |challenged, proven| [(name("web"), Counted { challenged, proven })].into();
        let mut silent = |challenged, proven| {
            let now = now(challenged, proven);
            let silent = watcher.is_silent(&now);
            watcher.last = now;
            silent
        };
        assert!(!silent(100, 0), "since when is not known");
        assert!(silent(100 + CHALLENGED, 0) && !silent(100 + CHALLENGED, 0));
        assert!(!silent(200, 1) && !silent(201, 1) && silent(300, 1));
    }
}
