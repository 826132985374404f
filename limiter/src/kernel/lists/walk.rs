//! Going through the maps of the lists: in pages, and taking away what has expired.

use anyhow::{Context as _, Result};
use aya::maps::IterableMap as _;
use aya::maps::lpm_trie::Key;
use limiter_common::address::Address;
use limiter_common::record::{List, ListEntry, ListKey};
use limiter_common::switch::Lists;

use super::super::maps::{Maps, Raw};
use super::super::{batch, clock};
use super::Entry;
use crate::policy::prefix::Prefix;

/// An entry as it stands in its map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub list: List,
    pub entry: Entry,
    pub effective: u64,
}

/// The two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Hosts,
    Prefixes,
}

/// What a walk saw of entries that have not expired.
#[derive(Clone, Copy, Debug, Default)]
struct Unexpired {
    allow: bool,
    ban: bool,
    /// Whether the walk came to the end, so that this is all.
    all: bool,
}

impl Maps {
    /// Takes expired entries away, a page of each map and on while `more` says so. Where that is
    /// all of a map, the switch says afterwards which list holds anything there.
    pub(super) fn sweep(&mut self, more: impl Fn(&Page) -> bool) -> Result<()> {
        let lists = self.switch()?.lists();
        for (which, used) in [
            (Which::Hosts, lists.allow_hosts || lists.ban_hosts),
            (Which::Prefixes, lists.allow_prefixes || lists.ban_prefixes),
        ] {
            if !used {
                continue;
            }
            let (now, mut expired) = (clock::now(), Vec::new());
            let mut seen = Unexpired::default();
            seen.all = self.walk(which, |stored| {
                let page = Page::of(stored, now);
                expired.extend(stored.iter().filter(|one| one.entry.expires <= now));
                (seen.allow, seen.ban) = (seen.allow || page.allow, seen.ban || page.ban);
                more(&page)
            })?;
            self.erase_all(which, &expired)?;
            if seen.all {
                self.change_lists(|old| match which {
                    Which::Hosts => Lists { allow_hosts: seen.allow, ban_hosts: seen.ban, ..old },
                    Which::Prefixes => {
                        Lists { allow_prefixes: seen.allow, ban_prefixes: seen.ban, ..old }
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Removes all that has expired from a map, which both lists share, and returns the rest. Not
    /// looked at if nothing is `wanted` of it.
    pub(super) fn swept(&mut self, which: Which, wanted: &[Entry]) -> Result<Vec<Stored>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let now = clock::now();
        let (kept, expired): (Vec<_>, Vec<_>) =
            self.stored(which)?.into_iter().partition(|stored| stored.entry.expires > now);
        self.erase_all(which, &expired)?;
        Ok(kept)
    }

    fn erase_all(&mut self, which: Which, expired: &[Stored]) -> Result<()> {
        if which == Which::Hosts {
            let key = |stored: &Stored| Raw(ListKey::new(stored.list, stored.entry.prefix.address));
            let keys: Vec<_> = expired.iter().map(key).collect();
            return batch::remove(self.list_host.map(), &keys)
                .context("cannot remove expired addresses");
        }
        expired.iter().try_for_each(|stored| self.erase(stored.list, stored.entry.prefix).map(drop))
    }

    /// All entries of a map, of both lists.
    pub(super) fn stored(&self, which: Which) -> Result<Vec<Stored>> {
        let mut all = Vec::new();
        self.walk(which, |page| {
            all.extend_from_slice(page);
            true
        })?;
        Ok(all)
    }

    /// Hands a map's entries to `take` in pages until it wants no more; whether it wanted all.
    pub(super) fn walk(
        &self,
        which: Which,
        mut take: impl FnMut(&[Stored]) -> bool,
    ) -> Result<bool> {
        let hosts = |keys: &[Raw<ListKey>], values: &[Raw<ListEntry>]| -> Vec<Stored> {
            keys.iter()
                .zip(values)
                .filter_map(|(key, value)| stored(&key.0, 128, value.0))
                .collect()
        };
        let nets = |keys: &[Key<Raw<ListKey>>], values: &[Raw<ListEntry>]| -> Vec<Stored> {
            let length =
                |key: &Key<Raw<ListKey>>| key.prefix_len().saturating_sub(ListKey::LIST_BITS) as u8;
            keys.iter()
                .zip(values)
                .filter_map(|(key, value)| stored(&key.data().0, length(key), value.0))
                .collect()
        };
        let walked = match which {
            Which::Hosts => {
                batch::read(self.list_host.map(), |keys, values| take(&hosts(keys, values)))
            }
            Which::Prefixes => {
                batch::read(self.list_prefix.map(), |keys, values| take(&nets(keys, values)))
            }
        };
        match walked {
            // Kernels before 5.13 read the prefixes one by one.
            Err(error) if which == Which::Prefixes && batch::is_unknown(&error) => {
                let all: Result<Vec<_>, _> = self.list_prefix.iter().collect();
                let (keys, values): (Vec<_>, Vec<_>) =
                    all.context("cannot read the list of prefixes")?.into_iter().unzip();
                take(&nets(&keys, &values));
                Ok(true)
            }
            walked => walked.context("cannot read the lists"),
        }
    }
}

/// What a page of a map holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub expired: usize,
    allow: bool,
    ban: bool,
}

impl Page {
    fn of(stored: &[Stored], now: u64) -> Self {
        let live = |list| stored.iter().any(|one| one.list == list && one.entry.expires > now);
        let expired = stored.iter().filter(|one| one.entry.expires <= now).count();
        Self { expired, allow: live(List::Allow), ban: live(List::Ban) }
    }

    pub const fn holds(&self, list: List) -> bool {
        match list {
            List::Allow => self.allow,
            List::Ban => self.ban,
        }
    }
}

/// An element of a list's map. What has no list's key is nothing that this version wrote.
fn stored(key: &ListKey, length: u8, entry: ListEntry) -> Option<Stored> {
    let address = Address::from_bytes(key.address);
    let list = [List::Allow, List::Ban]
        .into_iter()
        .find(|list| ListKey::new(*list, address).list == key.list)?;
    let ListEntry { expires, effective } = entry;
    Some(Stored { list, entry: Entry { prefix: Prefix { address, length }, expires }, effective })
}
