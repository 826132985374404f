//! The prefixes of all classes as trees of boundaries: what `limiter_common::class_tree` searches.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use limiter_common::class_tree::{FAN, FILL, LEVELS, PAIR, PAIRS, Root, V4, V6};
use limiter_common::record::{CLASS_LINES, CLASS_PAIRS};

use super::prefix::Prefix;

const TOP: u64 = 1 << 63;

/// Trees of a policy, ready to be written into a slot.
#[derive(Clone, Debug, Default)]
pub struct Trees {
    /// By number.
    pub roots: Vec<Root>,
    /// Lines of keys.
    pub keys: Vec<[u64; FAN]>,
    /// Their values.
    pub values: Vec<[u16; FAN]>,
}

/// A range of keys of one tree, last included, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    value: u16,
}

/// Builds the trees of `prefixes`, each with the id of its class. Of nested ones the longest counts. Lines are numbered from
/// `first_line`.
///
/// # Errors
/// When they do not fit into the maps: how many there may be.
pub fn build(prefixes: &[(Prefix, u16)], first_line: u32) -> Result<Trees> {
    let mut trees: Vec<(Vec<Range>, u16)> = vec![(Vec::new(), 0); PAIRS as usize];
    let mut pairs: BTreeMap<u64, Vec<(Prefix, u16)>> = BTreeMap::new();
    for (prefix, class) in prefixes {
        let (address, length) = (prefix.address, u32::from(prefix.length));
        if address.is_v4() {
            let first = address.low & 0xffff_ffff;
            trees[V4 as usize].0.push(Range {
                first,
                last: first | low_bits(128 - length),
                value: *class,
            });
        } else if length <= 64 {
            let last = address.high | low_bits(64 - length);
            halves(&mut trees[V6 as usize..], Range { first: address.high, last, value: *class });
        } else {
            pairs.entry(address.high).or_default().push((*prefix, *class));
        }
    }
    ensure!(
        pairs.len() <= CLASS_PAIRS as usize,
        "classes have prefixes longer than 64 bits in {} IPv6 /64s, and at most {CLASS_PAIRS} fit; \
         use the /64 where all of it belongs to one class",
        pairs.len()
    );
    for (number, (high, members)) in pairs.into_iter().enumerate() {
        let whole = around(&trees[V6 as usize + (high >> 63) as usize].0, high & !TOP);
        let value = PAIR + number as u16;
        trees[V6 as usize + (high >> 63) as usize].0.push(Range {
            first: high & !TOP,
            last: high & !TOP,
            value,
        });
        let mut pair = [(Vec::new(), whole), (Vec::new(), whole)];
        for (prefix, class) in members {
            let last = prefix.address.low | low_bits(128 - u32::from(prefix.length));
            halves(&mut pair, Range { first: prefix.address.low, last, value: class });
        }
        trees.extend(pair);
    }
    let mut built = Trees::default();
    for (ranges, outside) in trees {
        let root = built.plant(&boundaries(ranges, outside), first_line);
        built.roots.push(root);
    }
    ensure!(
        built.keys.len() <= CLASS_LINES as usize,
        "the prefixes of the classes need too much room; join neighbours into shorter prefixes"
    );
    Ok(built)
}

impl Trees {
    /// Adds the lines of one tree, leaves first.
    fn plant(&mut self, boundaries: &[(u64, u16)], first_line: u32) -> Root {
        let mut root = Root { boundaries: boundaries.len() as u32, ..Root::default() };
        let mut keys: Vec<u64> = boundaries.iter().map(|(key, _)| *key).collect();
        let mut values = boundaries.iter().map(|(_, value)| *value);
        while !keys.is_empty() && (root.levels as usize) < LEVELS {
            root.start[root.levels as usize] = first_line + self.keys.len() as u32;
            root.levels += 1;
            let lines = keys.chunks(FAN).map(|chunk| {
                let mut line = [FILL; FAN];
                line[..chunk.len()].copy_from_slice(chunk);
                line
            });
            self.keys.extend(lines);
            let line = |_: usize| std::array::from_fn(|_| values.next().unwrap_or(0));
            self.values.extend((0..keys.len().div_ceil(FAN)).map(line));
            keys = if keys.len() <= FAN {
                Vec::new()
            } else {
                keys.iter().copied().step_by(FAN).collect()
            };
        }
        root
    }
}

