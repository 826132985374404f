//! nftables as its users limit SYNs: a dynamic set with a limit per source, then a limit for all; in the ingress hook of the devices, or in
//! the input hook.
//!
//! An IPv6 source is a /64, as for limiter: the key is masked, which is one expression more than for IPv4.

use std::fs;

use anyhow::{Context as _, Result};

use super::shell::{feed, run};
use super::{ENTRIES, Family, InForce, Limits, Memory};
use crate::topology::{ATTACK_DEVICE, CROWD_DEVICE, Lab};

/// The table's name, whatever its family.
const TABLE: &str = "lab_peer";

/// The rules, deleted when dropped.
pub struct Nftables<'a> {
    lab: &'a Lab,
    family: &'static str,
    /// Bytes of kernel memory that cannot be reclaimed, before.
    before: u64,
}

impl<'a> Nftables<'a> {
    pub fn netdev(lab: &'a Lab, family: Family, limits: &Limits) -> Result<Self> {
        let hook = format!(r#"ingress devices = {{ "{ATTACK_DEVICE}", "{CROWD_DEVICE}" }}"#);
        Self::add(lab, "netdev", &hook, family, limits)
    }

    pub fn input(lab: &'a Lab, family: Family, limits: &Limits) -> Result<Self> {
        let table = if family == Family::V4 { "ip" } else { "ip6" };
        Self::add(lab, table, "input", family, limits)
    }

    fn add(
        lab: &'a Lab,
        table: &'static str,
        hook: &str,
        family: Family,
        limits: &Limits,
    ) -> Result<Self> {
        let before = unreclaimable()?;
        let mut nft = lab.front.command("nft")?;
        feed(nft.args(["-f", "-"]), &rules(table, hook, family, limits))?;
        Ok(Self { lab, family: table, before })
    }
}

/// One transaction: a half-made table would limit half.
fn rules(table: &str, hook: &str, family: Family, limits: &Limits) -> String {
    let (kind, key) = match family {
        Family::V4 => ("ipv4_addr", "ip saddr"),
        Family::V6 => ("ipv6_addr", "ip6 saddr and ffff:ffff:ffff:ffff::"),
    };
    let syn = "tcp flags & (syn|ack) == syn";
    let mut text = format!(
        "table {table} {TABLE} {{\n\
         set sources {{ type {kind}; size {}; flags dynamic,timeout; timeout 60s; }}\n\
         chain in {{\n\
         type filter hook {hook} priority 0; policy accept;\n",
        limits.entries.unwrap_or(ENTRIES)
    );
    if let Some((rate, burst)) = limits.source {
        text.push_str(&format!(
            "{syn} update @sources {{ {key} limit rate over {rate}/second burst {burst} packets }} counter drop\n"
        ));
    }
    if let Some((rate, burst)) = limits.budget {
        text.push_str(&format!(
            "{syn} limit rate over {rate}/second burst {burst} packets counter drop\n"
        ));
    }
    text + "}\n}\n"
}

impl InForce for Nftables<'_> {
    fn refused(&self) -> Result<Option<u64>> {
        let mut nft = self.lab.front.command("nft")?;
        let text = run(nft.args(["--terse", "list", "chain", self.family, TABLE, "in"]))?;
        let counts = text
            .split("counter packets ")
            .skip(1)
            .filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        Ok(Some(counts.sum()))
    }

    fn memory(&self) -> Result<Memory> {
        let bytes = unreclaimable()?.saturating_sub(self.before);
        let mut nft = self.lab.front.command("nft")?;
        let text = run(nft.args(["list", "set", self.family, TABLE, "sources"]))?;
        let entries = text.matches(" expires ").count() as u64;
        Ok(Memory {
            bytes: Some(bytes),
            entries: Some(entries),
            how: "elements listed; growth of the machine's SUnreclaim",
        })
    }
}

impl Drop for Nftables<'_> {
    fn drop(&mut self) {
        let delete =
            || run(self.lab.front.command("nft")?.args(["delete", "table", self.family, TABLE]));
        // The namespace goes with the lab; what follows in it would be measured behind these rules.
        if let Err(error) = delete() {
            eprintln!("the table {TABLE} is still there: {error:#}");
        }
    }
}

/// Bytes of slab memory of the whole machine that cannot be reclaimed. nftables says nowhere how large an element is.
fn unreclaimable() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("SUnreclaim:")).context("no SUnreclaim")?;
    let kilobytes: u64 =
        line.trim().trim_end_matches(" kB").parse().context("SUnreclaim is no number")?;
    Ok(kilobytes * 1024)
}
