//! Ethernet and at most two VLAN tags (802.1Q, 802.1ad).

use super::Cursor;
use crate::reason::Reason;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

/// The EtherType behind the tags.
#[inline(always)]
pub fn ether_type(frame: &mut Cursor<'_>) -> Result<u16, Reason> {
    let mut ether_type = frame.take::<14>().ok_or(Reason::Truncated)?.half::<12>();
    let mut tags = 0;
    while tags < 2 && is_tag(ether_type) {
        ether_type = frame.take::<4>().ok_or(Reason::Truncated)?.half::<2>();
        tags += 1;
    }
    if is_tag(ether_type) { Err(Reason::TooManyTags) } else { Ok(ether_type) }
}

/// Whether one of the first three tags names no VLAN but gives a priority. The kernel takes off any number of those
/// (`__netif_receive_skb_core`, `check_vlan_id`).
#[inline(always)]
pub fn has_priority_tag(mut frame: Cursor<'_>) -> bool {
    const VLAN_ID: u16 = 0xfff;
    let Some(tags) = frame.take::<12>().and_then(|_| frame.take::<12>()) else { return false };
    [tags.half::<2>(), tags.half::<6>(), tags.half::<10>()].iter().any(|tag| tag & VLAN_ID == 0)
}

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    ether_type == VLAN || ether_type == SERVICE_VLAN
}
