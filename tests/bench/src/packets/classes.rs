//! What classes cost: an attempt of a random source without and with them, and the search for a class alone, beside the kernel's own
//! longest-prefix match over the same prefixes.

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use lab::Frame;
use limiter::kernel::slots::Origin;
use limiter::policy::prefix::Prefix;
use limiter::policy::{Class, Policy};
use limiter_common::address::Address;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use serde::Serialize;

use super::measure::{Bench, median, policy, program};

/// A policy with so many prefixes; times in nanoseconds.
#[derive(Serialize)]
pub struct Row {
    /// Prefixes of all classes, /16 to /32, spread over all addresses.
    pub prefixes: u32,
    /// An attempt of a random source, above an empty program that draws one.
    pub attempt: f64,
    /// Finding its class, above drawing an address.
    pub boundaries: f64,
    /// Finding it in a trie.
    pub trie: f64,
}

impl Bench {
    /// Measures no classes, a few, and many.
    pub fn classes(&mut self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for prefixes in [0, 10, 1000, 50_000] {
            eprintln!("measuring {prefixes} prefixes in classes ...");
            rows.push(self.class_row(prefixes)?);
        }
        Ok(rows)
    }

    fn class_row(&mut self, count: u32) -> Result<Row> {
        let members: Vec<_> = (0..count).map(member).collect();
        self.fill_trie(&members)?;
        let mut policy = policy((20, 40), (0, 0))?;
        if count > 0 {
            let limit = Limit { rate: Rate::per_second(400), burst: 800 };
            let name = "schools".parse().map_err(anyhow::Error::msg)?;
            policy.classes = vec![Class {
                name,
                members,
                source: limit,
                prefixes: None,
                open: None,
                networks: Default::default(),
            }];
        }
        self.enforce(&policy)?;
        let frame = Frame::syn("11.0.0.1:40000".parse()?, "10.77.0.1:80".parse()?).build();
        let (attempt, empty) =
            (program(&self.compare, "table_random")?, program(&self.compare, "empty_random")?);
        let [attempt] = self.above([attempt], empty, &frame, Reason::Admitted)?;
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=self.rounds {
            let base = self.run(program(&self.compare, "floor_random")?, &frame)?;
            for (times, name) in times.iter_mut().zip(["class_boundaries", "class_trie"]) {
                let time = self.run(program(&self.compare, name)?, &frame)?;
                if round > 0 {
                    times.push(time - base);
                }
            }
        }
        let [boundaries, trie] = times.map(median);
        Ok(Row { prefixes: count, attempt: attempt.median, boundaries, trie })
    }

    pub(super) fn enforce(&mut self, policy: &Policy) -> Result<()> {
        let switch = self.maps.stage_policy(policy, &Origin::default())?;
        self.maps.set_switch(switch)
    }

    fn fill_trie(&mut self, members: &[Prefix]) -> Result<()> {
        let map = self.compare.map_mut("TRIE").context("the object holds no map TRIE")?;
        let mut trie: LpmTrie<_, u32, u32> = map.try_into()?;
        for prefix in members {
            let key = Key::new(prefix.written_length().into(), (prefix.address.low as u32).to_be());
            trie.insert(&key, 1, 0)?;
        }
        Ok(())
    }
}

/// One of many prefixes of mixed lengths, none within another of the same length.
fn member(number: u32) -> Prefix {
    let length = [16, 20, 24, 24, 24, 28, 32, 32][number as usize % 8];
    // An odd multiplier spreads them over all addresses.
    let spread = number.wrapping_mul(2_654_435_761);
    let address = spread & (u32::MAX << (32 - length));
    Prefix { address: Address::v4(address), length: 96 + length as u8 }
}
