//! What the kernel side keeps and counts.

use crate::challenge;
use crate::hash::Key;
use crate::line;
use crate::source_table::{STEPS, WAYS};
use crate::tried::Counts;

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
    /// [`Kernel::MAKES_COOKIES`] while it makes them, [`Kernel::UNPAID`] or 0 while it may have made
    /// some of which nobody paid the attempt. What follows from it is the
    /// switch's: [`crate::switch::Regime`].
    pub cookies_until: u32,
}
const _: () = assert!(size_of::<Kernel>() == 24);

impl Kernel {
    /// It answers every attempt that passes with a cookie (`net.ipv4.tcp_syncookies` is 2).
    pub const MAKES_COOKIES: u32 = u32::MAX;
    /// It makes some when it is flooded (`net.ipv4.tcp_syncookies` is 1), and limits are not in
    /// force.
    pub const UNPAID: u32 = u32::MAX - 1;
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
