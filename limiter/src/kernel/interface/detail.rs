//! Interfaces in all the detail that netlink has, and which of them lead out.

use anyhow::Result;
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Attachment, ask, interface, links};

/// An interface of this network namespace, with what only `doctor` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// What the kernel calls a virtual one: `veth`, `vlan`, `bond`.
    pub kind: Option<String>,
    /// Whether its packets lie in Ethernet frames.
    pub ethernet: bool,
    /// Hardware address.
    pub address: Vec<u8>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Whether the operator set it up.
    pub up: bool,
    /// Whether the other end is there.
    pub carrier: bool,
    /// The interface that it stands on: a VLAN's carrier.
    pub below: Option<u32>,
    /// The interface that it is a part of: a bond or a bridge.
    pub above: Option<u32>,
    /// Whether a default route leads there.
    pub leads_out: bool,
    /// Receive queues.
    pub queues: u32,
    /// The XDP program on it: its id and where it runs.
    pub program: Option<(u32, Attachment)>,
    /// Packets that it lost because nobody took them out of its rings in time.
    pub lost: u64,
}

/// All interfaces of this network namespace.
///
/// # Errors
/// When netlink does not answer.
pub fn detailed() -> Result<Vec<Detail>> {
    let (links, routes) = ask(async |handle| Ok((links(&handle).await?, routes(&handle).await)))?;
    let out: Vec<u32> = routes
        .iter()
        .filter(|route| route.header.destination_prefix_length == 0)
        .filter_map(out_of)
        .collect();
    let devices = links.iter().map(device);
    Ok(devices.map(|device| Detail { leads_out: out.contains(&device.index), ..device }).collect())
}

async fn routes(handle: &Handle) -> Vec<RouteMessage> {
    let mut routes = Vec::new();
    let (v4, v6) = (
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    );
    for family in [v4, v6] {
        // A kernel without IPv6 has no routes of it.
        let found: Result<Vec<RouteMessage>, _> =
            handle.route().get(family).execute().try_collect().await;
        routes.extend(found.unwrap_or_default());
    }
    routes
}

/// Where a route leads.
fn out_of(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn device(message: &LinkMessage) -> Detail {
    let interface = interface(message);
    let flags = message.header.flags;
    let mut device = Detail {
        index: interface.index,
        name: interface.name,
        program: interface.program,
        ethernet: interface.ethernet,
        kind: interface.kind,
        above: interface.above,
        loopback: flags.contains(LinkFlags::Loopback),
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ..Detail::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(address) => device.address.clone_from(address),
            LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
            LinkAttribute::Link(index) => device.below = Some(*index),
            LinkAttribute::NumRxQueues(queues) => device.queues = *queues,
            LinkAttribute::Stats64(stats) => {
                device.lost = stats.rx_missed_errors + stats.rx_fifo_errors
            }
            _ => {}
        }
    }
    device
}

pub(super) fn kind(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}
