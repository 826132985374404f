//! The ways back: by which interface the kernel would answer those who come.
//!
//! limiter answers by the interface, and to the MAC address, that an attempt came from. A sender of
//! forged addresses chooses which routes are asked, so they count only where the default route
//! leads out elsewhere: strangers are answered there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;
use limiter_common::address::Address;

use super::{Hindrance, all};
use crate::kernel::interface::{self, Detail};
use crate::kernel::link;
use crate::kernel::{Maps, Pins, route};
use crate::observe::ring::Ring;
use crate::policy::{Policy, prefix};

/// Sources whose ways are asked for at once.
const ASKED: usize = 16;
/// Sources that must be known before their ways say anything.
const FEW: usize = 4;

/// The sources that were seen, as far as they were looked at.
#[derive(Debug)]
pub struct Ways {
    ring: Ring,
}

impl Default for Ways {
    fn default() -> Self {
        Self { ring: Ring::attempts() }
    }
}

impl Ways {
    /// Whether most of those who came since the last look are answered by other interfaces than
    /// those that limiter is on.
    ///
    /// # Errors
    /// When the maps, interfaces or pins cannot be read.
    pub fn look(&mut self, pins: &Pins, maps: &Maps, policy: &Policy) -> Result<Option<Hindrance>> {
        let mut sources = BTreeSet::new();
        for seen in self.ring.look(maps)?.seen.iter().rev() {
            sources.insert(prefix::ip(Address { high: seen.high, low: seen.low }));
            if sources.len() == ASKED {
                break;
            }
        }
        if sources.len() < FEW {
            return Ok(None);
        }
        let devices = interface::detailed()?;
        let attached: BTreeSet<u32> = link::attached(pins)?
            .iter()
            .filter(|one| one.name.is_some())
            .map(|one| one.index)
            .collect();
        let ours = with_those_above(&attached, &devices);
        let leads_out: Vec<&Detail> = devices.iter().filter(|one| one.leads_out).collect();
        if leads_out.is_empty() || leads_out.iter().any(|one| ours.contains(&one.index)) {
            return Ok(None);
        }
        let own = own_address(policy);
        let elsewhere: Vec<(IpAddr, u32)> = sources
            .iter()
            .filter_map(|source| Some((*source, route::out_of(*source, own)?)))
            .filter(|(_, out)| !ours.contains(out))
            .collect();
        let Some((source, out)) = elsewhere.first().filter(|_| elsewhere.len() * 2 > sources.len())
        else {
            return Ok(None);
        };
        let name = |index: u32| {
            let found = devices.iter().find(|one| one.index == index);
            found.map_or_else(|| index.to_string(), |one| one.name.clone())
        };
        let here: Vec<_> = attached.iter().map(|index| name(*index)).collect();
        let (here, out) = (here.join(", "), name(*out));
        Ok(Some(Hindrance {
            services: all(policy),
            what: format!(
                "the way back is another one: {source} comes in by {here}, and the kernel answers it \
                 by {out} (direct server return, asymmetric routes), where a challenge does not"
            ),
            advice: format!(
                "`limiter set --service NAME --challenge off`; or let the routes lead back by {here}"
            ),
        }))
    }
}

/// The address that a policy names, if it names one.
fn own_address(policy: &Policy) -> Option<IpAddr> {
    let addresses = policy.services.iter().flat_map(|service| &service.listeners);
    addresses.map(std::net::SocketAddr::ip).find(|ip| !ip.is_unspecified())
}

/// Interfaces, with the VLANs, bonds and bridges that stand on them.
fn with_those_above(attached: &BTreeSet<u32>, devices: &[Detail]) -> BTreeSet<u32> {
    let mut all = attached.clone();
    loop {
        let above = devices.iter().filter(|one| {
            let is_vlan = one.kind.as_deref() == Some("vlan");
            let stands_on = is_vlan && one.below.is_some_and(|below| all.contains(&below));
            let holds = |part: &Detail| all.contains(&part.index) && part.above == Some(one.index);
            stands_on || devices.iter().any(holds)
        });
        let more: Vec<u32> = above.map(|one| one.index).filter(|one| !all.contains(one)).collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_on_an_interface_is_the_same_way() {
        let device = |index, kind: &str, below, above| Detail {
            index,
            kind: Some(kind.to_owned()),
            below,
            above,
            ..Detail::default()
        };
        let devices = [
            device(2, "", None, Some(4)),
            device(3, "", None, None),
            device(4, "bond", None, None),
            device(5, "vlan", Some(4), Some(6)),
            device(6, "bridge", None, None),
            // A veth names its other end, which is no VLAN.
            device(7, "veth", Some(3), None),
        ];
        assert_eq!(with_those_above(&[2].into(), &devices), [2, 4, 5, 6].into());
        assert_eq!(with_those_above(&[3].into(), &devices), [3].into());
    }
}
