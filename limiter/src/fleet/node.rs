//! A node of a fleet: reports what it wants, takes what it is granted and puts it into force, round
//! after round. All that it decides is in [`Member`].

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use limiter_fleet::engine::{Engine, KeyChange, Snapshot, Transaction, Watch as _};
use limiter_fleet::record::{Amount, Amounts};
use limiter_fleet::{Member, Terms};
use tracing::{info, warn};

use super::keys::{self, Key, Keys, Said};
use crate::report::fleet::Shared;

/// How often a node looks at what it wants: the second look after a crowd knows all of it.
const EVERY: Duration = Duration::from_millis(500);
/// A demand that changed by less than so many hundredths, or by less than one a second, is not
/// reported before it is time to renew.
const CALM: u64 = 5;
const ONE: Amount = 1000;
/// How often a report is tried anew at once with what the engine has meanwhile.
const TRIES: usize = 4;

/// What of the machine a node needs.
pub trait Site: Send {
    /// The clock that shares end by.
    fn now(&self) -> Duration;

    /// For each budget of the policy in force what is stated, and the most that the node takes (0:
    /// any).
    ///
    /// # Errors
    /// When there is no policy: limiter is not loaded.
    fn stated(&mut self) -> Result<BTreeMap<String, (Amount, Amount)>>;

    /// How much of each budget is wanted.
    fn demand(&mut self) -> Amounts;

    /// How many places of each are taken now, also by those who came under another share.
    ///
    /// # Errors
    /// When it cannot be read: then nothing may be reported.
    fn used(&mut self) -> Result<Amounts> {
        Ok(Amounts::new())
    }

    /// Puts shares into force until `ends`, and takes those of all other budgets back.
    ///
    /// # Errors
    /// When that cannot be done.
    fn enforce(&mut self, shares: &Amounts, ends: Duration) -> Result<()>;
}

/// A node.
pub struct Node<'e, E, S> {
    engine: &'e E,
    keys: &'e Keys,
    name: &'e str,
    /// See [`Said::boot`].
    boot: String,
    site: S,
    known: Shared,
    terms: Terms,
    member: Member,
    /// Revision of its report in the engine.
    wrote: u64,
    /// The report of another machine with its name, and since when it is known.
    other: Option<(u64, Duration)>,
    /// When it reported last, what it wanted then, and the places that were taken.
    last: Option<(Duration, Amounts, Amounts)>,
    /// What it has told the log of its state.
    told: Option<String>,
}

impl<'e, E: Engine, S: Site> Node<'e, E, S> {
    /// One that knows nothing yet.
    pub fn new(engine: &'e E, keys: &'e Keys, name: &'e str, boot: String, site: S) -> Self {
        Self::telling(engine, keys, name, boot, site, Shared::default())
    }

    /// The same, which tells how many entries of the fleet it refuses, by what is `known`.
    pub fn telling(
        engine: &'e E,
        keys: &'e Keys,
        name: &'e str,
        boot: String,
        site: S,
        known: Shared,
    ) -> Self {
        let terms = Terms::default();
        let member = Member::new(terms, BTreeMap::new());
        Self {
            engine,
            keys,
            name,
            boot,
            site,
            known,
            terms,
            member,
            wrote: 0,
            other: None,
            last: None,
            told: None,
        }
    }

    /// Goes on for ever.
    pub async fn run(mut self) {
        let (mut watch, mut due) = (None, tokio::time::Instant::now());
        loop {
            let changes = async {
                match &mut watch {
                    Some(watch) => E::Watch::next(watch).await,
                    None => std::future::pending().await,
                }
            };
            let changes = tokio::select! {
                () = tokio::time::sleep_until(due) => None,
                changes = changes => Some(changes),
            };
            let done = match changes {
                None => {
                    due = tokio::time::Instant::now() + EVERY;
                    self.look().await
                }
                Some(Ok(changes)) => self.hear(changes).await,
                // What it would have told is found by the next report.
                Some(Err(_)) => {
                    watch = None;
                    Ok(())
                }
            };
            if done.is_ok() && watch.is_none() && self.wrote != 0 {
                // There was no newer grant when this report was written.
                watch = self.engine.watch(&self.keys.node(self.name), self.wrote).await.ok();
            }
            self.tell(done);
        }
    }

    /// Says once what hinders it, and once that nothing does any more.
    fn tell(&mut self, done: Result<()>) {
        let failure = done.err().map(|error| format!("{error:#}"));
        match &failure {
            Some(error) if self.told.as_ref() != Some(error) => {
                warn!(%error, "no share of the fleet's budgets: what the policy states is in force when the last one has ended; `limiter doctor` says what to do");
            }
            None if self.told.is_some() => info!("the fleet is there again"),
            _ => {}
        }
        self.told = failure;
    }

    /// Reports, if there is something to tell.
    async fn look(&mut self) -> Result<()> {
        self.member.state(self.site.stated()?);
        let (demand, used) = (self.site.demand(), self.site.used()?);
        let now = self.site.now();
        let is_due = match &self.last {
            None => true,
            Some((at, wanted, taken)) => {
                now.saturating_sub(*at) >= self.terms.term / 3
                    || differs(wanted, &demand)
                    || differs(taken, &used)
            }
        };
        if is_due { self.report(&demand).await } else { Ok(()) }
    }

