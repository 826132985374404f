//! What the drivers of interfaces can do with XDP, as they say themselves: generic netlink family `netdev`, Linux 6.3 and newer.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use rtnetlink::packet_core::{
    DecodeError, DefaultNla, Emitable, Nla as _, NlasIterator, ParseableParametrized,
};
use rtnetlink::sys::protocols::NETLINK_GENERIC;

use super::super::netlink::{Scope, ask};

// include/uapi/linux/netdev.h
const DEVICE_GET: u8 = 1;
const INDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;
const BASIC: u64 = 1 << 0;
const FRAGMENTS: u64 = 1 << 5;

/// What a driver can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Runs XDP programs itself, and aborts, drops, passes and answers for them.
    pub native: bool,
    /// Gives them frames that lie in several buffers: there is no limit to the MTU then.
    pub fragments: bool,
}

impl From<u64> for Features {
    fn from(bits: u64) -> Self {
        Self { native: bits & BASIC != 0, fragments: bits & FRAGMENTS != 0 }
    }
}

/// Features by index of the interface, of this network namespace.
///
/// # Errors
/// When the kernel has no such family: it is older than 6.3.
pub fn features() -> Result<BTreeMap<u32, Features>> {
    let family = family()?;
    let mut question = GenlMessage::from_payload(Message { attributes: Vec::new() });
    question.set_resolved_family_id(family);
    question.finalize();
    let answers = ask(NETLINK_GENERIC, question, Scope::All)?;
    let known = answers.into_iter().filter_map(|answer| {
        let index = answer.payload.number::<4>(INDEX).map(u32::from_ne_bytes)?;
        let features = answer.payload.number::<8>(XDP_FEATURES).map(u64::from_ne_bytes)?;
        Some((index, Features::from(features)))
    });
    Ok(known.collect())
}

/// The number that this kernel gave to the family.
fn family() -> Result<u16> {
    let name = GenlCtrlAttrs::FamilyName(Message::family_name().to_owned());
    let mut question =
        GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![name] });
    question.finalize();
    let answers = ask(NETLINK_GENERIC, question, Scope::One)
        .context("this kernel has no netlink family netdev")?;
    let mut attributes = answers.into_iter().flat_map(|answer| answer.payload.nlas);
    let family = attributes.find_map(|attribute| match attribute {
        GenlCtrlAttrs::FamilyId(family) => Some(family),
        _ => None,
    });
    family.context("this kernel has no netlink family netdev")
}

/// A message of the family: attributes as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    attributes: Vec<DefaultNla>,
}

impl Message {
    /// The bytes of an attribute of this kind and length.
    fn number<const BYTES: usize>(&self, kind: u16) -> Option<[u8; BYTES]> {
        let attribute = self.attributes.iter().find(|attribute| attribute.kind() == kind)?;
        let mut bytes = vec![0; attribute.value_len()];
        attribute.emit_value(&mut bytes);
        bytes.try_into().ok()
    }
}

impl GenlFamily for Message {
    fn family_name() -> &'static str {
        "netdev"
    }

    fn command(&self) -> u8 {
        DEVICE_GET
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Message {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Message {
    fn parse_with_param(payload: &[u8], _: GenlHeader) -> Result<Self, DecodeError> {
        use rtnetlink::packet_core::Parseable as _;
        let attributes = NlasIterator::new(payload).map(|attribute| DefaultNla::parse(&attribute?));
        Ok(Self { attributes: attributes.collect::<Result<_, _>>()? })
    }
}
