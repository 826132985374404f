//! The allow and ban lists. They are runtime state: they hold whichever policy slot decides.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::lpm_trie::Key;
use limiter_common::address::Address;
use limiter_common::record::{LIST_HOSTS, LIST_PREFIXES, List, ListEntry, ListKey};
use limiter_common::switch::Lists;

use super::clock;
use super::maps::{Maps, Raw};
use crate::policy::prefix::Prefix;

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Whom it is about.
    pub prefix: Prefix,
    /// Until when, CLOCK_MONOTONIC in nanoseconds; `u64::MAX` is for ever.
    pub expires: u64,
}

/// An entry as it stands in its map.
#[derive(Clone, Copy, Debug)]
struct Stored {
    list: List,
    entry: Entry,
    effective: u64,
}

impl Maps {
    /// What is on `list` and has not expired, in order of addresses.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn list(&self, list: List) -> Result<Vec<Entry>> {
        let now = clock::now();
        let mut entries: Vec<_> = self.entries(list)?.into_iter().filter(|entry| entry.expires > now).collect();
        entries.sort_unstable();
        Ok(entries)
    }

    /// Puts `prefixes` on `list`, for `time` or for ever. An entry that is there gets the new expiry.
    ///
    /// # Errors
    /// When they do not all fit (nothing was changed then), or a map cannot be written (those before the one it names count).
    pub fn add(&mut self, list: List, prefixes: &[Prefix], time: Option<Duration>) -> Result<()> {
        let mut kept = self.drop_expired()?;
        check_room(&kept, list, prefixes)?;
        let expires = time.map_or(u64::MAX, clock::after);
        let written = prefixes.iter().try_for_each(|prefix| {
            self.write(list, *prefix, ListEntry { expires, effective: expires })
                .with_context(|| format!("cannot add {prefix}: the kernel refused"))
        });
        if written.is_err() {
            kept = self.stored()?;
        } else {
            let new: HashSet<Prefix> = prefixes.iter().copied().collect();
            kept.retain(|stored| stored.list != list || !new.contains(&stored.entry.prefix));
            let entries = new.into_iter().map(|prefix| Entry { prefix, expires });
            kept.extend(entries.map(|entry| Stored { list, entry, effective: expires }));
        }
        self.after_change(&kept)?;
        written
    }

    /// Takes `prefixes` off `list` and returns those that were not on it.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn del(&mut self, list: List, prefixes: &[Prefix]) -> Result<Vec<Prefix>> {
        let mut missing = Vec::new();
        for prefix in prefixes {
            if !self.erase(list, *prefix)? {
                missing.push(*prefix);
            }
        }
        let kept = self.drop_expired()?;
        self.after_change(&kept)?;
        Ok(missing)
    }

    /// The same with expired entries, which stay until a list is changed, in no order.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn entries(&self, list: List) -> Result<Vec<Entry>> {
        let mine = self.stored()?.into_iter().filter(|stored| stored.list == list);
        Ok(mine.map(|stored| stored.entry).collect())
    }

    /// Both lists.
    fn stored(&self) -> Result<Vec<Stored>> {
        let mut all = Vec::new();
        for entry in self.list_host.iter() {
            let (Raw(key), Raw(entry)) = entry.context("cannot read the list of addresses")?;
            all.extend(stored(&key, 128, entry));
        }
        for entry in self.list_prefix.iter() {
            let (key, Raw(entry)) = entry.context("cannot read the list of prefixes")?;
            let length = key.prefix_len().saturating_sub(ListKey::LIST_BITS) as u8;
            let Raw(data) = key.data();
            all.extend(stored(&data, length, entry));
        }
        Ok(all)
    }

    fn write(&mut self, list: List, prefix: Prefix, entry: ListEntry) -> Result<()> {
        let key = Raw(ListKey::new(list, prefix.address));
        if prefix.is_host() {
            self.list_host.insert(key, Raw(entry), 0)?;
        } else {
            self.list_prefix.insert(&Key::new(ListKey::LIST_BITS + u32::from(prefix.length), key), Raw(entry), 0)?;
        }
        Ok(())
    }

    fn erase(&mut self, list: List, prefix: Prefix) -> Result<bool> {
        let key = Raw(ListKey::new(list, prefix.address));
        let erased = if prefix.is_host() {
            self.list_host.remove(&key)
        } else {
            self.list_prefix.remove(&Key::new(ListKey::LIST_BITS + u32::from(prefix.length), key))
        };
        match erased {
            Ok(()) => Ok(true),
            Err(aya::maps::MapError::KeyNotFound) => Ok(false),
            Err(aya::maps::MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(false)
            }
            Err(error) => Err(error).with_context(|| format!("cannot remove {prefix}")),
        }
    }

    /// Removes what has expired from both lists, which share their room, and returns the rest.
    fn drop_expired(&mut self) -> Result<Vec<Stored>> {
        let now = clock::now();
        let (kept, expired): (Vec<_>, Vec<_>) =
            self.stored()?.into_iter().partition(|stored| stored.entry.expires > now);
        for Stored { list, entry, .. } in expired {
            self.erase(list, entry.prefix)?;
        }
        Ok(kept)
    }

    /// Writes anew until when prefixes count where that has changed, and says in the switch which lists hold anything. `all`: what
    /// stands in the maps.
    fn after_change(&mut self, all: &[Stored]) -> Result<()> {
        for list in [List::Allow, List::Ban] {
            let mine = all.iter().filter(|stored| stored.list == list && !stored.entry.prefix.is_host());
            for (Stored { entry, effective, .. }, wanted) in with_effective(mine.copied().collect()) {
                if effective != wanted {
                    self.write(list, entry.prefix, ListEntry { expires: entry.expires, effective: wanted })?;
                }
            }
        }
        let any = |list, hosts| all.iter().any(|one| one.list == list && one.entry.prefix.is_host() == hosts);
        let lists = Lists {
            allow_hosts: any(List::Allow, true),
            allow_prefixes: any(List::Allow, false),
            ban_hosts: any(List::Ban, true),
            ban_prefixes: any(List::Ban, false),
        };
        self.set_switch(self.switch()?.with_lists(lists))
    }
}

