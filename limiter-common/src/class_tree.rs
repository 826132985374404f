//! Which class a client address belongs to: longest-prefix match as a search among boundaries.
//!
//! User space flattens the prefixes of all classes: sorted *boundaries*, each with the class of the addresses from it up to the next.
//! They lie in cache lines of eight, and above them, level by level, the first boundary of each line, eight again to a line: a static
//! B+ tree (the layout that Rao and Ross call CSS-tree, VLDB 1999). A lookup reads one line a level: two for ten prefixes, six for
//! 65,536. It is written whole into an idle slot and never changed in place, so it needs no locks and no reclamation.
//!
//! Keys have 63 bits, so that the sign of a difference compares them without a branch: the verifier would follow each of those. IPv4
//! fits; the halves of an IPv6 address have a tree for each value of their top bit. The low half is only searched where a class
//! has prefixes longer than 64 bits: there the value names a pair of trees.

use crate::address::Address;

/// Keys in a line.
pub const FAN: usize = 8;
/// Levels of a tree: 8^6 boundaries.
pub const LEVELS: usize = 6;
/// Most classes of a policy; their ids are 1 to this.
pub const MOST_CLASSES: u16 = 255;
/// A value from here on is no class but `PAIR + n`: the low half is looked up in the trees `PAIRS + 2n` and `PAIRS + 2n + 1`.
pub const PAIR: u16 = 0x8000;
/// Tree of the IPv4 addresses.
pub const V4: u32 = 0;
/// Trees of the high halves of IPv6 addresses, by their top bit.
pub const V6: u32 = 1;
/// First tree of low halves.
pub const PAIRS: u32 = 3;
/// What fills a line behind its last key.
pub const FILL: u64 = TOP - 1;
const TOP: u64 = 1 << 63;

/// One tree. All zeros: it holds nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// First line of each level; level 0 holds the boundaries, and its values are in the lines of the same number.
    pub start: [u32; LEVELS],
    /// Levels in use.
    pub levels: u32,
    /// Boundaries. The first is 0.
    pub boundaries: u32,
}
const _: () = assert!(size_of::<Root>() == 32);

/// Where trees live. `None`: it is not there, and the address is of no class.
pub trait Trees {
    /// A tree.
    fn root(&self, index: u32) -> Option<&Root>;
    /// A line of keys.
    fn keys(&self, line: u32) -> Option<&[u64; FAN]>;
    /// Its values.
    fn values(&self, line: u32) -> Option<&[u16; FAN]>;
}

/// The class of `address`, 0 for none.
#[inline(always)]
pub fn find<T: Trees>(trees: &T, address: Address) -> u16 {
    let value = if address.is_v4() {
        search(trees, V4, address.low & 0xffff_ffff)
    } else {
        search(trees, V6 + (address.high >> 63) as u32, address.high & !TOP)
    };
    match value {
        Some(pair) if pair >= PAIR => {
            let tree = PAIRS + 2 * u32::from(pair - PAIR) + (address.low >> 63) as u32;
            search(trees, tree, address.low & !TOP).unwrap_or(0)
        }
        value => value.unwrap_or(0),
    }
}

/// The value of the last boundary that is not above `key` (63 bits).
#[inline(always)]
fn search<T: Trees>(trees: &T, index: u32, key: u64) -> Option<u16> {
    let root = trees.root(index)?;
    let last = root.boundaries.checked_sub(1)?;
    let (mut at, mut level) = (0, LEVELS);
    while level > 0 {
        level -= 1;
        if (level as u32) < root.levels {
            let within = not_above(trees.keys(root.start[level] + at)?, key);
            let next = at * FAN as u32 + within;
            // Filling is not above the greatest key of all.
            let end = last >> (3 * level as u32);
            at = if next > end { end } else { next };
        }
    }
    let values = trees.values(root.start[0] + at / FAN as u32)?;
    Some(values[at as usize & (FAN - 1)])
}

/// Index of the last of the sorted `keys` that is not above `key`. The first never is.
#[inline(always)]
fn not_above(keys: &[u64; FAN], key: u64) -> u32 {
    let above = key + 1;
    let mut count = 0;
    let mut index = 1;
    while index < FAN {
        count += keys[index].wrapping_sub(above) >> 63;
        index += 1;
    }
    count as u32 & (FAN as u32 - 1)
}
