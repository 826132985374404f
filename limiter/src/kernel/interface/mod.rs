//! Network interfaces and the XDP programs on them, over netlink.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};
use serde::Serialize;

mod detail;
mod features;
mod peer;

pub use detail::{Detail, detailed};
pub use features::{Features, features};
pub use peer::{Peer, peer};

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// In the driver, before the kernel spends anything.
    Native,
    /// In the kernel's generic path, after it made an skb for the packet: slower.
    Generic,
    /// In the NIC.
    Offloaded,
}

/// An interface of this network namespace.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// The XDP program on it: its id and where it runs.
    pub program: Option<(u32, Attachment)>,
    /// Whether its packets lie in Ethernet frames: others are nothing that limiter could read.
    pub ethernet: bool,
    /// What the kernel calls a virtual one: `veth`, `bond`.
    pub kind: Option<String>,
    /// The interface that it is a part of: a bond or a bridge.
    pub above: Option<u32>,
}

/// All interfaces of this network namespace.
///
/// # Errors
/// When netlink does not answer.
pub fn all() -> Result<Vec<Interface>> {
    let messages = ask(async |handle| links(&handle).await)?;
    Ok(messages.iter().map(interface).collect())
}

async fn links(handle: &Handle) -> Result<Vec<LinkMessage>> {
    handle.link().get().execute().try_collect().await.context("netlink refused to list interfaces")
}

/// The addresses of this network namespace.
///
/// # Errors
/// When netlink does not answer.
pub fn addresses() -> Result<Vec<IpAddr>> {
    let messages: Vec<AddressMessage> = ask(async |handle| {
        handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .context("netlink refused to list addresses")
    })?;
    let address = |message: &AddressMessage| {
        let attributes = || message.attributes.iter();
        // Of a point-to-point link `Address` is the other end.
        let local = attributes()
            .find_map(|one| if let AddressAttribute::Local(ip) = one { Some(*ip) } else { None });
        local.or_else(|| {
            attributes().find_map(|one| {
                if let AddressAttribute::Address(ip) = one { Some(*ip) } else { None }
            })
        })
    };
    Ok(messages.iter().filter_map(address).collect())
}

/// Asks netlink, in a runtime that ends with the answer.
fn ask<T>(question: impl AsyncFnOnce(Handle) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("cannot open a netlink socket")?;
        let connection = tokio::spawn(connection);
        let answer = question(handle).await;
        connection.abort();
        answer
    })
}

/// The interface called `name`.
///
/// # Errors
/// When there is none: which there are.
pub fn named<'a>(interfaces: &'a [Interface], name: &str) -> Result<&'a Interface> {
    let found = interfaces.iter().find(|interface| interface.name == name);
    found.with_context(|| {
        let names: Vec<_> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        format!("there is no interface {name} here; there are {}", names.join(", "))
    })
}

fn interface(message: &LinkMessage) -> Interface {
    let layer = message.header.link_layer_type;
    let ethernet = matches!(layer, LinkLayerType::Ether | LinkLayerType::Loopback);
    let mut interface = Interface { index: message.header.index, ethernet, ..Interface::default() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Xdp(attributes) => interface.program = program(attributes),
            LinkAttribute::LinkInfo(infos) => interface.kind = detail::kind(infos),
            LinkAttribute::Controller(index) => interface.above = Some(*index),
            _ => {}
        }
    }
    interface
}

fn program(attributes: &[LinkXdp]) -> Option<(u32, Attachment)> {
    let attached = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Multiple) => Some(Attachment::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Attachment::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(Attachment::Offloaded),
        _ => None,
    })?;
    let id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) => Some(*id),
        _ => None,
    });
    let id = id.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => Some(*id),
            _ => None,
        })
    })?;
    Some((id, attached))
}