/// Whether `prefixes` fit beside what is there: the two lists share their maps.
fn check_room(kept: &[Stored], list: List, prefixes: &[Prefix]) -> Result<()> {
    let here: HashSet<Prefix> =
        kept.iter().filter(|stored| stored.list == list).map(|stored| stored.entry.prefix).collect();
    let new: HashSet<&Prefix> = prefixes.iter().filter(|prefix| !here.contains(prefix)).collect();
    for (hosts, what, most) in [(true, "addresses", LIST_HOSTS), (false, "prefixes", LIST_PREFIXES)] {
        let more = new.iter().filter(|prefix| prefix.is_host() == hosts).count();
        let held = kept.iter().filter(|stored| stored.entry.prefix.is_host() == hosts).count();
        ensure!(
            more == 0 || held + more <= most as usize,
            "{more} more do not fit: the allow and the ban list together hold {held} {what}, of at most {most}; nothing was added. \
             Take some off (`limiter ban del`, `limiter allow del`), or name the prefix that many of them share"
        );
    }
    Ok(())
}

/// Prefixes of one list, and until when each counts: as long as the longest-lived of those that hold it, itself among them.
fn with_effective(mut nets: Vec<Stored>) -> Vec<(Stored, u64)> {
    // A prefix comes right before those within it; families do not hold each other.
    nets.sort_unstable_by_key(|stored| (stored.entry.prefix.address.is_v4(), stored.entry.prefix));
    let mut around: Vec<(Prefix, u64)> = Vec::new();
    let wanted = nets.into_iter().map(|stored| {
        let Entry { prefix, expires } = stored.entry;
        while around.last().is_some_and(|(wide, _)| !wide.covers(&prefix)) {
            around.pop();
        }
        let effective = around.last().map_or(expires, |(_, effective)| expires.max(*effective));
        around.push((prefix, effective));
        (stored, effective)
    });
    wanted.collect()
}

/// An element of a list's map. What has no list's key is nothing that this version wrote.
fn stored(key: &ListKey, length: u8, entry: ListEntry) -> Option<Stored> {
    let address = Address::from_bytes(key.address);
    let list = [List::Allow, List::Ban].into_iter().find(|list| ListKey::new(*list, address).list == key.list)?;
    let ListEntry { expires, effective } = entry;
    Some(Stored { list, entry: Entry { prefix: Prefix { address, length }, expires }, effective })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few distinct prefixes of both families, which often hold each other.
    fn nets() -> impl Strategy<Value = Vec<Stored>> {
        let one = (0_u8..=128, 0_u128..16, any::<bool>(), 0_u64..1000).prop_map(|(length, few, v4, expires)| {
            let text = match v4 {
                true => format!("{}/32", std::net::Ipv4Addr::from_bits((few as u32) << 28)),
                false => format!("{}/128", std::net::Ipv6Addr::from_bits(few << 124 | 1 << 64)),
            };
            let whole: Prefix = text.parse().expect("an address");
            let length = if v4 { 96 + length % 32 } else { length.min(127) };
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            let bits = (u128::from(whole.address.high) << 64 | u128::from(whole.address.low)) & mask;
            let address = Address::v6((bits >> 64) as u64, bits as u64);
            Stored { list: List::Ban, entry: Entry { prefix: Prefix { address, length }, expires }, effective: 0 }
        });
        // A prefix is on a list once.
        proptest::collection::vec(one, 0..60).prop_map(|mut nets| {
            nets.sort_by_key(|stored| stored.entry.prefix);
            nets.dedup_by_key(|stored| stored.entry.prefix);
            nets
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_prefix_counts_as_long_as_any_that_holds_it(nets in nets()) {
            for (stored, wanted) in with_effective(nets.clone()) {
                let holding = nets.iter().filter(|wide| wide.entry.prefix.covers(&stored.entry.prefix));
                prop_assert_eq!(Some(wanted), holding.map(|wide| wide.entry.expires).max(), "{}", stored.entry.prefix);
            }
        }
    }
}
