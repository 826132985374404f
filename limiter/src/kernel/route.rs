//! The way that packets take from this host.

use std::net::IpAddr;

use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;

use super::netlink::{Scope, ask};

/// Index of the interface by which packets from `own`, an address of this host if it is known,
/// leave for `to`; `None` where none leads there.
pub fn out_of(to: IpAddr, own: Option<IpAddr>) -> Option<u32> {
    let (family, bits) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.destination_prefix_length = bits;
    route.attributes.push(RouteAttribute::Destination(RouteAddress::from(to)));
    if let Some(own) = own.filter(|own| own.is_ipv4() == to.is_ipv4()) {
        route.header.source_prefix_length = bits;
        route.attributes.push(RouteAttribute::Source(RouteAddress::from(own)));
    }
    let answers = ask(NETLINK_ROUTE, RouteNetlinkMessage::GetRoute(route), Scope::One).ok()?;
    let attributes = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(route.attributes),
        _ => None,
    });
    attributes.flatten().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_host_itself() {
        let loopback = "127.0.0.1".parse().expect("an address");
        assert_eq!(out_of(loopback, None), Some(1));
        assert_eq!(out_of(loopback, Some(loopback)), Some(1));
    }
}
