//! The allow and ban lists. They are runtime state: they hold whichever policy slot decides.
//!
//! An address is put on a list by a look-up and a write, however many are there; only a prefix
//! needs a walk, over the prefixes. Entries that have expired stay until a change meets them: each
//! looks at a page of the maps, goes on while it finds expired ones, and takes these away.

mod walk;

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::lpm_trie::Key;
use aya::maps::{IterableMap as _, MapError};
use limiter_common::record::{LIST_HOSTS, LIST_PREFIXES, List, ListEntry, ListKey};
use limiter_common::switch::Lists;

use super::maps::{Maps, Raw};
use super::{batch, clock};
use crate::policy::prefix::Prefix;
use walk::{Stored, Which};

/// Addresses up to which each is looked up by itself. More are counted first, with a walk.
const FEW: usize = 256;

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Whom it is about.
    pub prefix: Prefix,
    /// Until when, CLOCK_MONOTONIC in nanoseconds; `u64::MAX` is for ever.
    pub expires: u64,
}

impl Maps {
    /// What is on `list` and has not expired, in order of addresses.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn list(&self, list: List) -> Result<Vec<Entry>> {
        let now = clock::now();
        let mut entries: Vec<_> =
            self.entries(list)?.into_iter().filter(|entry| entry.expires > now).collect();
        entries.sort_unstable();
        Ok(entries)
    }

    /// How many entries of the allow and of the ban list have not expired.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn list_lengths(&self) -> Result<[usize; 2]> {
        let (now, mut lengths) = (clock::now(), [0; 2]);
        let lists = self.switch()?.lists();
        let used = [
            (Which::Hosts, lists.allow_hosts || lists.ban_hosts),
            (Which::Prefixes, lists.allow_prefixes || lists.ban_prefixes),
        ];
        for (which, _) in used.into_iter().filter(|(_, used)| *used) {
            self.walk(which, |page| {
                let live = page.iter().filter(|stored| stored.entry.expires > now);
                live.for_each(|stored| lengths[usize::from(stored.list == List::Ban)] += 1);
                true
            })?;
        }
        Ok(lengths)
    }

    /// The same as [`Maps::list`] with expired entries, which stay until a change of a list meets
    /// them, in no order.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn entries(&self, list: List) -> Result<Vec<Entry>> {
        let (hosts, nets) = (self.stored(Which::Hosts)?, self.stored(Which::Prefixes)?);
        let mine = hosts.into_iter().chain(nets).filter(|stored| stored.list == list);
        Ok(mine.map(|stored| stored.entry).collect())
    }

    /// Whether all of `prefix` is on `list` now, by itself or within a wider prefix. It is looked
    /// up, without a walk.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn is_listed(&self, list: List, prefix: Prefix) -> Result<bool> {
        let (now, key) = (clock::now(), Raw(ListKey::new(list, prefix.address)));
        let within = found(self.list_prefix.get(&trie_key(list, prefix), 0))?;
        let itself = if prefix.is_host() { found(self.list_host.get(&key, 0))? } else { None };
        Ok([within, itself].into_iter().flatten().any(|Raw(entry)| entry.effective > now))
    }

    /// Puts `prefixes` on `list`, for `time` or for ever. An entry that is there gets the new expiry.
    ///
    /// # Errors
    /// When they do not all fit (nothing was changed then), or a map cannot be written (those before the one it names count).
    pub fn add(&mut self, list: List, prefixes: &[Prefix], time: Option<Duration>) -> Result<()> {
        let expires = time.map_or(u64::MAX, clock::after);
        let entries: Vec<Entry> =
            prefixes.iter().map(|prefix| Entry { prefix: *prefix, expires }).collect();
        self.add_entries(list, &entries)
    }

    /// The same, each entry until its own time. Of two for one prefix the last counts.
    ///
    /// # Errors
    /// The same.
    pub fn add_entries(&mut self, list: List, entries: &[Entry]) -> Result<()> {
        self.sweep(|page| page.expired > 0)?;
        let (hosts, nets): (Vec<Entry>, Vec<Entry>) =
            entries.iter().partition(|entry| entry.prefix.is_host());
        let few = nets.is_empty() && hosts.len() <= FEW;
        if !few || !self.add_few(list, &hosts)? {
            let (kept_hosts, kept_nets) =
                (self.swept(Which::Hosts, &hosts)?, self.swept(Which::Prefixes, &nets)?);
            check_room(&kept_hosts, list, &hosts, (LIST_HOSTS, "addresses"))?;
            check_room(&kept_nets, list, &nets, (LIST_PREFIXES, "prefixes"))?;
            // Before the first packet can meet them.
            self.mark(list, !hosts.is_empty(), !nets.is_empty())?;
            self.write_hosts(list, &hosts)?;
            self.write_nets(list, &nets, kept_nets)?;
        }
        Ok(())
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
        if prefixes.iter().any(|prefix| !prefix.is_host()) {
            let kept = self.stored(Which::Prefixes)?;
            self.write_effective(&kept)?;
        }
        self.sweep(|page| page.expired > 0 || !page.holds(list))?;
        Ok(missing)
    }

    /// Addresses, each looked up first so that all can be taken back. `false`: they do not all fit,
    /// and nothing was changed.
    fn add_few(&mut self, list: List, hosts: &[Entry]) -> Result<bool> {
        let mut before = Vec::with_capacity(hosts.len());
        self.mark(list, !hosts.is_empty(), false)?;
        for entry in hosts {
            let key = Raw(ListKey::new(list, entry.prefix.address));
            let was = found(self.list_host.get(&key, 0))?;
            match self.list_host.insert(key, Raw(record(entry)), 0) {
                Ok(()) => before.push((entry.prefix, was)),
                Err(error) if is_full(&error) => {
                    for (prefix, was) in before.into_iter().rev() {
                        match was {
                            Some(was) => {
                                self.list_host.insert(
                                    Raw(ListKey::new(list, prefix.address)),
                                    was,
                                    0,
                                )?;
                            }
                            None => drop(self.erase(list, prefix)?),
                        }
                    }
                    return Ok(false);
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot add {}: the kernel refused", entry.prefix)
                    });
                }
            }
        }
        Ok(true)
    }

    fn write_hosts(&self, list: List, hosts: &[Entry]) -> Result<()> {
        let keys: Vec<_> =
            hosts.iter().map(|entry| Raw(ListKey::new(list, entry.prefix.address))).collect();
        let values: Vec<_> = hosts.iter().map(|entry| Raw(record(entry))).collect();
        batch::write(self.list_host.map(), &keys, &values)
            .context("cannot add addresses: the kernel refused")
    }

    /// Adds prefixes to those that are there, and writes anew until when each counts.
    fn write_nets(&mut self, list: List, nets: &[Entry], mut kept: Vec<Stored>) -> Result<()> {
        if nets.is_empty() {
            return Ok(());
        }
        let written = nets.iter().try_for_each(|entry| {
            self.write(list, entry.prefix, record(entry))
                .with_context(|| format!("cannot add {}: the kernel refused", entry.prefix))
        });
        if written.is_err() {
            kept = self.stored(Which::Prefixes)?;
        } else {
            let mut new: std::collections::HashMap<Prefix, u64> =
                nets.iter().map(|one| (one.prefix, one.expires)).collect();
            kept.retain(|stored| stored.list != list || !new.contains_key(&stored.entry.prefix));
            let entries = new.drain().map(|(prefix, expires)| Entry { prefix, expires });
            kept.extend(entries.map(|entry| Stored { list, entry, effective: entry.expires }));
        }
        self.write_effective(&kept)?;
        written
    }

    /// Writes anew until when prefixes count where that has changed. `all`: what stands in the map.
    fn write_effective(&mut self, all: &[Stored]) -> Result<()> {
        for list in [List::Allow, List::Ban] {
            let mine = all.iter().filter(|stored| stored.list == list);
            for (Stored { entry, effective, .. }, wanted) in with_effective(mine.copied().collect())
            {
                if effective != wanted {
                    self.write(
                        list,
                        entry.prefix,
                        ListEntry { expires: entry.expires, effective: wanted },
                    )?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, list: List, prefix: Prefix, entry: ListEntry) -> Result<()> {
        Ok(self.list_prefix.insert(&trie_key(list, prefix), Raw(entry), 0)?)
    }

    fn erase(&mut self, list: List, prefix: Prefix) -> Result<bool> {
        let erased = if prefix.is_host() {
            self.list_host.remove(&Raw(ListKey::new(list, prefix.address)))
        } else {
            self.list_prefix.remove(&trie_key(list, prefix))
        };
        match found(erased) {
            Ok(gone) => Ok(gone.is_some()),
            Err(error) => Err(error).with_context(|| format!("cannot remove {prefix}")),
        }
    }

    /// Says in the switch that `list` holds addresses, or prefixes: before they are written, so
    /// that each packet after it meets them.
    fn mark(&self, list: List, hosts: bool, nets: bool) -> Result<()> {
        self.change_lists(|old| match list {
            List::Allow => Lists {
                allow_hosts: old.allow_hosts || hosts,
                allow_prefixes: old.allow_prefixes || nets,
                ..old
            },
            List::Ban => Lists {
                ban_hosts: old.ban_hosts || hosts,
                ban_prefixes: old.ban_prefixes || nets,
                ..old
            },
        })
    }
}

const fn record(entry: &Entry) -> ListEntry {
    ListEntry { expires: entry.expires, effective: entry.expires }
}

fn trie_key(list: List, prefix: Prefix) -> Key<Raw<ListKey>> {
    Key::new(ListKey::LIST_BITS + u32::from(prefix.length), Raw(ListKey::new(list, prefix.address)))
}

/// What an entry that need not be there is.
fn found<T>(result: Result<T, MapError>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn is_full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::E2BIG))
}

