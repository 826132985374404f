//! What a packet is looked up by: ports, addresses and prefixes.

use super::sizes::{SERVICES, SLOTS};
use crate::address::Address;

/// What is protected on one port, in one word: a byte for each slot and family.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port(pub u64);
const _: () = assert!(size_of::<Port>() == 8 && SLOTS <= 4 && SERVICES < Port::BY_ADDRESS as u32);

impl Port {
    /// Nothing on this port is protected.
    pub const NONE: u8 = 0;
    /// Look up the address in the listeners.
    pub const BY_ADDRESS: u8 = u8::MAX;

    /// [`Port::NONE`], [`Port::BY_ADDRESS`], or a service's id + 1 if every address of the family
    /// belongs to it.
    #[inline(always)]
    pub const fn service(self, slot: u32, is_v6: bool) -> u8 {
        (self.0 >> Self::shift(slot, is_v6)) as u8
    }

    /// The same with what a slot holds, by family (0: IPv4, 1: IPv6).
    pub const fn with(self, slot: u32, [v4, v6]: [u8; 2]) -> Self {
        let (services, shift) = (u16::from_le_bytes([v4, v6]) as u64, Self::shift(slot, false));
        Self(self.0 & !(0xffff << shift) | services << shift)
    }

    /// Whether no slot protects anything here.
    #[inline(always)]
    pub const fn is_free(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    const fn shift(slot: u32, is_v6: bool) -> u32 {
        (slot & 3) << 4 | (is_v6 as u32) << 3
    }
}

/// A protected address:port. All zeros (IPv6) or `::ffff:0.0.0.0` (IPv4) stand for every address of the family.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// Address in the order of the wire.
    pub address: [u64; 2],
    /// Port in host order.
    pub port: u16,
    /// Policy slot.
    pub slot: u16,
    /// Zero.
    pub padding: u32,
}
const _: () = assert!(size_of::<ListenerKey>() == 24);

/// Which list an entry is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum List {
    /// Passes, unlimited, and beats a ban.
    Allow = 1,
    /// Every packet to a protected service is dropped.
    Ban = 2,
}

/// Key of both list maps; the trie's prefix length counts the 64 bits of `list` too.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListKey {
    /// [`List`] x 2, plus 1 for IPv4: a short IPv6 prefix must not hold the mapped IPv4 addresses.
    pub list: u64,
    /// Address in the order of the wire.
    pub address: [u64; 2],
}
const _: () = assert!(size_of::<ListKey>() == 24);

impl ListKey {
    /// Bits before the address.
    pub const LIST_BITS: u32 = 64;

    /// The key of `address` on `list`.
    #[inline(always)]
    pub const fn new(list: List, address: Address) -> Self {
        Self { list: (list as u64) << 1 | address.is_v4() as u64, address: address.to_bytes() }
    }
}

/// Until when an entry counts, CLOCK_MONOTONIC in nanoseconds; `u64::MAX` is for ever.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// What the operator said.
    pub expires: u64,
    /// The latest expiry of this entry and of every shorter prefix that holds it, kept by user space: the trie only returns the
    /// longest match, and an expired one must not hide a wider one that is still in force.
    pub effective: u64,
}
const _: () = assert!(size_of::<ListEntry>() == 16);

/// A prefix of a class, as stated. Only user space reads these; the kernel side searches [`crate::class_tree`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassPrefix {
    /// Address in the order of the wire.
    pub address: [u64; 2],
    /// Class id.
    pub class: u16,
    /// Bits of the mapped form.
    pub length: u8,
    /// Zero.
    pub reserved: [u8; 5],
}
const _: () = assert!(size_of::<ClassPrefix>() == 24);
