//! What keeps a challenge from working here: its answers do not leave, do not arrive, or speak for
//! a server that is not the one which gets the connection.
//!
//! | what | told by |
//! | --- | --- |
//! | a veth whose other end runs no XDP program | the program there |
//! | addresses that the kernel rewrites | connections that it tracks |
//! | listeners bound to an interface that limiter is not on | the sockets |
//! | another way back | routes to the sources that come, while nobody proves itself |
//! | ACKs that a rule takes | proofs, against the connections that the kernel made of cookies |
//!
//! The first three and the ways are looked at in calm ([`standing`]), all of them while proofs pay
//! ([`Watcher`]). Each needs evidence that no sender of forged addresses can make, because with the
//! challenge goes what holds him.

mod rules;
mod sources;
mod watcher;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use limiter_common::challenge::Challenge;

use crate::kernel::interface::{self, Attachment};
use crate::kernel::link::{self, Attached};
use crate::kernel::listener::{self, Listener};
use crate::kernel::tracked::{self, Rewritten};
use crate::kernel::{Maps, Pins};
use crate::policy::{Name, Policy, Service};
use crate::tree::Tree;

pub use rules::{Does, Rule, rules};
pub use sources::Ways;
pub use watcher::Watcher;

/// Something that keeps the challenge of services from working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hindrance {
    /// Whose challenge.
    pub services: Vec<Name>,
    /// What is, as a clause that can stand behind a name.
    pub what: String,
    /// What an operator can do.
    pub advice: String,
}

/// What is certain without a challenge. `policy`: the one that decides.
///
/// # Errors
/// When interfaces, pins or sockets cannot be read.
pub fn standing(pins: &Pins, policy: &Policy) -> Result<Vec<Hindrance>> {
    let attached = link::attached(pins)?;
    let mut found: Vec<_> = peers(policy, &attached).collect();
    if is_tracked() {
        let own = interface::addresses()?.into_iter().map(|ip| ip.to_canonical()).collect();
        found.extend(moved(policy, &tracked::rewritten().unwrap_or_default(), &own));
    }
    found.extend(bound(policy, &listener::all()?, &attached)?);
    Ok(found)
}

/// The same, and whether answers would leave by another way than sources come.
///
/// # Errors
/// The same, and when the maps cannot be read.
pub fn in_calm(pins: &Pins, maps: &Maps, policy: &Policy) -> Result<Vec<Hindrance>> {
    let mut found = standing(pins, policy)?;
    found.extend(Ways::default().look(pins, maps, policy)?);
    Ok(found)
}

/// Whether the kernel tracks connections at all: to ask would make it begin.
fn is_tracked() -> bool {
    Tree::at("/").number("proc/sys/net/netfilter/nf_conntrack_count").is_some()
}

/// Services that may challenge.
fn challenging(policy: &Policy) -> impl Iterator<Item = &Service> {
    policy.services.iter().filter(|service| service.admission.challenge != Challenge::Off)
}

/// The ports of services that may challenge.
pub fn ports(policy: &Policy) -> Vec<u16> {
    challenging(policy).flat_map(|one| one.listeners.iter().map(SocketAddr::port)).collect()
}

fn all(policy: &Policy) -> Vec<Name> {
    challenging(policy).map(|service| service.name.clone()).collect()
}

/// A veth gives what XDP sends back to an XDP program at its other end, or to nobody.
fn peers(policy: &Policy, attached: &[Attached]) -> impl Iterator<Item = Hindrance> {
    let native = attached.iter().filter(|one| one.attachment == Some(Attachment::Native));
    native.filter_map(|one| {
        let (name, peer) = (one.name.as_ref()?, interface::peer(one.index)?);
        let place = if peer.is_here { "" } else { ", in another network namespace" };
        (!peer.has_program).then(|| Hindrance {
            services: all(policy),
            what: format!(
                "answers to challenges do not leave {name}: no XDP program runs in the driver of \
                 {}, the other end of this veth{place}",
                peer.name
            ),
            advice: format!(
                "attach any XDP program that passes packets to {}, such as limiter in observe mode \
                 (`limiter --pins /sys/fs/bpf/peer attach {}`); or attach here with `--generic`",
                peer.name, peer.name
            ),
        })
    })
}