/// Whether `entries` fit beside what is there: the two lists share their maps.
fn check_room(
    kept: &[Stored],
    list: List,
    entries: &[Entry],
    (most, what): (u32, &str),
) -> Result<()> {
    let here: HashSet<Prefix> = kept
        .iter()
        .filter(|stored| stored.list == list)
        .map(|stored| stored.entry.prefix)
        .collect();
    let new: HashSet<Prefix> =
        entries.iter().map(|entry| entry.prefix).filter(|prefix| !here.contains(prefix)).collect();
    let (more, held) = (new.len(), kept.len());
    ensure!(
        more == 0 || held + more <= most as usize,
        "{more} more do not fit: the allow and the ban list together hold {held} {what}, of at most {most}; nothing was added. \
         Take some off (`limiter ban del`, `limiter allow del`), or name the prefix that many of them share"
    );
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

#[cfg(test)]
mod tests {
    use limiter_common::address::Address;
    use proptest::prelude::*;

    use super::*;

    /// Few distinct prefixes of both families, which often hold each other.
    fn nets() -> impl Strategy<Value = Vec<Stored>> {
        let one = (0_u8..=128, 0_u128..16, any::<bool>(), 0_u64..1000).prop_map(
            |(length, few, v4, expires)| {
                let text = match v4 {
                    true => format!("{}/32", std::net::Ipv4Addr::from_bits((few as u32) << 28)),
                    false => format!("{}/128", std::net::Ipv6Addr::from_bits(few << 124 | 1 << 64)),
                };
                let whole: Prefix = text.parse().expect("an address");
                let length = if v4 { 96 + length % 32 } else { length.min(127) };
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                let bits =
                    (u128::from(whole.address.high) << 64 | u128::from(whole.address.low)) & mask;
                let address = Address::v6((bits >> 64) as u64, bits as u64);
                Stored {
                    list: List::Ban,
                    entry: Entry { prefix: Prefix { address, length }, expires },
                    effective: 0,
                }
            },
        );
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
