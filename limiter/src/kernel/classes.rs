//! The classes of a policy slot: records, the prefixes as stated, and the trees that are searched.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use limiter_common::address::SourceMask;
use limiter_common::class_tree::{FAN, LEVELS, Root};
use limiter_common::rate::Limit;
use limiter_common::record::{self, CLASS_PREFIXES, CLASSES, ClassPrefix, NAME, SLOTS};
use limiter_common::source_table::SourceLimit;

use super::maps::{Maps, Raw};
use super::words::{Access, Mapped};
use crate::policy::encode::Encoded;

/// Words of a root, a line of keys, a line of values, and a prefix.
const ROOT: usize = size_of::<Root>() / 8;
const VALUES: usize = FAN / 4;
const PREFIX: usize = size_of::<ClassPrefix>() / 8;

impl Maps {
    /// Classes of a slot by id.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn classes(&self, slot: u32) -> Result<BTreeMap<u32, record::Class>> {
        let mut classes = BTreeMap::new();
        for id in 1..CLASSES {
            let Raw(class) =
                self.class.get(&(slot * CLASSES + id), 0).context("cannot read the classes")?;
            if class.name[0] != 0 {
                classes.insert(id, class);
            }
        }
        Ok(classes)
    }

    /// Prefixes of the classes of a slot, as they were stated.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn class_prefixes(&self, slot: u32) -> Result<Vec<ClassPrefix>> {
        let Raw(host) = self.host.get(&slot, 0).context("cannot read the policy")?;
        let words = self.class_prefix.words(Access::Read)?;
        let first = (slot * CLASS_PREFIXES) as usize * PREFIX;
        let prefixes = (0..host.class_prefixes.min(CLASS_PREFIXES) as usize).map(|number| {
            let word = |index: usize| words.get(first + number * PREFIX + index).unwrap_or(0);
            let [low, high, length, ..] = word(2).to_ne_bytes();
            let class = u16::from_ne_bytes([low, high]);
            ClassPrefix { address: [word(0), word(1)], class, length, reserved: [0; 5] }
        });
        Ok(prefixes.collect())
    }

    /// Writes the classes of a free slot.
    pub(super) fn write_classes(&mut self, slot: u32, encoded: &Encoded) -> Result<()> {
        for id in 1..CLASSES {
            let class = encoded.classes.get(&id).copied().unwrap_or_else(unused);
            self.class.set(slot * CLASSES + id, Raw(class), 0).context("cannot write a class")?;
        }
        let trees = &encoded.trees;
        store(&self.class_prefix, slot, encoded.prefixes.iter().flat_map(prefix_words))?;
        store(&self.class_keys, slot, trees.keys.iter().flatten().copied())?;
        store(&self.class_values, slot, trees.values.iter().flat_map(value_words))?;
        store(&self.class_root, slot, trees.roots.iter().flat_map(root_words))
    }
}

/// Writes the words of a slot, which has its part of a map's.
fn store<T>(map: &Mapped<T>, slot: u32, values: impl Iterator<Item = u64>) -> Result<()> {
    let words = map.words(Access::Write)?;
    let first = slot as usize * (words.len() / SLOTS as usize);
    for (index, value) in values.enumerate() {
        words.store(first + index, value);
    }
    Ok(())
}

fn prefix_words(prefix: &ClassPrefix) -> [u64; PREFIX] {
    let [low, high] = prefix.class.to_ne_bytes();
    [
        prefix.address[0],
        prefix.address[1],
        u64::from_ne_bytes([low, high, prefix.length, 0, 0, 0, 0, 0]),
    ]
}

fn value_words(values: &[u16; FAN]) -> [u64; VALUES] {
    std::array::from_fn(|word| {
        let bytes: [u8; 8] =
            std::array::from_fn(|byte| values[word * 4 + byte / 2].to_ne_bytes()[byte % 2]);
        u64::from_ne_bytes(bytes)
    })
}

fn root_words(root: &Root) -> [u64; ROOT] {
    let mut halves = [0; LEVELS + 2];
    halves[..LEVELS].copy_from_slice(&root.start);
    halves[LEVELS..].copy_from_slice(&[root.levels, root.boundaries]);
    std::array::from_fn(|word| {
        let bytes: [u8; 8] =
            std::array::from_fn(|byte| halves[word * 2 + byte / 4].to_ne_bytes()[byte % 4]);
        u64::from_ne_bytes(bytes)
    })
}

/// The record of an id that no class has: its name is empty, so nothing else of it is read.
fn unused() -> record::Class {
    record::Class {
        source: SourceLimit { interval: 0, window: 0 },
        mask: SourceMask::new(32, 64),
        own_mask: 0,
        unlimited: 0,
        stated: Limit::default(),
        prefix_v4: 32,
        prefix_v6: 64,
        reserved: [0; 6],
        name: [0; NAME],
        open: 0,
        own_open: 0,
    }
}
