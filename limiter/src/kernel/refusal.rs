//! Why the kernel refuses to attach a program, in its own words.
//!
//! A BPF link is refused with a number alone. The same over netlink is refused with a sentence, in
//! the extended acknowledgement.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::netlink::attribute;

// include/uapi/linux/if_link.h
pub(super) const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
pub(super) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
pub(super) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// include/uapi/linux/netlink.h: there are attributes behind the error.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// The attribute that holds the sentence.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// The header of the request, which stands before the attributes.
const HEADER: usize = 16;

/// Tries over netlink what was just refused, and returns the kernel's sentence. What is not refused
/// this time is taken back at once.
pub fn sentence(program: &Xdp, index: u32, mode: XdpMode) -> Option<String> {
    let descriptor = program.fd().ok()?.as_fd().as_raw_fd();
    let place = if mode == XdpMode::Skb { XDP_FLAGS_SKB_MODE } else { XDP_FLAGS_DRV_MODE };
    let put = |descriptor, flags| {
        ask(index, vec![LinkXdp::Fd(descriptor), LinkXdp::Flags(place | flags)])
    };
    let answer = put(descriptor, XDP_FLAGS_UPDATE_IF_NOEXIST)?;
    if matches!(&answer.payload, NetlinkPayload::Error(error) if error.code.is_none()) {
        put(-1, 0)?;
    }
    said(&answer)
}

/// Asks over netlink for a change of the XDP program on an interface.
pub(super) fn ask(
    index: u32,
    attributes: Vec<LinkXdp>,
) -> Option<NetlinkMessage<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE).ok()?;
    socket.bind_auto().ok()?;
    socket.connect(&SocketAddr::new(0, 0)).ok()?;
    socket.set_ext_ack(true).ok()?;
    socket.set_cap_ack(true).ok()?;
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes.push(LinkAttribute::Xdp(attributes));
    let mut question = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    question.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    question.finalize();
    let mut bytes = vec![0; question.buffer_len()];
    question.serialize(&mut bytes);
    socket.send(&bytes, 0).ok()?;
    let (datagram, _) = socket.recv_from_full().ok()?;
    NetlinkMessage::deserialize(&datagram).ok()
}

/// The sentence of an answer that refuses.
pub(super) fn said(answer: &NetlinkMessage<RouteNetlinkMessage>) -> Option<String> {
    let NetlinkPayload::Error(error) = &answer.payload else { return None };
    error.code?;
    if answer.header.flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    message(error.header.get(HEADER..)?)
}

/// The sentence among attributes.
fn message(attributes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(attribute(attributes, NLMSGERR_ATTR_MSG)?);
    Some(text.trim_end_matches('\0').trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn a_sentence_is_found_among_attributes() {
        let attribute = |kind: u16, value: &[u8]| {
            let length = (4 + value.len()) as u16;
            let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let both = [attribute(2, &[1, 2, 3, 4]), attribute(1, b"veth: too few queues\0")].concat();
        assert_eq!(message(&both).as_deref(), Some("veth: too few queues"));
        assert_eq!(message(&attribute(2, &[0; 4])), None);
        for length in 0..both.len() {
            let _ = message(&both[..length]);
        }
        assert_eq!(message(&[0; 8]), None, "a length that leads nowhere");
    }
}