/// The lowest `count` bits, 0 to 64.
const fn low_bits(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// Adds a range of 64-bit keys to the trees of its top bits.
fn halves(trees: &mut [(Vec<Range>, u16)], range: Range) {
    let Range { first, last, value } = range;
    let cut = |first: u64, last: u64| Range { first: first & !TOP, last: last & !TOP, value };
    match (first >> 63, last >> 63) {
        (0, 0) => trees[0].0.push(cut(first, last)),
        (0, _) => {
            trees[0].0.push(cut(first, TOP - 1));
            trees[1].0.push(cut(TOP, last));
        }
        _ => trees[1].0.push(cut(first, last)),
    }
}

/// The value of the narrowest range around `key`, 0 if there is none.
fn around(ranges: &[Range], key: u64) -> u16 {
    let around =
        ranges.iter().filter(|range| range.value < PAIR && range.first <= key && key <= range.last);
    around.min_by_key(|range| range.last - range.first).map_or(0, |range| range.value)
}

/// Nested ranges as boundaries: keys from which a value counts. The first is 0, unless nothing has a value.
fn boundaries(mut ranges: Vec<Range>, outside: u16) -> Vec<(u64, u16)> {
    if ranges.is_empty() {
        return if outside == 0 { Vec::new() } else { vec![(0, outside)] };
    }
    // Wider ones first, so that a narrower one starts on top of them.
    ranges.sort_unstable_by_key(|range| (range.first, u64::MAX - range.last));
    let mut found = vec![(0, outside)];
    let mut open: Vec<Range> = Vec::new();
    let close = |open: &mut Vec<Range>, found: &mut Vec<(u64, u16)>, before: Option<u64>| {
        while let Some(top) =
            open.last().copied().filter(|top| before.is_none_or(|next| top.last < next))
        {
            open.pop();
            if top.last < FILL {
                set(found, top.last + 1, open.last().map_or(outside, |under| under.value));
            }
        }
    };
    for range in ranges {
        close(&mut open, &mut found, Some(range.first));
        set(&mut found, range.first, range.value);
        open.push(range);
    }
    close(&mut open, &mut found, None);
    found
}

/// From `key` on `value` counts; a boundary that changes nothing is left out.
fn set(found: &mut Vec<(u64, u16)>, key: u64, value: u16) {
    if found.last().is_some_and(|(last, _)| *last == key) {
        found.pop();
    }
    if found.last().is_none_or(|(_, last)| *last != value) {
        found.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use limiter_common::address::Address;
    use limiter_common::class_tree::{self, Trees as Search};
    use proptest::prelude::*;

    use super::*;

    const FIRST: u32 = 7;

    impl Search for Trees {
        fn root(&self, index: u32) -> Option<&Root> {
            self.roots.get(index as usize)
        }
        fn keys(&self, line: u32) -> Option<&[u64; FAN]> {
            self.keys.get((line - FIRST) as usize)
        }
        fn values(&self, line: u32) -> Option<&[u16; FAN]> {
            self.values.get((line - FIRST) as usize)
        }
    }

    fn bits(address: Address) -> u128 {
        u128::from(address.high) << 64 | u128::from(address.low)
    }

    /// What longest-prefix match says, by looking at every prefix.
    fn longest(prefixes: &[(Prefix, u16)], address: Address) -> u16 {
        let host = Prefix { address, length: 128 };
        let matching = prefixes.iter().filter(|(prefix, _)| prefix.covers(&host));
        matching.max_by_key(|(prefix, _)| prefix.length).map_or(0, |(_, class)| *class)
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn the_longest_prefix_counts() {
        let prefixes = [
            (prefix("10.0.0.0/8"), 1),
            (prefix("10.1.0.0/16"), 2),
            (prefix("10.1.2.3"), 3),
            (prefix("255.255.255.255"), 4),
            (prefix("2001:db8::/32"), 5),
            (prefix("2001:db8::/65"), 6),
            (prefix("2001:db8::ffff:ffff:ffff:ffff"), 7),
            (prefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 8),
        ];
        let trees = build(&prefixes, FIRST).expect("fits");
        let find = |text: &str| class_tree::find(&trees, prefix(text).address);
        for (address, class) in [
            ("9.255.255.255", 0),
            ("10.0.0.0", 1),
            ("10.1.2.2", 2),
            ("10.1.2.3", 3),
            ("10.1.2.4", 2),
            ("10.2.0.0", 1),
            ("11.0.0.0", 0),
            ("255.255.255.255", 4),
            ("255.255.255.254", 0),
            ("2001:db8::1", 6),
            ("2001:db8::8000:0:0:0", 5),
            ("2001:db8::ffff:ffff:ffff:ffff", 7),
            ("2001:db8::ffff:ffff:ffff:fffe", 5),
            ("2001:db8:0:1::", 5),
            ("2001:db9::", 0),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 8),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 0),
            ("::", 0),
        ] {
            assert_eq!(find(address), class, "{address}");
        }
        let everything = build(&[(prefix("::/0"), 9)], FIRST).expect("fits");
        assert_eq!(class_tree::find(&everything, prefix("8000::").address), 9);
        assert_eq!(class_tree::find(&everything, prefix("1::").address), 9);
        assert_eq!(
            class_tree::find(&everything, prefix("1.2.3.4").address),
            0,
            "IPv6 holds no IPv4"
        );
        assert_eq!(
            class_tree::find(&build(&[], FIRST).expect("fits"), prefix("1.2.3.4").address),
            0
        );
    }

    #[test]
    fn the_largest_policy_fits() {
        let v4 = |number: u32| Prefix { address: Address::v4(number << 9), length: 128 };
        let prefixes: Vec<_> =
            (0..65_536).map(|number| (v4(number), (number % 250) as u16 + 1)).collect();
        let trees = build(&prefixes, FIRST).expect("fits");
        assert!(
            trees.roots[0].levels as usize == LEVELS && trees.keys.len() < 20_000,
            "{} lines",
            trees.keys.len()
        );
        for (prefix, class) in prefixes.iter().step_by(97) {
            assert_eq!(class_tree::find(&trees, prefix.address), *class);
            assert_eq!(class_tree::find(&trees, Address::v4(prefix.address.low as u32 + 1)), 0);
        }
    }

    /// Prefixes and addresses that often meet: few distinct bits, at every place of the word.
    fn crowded() -> impl Strategy<Value = (u128, u8)> {
        (0_u8..=128, 0_u8..=64, 0_u128..8, any::<bool>()).prop_map(|(length, shift, few, high)| {
            let bits = if high { few << (125 - shift.min(61)) } else { few << shift };
            (bits, length)
        })
    }

    fn cut(bits: u128, length: u8, v4: bool) -> Prefix {
        let (bits, length) = if v4 {
            (bits as u32 as u128 | 0xffff << 32, 96 + length % 33)
        } else {
            (bits, length)
        };
        let mask = if length == 0 { 0 } else { u128::MAX << (128 - u32::from(length)) };
        let bits = bits & mask;
        Prefix { address: Address::v6((bits >> 64) as u64, bits as u64), length }
    }

    proptest! {
        #[test]
        fn a_search_finds_what_longest_prefix_match_says(
            members in proptest::collection::vec((crowded(), any::<bool>(), 1_u16..5), 0..60),
            addresses in proptest::collection::vec((crowded(), any::<bool>()), 60),
        ) {
            let mut prefixes = BTreeMap::new();
            for ((bits, length), v4, class) in members {
                prefixes.insert(cut(bits, length, v4), class);
            }
            // A short IPv6 prefix at 0 would be written as IPv4 by its address alone.
            let prefixes: Vec<_> = prefixes.into_iter().filter(|(prefix, _)| !prefix.address.is_v4() || prefix.length >= 96).collect();
            let trees = build(&prefixes, FIRST).expect("fits");
            for ((word, _), v4) in addresses {
                let host = cut(word, if v4 { 32 } else { 128 }, v4).address;
                for near in [bits(host), bits(host).wrapping_add(1), bits(host).wrapping_sub(1)] {
                    let near = Address::v6((near >> 64) as u64, near as u64);
                    prop_assert_eq!(class_tree::find(&trees, near), longest(&prefixes, near), "{:x}", bits(near));
                }
            }
        }
    }
}
