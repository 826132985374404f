//! Connections whose destination the kernel rewrites (DNAT, REDIRECT, IPVS): a sample of what
//! connection tracking holds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use rtnetlink::packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable,
};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::netlink::{Scope, ask_for, attribute};

// include/uapi/linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const CONNTRACK_GET: u16 = 1 << 8 | 1;
const HEADER: usize = 4;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
const SOURCE_V4: u16 = 1;
const DESTINATION_V4: u16 = 2;
const SOURCE_V6: u16 = 3;
const DESTINATION_V6: u16 = 4;
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
const TCP: u8 = 6;

/// Entries that are looked at. A table may hold a million, and two hundred fit one answer.
const SAMPLE: usize = 1024;

/// Where a client wanted to go, and where its packets are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rewritten {
    /// Address and port of the packets as they arrive.
    pub from: SocketAddr,
    /// Those of the server that gets them.
    pub to: SocketAddr,
}

/// Rewritten TCP connections among the first of the table, each pair of addresses once.
///
/// # Errors
/// When the kernel does not tell: it tracks nothing, or this process may not ask.
pub fn rewritten() -> Result<Vec<Rewritten>> {
    let answers = ask_for(NETLINK_NETFILTER, Message::default(), Scope::All, SAMPLE)?;
    let mut found: Vec<_> = answers.iter().filter_map(|Message(bytes)| rewriting(bytes)).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn rewriting(entry: &[u8]) -> Option<Rewritten> {
    let original = tuple(attribute(entry, ORIGINAL)?)?;
    let reply = tuple(attribute(entry, REPLY)?)?;
    let (from, to) = (original.destination, reply.source);
    (from != to).then_some(Rewritten { from, to })
}

/// The ends of a TCP connection, in one direction.
struct Tuple {
    source: SocketAddr,
    destination: SocketAddr,
}

fn tuple(attributes: &[u8]) -> Option<Tuple> {
    let (addresses, protocol) =
        (attribute(attributes, ADDRESSES)?, attribute(attributes, PROTOCOL)?);
    let port = |kind| -> Option<u16> {
        Some(u16::from_be_bytes(attribute(protocol, kind)?.try_into().ok()?))
    };
    let address = |v4, v6| -> Option<IpAddr> {
        let v4 = attribute(addresses, v4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        let v6 = attribute(addresses, v6).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        v4.map(|bytes| Ipv4Addr::from(bytes).into())
            .or_else(|| v6.map(|bytes| Ipv6Addr::from(bytes).into()))
    };
    if attribute(protocol, NUMBER)? != [TCP] {
        return None;
    }
    Some(Tuple {
        source: SocketAddr::new(address(SOURCE_V4, SOURCE_V6)?, port(SOURCE_PORT)?),
        destination: SocketAddr::new(
            address(DESTINATION_V4, DESTINATION_V6)?,
            port(DESTINATION_PORT)?,
        ),
    })
}

/// A message of the family: the attributes of an entry. Its header, of four bytes, is the family
/// (0: each), a version and a resource, all zeros in a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message(Vec<u8>);

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        CONNTRACK_GET
    }

    fn buffer_len(&self) -> usize {
        HEADER
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(payload.get(HEADER..).unwrap_or_default().to_vec()))
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> Self {
        Self::InnerMessage(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = (4 + value.len()) as u16;
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn direction(kind: u16, [from, to]: [([u8; 4], u16); 2], protocol: u8) -> Vec<u8> {
        let addresses = [made(SOURCE_V4, &from.0), made(DESTINATION_V4, &to.0)].concat();
        let ports = [
            made(NUMBER, &[protocol]),
            made(SOURCE_PORT, &from.1.to_be_bytes()),
            made(DESTINATION_PORT, &to.1.to_be_bytes()),
        ];
        const NESTED: u16 = 1 << 15;
        let both = [made(ADDRESSES | NESTED, &addresses), made(PROTOCOL | NESTED, &ports.concat())];
        made(kind | NESTED, &both.concat())
    }

    #[test]
    fn who_is_taken_elsewhere() {
        let (client, here, inside) = ([192, 0, 2, 7], [192, 0, 2, 1], [172, 17, 0, 2]);
        let entry = |server: [u8; 4], port: u16, protocol| {
            [
                direction(ORIGINAL, [(client, 4000), (here, 80)], protocol),
                direction(REPLY, [(server, port), (client, 4000)], protocol),
            ]
            .concat()
        };
        assert_eq!(rewriting(&entry(here, 80, TCP)), None);
        assert_eq!(rewriting(&entry(inside, 80, 17)), None, "UDP");
        for (server, port) in [(inside, 80), (here, 8080)] {
            let found = rewriting(&entry(server, port, TCP)).expect("rewritten");
            assert_eq!(found.from, (here, 80).into());
            assert_eq!(found.to, (server, port).into());
        }
        let whole = entry(inside, 80, TCP);
        for length in 0..whole.len() {
            let _ = rewriting(&whole[..length]);
        }
    }
}
