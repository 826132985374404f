//! service? By destination port first; by address only where a service names addresses.

use limiter_common::address::Address;
use limiter_common::packet::Segment;
use limiter_common::record::{ListenerKey, Port};

use crate::maps::{LISTENER, PORT};

/// The id of the service that the segment is for.
#[inline(always)]
pub fn find(segment: &Segment<'_>, slot: u32) -> Option<u32> {
    find_by(|| segment.network.destination(), segment.network.is_v6(), segment.port, slot)
}

/// The id of the service at a local address and port.
#[inline(always)]
pub fn at(local: Address, is_v6: bool, port: u16, slot: u32) -> Option<u32> {
    find_by(|| local, is_v6, port, slot)
}

#[inline(always)]
fn find_by(local: impl FnOnce() -> Address, is_v6: bool, port: u16, slot: u32) -> Option<u32> {
    let services = PORT.get(u32::from(port))?;
    match services.service(slot, is_v6) {
        Port::NONE => None,
        Port::BY_ADDRESS => by_address(local(), is_v6, port, slot),
        service => Some(u32::from(service) - 1),
    }
}

/// Whether the port may be a service's, in any slot and for either family. Costs no clock.
#[inline(always)]
pub fn may_be(port: u16) -> bool {
    PORT.get(u32::from(port)).is_some_and(|port| !port.is_free())
}

#[inline(always)]
fn by_address(local: Address, is_v6: bool, port: u16, slot: u32) -> Option<u32> {
    let any = if is_v6 { Address::v6(0, 0) } else { Address::v4(0) };
    listener(local, port, slot).or_else(|| listener(any, port, slot))
}

#[inline(always)]
fn listener(address: Address, port: u16, slot: u32) -> Option<u32> {
    let key = ListenerKey { address: address.to_bytes(), port, slot: slot as u16, padding: 0 };
    // SAFETY: user space never changes an element of the active slot, so the value is not written while it is read.
    unsafe { LISTENER.get(key) }.copied()
}
