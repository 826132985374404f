//! iptables-legacy's hashlimit in INPUT: a limit per source, then one for all. An IPv6 source is a /64 (`--hashlimit-srcmask 64`).

use std::fs;

use anyhow::{Context as _, Result};

use super::shell::run;
use super::{ENTRIES, Family, InForce, Limits, Memory};
use crate::topology::Lab;

/// The table's name below /proc/net.
const NAME: &str = "lab_peer";
/// Its hash buckets, as in the examples; never more than entries, or the kernel would raise the entries to them.
const BUCKETS: u32 = 65_536;

/// The rules, flushed when dropped.
pub struct Hashlimit<'a> {
    lab: &'a Lab,
    family: Family,
}

impl<'a> Hashlimit<'a> {
    pub fn add(lab: &'a Lab, family: Family, limits: &Limits) -> Result<Self> {
        let peer = Self { lab, family };
        let entries = limits.entries.unwrap_or(ENTRIES);
        if let Some((rate, burst)) = limits.source {
            peer.tool(&format!(
                "-A INPUT -p tcp --syn -m hashlimit --hashlimit-above {rate}/sec --hashlimit-burst {burst} \
                 --hashlimit-mode srcip --hashlimit-srcmask {} --hashlimit-name {NAME} \
                 --hashlimit-htable-size {} --hashlimit-htable-max {entries} -j DROP",
                if family == Family::V4 { 32 } else { 64 },
                BUCKETS.min(entries)
            ))?;
        }
        if let Some((rate, burst)) = limits.budget {
            peer.tool(&format!(
                "-A INPUT -p tcp --syn -m limit --limit {rate}/s --limit-burst {burst} -j ACCEPT"
            ))?;
            peer.tool("-A INPUT -p tcp --syn -j DROP")?;
        }
        Ok(peer)
    }

    fn tool(&self, line: &str) -> Result<String> {
        let name = if self.family == Family::V4 { "iptables-legacy" } else { "ip6tables-legacy" };
        run(self.lab.front.command(name)?.arg("--wait").args(line.split_whitespace()))
    }
}

impl InForce for Hashlimit<'_> {
    /// Without what a full table drops ("hotdrop"): no rule counts that.
    fn refused(&self) -> Result<Option<u64>> {
        let text = self.tool("-n -v -x -L INPUT")?;
        let drops = text.lines().filter(|line| line.contains(" DROP "));
        let counts = drops.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(Some(counts.sum()))
    }

    fn memory(&self) -> Result<Memory> {
        let directory = if self.family == Family::V4 { "ipt_hashlimit" } else { "ip6t_hashlimit" };
        let path = format!("/proc/thread-self/net/{directory}/{NAME}");
        let entries = self
            .lab
            .front
            .run(|| fs::read_to_string(&path).with_context(|| format!("cannot read {path}")))?;
        let entries = entries.lines().count() as u64;
        let bytes = entry_bytes().map(|each| entries * each + u64::from(BUCKETS) * 8);
        Ok(Memory {
            bytes,
            entries: Some(entries),
            how: "entries listed, times the slab's object, and the buckets",
        })
    }
}

impl Drop for Hashlimit<'_> {
    fn drop(&mut self) {
        // The namespace goes with the lab; what follows in it would be measured behind these rules.
        if let Err(error) = self.tool("-F INPUT") {
            eprintln!("rules of iptables are still there: {error:#}");
        }
    }
}

/// Bytes of one entry, from the slab of its name.
fn entry_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/slabinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("xt_hashlimit "))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
