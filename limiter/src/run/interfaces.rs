//! The interfaces that the daemon watches, and how each stands. It says what is to be done; `attach` does it.
//!
//! Watched are those of the policy file, and whatever else limiter is attached to. A link dies with its device and leaves its pin; one that
//! somebody detached has none. So what went by itself is attached again, and what an operator took away stays away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::kernel::interface::Attachment;
use crate::kernel::link::Attached;
use crate::policy::file::Document;

/// The first pause between two words about an interface that is missing; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What is there, all of one moment.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// Names of the interfaces of this network namespace, with their indices.
    pub here: BTreeMap<String, u32>,
    /// What limiter is attached to.
    pub attached: Vec<Attached>,
    /// Indices of the pinned links.
    pub pinned: Vec<u32>,
}

/// News of an interface, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkNews {
    /// Limiter was attached to it by somebody else.
    Adopted(String),
    /// Its device went, and the link with it.
    Gone(String),
    /// Somebody detached limiter from it.
    Detached(String),
    /// It is still missing, for this time, for this reason.
    Missing(String, Duration, String),
}

/// An interface that limiter is to be attached to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its index now.
    pub index: u32,
    /// Its index when it was attached last, if that is known.
    pub before: Option<u32>,
    /// In the generic path.
    pub generic: bool,
    /// How long it was missing.
    pub missing: Duration,
}

/// The watched interfaces.
#[derive(Debug, Default)]
pub struct Interfaces {
    watched: BTreeMap<String, Watched>,
    pinned: Vec<u32>,
}

#[derive(Debug)]
struct Watched {
    of_file: bool,
    generic: bool,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    Attached(u32),
    Missing(Missing),
    /// By somebody else, who has a reason.
    Detached,
}

#[derive(Debug)]
struct Missing {
    index: Option<u32>,
    since: Instant,
    /// Why it could not be attached although it was there.
    refused: Option<String>,
    next: Instant,
    pause: Duration,
}

impl Missing {
    /// What is to be told of at once.
    fn new(index: Option<u32>, now: Instant) -> Self {
        Self { index, since: now, refused: None, next: now, pause: FIRST_PAUSE }
    }

