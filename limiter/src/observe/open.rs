//! Which sources hold most open connections: the kernel's own list of sockets, added up. It needs
//! no count of limiter's, and so tells what a limit would meet before there is one.

use std::cmp::Reverse;
use std::collections::HashMap;

use anyhow::Result;
use limiter_common::address::SourceMask;
use serde::Serialize;

use crate::kernel::Maps;
use crate::kernel::listener::{self, Connection};
use crate::policy::prefix::{self, Prefix};
use crate::policy::{Policy, Prefixes};

/// A source with open connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The source, or the prefix that was asked for.
    pub source: String,
    /// The service.
    pub service: String,
    /// Name of its class, if it has one.
    pub class: Option<String>,
    /// Connections that are open.
    pub count: u64,
}

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Sources, by the prefixes in force.
    Sources,
    /// Networks, by the prefixes of their limits.
    Networks,
    /// By prefixes of IPv4 and IPv6 of these lengths.
    Lengths(u8, u8),
}

/// The `most` sources with most open connections to services, in this network namespace. `service`:
/// of this one only.
///
/// # Errors
/// When a map cannot be read, or the kernel does not tell of its sockets.
pub fn read(maps: &Maps, by: By, service: Option<&str>, most: usize) -> Result<Vec<Holder>> {
    let policy = maps.policy(maps.selection()?.slot)?;
    let mut holders = held(&policy, by, &listener::connections()?);
    holders.retain(|holder| service.is_none_or(|name| holder.service == name));
    holders.truncate(most);
    Ok(holders)
}

/// The sources with connections to services, most first.
fn held(policy: &Policy, by: By, connections: &[Connection]) -> Vec<Holder> {
    let mut counts: HashMap<(String, &str, Option<String>), u64> = HashMap::new();
    for connection in connections {
        let Some(service) = policy.service_at(connection.local) else { continue };
        let address = prefix::address(connection.remote.ip());
        let class = policy.class_of(&Prefix { address, length: 128 });
        let own = class.and_then(|class| class.prefixes).or(service.prefixes);
        let networks = class.map_or(service.networks, |class| class.networks);
        let Prefixes { v4, v6 } = match by {
            By::Sources => own.unwrap_or(policy.prefixes),
            By::Networks => networks.prefixes,
            By::Lengths(v4, v6) => Prefixes { v4, v6 },
        };
        let length = if address.is_v4() { 96 + v4 } else { v6 };
        let source = Prefix { address: SourceMask::new(v4, v6).apply(address), length };
        let class = class.map(|class| class.name.to_string());
        *counts.entry((source.to_string(), service.name.as_str(), class)).or_default() += 1;
    }
    let mut holders: Vec<Holder> = counts
        .into_iter()
        .map(|((source, service, class), count)| Holder {
            source,
            service: service.to_owned(),
            class,
            count,
        })
        .collect();
    holders.sort_by_cached_key(|one| (Reverse(one.count), one.source.clone(), one.service.clone()));
    holders
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::policy::text;

    #[test]
    fn connections_are_added_up_by_source_and_service() {
        let services =
            ["web=*:80", "mine=192.0.2.1:80"].map(|one| text::service(one).expect("one"));
        let policy = Policy { services: services.into(), ..Policy::default() };
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let open = |remote: &str, local: &str| Connection { remote: at(remote), local: at(local) };
        let connections = [
            open("198.51.100.7:1", "192.0.2.2:80"),
            open("198.51.100.7:2", "192.0.2.2:80"),
            open("198.51.100.8:1", "192.0.2.2:80"),
            open("198.51.100.7:3", "192.0.2.1:80"),
            open("198.51.100.7:4", "192.0.2.2:22"),
            open("[2001:db8::1]:1", "[2001:db8:1::1]:80"),
            open("[2001:db8::2]:1", "[2001:db8:1::1]:80"),
            open("[2001:db8::3]:1", "[2001:db8:1::1]:80"),
        ];
        let found = |by| {
            let holders = held(&policy, by, &connections);
            let rows = holders.into_iter().map(|one| (one.source, one.service, one.count));
            rows.collect::<Vec<_>>()
        };
        let row =
            |source: &str, service: &str, count| (source.to_owned(), service.to_owned(), count);
        let rows = [
            row("2001:db8::/64", "web", 3),
            row("198.51.100.7", "web", 2),
            row("198.51.100.7", "mine", 1),
            row("198.51.100.8", "web", 1),
        ];
        assert_eq!(found(By::Sources), rows);
        assert_eq!(found(By::Lengths(24, 48))[0], row("198.51.100.0/24", "web", 3));
        let networks = [row("198.51.100.0/24", "web", 3), row("2001:db8::/48", "web", 3)];
        assert_eq!(found(By::Networks)[..2], networks);
    }
}
