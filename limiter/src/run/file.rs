//! Bringing the policy file into force: at the first start, and when the daemon is told to read it again.
//!
//! Who starts or reloads the daemon does not mean to undo what an operator did in the night before. So a limiter that is loaded stays as it
//! is when the daemon starts; a file that says what is in force changes nothing; the profile in force stays; and what the file says of the
//! mode counts only when that has changed in the file.

use anyhow::{Context as _, Result};
use limiter_common::switch::{Mode, Selection};
use tracing::{info, warn};

use super::{Daemon, auto, fleet};
use crate::apply::{self, Applied, Request};
use crate::history::State;
use crate::kernel::{Maps, clock};
use crate::policy::diff;
use crate::policy::file::{Document, Profile};
use crate::policy::{Name, text};

/// What decides, and what the file says beside it.
struct Difference {
    selection: Selection,
    /// The profile in force.
    profile: Option<Name>,
    /// The mode that the file says.
    mode: Option<Mode>,
    changes: Vec<String>,
}

impl Daemon {
    /// Loads limiter with the file, or leaves one that is loaded as it is. The caller holds the lock.
    pub(super) fn start(&mut self) -> Result<()> {
        if !self.pins.is_loaded()? {
            let document = Document::read(&self.options.file)?;
            self.load(&document)?;
            self.document = Some(document);
            return Ok(());
        }
        let mut maps = Maps::open(&self.pins.root())?;
        maps.settle_cookies()?;
        self.count_open(&mut maps);
        info!("limiter is loaded already: the policy and the mode in force stay");
        match Document::read(&self.options.file) {
            Ok(document) => {
                self.tell_difference(&maps, &document);
                self.document = Some(document);
            }
            Err(error) => warn!(
                error = format!("{error:#}"),
                "the policy file is bad: what is in force stays"
            ),
        }
        Ok(())
    }

    /// Reads the file again and brings it into force.
    ///
    /// # Errors
    /// When the file is bad, or cannot be brought into force. What was in force stays.
    pub(super) fn apply_file(&mut self) -> Result<()> {
        let document = Document::read(&self.options.file)?;
        let lock = self.lock()?;
        if self.pins.is_loaded()? {
            self.change(&document)?;
        } else {
            self.load(&document)?;
        }
        drop(lock);
        self.follow(document);
        Ok(())
    }

    /// Watches the interfaces of a file that is in force.
    pub(super) fn follow(&mut self, document: Document) {
        self.interfaces.follow(&document, std::time::Instant::now());
        let (said, file) = (document.fleet.as_ref(), &self.options.file);
        let in_fleet = said.is_some_and(|fleet| fleet.takes.budgets);
        auto::follow(&mut self.auto, &document.auto, in_fleet, (&self.pins, &self.caps));
        let needs = fleet::Needs {
            file,
            pins: &self.pins,
            caps: &self.caps,
            record: &self.record,
            known: &self.known,
        };
        fleet::follow(&mut self.fleet, said, &needs);
        self.document = Some(document);
    }

    /// Interfaces are attached one by one afterwards: one that is missing or refuses must not leave the others without limits.
    fn load(&mut self, document: &Document) -> Result<()> {
        let profile = self.options.profile.clone();
        let alone = Document { interfaces: Vec::new(), ..document.clone() };
        let applied = apply::apply(&self.pins, &request(&alone, profile.as_ref()))?;
        self.loaded = true;
        self.applied(None, applied, profile.as_ref())?;
        if document.interfaces.is_empty() {
            warn!(
                "the policy file names no interface, so limiter is attached to none; `limiter attach IFACE` attaches it"
            );
        }
        Ok(())
    }

    fn change(&mut self, document: &Document) -> Result<()> {
        let maps = Maps::open(&self.pins.root())?;
        let Difference { selection, profile, mode, changes } = difference(&maps, document)?;
        // What the file said before it says still, whatever was done since.
        let said =
            self.document.as_ref().and_then(|old| Some(old.with_profile(profile.as_ref()).ok()?.1));
        let mode = mode
            .filter(|mode| *mode != selection.mode && said.is_some_and(|said| said != Some(*mode)));
        if changes.is_empty()
            && mode.is_none()
            && maps.cookies()?.may_set == document.set_syncookies
        {
            info!("the policy file says what is in force already: nothing changes");
            return Ok(());
        }
        let (before, interfaces) = (State::of(&maps), self.interfaces.standings().0);
        let attached =
            document.interfaces.iter().filter(|name| interfaces.contains(&name.as_str())).cloned();
        let profiles =
            document.profiles.iter().map(|profile| Profile { mode: None, ..profile.clone() });
        let alone = Document {
            interfaces: attached.collect(),
            mode,
            profiles: profiles.collect(),
            ..document.clone()
        };
        let applied = apply::apply(&self.pins, &request(&alone, profile.as_ref()))?;
        self.applied(before, applied, profile.as_ref())
    }

    fn applied(
        &self,
        before: Option<State>,
        applied: Applied,
        profile: Option<&Name>,
    ) -> Result<()> {
        let mut maps = Maps::open(&self.pins.root())?;
        maps.settle_cookies()?;
        self.count_open(&mut maps);
        let mode = text::show_mode(applied.modes.1);
        let mut changed = applied.changes;
        if applied.modes.0 != applied.modes.1 {
            changed.push(format!("mode {} -> {mode}", text::show_mode(applied.modes.0)));
        }
        let (file, profile) = (self.options.file.display(), profile.map_or("", Name::as_str));
        let changes = changed.join("; ");
        self.record.switched(before, &maps, changed);
        info!(%file, profile, mode, %changes, "the policy file is in force");
        for note in &applied.notes {
            warn!("{note}");
        }
        Ok(())
    }

    /// Says what of the file is not in force.
    fn tell_difference(&self, maps: &Maps, document: &Document) {
        match difference(maps, document) {
            Ok(Difference { changes, .. }) if changes.is_empty() => {}
            Ok(Difference { changes, .. }) => {
                let changes = changes.join("; ");
                warn!(%changes, "the policy file says otherwise than what is in force; reload (SIGHUP) applies it");
            }
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "the policy file cannot be compared with what is in force"
                )
            }
        }
    }
}

fn request<'a>(document: &'a Document, profile: Option<&'a Name>) -> Request<'a> {
    Request { document, profile, confirm: None, time: None }
}

/// What differs between what is in force and the file with the profile in force.
fn difference(maps: &Maps, document: &Document) -> Result<Difference> {
    let selection = maps.switch()?.at(clock::now());
    let profile = maps.origin(selection.slot)?.profile;
    let (policy, mode) = document.with_profile(profile.as_ref()).context(
        "the profile in force is not in the file; `limiter profile use` another one first",
    )?;
    let changes = diff::changes(&maps.policy(selection.slot)?, &policy);
    Ok(Difference { selection, profile, mode, changes })
}
