//! What a CPU knows of the cookies of a flow, so that most packets of a connection need no look for
//! one.
//!
//! Whether a segment brings a cookie depends on its addresses and ports, on the minute, and on one
//! difference: acknowledgment less sequence number (net/ipv4/syncookies.c). A cookie of a minute
//! *c* has the difference `h + (c << 24) + (low & 0xffffff)`, where `h` belongs to the flow and
//! `low` to flow and minute, and the class of the segment size, 0 to 3, is added to `low`. So the
//! kernel's own cookie for a segment of the flow ([`Bases::learn`] is told its difference) says of
//! every other segment whether it can bring one:
//!
//! - of this minute: only if the lowest 24 bits are those of the difference, or up to three off;
//! - of the minute before: the same, if that minute's difference is known; else only if it lies
//!   below, less than 2^25 away.
//!
//! What may bring one is checked by the kernel's helper. The rest is told apart exactly.

use core::num::NonZero;

/// Flows that a CPU knows: 1 MiB of lines. A power of two.
pub const LINES: u32 = 16_384;
/// How long a flow's line is left alone after its last packet, in jiffies: 32 to 320 ms.
const LIVE: u32 = 32;
/// Differences around a cookie's that another class of segment size may have.
const CLASSES: u32 = 3;
const LOW: u32 = 0x00ff_ffff;
/// The most that a cookie of the minute before is below one of this minute, with room for the
/// classes.
const BEFORE: u32 = (1 << 25) + CLASSES;

/// Both addresses and both ports.
pub type Tuple = ([u64; 4], u32);

/// What is known of one flow. A line of a map of each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bases {
    addresses: [u64; 4],
    ports: u32,
    base: u32,
    previous: u32,
    has_previous: u32,
    /// The jiffy at which the minute of `base` ends; 0: there is none yet.
    ends: u64,
    /// The lower half of the jiffies at the last packet.
    used: u32,
    padding: u32,
}
const _: () = assert!(size_of::<Bases>() == 64);

/// What a segment is to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It brings no cookie.
    None,
    /// It may bring one: the kernel knows.
    Ask,
    /// The same, and the line may [`learn`](Bases::learn).
    AskAndLearn,
}

/// Index of a flow's line.
#[inline(always)]
pub const fn line(tuple: &Tuple) -> u32 {
    let [a, b, c, d] = tuple.0;
    let mixed = (a ^ c.rotate_left(21)).wrapping_add(b ^ d.rotate_left(42))
        ^ (tuple.1 as u64) << 32
        ^ tuple.1 as u64;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as u32 & (LINES - 1)
}

impl Bases {
    /// What a segment of a flow with this difference may be, at `jiffies`.
    #[inline(always)]
    pub fn ask(&mut self, tuple: &Tuple, difference: u32, jiffies: u64) -> Said {
        if !self.is_of(tuple) {
            // The line is another's. It is taken over when that does not use it.
            let is_free = (jiffies as u32).wrapping_sub(self.used) > LIVE;
            return if is_free { Said::AskAndLearn } else { Said::Ask };
        }
        self.used = jiffies as u32;
        if jiffies >= self.ends {
            return Said::AskAndLearn;
        }
        let now = difference.wrapping_sub(self.base);
        let before = difference.wrapping_sub(self.previous);
        let may_be_now = now.wrapping_add(CLASSES) & LOW <= 2 * CLASSES;
        let may_be_before = if self.has_previous != 0 {
            before.wrapping_add(CLASSES) & LOW <= 2 * CLASSES
        } else {
            now.wrapping_add(BEFORE) <= BEFORE + CLASSES
        };
        if may_be_now || may_be_before { Said::Ask } else { Said::None }
    }

    /// Whether the line is a flow's. Without the slices' own comparison, which is a call for each.
    #[inline(always)]
    const fn is_of(&self, tuple: &Tuple) -> bool {
        let ([a, b, c, d], [w, x, y, z]) = (self.addresses, tuple.0);
        self.ports == tuple.1 && (a ^ w) | (b ^ x) | (c ^ y) | (d ^ z) == 0
    }

    /// Learns the difference of the flow's cookie of the minute `minute` of `period` jiffies:
    /// `own`, the kernel's own for a segment of it, of any class of segment size. A flow's first
    /// packet only makes the line its own: it costs no cookie then.
    #[inline(always)]
    pub fn learn(
        &mut self,
        tuple: &Tuple,
        jiffies: u64,
        period: NonZero<u64>,
        own: impl FnOnce() -> Option<u32>,
    ) {
        if !self.is_of(tuple) {
            *self = Self {
                addresses: tuple.0,
                ports: tuple.1,
                used: jiffies as u32,
                ..Self::default()
            };
            return;
        }
        let starts = jiffies / period * period.get();
        if let Some(difference) = own() {
            let follows = self.ends == starts && starts != 0;
            (self.previous, self.has_previous) = (self.base, follows as u32);
            (self.base, self.ends) = (difference, starts + period.get());
        }
    }
}
