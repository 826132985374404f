//! The other end of a veth, also where it is in another network namespace.

use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;

use super::super::netlink::{Scope, ask};
use super::{Attachment, interface};

/// include/uapi/linux/if_link.h: in which network namespace the question is meant.
const IFLA_TARGET_NETNSID: u16 = 46;

/// What can be seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, in its network namespace.
    pub name: String,
    /// Whether that is the one of this process.
    pub is_here: bool,
    /// Whether an XDP program runs in its driver: only then does it take what XDP sends back.
    pub has_program: bool,
}

/// The other end of the veth with this index. `None`: it is no veth, or its other end is out of
/// sight.
pub fn peer(index: u32) -> Option<Peer> {
    let near = link(index, None)?;
    if interface(&near).kind.as_deref() != Some("veth") {
        return None;
    }
    let namespace = near.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkNetNsId(id) => Some(*id),
        _ => None,
    });
    let far = near.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })?;
    let far = interface(&link(far, namespace)?);
    Some(Peer {
        has_program: matches!(far.program, Some((_, Attachment::Native))),
        is_here: namespace.is_none(),
        name: far.name,
    })
}

/// An interface of a network namespace by the number that this one has for it, or of this one.
fn link(index: u32, namespace: Option<i32>) -> Option<LinkMessage> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    if let Some(id) = namespace {
        let attribute = DefaultNla::new(IFLA_TARGET_NETNSID, id.to_ne_bytes().to_vec());
        link.attributes.push(LinkAttribute::Other(attribute));
    }
    let answers = ask(NETLINK_ROUTE, RouteNetlinkMessage::GetLink(link), Scope::One).ok()?;
    answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        _ => None,
    })
}
