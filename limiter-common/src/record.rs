//! The records in the maps: fixed layout, explicit padding, a size assertion beside each.
//!
//! What a policy or a counter gets in a later version goes into the `room` of its record, which is
//! zero until then; a new map needs no room, because `limiter upgrade` makes it. So the layout stays.

use crate::address::{Address, SourceMask};
use crate::budget::BudgetLimit;
use crate::challenge;
use crate::class_tree::{MOST_CLASSES, PAIRS};
use crate::hash::Key;
use crate::line;
use crate::rate::Limit;
use crate::source_table::{STEPS, SourceLimit, WAYS};
use crate::tried::{Counts, Shadow};

/// Services in a policy.
pub const SERVICES: u32 = 64;
/// Policy slots: one decides, one is what it goes back to, and one is free.
pub const SLOTS: u32 = 3;
/// address:port pairs of a policy.
pub const POLICY_LISTENERS: u32 = 4096;
/// address:port pairs in all slots together.
pub const LISTENERS: u32 = SLOTS * POLICY_LISTENERS;
/// Single addresses on the allow and ban lists.
pub const LIST_HOSTS: u32 = 1 << 20;
/// Prefixes on the allow and ban lists. Larger tries get slow, and slow to free.
pub const LIST_PREFIXES: u32 = 65_536;
/// Sets of the source table unless the loader is told otherwise: 4 MiB, half a million sources.
pub const DEFAULT_SETS: u32 = 65_536;
/// Index of the host's own budget, after those of the services.
pub const HOST_BUDGET: u32 = SERVICES;
/// Budgets of one kind: one of each service, and the host's.
const BUDGETS: u32 = SERVICES + 1;
/// First index of what passes to the kernel of unproven attempts, by service; at [`HOST_BUDGET`]
/// beyond it, the host's resets.
pub const UNPROVEN: u32 = BUDGETS;
/// Index of the host's resets per second.
pub const RESETS: u32 = UNPROVEN + HOST_BUDGET;
/// First index of what attempts that cannot be challenged may pass, by service.
pub const UNANSWERABLE: u32 = 2 * BUDGETS;
/// Index of what the host diverts to the waiting room.
pub const ROOM: u32 = UNANSWERABLE + HOST_BUDGET;
/// First index of what passes to the kernel of attempts in the name of those who are present in the
/// line, by service.
pub const PRESENT: u32 = 3 * BUDGETS;
/// Budgets of all kinds: each has a shared word, and on each CPU a lease.
pub const BUDGET_LINES: u32 = 4 * BUDGETS;
/// Longest name of a service, a class or a profile, in bytes.
pub const NAME: usize = 32;
/// Class records of a slot; number 0 is no class.
pub const CLASSES: u32 = MOST_CLASSES as u32 + 1;
/// Prefixes of all classes of a policy.
pub const CLASS_PREFIXES: u32 = 65_536;
/// IPv6 networks of 64 bits within which classes have longer prefixes, in a policy.
pub const CLASS_PAIRS: u32 = 2048;
/// Trees of a slot.
pub const CLASS_ROOTS: u32 = PAIRS + 2 * CLASS_PAIRS;
/// Limits of networks of a slot: one of each service, and one of each class.
pub const NETWORKS: u32 = SERVICES + CLASSES;
const _: () = assert!(CLASSES <= crate::hash::NETWORK);
/// Lines of all trees of a slot: two boundaries a prefix, the levels above them, and a line for each tree.
pub const CLASS_LINES: u32 = 24_576;

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
    /// How many maps there are: those of the version that loaded them, and those that upgrades added.
    pub maps: u32,
    /// Jiffies in a minute of the running kernel; 0 if the version that loaded it did not say.
    pub jiffies_per_minute: u32,
    /// Zero.
    pub room: [u32; 8],
}
const _: () = assert!(size_of::<Instance>() == 64);

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

/// What the challenge needs to know of the kernel's settings, and what was changed of them. Not part
/// of a policy slot. Its size never changes, nor do its first two words: `limiter detach --all` of any
/// version reads them to put back what another one changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// 1 if the operator lets limiter set `net.ipv4.tcp_syncookies` to 2 while it enforces.
    pub may_set_syncookies: u32,
    /// `net.ipv4.tcp_syncookies` before limiter set it, plus 1; 0 if it did not.
    pub syncookies_before: u32,
    /// 1 if the kernel decodes options from a cookie's timestamp (`net.ipv4.tcp_timestamps` = 2).
    pub timestamps: u32,
    /// Window scale that the kernel computes for a socket made from a cookie, 0 to 14; 15 if scaling is off.
    pub window_scale: u32,
    /// 1 if the kernel takes selective acknowledgments.
    pub sack: u32,
    /// Until when a cookie that the kernel made may come back, in seconds of CLOCK_MONOTONIC:
    /// [`Kernel::MAKES_COOKIES`] while it makes them, 0 if none is out. What follows from it is the
    /// switch's: [`crate::switch::Regime`].
    pub cookies_until: u32,
}
const _: () = assert!(size_of::<Kernel>() == 24);

impl Kernel {
    /// It answers every attempt that passes with a cookie (`net.ipv4.tcp_syncookies` is 2).
    pub const MAKES_COOKIES: u32 = u32::MAX;
}

/// State of a challenge, alone on its cache line: see [`challenge::State`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChallengeLine {
    /// The words.
    pub words: [u64; challenge::WORDS],
}
const _: () = assert!(size_of::<ChallengeLine>() == 64);

/// The words of a service's line, alone on their cache line: see [`line::State`].
pub type Line = [u64; line::WORDS];
const _: () = assert!(size_of::<Line>() == 64);

