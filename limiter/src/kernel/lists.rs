//! The allow and ban lists. They are runtime state: they hold whichever policy slot decides.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::Key;
use limiter_common::address::Address;
use limiter_common::record::{List, ListEntry, ListKey};
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
    /// When a list is full, or a map cannot be written.
    pub fn add(&mut self, list: List, prefixes: &[Prefix], time: Option<Duration>) -> Result<()> {
        self.drop_expired(list)?;
        let expires = time.map_or(u64::MAX, clock::after);
        for prefix in prefixes {
            self.write(list, *prefix, ListEntry { expires, effective: expires })
                .with_context(|| format!("cannot add {prefix}: the list is full, or the kernel refused"))?;
        }
        self.after_change(list, prefixes)
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
        self.drop_expired(list)?;
        self.after_change(list, prefixes)?;
        Ok(missing)
    }

    /// The same with expired entries, which stay until the list is changed, in no order.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn entries(&self, list: List) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in self.list_host.iter() {
            let (Raw(key), Raw(entry)) = entry.context("cannot read the list of addresses")?;
            entries.extend(prefix(list, &key, 128).map(|prefix| Entry { prefix, expires: entry.expires }));
        }
        for entry in self.list_prefix.iter() {
            let (key, Raw(entry)) = entry.context("cannot read the list of prefixes")?;
            let length = key.prefix_len().saturating_sub(ListKey::LIST_BITS) as u8;
            let Raw(data) = key.data();
            entries.extend(prefix(list, &data, length).map(|prefix| Entry { prefix, expires: entry.expires }));
        }
        Ok(entries)
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

    fn drop_expired(&mut self, list: List) -> Result<()> {
        let now = clock::now();
        for entry in self.entries(list)? {
            if entry.expires <= now {
                self.erase(list, entry.prefix)?;
            }
        }
        Ok(())
    }

    /// Recomputes until when the prefixes within `changed` count, and says in the switch which lists hold anything.
    fn after_change(&mut self, list: List, changed: &[Prefix]) -> Result<()> {
        let entries = self.entries(list)?;
        let nets: Vec<_> = entries.iter().filter(|entry| !entry.prefix.is_host()).copied().collect();
        let touched = nets.iter().filter(|net| changed.iter().any(|change| change.covers(&net.prefix)));
        for net in touched {
            let wider = nets.iter().filter(|wide| wide.prefix.covers(&net.prefix)).map(|wide| wide.expires);
            let effective = wider.max().unwrap_or(net.expires);
            self.write(list, net.prefix, ListEntry { expires: net.expires, effective })?;
        }
        let switch = self.switch()?;
        let any = |hosts: bool| entries.iter().any(|entry| entry.prefix.is_host() == hosts);
        let lists = match list {
            List::Allow => Lists { allow_hosts: any(true), allow_prefixes: any(false), ..switch.lists() },
            List::Ban => Lists { ban_hosts: any(true), ban_prefixes: any(false), ..switch.lists() },
        };
        self.set_switch(switch.with_lists(lists))
    }
}

fn prefix(list: List, key: &ListKey, length: u8) -> Option<Prefix> {
    let address = Address::from_bytes(key.address);
    let found = ListKey::new(list, address);
    (found.list == key.list).then_some(Prefix { address, length })
}
