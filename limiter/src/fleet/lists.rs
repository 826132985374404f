//! Bans and allows of a fleet. A node believes none of them: it takes what its own policy lets it,
//! and refuses what would cut off itself, the engine, an operator or a large part of the world.
//!
//! What is taken stands in the kernel's lists for a minute and is renewed, so that it ends by
//! itself when the daemon is gone, and so that an entry of an operator's own, which lasts longer,
//! is told from it and left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use limiter_common::record::List;
use limiter_fleet::engine::{Engine, Watch as _};
use limiter_policy::fleet::{Endpoint, Takes};
use limiter_policy::prefix::Prefix;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::keys::{Key, Keys};
use crate::kernel::lists::Entry;
use crate::kernel::{Maps, Pins, clock, interface, listener};
use crate::report::fleet::Shared;

/// How long an entry lasts that is not renewed, and how often that is done.
const TERM: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(20);
/// Most entries of a fleet that a node takes.
pub const MOST: usize = 10_000;

/// Where operators come in.
const SSH: u16 = 22;
const ENGINE: &str = "an address of the engine";

/// An entry as the engine has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Until when, in milliseconds since 1970, by the wall clock.
    pub until: u64,
    /// Who listed it.
    pub who: String,
    /// Why.
    pub why: String,
}

/// Whom nothing may cut off.
#[derive(Clone, Debug, Default)]
pub struct Spared(pub Vec<(Prefix, &'static str)>);

/// Where lists are put into force.
pub trait Listing: Send + 'static {
    /// Brings what is in force to what `entries` of the fleet say.
    ///
    /// # Errors
    /// When that cannot be done.
    fn apply(&mut self, keys: &Keys, entries: &BTreeMap<String, Vec<u8>>) -> Result<()>;
}

/// The part of a node that takes lists.
pub struct Taker {
    pins: Pins,
    takes: Takes,
    engine: Vec<Endpoint>,
    known: Shared,
    /// What it has put on the kernel's lists, and until when.
    written: BTreeMap<(bool, Prefix), u64>,
}

/// What of `entries` a node takes: whether it is a ban, the prefix and how long; and what it
/// refuses.
pub fn judge(
    keys: &Keys,
    entries: &BTreeMap<String, Vec<u8>>,
    takes: &Takes,
    spared: &Spared,
    now: u64,
) -> (BTreeMap<(bool, Prefix), Duration>, BTreeMap<String, String>) {
    let (mut taken, mut refused) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in entries {
        let (is_ban, text) = match keys.kind(key) {
            Key::Ban(text) if takes.bans => (true, text),
            Key::Allow(text) if takes.allow => (false, text),
            _ => continue,
        };
        match one(text, value, takes, spared, now, is_ban) {
            Ok(Some(_)) if taken.len() >= MOST => {
                refused.insert(key.clone(), format!("there are more than {MOST}"));
            }
            Ok(Some((prefix, left))) => drop(taken.insert((is_ban, prefix), left)),
            Ok(None) => {}
            Err(why) => drop(refused.insert(key.clone(), why)),
        }
    }
    (taken, refused)
}

/// One entry; `None`: it is over.
fn one(
    text: &str,
    value: &[u8],
    takes: &Takes,
    Spared(spared): &Spared,
    now: u64,
    is_ban: bool,
) -> Result<Option<(Prefix, Duration)>, String> {
    let prefix: Prefix = text.parse().map_err(|_| "it names no prefix".to_owned())?;
    let listed: Listed = serde_json::from_slice(value)
        .map_err(|_| "it does not say until when, who and why".to_owned())?;
    let left = Duration::from_millis(listed.until.saturating_sub(now));
    if left.is_zero() {
        return Ok(None);
    }
    let widest = if prefix.address.is_v4() { takes.widest.0 } else { takes.widest.1 };
    if prefix.written_length() < widest {
        return Err(format!("it is wider than /{widest}"));
    }
    // A clock may be a second off.
    if left > takes.longest + Duration::from_secs(1) {
        return Err(format!("it lasts longer than {}", humantime::format_duration(takes.longest)));
    }
    let holds = spared.iter().find(|(one, _)| is_ban && prefix.covers(one));
    match holds {
        Some((one, what)) => Err(format!("it holds {one}, {what}")),
        None => Ok(Some((prefix, left))),
    }
}

impl Taker {
    /// One that takes so much. `known` is where it notes what it refuses.
    pub fn new(pins: &Pins, takes: Takes, engine: Vec<Endpoint>, known: Shared) -> Self {
        Self { pins: pins.clone(), takes, engine, known, written: BTreeMap::new() }
    }

    fn spared(&self) -> Spared {
        let own = interface::addresses().unwrap_or_default().into_iter();
        let mut spared: Vec<_> =
            own.map(|address| (address.into(), "an address of this host")).collect();
        let named = self.engine.iter().filter_map(|one| one.host.parse::<IpAddr>().ok());
        spared.extend(named.map(|address| (address.into(), ENGINE)));
        // Who it is by name shows in connections.
        for one in listener::connections().unwrap_or_default() {
            let remote = one.remote.ip().into();
            if self.engine.iter().any(|engine| engine.port == one.remote.port()) {
                spared.push((remote, ENGINE));
            }
            if one.local.port() == SSH {
                spared.push((remote, "from which there is an ssh connection"));
            }
        }
        Spared(spared)
    }

    /// Notes what is refused, and says it once.
    fn tell(&self, keys: &Keys, refused: BTreeMap<String, String>) {
        self.known.change(|view| {
            let new = refused.iter().filter(|(key, _)| !view.refused.contains_key(*key));
            for (entry, why) in new.take(10) {
                warn!(entry, why, "an entry of the fleet is refused here");
            }
            view.refused.retain(|key, _| keys.kind(key) == Key::Profile);
            view.refused.extend(refused.into_iter().map(|(key, why)| {
                let kind = if matches!(keys.kind(&key), Key::Ban(_)) { "ban" } else { "allow" };
                (key, (kind, why))
            }));
        });
    }
}

impl Listing for Taker {
    fn apply(&mut self, keys: &Keys, entries: &BTreeMap<String, Vec<u8>>) -> Result<()> {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let spared = if entries.is_empty() { Spared::default() } else { self.spared() };
        let (taken, refused) = judge(keys, entries, &self.takes, &spared, now);
        self.tell(keys, refused);
        if taken.is_empty() && self.written.is_empty() {
            return Ok(());
        }
        let _lock = self.pins.lock_lists()?;
        let mut maps = Maps::open(&self.pins.root())?;
        for (is_ban, list) in [(true, List::Ban), (false, List::Allow)] {
            let there: BTreeMap<Prefix, u64> =
                maps.entries(list)?.into_iter().map(|one| (one.prefix, one.expires)).collect();
            let ours = |prefix: &Prefix, expires: u64| {
                self.written.get(&(is_ban, *prefix)).is_some_and(|written| *written >= expires)
            };
            let wanted = taken.iter().filter(|((ban, _), _)| *ban == is_ban);
            let wanted = wanted.map(|((_, prefix), left)| Entry {
                prefix: *prefix,
                expires: clock::after((*left).min(TERM)),
            });
            // An operator's own entry that lasts longer stays.
            let wanted: Vec<Entry> = wanted
                .filter(|one| there.get(&one.prefix).is_none_or(|there| *there < one.expires))
                .collect();
            let gone: Vec<Prefix> = there
                .iter()
                .filter(|(prefix, expires)| ours(prefix, **expires))
                .filter(|(prefix, _)| !taken.contains_key(&(is_ban, **prefix)))
                .map(|(prefix, _)| *prefix)
                .collect();
            if !wanted.is_empty() {
                maps.add_entries(list, &wanted)?;
            }
            if !gone.is_empty() {
                maps.del(list, &gone)?;
            }
            let known = |prefix: &Prefix| self.written.contains_key(&(is_ban, *prefix));
            for one in wanted.iter().filter(|one| !known(&one.prefix)).take(10) {
                info!(prefix = %one.prefix, is_ban, "an entry of the fleet is in force here");
            }
            for prefix in gone.iter().take(10) {
                info!(%prefix, is_ban, "an entry of the fleet is taken off here");
            }
            let kept: BTreeSet<Prefix> = taken.keys().map(|(_, prefix)| *prefix).collect();
            self.written.retain(|(ban, prefix), _| *ban != is_ban || kept.contains(prefix));
            self.written.extend(wanted.iter().map(|one| ((is_ban, one.prefix), one.expires)));
        }
        Ok(())
    }
}

/// Follows the lists of the fleet, for ever. While the engine does not answer, what it said last is
/// kept.
pub async fn run<E: Engine>(engine: &E, keys: &Keys, taker: impl Listing) {
    let (mut watch, mut entries): (Option<E::Watch>, BTreeMap<String, Vec<u8>>) =
        (None, BTreeMap::new());
    let taker = Arc::new(Mutex::new(taker));
    let mut told = None;
    loop {
        if watch.is_none()
            && let Ok(snapshot) = engine.snapshot(&keys.lists()).await
        {
            watch = engine.watch(&keys.lists(), snapshot.revision).await.ok();
            let found = snapshot.entries.into_iter();
            entries = found.map(|(key, entry)| (key, entry.value)).collect();
        }
        let (keys, taker, now) = (keys.clone(), Arc::clone(&taker), entries.clone());
        // It asks netlink and waits for a lock.
        let applied = tokio::task::spawn_blocking(move || {
            taker.lock().unwrap_or_else(PoisonError::into_inner).apply(&keys, &now)
        });
        let failure = match applied.await {
            Ok(done) => done.err().map(|error| format!("{error:#}")),
            Err(_) => Some("looking at the lists panicked".to_owned()),
        };
        if told != failure {
            match &failure {
                Some(error) => warn!(%error, "the fleet's lists are not in force here"),
                None => info!("the fleet's lists are in force here"),
            }
            told = failure;
        }
        let pause = if watch.is_none() { Duration::from_secs(1) } else { EVERY };
        let changes = async {
            match &mut watch {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        match tokio::time::timeout(pause, changes).await {
            Ok(Ok(changes)) => {
                for change in changes {
                    match change.value {
                        Some(value) => drop(entries.insert(change.key, value)),
                        None => drop(entries.remove(&change.key)),
                    }
                }
            }
            Ok(Err(_)) => watch = None,
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What should not be there: each is refused and counted, and the rest is taken.
    #[test]
    fn poisoned_entries_are_refused() {
        let keys = Keys::of(&"school".parse().expect("a name"));
        let takes = Takes { bans: true, allow: true, ..Takes::default() };
        let own: Prefix = "192.0.2.7".parse().expect("a prefix");
        let spared = Spared(vec![(own, "an address of this host")]);
        let until = |seconds: u64| {
            let listed = Listed { until: 1000 + seconds * 1000, who: "a".into(), why: "b".into() };
            serde_json::to_vec(&listed).expect("JSON")
        };
        let hour = || until(3600);
        let entries: Vec<(String, Vec<u8>, Option<&str>)> = vec![
            (keys.ban("0.0.0.0/0"), hour(), Some("wider than /16")),
            (keys.ban("::/0"), hour(), Some("wider than /32")),
            (keys.allow("0.0.0.0/0"), hour(), Some("wider than /16")),
            (keys.ban("192.0.2.0/24"), hour(), Some("it holds 192.0.2.7, an address of this host")),
            (keys.ban("198.51.100.1"), until(90_000), Some("lasts longer than 1day")),
            (keys.ban("198.51.100.2"), b"{".to_vec(), Some("does not say until when")),
            (keys.ban("here/24"), hour(), Some("names no prefix")),
            (keys.ban("a/b/c"), hour(), Some("names no prefix")),
            (keys.ban("198.51.100.3"), until(0), None),
            (keys.ban("198.51.100.0/24"), hour(), None),
            (keys.allow("192.0.2.0/24"), hour(), None),
        ];
        let map = entries.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect();
        let (taken, refused) = judge(&keys, &map, &takes, &spared, 1000);
        for (key, _, why) in &entries {
            let said = refused.get(key);
            assert_eq!(said.is_some(), why.is_some(), "{key}: {said:?}");
            assert!(why.is_none_or(|why| said.is_some_and(|said| said.contains(why))), "{said:?}");
        }
        let names: Vec<_> = taken.keys().map(|(ban, one)| (*ban, one.to_string())).collect();
        let expected = [(false, "192.0.2.0/24"), (true, "198.51.100.0/24")];
        assert_eq!(names, expected.map(|(ban, one)| (ban, one.to_owned())));
        // Who takes no bans has none, and refuses none.
        let (taken, refused) = judge(&keys, &map, &Takes::default(), &spared, 1000);
        assert!(taken.is_empty() && refused.is_empty());
        // A million of them.
        let many = (0..1_000_000_u32).map(|number| {
            let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number);
            (keys.ban(&address.to_string()), hour())
        });
        let (taken, refused) = judge(&keys, &many.collect(), &takes, &spared, 1000);
        assert_eq!((taken.len(), refused.len()), (MOST, 1_000_000 - MOST));
    }
}