/// Services to whose addresses connections are taken elsewhere.
fn moved(policy: &Policy, rewritten: &[Rewritten], own: &BTreeSet<IpAddr>) -> Vec<Hindrance> {
    let meets = |address: &SocketAddr, from: &SocketAddr| {
        let place =
            address.ip() == from.ip() || address.ip().is_unspecified() && own.contains(&from.ip());
        place && address.port() == from.port()
    };
    let of = |service: &Service| {
        let found = rewritten
            .iter()
            .find(|one| service.listeners.iter().any(|address| meets(address, &one.from)))?;
        let Rewritten { from, to } = found;
        Some(Hindrance {
            services: vec![service.name.clone()],
            what: format!(
                "the kernel hands connections to {from} on to {to} (DNAT, REDIRECT or IPVS), and a \
                 challenge would speak for the wrong server"
            ),
            advice: format!(
                "`limiter set --service {} --challenge off`, and leave net.ipv4.tcp_syncookies at 1; \
                 or let the server listen at {from} itself",
                service.name
            ),
        })
    };
    challenging(policy).filter_map(of).collect()
}

/// Services whose servers listen on an interface that limiter is not on: its look from the driver
/// does not find them.
fn bound(policy: &Policy, listeners: &[Listener], attached: &[Attached]) -> Result<Vec<Hindrance>> {
    if listeners.iter().all(|listener| listener.device == 0) {
        return Ok(Vec::new());
    }
    let names = interface::all()?;
    let is_seen = |device: u32| device == 0 || attached.iter().any(|one| one.index == device);
    let of = |service: &Service| {
        let hidden = service.listeners.iter().find_map(|address| {
            let mut here = listeners.iter().filter(|one| one.takes(*address)).peekable();
            let first = *here.peek()?;
            (!here.any(|one| is_seen(one.device))).then_some(first)
        })?;
        let device = names.iter().find(|one| one.index == hidden.device);
        let device = device.map_or_else(|| hidden.device.to_string(), |one| one.name.clone());
        Some(Hindrance {
            services: vec![service.name.clone()],
            what: format!(
                "the server at {} is bound to {device}, where limiter is not attached, so a \
                 challenge does not find it",
                hidden.address
            ),
            advice: format!(
                "let the server listen on its address without binding to {device}; or `limiter set \
                 --service {} --challenge off`",
                service.name
            ),
        })
    };
    Ok(challenging(policy).filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::text;

    fn policy(services: &[(&str, Challenge)]) -> Policy {
        let services = services.iter().map(|(words, challenge)| {
            let mut service = text::service(words).expect("a service");
            service.admission.challenge = *challenge;
            service
        });
        Policy { services: services.collect(), ..Policy::default() }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn connections_that_are_taken_elsewhere() {
        let policy = policy(&[
            ("web=*:80", Challenge::Auto),
            ("mail=192.0.2.1:25", Challenge::Always),
            ("calm=*:81", Challenge::Off),
        ]);
        let own = [at("192.0.2.1:0").ip()].into();
        let found = |from: &str, to: &str| {
            let found = moved(&policy, &[Rewritten { from: at(from), to: at(to) }], &own);
            let names = found.into_iter().flat_map(|one| one.services);
            names.map(|one| one.to_string()).collect::<Vec<_>>()
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(found("192.0.2.1:80", "172.17.0.2:80"), ["web"]);
        assert_eq!(found("192.0.2.1:25", "192.0.2.1:2525"), ["mail"]);
        assert_eq!(found("192.0.2.1:81", "172.17.0.2:81"), none, "it is not challenged");
        assert_eq!(found("198.51.100.7:80", "172.17.0.2:80"), none, "somewhere else");
    }

    #[test]
    fn listeners_out_of_sight() {
        let policy = policy(&[("web=*:80", Challenge::Auto)]);
        let listener = |device| Listener {
            address: at("0.0.0.0:80"),
            only_v6: false,
            waiting: 0,
            room: 128,
            inode: 0,
            device,
        };
        let name = Some("web0".to_owned());
        let attached = [Attached { index: 5, name, attachment: None, in_dispatcher: false }];
        let found = |devices: &[u32]| {
            let listeners: Vec<_> = devices.iter().map(|device| listener(*device)).collect();
            bound(&policy, &listeners, &attached).expect("interfaces").len()
        };
        assert_eq!(found(&[]), 0, "who does not listen is another matter");
        assert_eq!((found(&[0]), found(&[5]), found(&[99_999])), (0, 0, 1));
        assert_eq!(found(&[99_999, 0]), 0, "cookies are the same at both");
    }
}
