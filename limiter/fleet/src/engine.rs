//! What keeps what the nodes tell one another: a store of keys with revisions, transactions on
//! them, and changes in order. It has to be linearizable; of time it only knows how long a leader
//! that is not heard of stays one.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::Result;

/// A value, and the revision at which it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<V = Vec<u8>> {
    /// The value.
    pub value: V,
    /// The revision of the transaction that wrote it, from 1.
    pub revision: u64,
}

/// Everything below a prefix at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision.
    pub revision: u64,
    /// The entries by key.
    pub entries: BTreeMap<String, Entry>,
}

/// What a transaction asks and does: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction<K = String, V = Vec<u8>> {
    /// Keys that must have been written at these revisions; 0: not exist.
    pub conditions: Vec<(K, u64)>,
    /// Keys and what becomes of them; `None`: they are removed.
    pub writes: Vec<(K, Option<V>)>,
}

/// One change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange<K = String, V = Vec<u8>> {
    /// The key.
    pub key: K,
    /// What it was set to; `None`: it was removed.
    pub value: Option<V>,
    /// The revision of the transaction.
    pub revision: u64,
}

/// An engine.
pub trait Engine: Send + Sync {
    /// Changes as they come.
    type Watch: Watch;

    /// Everything below a prefix.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn snapshot(&self, prefix: &str) -> impl Future<Output = Result<Snapshot>> + Send;

    /// Changes below a prefix, from those after `revision` on.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn watch(
        &self,
        prefix: &str,
        revision: u64,
    ) -> impl Future<Output = Result<Self::Watch>> + Send;

    /// Does what a transaction says if its conditions hold: the revision; `None` if they do not.
    ///
    /// # Errors
    /// When the engine does not answer; the transaction may have been done, or be done later.
    fn transact(
        &self,
        transaction: Transaction,
    ) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// Holds `key` for `owner` for so long from now on, if no other holds it. Says whether it does.
    /// The key goes by itself when that is over.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn lease(
        &self,
        key: &str,
        owner: &str,
        time: Duration,
    ) -> impl Future<Output = Result<bool>> + Send;
}

/// Changes in the order of their revisions, none left out.
pub trait Watch: Send {
    /// The next changes. Who waits for them may give up and ask anew: none is lost by that.
    ///
    /// # Errors
    /// When they cannot be told any more: a new snapshot is needed.
    fn next(&mut self) -> impl Future<Output = Result<Vec<KeyChange>>> + Send;
}