    /// Takes what changed below its own keys.
    async fn hear(&mut self, changes: Vec<KeyChange>) -> Result<()> {
        let mut is_new = false;
        for change in changes {
            match (self.keys.kind(&change.key), &change.value) {
                (Key::Grant(_), Some(value)) => {
                    let grant = keys::grant(&change.key, value)?;
                    is_new |= self.member.take(change.revision, &grant);
                }
                (Key::Grant(_) | Key::Away(_), _) => is_new = true,
                _ => {}
            }
        }
        if !is_new {
            return Ok(());
        }
        self.enforce()?;
        let demand = self.last.take().map(|(_, demand, _)| demand).unwrap_or_default();
        self.report(&demand).await
    }

    async fn report(&mut self, demand: &Amounts) -> Result<()> {
        self.last = None;
        for _ in 0..TRIES {
            // What is taken is counted after the grant that the report names is in force.
            let (sent, used) = (self.site.now(), self.site.used()?);
            let wall = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            let said = Said {
                report: self.member.report(demand, &used),
                boot: self.boot.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                refused: self.known.change(|view| view.refused.len()) as u64,
                at: wall.as_secs(),
            };
            let own = self.keys.report(self.name);
            let conditions = vec![
                (self.keys.grant(self.name), self.member.holds()),
                (self.keys.away(self.name), 0),
                (own.clone(), self.wrote),
            ];
            let writes = vec![(own, Some(keys::bytes(&said)?))];
            if let Some(revision) = self.engine.transact(Transaction { conditions, writes }).await?
            {
                self.wrote = revision;
                self.member.renewed(sent);
                self.known.change(|view| view.reported = wall.as_secs());
                self.last = Some((sent, demand.clone(), used));
                return self.enforce();
            }
            self.find_out().await?;
        }
        bail!("the engine refuses each report of {}, whatever it is told before", self.name)
    }

    /// Reads why a report was refused.
    async fn find_out(&mut self) -> Result<()> {
        let snapshot = self.engine.snapshot(&self.keys.node(self.name)).await?;
        if snapshot.entries.contains_key(&self.keys.away(self.name)) {
            self.leave(&snapshot).await?;
            bail!(
                "`limiter fleet leave` took {0} out; `limiter fleet join` takes it in",
                self.name
            );
        }
        let report = snapshot.entries.get(&self.keys.report(self.name));
        let found = report.map_or(0, |entry| entry.revision);
        let is_other = report.is_some_and(|entry| keys::said(&entry.value).boot != self.boot);
        if found != self.wrote && is_other {
            let now = self.site.now();
            let known = self.other.filter(|(revision, _)| *revision == found);
            let (_, since) = *self.other.insert(known.unwrap_or((found, now)));
            ensure!(
                now.saturating_sub(since) > self.terms.silence(),
                "a machine that was started at another time reports as {0}: if it is this one it \
                 is forgotten in some seconds, otherwise give one of them another `node`",
                self.name
            );
        }
        (self.wrote, self.other) = (found, None);
        let key = self.keys.grant(self.name);
        match snapshot.entries.get(&key) {
            Some(entry) => {
                self.member.take(entry.revision, &keys::grant(&key, &entry.value)?);
            }
            None => self.member.forgotten(),
        }
        self.enforce()
    }

    /// Gives up its shares, and then its place.
    async fn leave(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.member.forgotten();
        self.enforce()?;
        self.wrote = 0;
        let report = snapshot.entries.get(&self.keys.report(self.name));
        leave(self.engine, self.keys, self.name, report.map_or(0, |entry| entry.revision)).await
    }

    fn enforce(&mut self) -> Result<()> {
        let stated = self.site.stated()?;
        let share = |name: &String| Some((name.clone(), self.member.share(name)?));
        let shares: Amounts = stated.keys().filter_map(share).collect();
        self.member.state(stated);
        self.site.enforce(&shares, self.member.ends())
    }
}

/// Takes what a node has out of the engine: nothing of it is in force any more, as long as its
/// report is that of revision `reported` (0: it has none). The node that leads may decide a round
/// meanwhile, so a refused transaction is tried again with what is there now.
///
/// # Errors
/// When the engine does not answer, the node has reported since, or rounds come too fast.
pub async fn leave<E: Engine>(engine: &E, keys: &Keys, node: &str, reported: u64) -> Result<()> {
    let revision =
        |found: &Snapshot, key: &str| found.entries.get(key).map_or(0, |entry| entry.revision);
    for _ in 0..5 * TRIES {
        let round = revision(&engine.snapshot(&keys.round()).await?, &keys.round());
        let found = engine.snapshot(&keys.node(node)).await?;
        let own = [keys.report(node), keys.grant(node)].map(|key| {
            let revision = revision(&found, &key);
            (key, revision)
        });
        if own.iter().all(|(_, revision)| *revision == 0) {
            return Ok(());
        }
        ensure!(own[0].1 == reported, "{node} is not gone: it has just reported");
        // The node that leads has to notice.
        let mut writes = vec![(keys.round(), Some(node.as_bytes().to_vec()))];
        writes.extend(own.iter().map(|(key, _)| (key.clone(), None)));
        let conditions = [&own[..], &[(keys.round(), round)]].concat();
        if engine.transact(Transaction { conditions, writes }).await?.is_some() {
            return Ok(());
        }
    }
    bail!("the engine refuses to take out {node}: the shares change each time; try again")
}

/// Whether a demand is another.
fn differs(before: &Amounts, now: &Amounts) -> bool {
    let of = |amounts: &Amounts, name: &String| amounts.get(name).copied().unwrap_or(0);
    before.keys().chain(now.keys()).any(|name| {
        let (before, now) = (of(before, name), of(now, name));
        let difference = before.abs_diff(now);
        difference >= ONE && difference > before / 100 * CALM
    })
}
