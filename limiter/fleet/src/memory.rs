//! An engine in memory: what engines must do, in one file. Tests and simulations use it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use crate::engine::{Engine, Entry, KeyChange, Snapshot, Transaction, Watch};

/// Keys with revisions, and the history of their changes.
#[derive(Clone, Debug)]
pub struct Store<K, V> {
    revision: u64,
    entries: BTreeMap<K, Entry<V>>,
}

impl<K, V> Default for Store<K, V> {
    fn default() -> Self {
        Self { revision: 0, entries: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V: Clone> Store<K, V> {
    /// The revision of the last transaction.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The entries by key.
    pub const fn entries(&self) -> &BTreeMap<K, Entry<V>> {
        &self.entries
    }

    /// When a key was written; 0: it does not exist.
    pub fn revision_of(&self, key: &K) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.revision)
    }

    /// Does what a transaction says if its conditions hold, and tells the changes; `None` if they
    /// do not.
    pub fn transact(&mut self, transaction: &Transaction<K, V>) -> Option<Vec<KeyChange<K, V>>> {
        let holds = |(key, revision): &(K, u64)| self.revision_of(key) == *revision;
        if !transaction.conditions.iter().all(holds) {
            return None;
        }
        self.revision += 1;
        let revision = self.revision;
        let changes = transaction.writes.iter().map(|(key, value)| {
            match value.clone() {
                Some(value) => self.entries.insert(key.clone(), Entry { value, revision }),
                None => self.entries.remove(key),
            };
            KeyChange { key: key.clone(), value: value.clone(), revision }
        });
        Some(changes.collect())
    }
}

/// An engine in this process. Its clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
    news: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    store: Store<String, Vec<u8>>,
    history: Vec<KeyChange>,
    leases: BTreeMap<String, (String, Instant)>,
}

/// Changes of a [`Memory`].
#[derive(Debug)]
pub struct MemoryWatch {
    engine: Memory,
    news: watch::Receiver<()>,
    prefix: String,
    revision: u64,
}

impl Memory {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, transaction: &Transaction) -> Option<u64> {
        let mut shared = self.shared();
        let changes = shared.store.transact(transaction)?;
        shared.history.extend(changes);
        self.news.send_replace(());
        Some(shared.store.revision())
    }
}

impl Engine for Memory {
    type Watch = MemoryWatch;

    async fn snapshot(&self, prefix: &str) -> Result<Snapshot> {
        let shared = self.shared();
        let below = shared.store.entries().iter().filter(|(key, _)| key.starts_with(prefix));
        let entries = below.map(|(key, entry)| (key.clone(), entry.clone())).collect();
        Ok(Snapshot { revision: shared.store.revision(), entries })
    }

    async fn watch(&self, prefix: &str, revision: u64) -> Result<MemoryWatch> {
        let (engine, news) = (self.clone(), self.news.subscribe());
        Ok(MemoryWatch { engine, news, prefix: prefix.to_owned(), revision })
    }

    async fn transact(&self, transaction: Transaction) -> Result<Option<u64>> {
        Ok(self.commit(&transaction))
    }

    async fn lease(&self, key: &str, owner: &str, time: Duration) -> Result<bool> {
        let (mut shared, now) = (self.shared(), Instant::now());
        let other =
            shared.leases.get(key).filter(|(holder, until)| holder != owner && *until > now);
        if other.is_some() {
            return Ok(false);
        }
        let is_new = shared.leases.insert(key.to_owned(), (owner.to_owned(), now + time)).is_none();
        drop(shared);
        if is_new {
            let value = Some(owner.as_bytes().to_vec());
            self.commit(&Transaction {
                conditions: Vec::new(),
                writes: vec![(key.to_owned(), value)],
            });
        }
        Ok(true)
    }
}

impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Vec<KeyChange>> {
        loop {
            self.news.borrow_and_update();
            let changes: Vec<KeyChange> = {
                let shared = self.engine.shared();
                let new = shared.history.iter().filter(|change| change.revision > self.revision);
                new.filter(|change| change.key.starts_with(&self.prefix)).cloned().collect()
            };
            if let Some(last) = changes.last() {
                self.revision = last.revision;
                return Ok(changes);
            }
            self.news.changed().await.context("the engine is gone")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str, conditions: &[(&str, u64)]) -> Transaction {
        Transaction {
            conditions: conditions.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect(),
            writes: vec![(key.to_owned(), Some(value.as_bytes().to_vec()))],
        }
    }

    #[tokio::test]
    async fn a_transaction_is_all_or_nothing() {
        let engine = Memory::default();
        let transact = |transaction| engine.transact(transaction);
        let first = transact(put("a/1", "x", &[("a/1", 0)])).await.expect("it answers");
        assert_eq!(first, Some(1));
        assert_eq!(transact(put("a/1", "y", &[("a/1", 0)])).await.expect("it answers"), None);
        let second = put("a/2", "y", &[("a/1", 1), ("a/2", 0)]);
        assert_eq!(transact(second).await.expect("it answers"), Some(2));
        let removed = Transaction { conditions: vec![], writes: vec![("a/1".to_owned(), None)] };
        assert_eq!(transact(removed).await.expect("it answers"), Some(3));
        let snapshot = engine.snapshot("a/").await.expect("it answers");
        assert_eq!((snapshot.revision, snapshot.entries.len()), (3, 1));
        assert_eq!(snapshot.entries["a/2"], Entry { value: b"y".to_vec(), revision: 2 });
    }

    #[tokio::test]
    async fn changes_come_in_order_and_none_is_left_out() {
        let engine = Memory::default();
        let mut watch = engine.watch("a/", 0).await.expect("it answers");
        for (key, value) in [("a/1", "x"), ("b", "no"), ("a/2", "y")] {
            engine.transact(put(key, value, &[])).await.expect("it answers");
        }
        let changes = watch.next().await.expect("changes");
        let keys: Vec<_> = changes.iter().map(|change| (&*change.key, change.revision)).collect();
        assert_eq!(keys, [("a/1", 1), ("a/2", 3)]);
        let (next, _) = tokio::join!(watch.next(), engine.transact(put("a/1", "z", &[("a/1", 1)])));
        assert_eq!(next.expect("a change")[0].revision, 4);
    }

    #[tokio::test]
    async fn one_holds_a_lease() {
        let engine = Memory::default();
        let (long, short) = (Duration::from_secs(600), Duration::ZERO);
        assert!(engine.lease("leader", "a", long).await.expect("it answers"));
        assert!(!engine.lease("leader", "b", long).await.expect("it answers"));
        assert!(engine.lease("leader", "a", short).await.expect("it answers"));
        assert!(engine.lease("leader", "b", long).await.expect("it answers"));
    }
}