    /// It was told of.
    fn wait(&mut self, now: Instant) {
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl Interfaces {
    /// Watches what the file names, whatever somebody detached before. What it names no longer is watched only if it is attached.
    pub fn follow(&mut self, document: &Document, now: Instant) {
        self.watched.retain(|name, watched| {
            let was_of_file =
                std::mem::replace(&mut watched.of_file, document.interfaces.contains(name));
            watched.of_file || !was_of_file || matches!(watched.standing, Standing::Attached(_))
        });
        for name in &document.interfaces {
            let standing = Standing::Missing(Missing::new(None, now));
            let new = Watched { of_file: true, generic: document.generic, standing };
            let watched = self.watched.entry(name.clone()).or_insert(new);
            watched.generic = document.generic;
            match &mut watched.standing {
                Standing::Attached(_) => {}
                Standing::Missing(missing) => missing.refused = None,
                Standing::Detached => watched.standing = Standing::Missing(Missing::new(None, now)),
            }
        }
    }

    /// Takes in what is there; what is new of it.
    pub fn look(&mut self, seen: &Devices, now: Instant) -> Vec<LinkNews> {
        let mut changes = Vec::new();
        self.pinned.clone_from(&seen.pinned);
        for attached in &seen.attached {
            changes.extend(self.take_in(attached));
        }
        for (name, watched) in &mut self.watched {
            let here = seen.here.contains_key(name);
            match &mut watched.standing {
                Standing::Attached(_) if seen.attached.iter().any(|one| runs_on(one, name)) => {}
                Standing::Attached(index) if seen.pinned.contains(index) => {
                    changes.push(LinkNews::Gone(name.clone()));
                    let mut missing = Missing::new(Some(*index), now);
                    missing.wait(now);
                    watched.standing = Standing::Missing(missing);
                }
                Standing::Attached(_) => {
                    changes.push(LinkNews::Detached(name.clone()));
                    watched.standing = Standing::Detached;
                }
                // What refused and went may be another one when it comes.
                Standing::Missing(missing) if !here => missing.refused = None,
                Standing::Missing(_) | Standing::Detached => {}
            }
        }
        self.watched.retain(|_, watched| {
            watched.of_file || !matches!(watched.standing, Standing::Detached)
        });
        changes
    }

    fn take_in(&mut self, attached: &Attached) -> Option<LinkNews> {
        let name = attached.name.clone()?;
        // None: another tool detached the link, and the interface is missing.
        let generic = attached.attachment? == Attachment::Generic;
        let standing = Standing::Attached(attached.index);
        if let Some(watched) = self.watched.get_mut(&name) {
            let is_new = !matches!(watched.standing, Standing::Attached(_));
            watched.standing = standing;
            return is_new.then_some(LinkNews::Adopted(name));
        }
        self.watched.insert(name.clone(), Watched { of_file: false, generic, standing });
        Some(LinkNews::Adopted(name))
    }

    /// What is to be attached: what is missing and there. One that refused is tried again when it is due.
    pub fn wanted(&self, seen: &Devices, now: Instant) -> Vec<Wanted> {
        let wanted = self.watched.iter().filter_map(|(name, watched)| {
            let Standing::Missing(missing) = &watched.standing else { return None };
            let index = *seen.here.get(name)?;
            let is_due = missing.refused.is_none() || missing.next <= now;
            is_due.then(|| Wanted {
                name: name.clone(),
                index,
                before: missing.index,
                generic: watched.generic,
                missing: now.duration_since(missing.since),
            })
        });
        wanted.collect()
    }

    /// Limiter was attached to what was wanted.
    pub fn attached(&mut self, name: &str, index: u32) {
        if let Some(watched) = self.watched.get_mut(name) {
            watched.standing = Standing::Attached(index);
        }
    }

    /// It could not be attached; whether that is worth saying: not the same again before its time.
    pub fn refused(&mut self, name: &str, why: String, now: Instant) -> bool {
        let Some(Watched { standing: Standing::Missing(missing), .. }) = self.watched.get_mut(name)
        else {
            return false;
        };
        let is_new = missing.refused.as_ref() != Some(&why);
        let is_due = missing.next <= now;
        missing.refused = Some(why);
        if is_due {
            missing.wait(now);
        }
        is_new || is_due
    }

    /// What is still not there, and time to say so again. What refuses is told when it is tried again.
    pub fn overdue(&mut self, now: Instant) -> Vec<LinkNews> {
        let mut changes = Vec::new();
        for (name, watched) in &mut self.watched {
            if let Standing::Missing(missing) = &mut watched.standing
                && missing.refused.is_none()
                && missing.next <= now
            {
                missing.wait(now);
                let since = now.duration_since(missing.since);
                changes.push(LinkNews::Missing(
                    name.clone(),
                    since,
                    "there is no such interface".to_owned(),
                ));
            }
        }
        changes
    }

    /// Whether something that refused is to be tried again.
    pub fn is_due(&self, now: Instant) -> bool {
        let due = |watched: &Watched| matches!(&watched.standing, Standing::Missing(missing) if missing.refused.is_some() && missing.next <= now);
        self.watched.values().any(due)
    }

    /// Limiter was unloaded by somebody else: nothing is to be attached until the file is applied again.
    pub fn unloaded(&mut self) {
        self.pinned.clear();
        self.watched.retain(|_, watched| watched.of_file);
        for watched in self.watched.values_mut() {
            watched.standing = Standing::Detached;
        }
    }

    /// Whether news of an interface are of any concern.
    pub fn concerns(&self, index: u32, name: Option<&str>) -> bool {
        name.is_none_or(|name| self.watched.contains_key(name)) || self.pinned.contains(&index)
    }

    /// Indices of the pinned links, as they were seen last.
    pub fn pinned(&self) -> &[u32] {
        &self.pinned
    }

    /// Indices that belong to what is missing: their pins tell of them.
    pub fn claimed(&self) -> Vec<u32> {
        let claimed = self.watched.values().filter_map(|watched| match &watched.standing {
            Standing::Missing(missing) => missing.index,
            _ => None,
        });
        claimed.collect()
    }

    /// Names of those that limiter should be attached to: those of the file, whatever somebody detached, and what it is or was attached to.
    pub fn expected(&self) -> BTreeSet<String> {
        let wanted =
            |watched: &Watched| watched.of_file || !matches!(watched.standing, Standing::Detached);
        self.watched
            .iter()
            .filter(|(_, watched)| wanted(watched))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Names of what is attached, and of what is missing.
    pub fn standings(&self) -> (Vec<&str>, Vec<&str>) {
        let named = |wanted: fn(&Standing) -> bool| {
            let names = self.watched.iter().filter(|(_, watched)| wanted(&watched.standing));
            names.map(|(name, _)| name.as_str()).collect()
        };
        (
            named(|one| matches!(one, Standing::Attached(_))),
            named(|one| matches!(one, Standing::Missing(_))),
        )
    }
}

fn runs_on(attached: &Attached, name: &str) -> bool {
    attached.name.as_deref() == Some(name) && attached.attachment.is_some()
}

#[cfg(test)]
mod tests;
