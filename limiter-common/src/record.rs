//! The records in the maps: fixed layout, explicit padding, a size assertion beside each.

use crate::address::{Address, SourceMask};
use crate::budget::BudgetLimit;
use crate::hash::Key;
use crate::rate::Limit;
use crate::source_table::{SourceLimit, WAYS};

/// Services in a policy.
pub const SERVICES: u32 = 64;
/// address:port pairs in both slots together.
pub const LISTENERS: u32 = 8192;
/// Single addresses on the allow and ban lists.
pub const LIST_HOSTS: u32 = 262_144;
/// Prefixes on the allow and ban lists. Larger tries get slow, and slow to free.
pub const LIST_PREFIXES: u32 = 65_536;
/// Sets of the source table unless the loader is told otherwise: 4 MiB, half a million sources.
pub const DEFAULT_SETS: u32 = 65_536;
/// Index of the host's own budget, after those of the services.
pub const HOST_BUDGET: u32 = SERVICES;
/// Longest name of a service, in bytes.
pub const NAME: usize = 32;

/// What was fixed when the maps were made.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Secret of the hash.
    pub key: Key,
    /// Sets in the source table.
    pub sets: u32,
    /// Layout version, [`crate::names::LAYOUT`].
    pub layout: u32,
}
const _: () = assert!(size_of::<Instance>() == 24);

/// Limits as the operator stated them. Only user space reads this; it is how a policy is read back without loss.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// Limit of each source.
    pub source: Limit,
    /// Budget of the service or the host.
    pub budget: Limit,
    /// Length of an IPv4 source's prefix in bits.
    pub prefix_v4: u8,
    /// Length of an IPv6 source's prefix in bits.
    pub prefix_v6: u8,
    /// 1 if `source` is the service's own, 0 if it follows the default.
    pub own_source: u8,
    /// 1 if the prefix lengths are the service's own.
    pub own_prefix: u8,
    /// Zero.
    pub reserved: [u8; 4],
}
const _: () = assert!(size_of::<Stated>() == 56);

/// The part of a policy slot that is not about one service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The global budget.
    pub budget: BudgetLimit,
    /// Longest debt that any source limit of this policy leaves, in shifted ticks.
    pub horizon: u64,
    /// The global budget and the defaults of source limit and prefixes, as stated.
    pub stated: Stated,
}
const _: () = assert!(size_of::<Host>() == 88);

/// One service of a policy slot. A name that starts with a zero byte: no service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Limit of each source.
    pub source: SourceLimit,
    /// Prefixes of a source.
    pub mask: SourceMask,
    /// Budget of the service.
    pub budget: BudgetLimit,
    /// As stated.
    pub stated: Stated,
    /// Name, padded with zeros.
    pub name: [u8; NAME],
}
const _: () = assert!(size_of::<Service>() == 152);

/// What is protected on one port, by slot and then family (0: IPv4, 1: IPv6).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// [`Port::NONE`], [`Port::BY_ADDRESS`], or a service's id + 1 if every address of the family belongs to it.
    pub service: [[u16; 2]; 2],
}
const _: () = assert!(size_of::<Port>() == 8);

impl Port {
    /// Nothing on this port is protected.
    pub const NONE: u16 = 0;
    /// Look up the address in the listeners.
    pub const BY_ADDRESS: u16 = u16::MAX;
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

/// A set of the source table, one cache line. The map's values start on a page (BPF_F_MMAPABLE), so that it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// See [`crate::source_table`].
    pub ways: [u64; WAYS],
}
const _: () = assert!(size_of::<Set>() == 64);

/// A budget's shared word, alone on its cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLine {
    /// Theoretical arrival time in nanoseconds.
    pub arrival: u64,
    /// So that no other word shares the line.
    pub padding: [u64; 7],
}
const _: () = assert!(size_of::<BudgetLine>() == 64);

/// Room for reasons, so that a new one does not change the layout.
pub const REASONS: usize = 32;

/// Counters of one service (or of what belongs to none) on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets by reason, with the verdict of the reason carried out.
    pub decided: [u64; REASONS],
    /// Packets that enforcing would have dropped, by reason: they passed, because the mode was observe.
    pub observed: [u64; REASONS],
    /// Live ways that were taken from another source.
    pub steals: u64,
    /// Zero.
    pub reserved: [u64; 3],
}
const _: () = assert!(size_of::<Counters>() == 544);
