//! What a policy slot holds.

use super::sizes::{NAME, SERVICES};
use crate::address::SourceMask;
use crate::budget::BudgetLimit;
use crate::line;
use crate::rate::Limit;
use crate::source_table::SourceLimit;
use crate::tried::Shadow;

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
    /// 1 if sources wait in line for a short budget.
    pub line: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Most sources that may be present; 0: any number.
    pub users: u64,
}
const _: () = assert!(size_of::<Stated>() == 64);

/// How a service lets sources in, beside its limits and its line. All zeros is: no challenge, and
/// refusals are silent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// [`challenge::Challenge`].
    pub challenge: u32,
    /// What becomes of what a limit refuses: [`Refuse`].
    pub refuse: u32,
    /// Unproven attempts that pass to the kernel, see [`crate::purse::unproven`].
    pub unproven: BudgetLimit,
    /// Attempts that cannot be challenged, per second.
    pub unanswerable: BudgetLimit,
}
const _: () = assert!(size_of::<Admission>() == 56);

/// What becomes of an attempt that a limit refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Refuse {
    /// It is dropped without an answer.
    #[default]
    Drop = 0,
    /// It is answered with a reset.
    Reset = 1,
    /// The kernel hands it to the waiting room, if it was refused for want of a budget or waits in
    /// line; else, and while no room is open, it is dropped.
    Room = 2,
}

impl Refuse {
    /// The inverse of `as u32`; what is unknown drops.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Reset,
            2 => Self::Room,
            _ => Self::Drop,
        }
    }
}

/// The part of a policy slot that is not about one service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The global budget.
    pub budget: BudgetLimit,
    /// Longest debt that any source limit of this policy leaves, in shifted ticks.
    pub horizon: u64,
    /// Resets per second.
    pub resets: BudgetLimit,
    /// The global budget and the defaults of source limit and prefixes, as stated.
    pub stated: Stated,
    /// Number of this policy among those that were written, from 1; 0: the slot was never written.
    pub generation: u64,
    /// When the policy ends, once it is confirmed: CLOCK_MONOTONIC in nanoseconds; 0: it does not.
    pub ends: u64,
    /// Prefixes of classes; 0: there are no classes, and none is looked up.
    pub class_prefixes: u32,
    /// 1 while the slot is written over. If it stays, whoever did that was killed, and what stands in the slot is no policy.
    pub is_unfinished: u32,
    /// Name of the profile that it was made with, padded with zeros; empty without one.
    pub profile: [u8; NAME],
    /// What may be diverted to the waiting room.
    pub diverts: BudgetLimit,
    /// The same as stated; all zeros: nothing was.
    pub stated_diverts: Limit,
    /// Most open connections of all services; 0: any number.
    pub open_budget: u64,
    /// 1 if anything of this policy is bounded by open connections, or tried with them, so that
    /// they are counted.
    pub counts_open: u64,
    /// Longest debt that any source limit in the shadow leaves, in shifted ticks.
    pub tried_horizon: u64,
    /// `generation` of the policy that decided when this one was written: a rollback goes there.
    pub before: u64,
    /// Zero.
    pub room: [u64; 8],
}
const _: () = assert!(size_of::<Host>() == 320);

/// One class of a policy slot, at `slot * CLASSES + id`. A name that starts with a zero byte: no class.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Limit of each of its sources to each service, in place of the service's.
    pub source: SourceLimit,
    /// Prefixes of its sources, if they are its own.
    pub mask: SourceMask,
    /// 1 if they are.
    pub own_mask: u32,
    /// 1 if its sources have no limit, and do not wait in line.
    pub unlimited: u32,
    /// The limit as stated.
    pub stated: Limit,
    /// Length of an IPv4 source's prefix in bits, as stated.
    pub prefix_v4: u8,
    /// Length of an IPv6 source's prefix in bits.
    pub prefix_v6: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// Name, padded with zeros.
    pub name: [u8; NAME],
    /// Most open connections of each of its sources to each service, if `own_open` is 1: 0 stands
    /// for any number.
    pub open: u64,
    /// 1 if `open` is its own, 0 if the service's holds.
    pub own_open: u64,
}
const _: () = assert!(size_of::<Class>() == 128);

/// The limits of the networks above the sources of a service, or of a class, at
/// `slot * NETWORKS + index`: see [`Network::index`]. Beside it, what a service tries.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Limit of each network at each service; an interval of 0: it has none.
    pub limit: SourceLimit,
    /// Prefixes of a network.
    pub mask: SourceMask,
    /// The limit as stated.
    pub stated: Limit,
    /// Length of an IPv4 network's prefix in bits, as stated; 0: nothing was.
    pub prefix_v4: u8,
    /// Length of an IPv6 network's prefix in bits.
    pub prefix_v6: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Most open connections of each network to each service; 0: any number.
    pub open: u32,
    /// What the service tries; a class tries nothing.
    pub shadow: Shadow,
}
const _: () = assert!(size_of::<Network>() == 128);

impl Network {
    /// Where that of service `id` is, or of a class that is not 0.
    #[inline(always)]
    pub const fn index(id: u32, class: u32) -> u32 {
        if class == 0 { id } else { SERVICES + class }
    }

    /// None.
    pub const NONE: Self = Self {
        limit: SourceLimit { interval: 0, window: 0 },
        mask: SourceMask { v4: 0, v6_high: 0, v6_low: 0 },
        stated: Limit { rate: crate::rate::Rate { count: 0, period: 0 }, burst: 0 },
        prefix_v4: 0,
        prefix_v6: 0,
        reserved: [0; 2],
        open: 0,
        shadow: Shadow::NONE,
    };
}

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
    /// Challenge, refusal.
    pub admission: Admission,
    /// Which service this is to the tables of sources: see [`Service::number_of`].
    pub number: u32,
    /// What else is asked of who comes, as bits: [`Service::NETWORKS`], [`Service::SHADOW`].
    pub more: u32,
    /// As stated.
    pub stated: Stated,
    /// Name, padded with zeros.
    pub name: [u8; NAME],
    /// How its line lets in; an interval of 0: it has none.
    pub line: line::Rules,
    /// Most open connections of each source; 0: any number.
    pub open: u64,
    /// Most open connections of the service; 0: any number.
    pub open_budget: u64,
    /// Largest segment that answers to challenges offer, in bytes; 0: what the kernel and the device
    /// say.
    pub mss: u64,
    /// Zero.
    pub room: [u64; 3],
}
const _: () = assert!(size_of::<Service>() == 384);

impl Service {
    /// What becomes of what a limit refuses.
    #[inline(always)]
    pub const fn has_room(&self) -> bool {
        matches!(Refuse::from_number(self.admission.refuse), Refuse::Room)
    }
}

impl Service {
    /// In `more`: the service or a class has limits of networks.
    pub const NETWORKS: u32 = 1;
    /// In `more`: the service tries limits.
    pub const SHADOW: u32 = 2;

    /// Whether networks have limits there, or in a class.
    #[inline(always)]
    pub const fn has_networks(&self) -> bool {
        self.more & Self::NETWORKS != 0
    }

    /// Whether limits are tried there: [`crate::shadow`].
    #[inline(always)]
    pub const fn has_shadow(&self) -> bool {
        self.more & Self::SHADOW != 0
    }

    /// A number that no service with this id had for the last 65,536 policies: a new service must not find the visits and debts of the
    /// one whose id it gets. `generation`: that of the policy that brought it.
    pub const fn number_of(id: u32, generation: u64) -> u32 {
        (generation as u32 & 0xffff) << 6 | id
    }
}
const _: () = assert!(SERVICES <= 1 << 6);
