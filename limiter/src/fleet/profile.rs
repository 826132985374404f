//! The profile of a fleet: by name, and what it means is each node's own policy file. A node takes
//! it only if that file names it, once, and with its end, so that the kernel side goes back by
//! itself. What an operator of the node does afterwards stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use limiter_fleet::engine::{Engine, Entry, Transaction, Watch as _};
use limiter_policy::Name;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::keys::{self, Keys};
use crate::apply::{self, Request};
use crate::history::State;
use crate::kernel::{Maps, Pins, clock, open};
use crate::policy::file::Document;
use crate::report::fleet::Shared;

/// How long a change waits for a command that holds the lock.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What the fleet wants in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its name.
    pub profile: Name,
    /// Until when, in milliseconds since 1970, by the wall clock.
    pub until: u64,
    /// Who put it there.
    pub who: String,
    /// Why.
    #[serde(default)]
    pub why: String,
}

/// What a node has done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// To what was written at this revision.
    pub to: u64,
    /// Which start of which machine says so: another one does it anew.
    pub boot: String,
    /// The profile that it put into force.
    #[serde(default)]
    pub took: Option<Name>,
    /// Why it did not.
    #[serde(default)]
    pub refused: Option<String>,
}

/// Notes that something came into force here: what decided before, and what changed.
pub type Note = Box<dyn Fn(Option<State>, &Maps, Vec<String>) + Send + Sync>;

/// The part of a node that takes profiles.
pub struct Taker {
    /// The limiter.
    pub pins: Pins,
    /// Its policy file.
    pub file: PathBuf,
    /// The profiles that it takes.
    pub takes: Vec<Name>,
    /// The longest that one of them may last.
    pub longest: Duration,
    /// See [`Answer::boot`].
    pub boot: String,
    /// Where it notes what it refuses.
    pub known: Shared,
    /// What tells the history.
    pub note: Note,
}

/// What to do about what the fleet wants: how long it is to last; `None`: nothing any more.
///
/// # Errors
/// Why this node refuses it.
pub fn judge(
    wanted: &Wanted,
    takes: &[Name],
    longest: Duration,
    now: u64,
) -> Result<Option<Duration>, String> {
    let left = Duration::from_millis(wanted.until.saturating_sub(now));
    if left.is_zero() {
        return Ok(None);
    }
    if !takes.contains(&wanted.profile) {
        return Err(format!("`profiles` of its policy does not name {}", wanted.profile));
    }
    // A clock may be a second off.
    if left > longest + Duration::from_secs(1) {
        return Err(format!("it lasts longer than {}", humantime::format_duration(longest)));
    }
    Ok(Some(left))
}

impl Taker {
    /// Brings what is wanted into force, for so long. `before`: what the fleet brought into force
    /// last.
    fn take(&self, wanted: &Wanted, left: Duration, before: Option<&Name>) -> Result<()> {
        let document = Document::read(&self.file)?;
        let _lock = self.pins.lock_within(PATIENCE)?;
        ensure!(self.pins.is_loaded()?, "limiter is not loaded");
        let maps = Maps::open(&self.pins.root())?;
        let (state, switch, now) = (State::of(&maps), maps.switch()?, clock::now());
        let current = maps.origin(switch.at(now).slot)?.profile;
        let mut changed =
            vec![format!("the fleet's profile {}, by {}", wanted.profile, wanted.who)];
        if current.as_ref() == Some(&wanted.profile) {
            // It is there: of one that goes back by itself the end is another.
            if switch.trial(now).is_some() {
                maps.set_switch(switch.until(clock::after(left), switch.fallback()))?;
                (self.note)(state, &maps, changed);
            }
            return Ok(());
        }
        if current.is_some() && current.as_ref() == before && switch.trial(now).is_some() {
            maps.set_switch(maps.rolled_back()?)?;
            Maps::settle();
        }
        drop(maps);
        // Interfaces, and the mode that the file says, are not the fleet's business.
        let alone = Document { interfaces: Vec::new(), mode: None, ..document };
        let request = Request {
            document: &alone,
            profile: Some(&wanted.profile),
            confirm: None,
            time: Some(left),
        };
        let applied = apply::apply(&self.pins, &request)?;
        let maps = self.settled()?;
        changed.extend(applied.changes);
        (self.note)(state, &maps, changed);
        Ok(())
    }

    /// Goes back from what the fleet brought into force, if that still is. What an operator has
    /// confirmed or changed stays.
    fn end(&self, took: &Name) -> Result<()> {
        if !self.pins.is_loaded()? {
            return Ok(());
        }
        let _lock = self.pins.lock_within(PATIENCE)?;
        let maps = Maps::open(&self.pins.root())?;
        let (state, switch, now) = (State::of(&maps), maps.switch()?, clock::now());
        let current = maps.origin(switch.at(now).slot)?.profile;
        if current.as_ref() != Some(took) || switch.trial(now).is_none() {
            return Ok(());
        }
        maps.set_switch(maps.rolled_back()?)?;
        Maps::settle();
        drop(maps);
        let changed = vec![format!("the fleet's profile {took} is over")];
        (self.note)(state, &self.settled()?, changed);
        Ok(())
    }