/// The words of a service's seats: see [`line::seats::Seats`].
pub type Seats = [u64; 2 + line::seats::BUCKETS];

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

impl Service {
    /// What becomes of what a limit refuses.
    #[inline(always)]
    pub const fn has_room(&self) -> bool {
        matches!(Refuse::from_number(self.admission.refuse), Refuse::Room)
    }
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

/// A set of the source table, one cache line. The map's values start on a page (BPF_F_MMAPABLE), so that it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// See [`crate::source_table`].
    pub ways: [u64; WAYS],
}
const _: () = assert!(size_of::<Set>() == 64);

/// How open connections are counted. Not part of a policy slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// Cookie of the network namespace whose connections are counted.
    pub namespace: u64,
    /// What is counted, and as what, in the policy that it was begun for: a digest. Only user space
    /// reads it.
    pub shape: u64,
    /// Number of the count that goes on, from 1; 0: none does, and what begins is noted for the
    /// next one.
    pub epoch: u32,
    /// Number of the last count.
    pub last: u32,
    /// Zero.
    pub room: [u64; 5],
}
const _: () = assert!(size_of::<Counting>() == 64);

/// What an open connection was counted as.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The place of its source.
    pub place: u64,
    /// The place of its network; 0: networks have any number there.
    pub network: u64,
    /// The count that counted it; 0: none.
    pub epoch: u32,
    /// Number of the service.
    pub number: u32,
    /// Id of the service.
    pub id: u32,
    /// Where it was counted: [`Opened::SOURCE`] and so on.
    pub counted: u32,
}
const _: () = assert!(size_of::<Opened>() == 32);

impl Opened {
    /// With its source.
    pub const SOURCE: u32 = 1;
    /// With its service.
    pub const SERVICE: u32 = 2;
    /// With the host.
    pub const HOST: u32 = 4;
    /// With its network.
    pub const NETWORK: u32 = 8;
}

/// A total of open connections, alone on its cache line: see [`crate::open`].
pub type Opens = [u64; 8];
const _: () = assert!(size_of::<Opens>() == 64);

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

/// Room for reasons, so that a new one does not change the layout. A power of two, so that masking
/// an index bounds it.
pub const REASONS: usize = 64;

/// Counters of one service (or of what belongs to none) on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Packets by reason, with the verdict of the reason carried out.
    pub decided: [u64; REASONS],
    /// Packets that enforcing would have dropped, by reason: they passed, because the mode was observe.
    pub observed: [u64; REASONS],
    /// Live ways that were taken from another source.
    pub steals: u64,
    /// Refusals that were answered with a reset.
    pub resets: u64,
    /// Attempts by the debt of their source when they came: [`crate::source_table::step`]. Beyond the steps, zero.
    pub debts: [u64; DEBTS],
    /// What limits in the shadow would have done: the mark of the try, then the attempts within it,
    /// and those that [`crate::tried::Tried`] says would have been refused.
    pub shadow: Counts,
    /// Zero.
    pub room: [u64; 10],
}
const _: () = assert!(size_of::<Counters>() == 1408 && DEBTS >= STEPS);

/// A power of two, so that masking an index bounds it.
pub const DEBTS: usize = 32;

impl Default for Counters {
    fn default() -> Self {
        let none = [0; REASONS];
        Self {
            decided: none,
            observed: none,
            steals: 0,
            resets: 0,
            debts: [0; DEBTS],
            shadow: [0; 4],
            room: [0; 10],
        }
    }
}

/// What a CPU that observes keeps for itself: a cache line, so that most attempts need no other.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observer {
    /// State of its random numbers.
    pub random: u64,
    /// Secret of the hashes, a copy.
    pub key: Key,
    /// Until when what follows is true of the interval, in nanoseconds.
    pub until: u64,
    /// Attempts until one of them is counted, as one of [`crate::heavy::ONE_IN`].
    pub left: u32,
    /// What all registers of each sketch hold at least ([`crate::distinct::may_raise`]).
    pub floors: [u8; 3],
    /// How often the sample of the sources is halved.
    pub halvings: u8,
    /// The slice of time of its last refusal: [`crate::heavy::SLICE_SHIFT`].
    pub slice: u64,
    /// Refusals in that slice.
    pub refused: u64,
    /// The last slice of time of which all events were told: [`crate::sighting::SLICE_SHIFT`].
    pub told: u64,
}
const _: () = assert!(size_of::<Observer>() == 64);

impl Observer {
    /// The next random number: a linear congruence, of which the upper half is good.
    #[inline(always)]
    pub fn random(&mut self) -> u32 {
        self.random =
            self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.random >> 32) as u32
    }

    /// Attempts to the next one that is counted: at random, and on average [`crate::heavy::ONE_IN`].
    #[inline(always)]
    pub fn gap(&mut self) -> u32 {
        // From 1 to 127. The highest bits are the best.
        ((u64::from(self.random()) * (2 * u64::from(crate::heavy::ONE_IN) - 1)) >> 32) as u32 + 1
    }

    /// How many refusals this one stands for; 0: another one does.
    #[inline(always)]
    pub fn weigh_refusal(&mut self, now: u64) -> u64 {
        let slice = now >> crate::heavy::SLICE_SHIFT;
        if self.slice != slice {
            self.slice = slice;
            self.refused = 0;
        }
        self.refused += 1;
        if self.refused <= crate::heavy::ONE_BY_ONE {
            return 1;
        }
        if self.random() < u32::MAX / crate::heavy::THINNED + 1 {
            crate::heavy::THINNED as u64
        } else {
            0
        }
    }
}
