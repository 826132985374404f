//! The engine: etcd, by its JSON gateway (`/v3`, in 3.4 and later). Keys and values are base64
//! there, and numbers of 64 bits are texts.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use limiter_fleet::engine::{Engine, Entry, KeyChange, Snapshot, Transaction, Watch};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::http::{Client, Lines};

/// So many revisions ago is long ago: with a thousand nodes half an hour.
const LONG_AGO: u64 = 1_000_000;

/// An etcd.
pub struct Etcd {
    client: Client,
    /// Leases that are held here, by key.
    leases: Mutex<BTreeMap<String, String>>,
}

/// Changes of an [`Etcd`].
pub struct EtcdWatch(Lines);

/// What the engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its version.
    pub version: String,
    /// Bytes of its store.
    pub bytes: u64,
    /// Whether an alarm is raised, such as that its store is full.
    pub alarms: Vec<String>,
    /// Whether it still has what it had long ago: then it compacts nothing.
    pub keeps_all: bool,
    /// By how many seconds its wall clock is ahead of this machine's.
    pub ahead: Option<i64>,
}

impl Etcd {
    /// One that is reached so.
    pub fn new(client: Client) -> Self {
        Self { client, leases: Mutex::default() }
    }

    /// How it is.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn health(&self) -> Result<Health> {
        let status = self.client.ask("/v3/maintenance/status", &json!({})).await?;
        let question = json!({ "action": "GET", "memberID": 0, "alarm": "NONE" });
        let alarms = self.client.ask("/v3/maintenance/alarm", &question).await?;
        let alarms = alarms["alarms"].as_array().map_or(&[][..], Vec::as_slice).iter();
        let alarms = alarms.filter_map(|one| Some(one["alarm"].as_str()?.to_owned()));
        let revision = number(&status["header"]["revision"]);
        let keeps_all = revision > LONG_AGO && self.has(revision - LONG_AGO).await;
        Ok(Health {
            keeps_all,
            ahead: self.client.ahead(),
            version: status["version"].as_str().unwrap_or("of an unknown version").to_owned(),
            bytes: number(&status["dbSize"]),
            alarms: alarms.collect(),
        })
    }

    /// Whether it can say how anything was at a revision.
    async fn has(&self, revision: u64) -> bool {
        let revision = revision.to_string();
        let question = json!({ "key": encoded("/"), "revision": revision, "count_only": true });
        self.client.ask("/v3/kv/range", &question).await.is_ok()
    }

    async fn grant(&self, time: Duration) -> Result<String> {
        let seconds = time.as_secs().max(1).to_string();
        let answer = self.client.ask("/v3/lease/grant", &json!({ "TTL": seconds })).await?;
        Ok(answer["ID"].as_str().context("etcd grants a lease without an ID")?.to_owned())
    }
}

impl Engine for Etcd {
    type Watch = EtcdWatch;

    async fn snapshot(&self, prefix: &str) -> Result<Snapshot> {
        let question = json!({ "key": encoded(prefix), "range_end": encoded(&end(prefix)) });
        let answer = self.client.ask("/v3/kv/range", &question).await?;
        let mut entries = BTreeMap::new();
        for entry in answer["kvs"].as_array().map_or(&[][..], Vec::as_slice) {
            let value = decoded(&entry["value"])?;
            let revision = number(&entry["mod_revision"]);
            entries.insert(key(entry)?, Entry { value, revision });
        }
        Ok(Snapshot { revision: number(&answer["header"]["revision"]), entries })
    }

    async fn watch(&self, prefix: &str, revision: u64) -> Result<EtcdWatch> {
        let question = json!({ "create_request": {
            "key": encoded(prefix),
            "range_end": encoded(&end(prefix)),
            "start_revision": (revision + 1).to_string(),
        } });
        Ok(EtcdWatch(self.client.stream("/v3/watch", &question).await?))
    }

    async fn transact(&self, transaction: Transaction) -> Result<Option<u64>> {
        let compare = transaction.conditions.iter().map(|(key, revision)| {
            json!({
                "target": "MOD",
                "result": "EQUAL",
                "key": encoded(key),
                "mod_revision": revision.to_string(),
            })
        });
        let success = transaction.writes.iter().map(|(key, value)| match value {
            Some(value) => {
                json!({ "request_put": { "key": encoded(key), "value": STANDARD.encode(value) } })
            }
            None => json!({ "request_delete_range": { "key": encoded(key) } }),
        });
        let question = json!({
            "compare": compare.collect::<Vec<_>>(),
            "success": success.collect::<Vec<_>>(),
        });
        let answer = self.client.ask("/v3/kv/txn", &question).await?;
        let is_done = answer["succeeded"].as_bool().unwrap_or(false);
        Ok(is_done.then(|| number(&answer["header"]["revision"])))
    }

    async fn lease(&self, key: &str, owner: &str, time: Duration) -> Result<bool> {
        let mut leases = self.leases.lock().await;
        if let Some(id) = leases.get(key) {
            let answer = self.client.ask("/v3/lease/keepalive", &json!({ "ID": id })).await?;
            // Of a lease that is over etcd says nothing. The key goes with it, not before.
            if number(&answer["result"]["TTL"]) > 0 {
                return Ok(true);
            }
            leases.remove(key);
        }
        let range = json!({ "key": encoded(key), "keys_only": true });
        let answer = self.client.ask("/v3/kv/range", &range).await?;
        if number(&answer["count"]) > 0 {
            return Ok(false);
        }
        let id = self.grant(time).await?;
        let put = json!({ "key": encoded(key), "value": STANDARD.encode(owner), "lease": id });
        let question = json!({
            "compare": [{
                "target": "CREATE", "result": "EQUAL", "key": encoded(key), "create_revision": "0",
            }],
            "success": [{ "request_put": put }],
        });
        let answer = self.client.ask("/v3/kv/txn", &question).await?;
        let is_done = answer["succeeded"].as_bool().unwrap_or(false);
        if is_done {
            leases.insert(key.to_owned(), id);
        }
        Ok(is_done)
    }
}

impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Vec<KeyChange>> {
        loop {
            let line = self.0.next().await?;
            let result = &line["result"];
            if result["canceled"].as_bool().unwrap_or(false) {
                bail!("etcd cannot tell these changes any more");
            }
            let events = result["events"].as_array().map_or(&[][..], Vec::as_slice);
            let changes: Vec<KeyChange> = events.iter().map(change).collect::<Result<_>>()?;
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }
}

fn change(event: &Value) -> Result<KeyChange> {
    let entry = &event["kv"];
    let is_removed = event["type"].as_str() == Some("DELETE");
    let value = if is_removed { None } else { Some(decoded(&entry["value"])?) };
    Ok(KeyChange { key: key(entry)?, value, revision: number(&entry["mod_revision"]) })
}

fn encoded(key: &str) -> String {
    STANDARD.encode(key)
}

/// An empty value is left out of JSON.
fn decoded(value: &Value) -> Result<Vec<u8>> {
    let text = value.as_str().unwrap_or_default();
    STANDARD.decode(text).context("etcd answers what is no base64")
}

fn key(entry: &Value) -> Result<String> {
    String::from_utf8(decoded(&entry["key"])?).context("a key of another program is in the fleet")
}

/// A number, which JSON of etcd has as a text; what is zero it leaves out.
fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64()).unwrap_or(0)
}

/// The first key that does not begin with the prefix; prefixes are ASCII.
fn end(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    if let Some(last) = end.pop() {
        end.push(char::from(last as u8 + 1));
    }
    end
}