    fn settled(&self) -> Result<Maps> {
        let mut maps = Maps::open(&self.pins.root())?;
        maps.settle_cookies()?;
        if let Some(failure) = open::settled(&self.pins, &mut maps) {
            warn!("{failure}");
        }
        Ok(maps)
    }

    /// Does what is to be done about what the fleet wants at a revision; its answer.
    fn answer(&self, wanted: Option<Entry>, last: Answer) -> Result<Answer> {
        let fresh = Answer { boot: self.boot.clone(), ..Answer::default() };
        let last = if last.boot == self.boot { last } else { fresh.clone() };
        let Some(Entry { value, revision }) = wanted else {
            if let Some(took) = &last.took {
                self.end(took)?;
            }
            return Ok(fresh);
        };
        // What was refused is looked at again: the policy may take it now.
        if last.to == revision && last.refused.is_none() {
            return Ok(last);
        }
        let wall = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let now = u64::try_from(wall).unwrap_or(u64::MAX);
        let judged = serde_json::from_slice(&value)
            .map_err(|_| "it does not say which, until when and by whom".to_owned())
            .and_then(|wanted: Wanted| {
                Ok((judge(&wanted, &self.takes, self.longest, now)?, wanted))
            });
        Ok(match judged {
            Err(why) => Answer { to: revision, refused: Some(why), took: last.took, ..fresh },
            Ok((None, _)) => Answer { to: revision, ..fresh },
            Ok((Some(left), wanted)) => {
                self.take(&wanted, left, last.took.as_ref())?;
                info!(profile = %wanted.profile, who = %wanted.who.escape_debug(), "the fleet's profile is in force");
                Answer { to: revision, took: Some(wanted.profile), ..fresh }
            }
        })
    }

    /// Notes what is refused, and says it once.
    fn tell(&self, key: &str, refused: Option<&String>) {
        let before = self.known.change(|view| match refused {
            Some(why) => view.refused.insert(key.to_owned(), ("profile", why.clone())),
            None => view.refused.remove(key),
        });
        if let Some(why) = refused.filter(|why| before.is_none_or(|(_, before)| before != **why)) {
            warn!(%why, "the fleet's profile is refused here");
        }
    }
}

/// Follows the profile of the fleet, for ever.
pub async fn run<E: Engine>(engine: &E, keys: &Keys, name: &str, taker: Taker) {
    let (taker, mut watch, mut told) = (Arc::new(taker), None, None);
    loop {
        let done = look(engine, keys, name, &taker, &mut watch).await;
        let failure = done.err().map(|error| format!("{error:#}"));
        if let Some(error) = failure.as_ref().filter(|_| watch.is_some() && told != failure) {
            warn!(%error, "the fleet's profile is not in force here");
        }
        let again = if failure.is_some() { AGAIN } else { Duration::MAX };
        told = failure;
        let news = async {
            match &mut watch {
                Some(watch) => E::Watch::next(watch).await.map(drop),
                None => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    bail!("there is no watch")
                }
            }
        };
        if let Ok(Err(_)) = tokio::time::timeout(again, news).await {
            watch = None;
        }
    }
}

async fn look<E: Engine>(
    engine: &E,
    keys: &Keys,
    name: &str,
    taker: &Arc<Taker>,
    watch: &mut Option<E::Watch>,
) -> Result<()> {
    let (key, own) = (keys.profile(), keys.answer(name));
    let wanted = engine.snapshot(&key).await?;
    if watch.is_none() {
        *watch = Some(engine.watch(&key, wanted.revision).await?);
    }
    let said = engine.snapshot(&own).await?;
    let last: Answer = said
        .entries
        .get(&own)
        .and_then(|entry| serde_json::from_slice(&entry.value).ok())
        .unwrap_or_default();
    let (at_work, entry, before) =
        (Arc::clone(taker), wanted.entries.get(&key).cloned(), last.clone());
    // It waits for a lock, and for packets that are being decided.
    let answer = tokio::task::spawn_blocking(move || at_work.answer(entry, before)).await??;
    taker.tell(&key, answer.refused.as_ref());
    if answer != last {
        let writes = vec![(own, Some(keys::bytes(&answer)?))];
        engine.transact(Transaction { conditions: vec![], writes }).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_the_policy_does_not_name_is_refused() {
        let wanted = |profile: &str, seconds: u64| Wanted {
            profile: profile.parse().expect("a name"),
            until: 1000 + seconds * 1000,
            who: "a".to_owned(),
            why: "b".to_owned(),
        };
        let takes = ["guard", "siege"].map(|name| name.parse().expect("a name"));
        let hour = Duration::from_secs(3600);
        let judged = |wanted: Wanted, takes: &[Name]| judge(&wanted, takes, hour, 1000);
        assert_eq!(judged(wanted("siege", 60), &takes), Ok(Some(Duration::from_secs(60))));
        assert_eq!(judged(wanted("siege", 0), &takes), Ok(None));
        for (one, takes, why) in [
            (wanted("peace", 60), &takes[..], "does not name peace"),
            (wanted("siege", 60), &[], "does not name siege"),
            (wanted("normal", 60), &takes, "does not name normal"),
            (wanted("siege", 4000), &takes, "longer than 1h"),
        ] {
            assert!(judged(one, takes).is_err_and(|said| said.contains(why)), "{why}");
        }
    }
}
