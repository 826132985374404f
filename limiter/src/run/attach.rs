//! Attaching again what went away with its device, as soon as it is back.

use std::time::Instant;

use anyhow::Result;
use tracing::{error, info, warn};

use super::Daemon;
use super::interfaces::{Devices, LinkNews, Wanted};
use crate::kernel::{Maps, Pins, interface, inventory, link};

impl Devices {
    /// What is there now.
    ///
    /// # Errors
    /// When interfaces or pins cannot be read.
    pub fn take(pins: &Pins) -> Result<Self> {
        loop {
            let pinned = pins.links();
            let attached = link::attached(pins)?;
            let here = interface::all()?.into_iter().map(|one| (one.name, one.index)).collect();
            // A link that somebody detaches meanwhile must not look like one whose device went.
            if pinned == pins.links() {
                return Ok(Self { here, attached, pinned });
            }
        }
    }
}

impl Daemon {
    /// Looks at the interfaces, and attaches what is missing and there.
    pub(super) fn look_at_interfaces(&mut self) -> Result<()> {
        let seen = self.look()?;
        if self.interfaces.wanted(&seen, Instant::now()).is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        if !self.pins.is_loaded()? {
            return Ok(());
        }
        if inventory::renumber(&self.pins)? > 0 {
            info!("an interface came back under another index, and is limited as before");
        }
        // Whoever held the lock may have attached it meanwhile.
        let seen = self.look()?;
        for wanted in self.interfaces.wanted(&seen, Instant::now()) {
            self.attach(&wanted)?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<Devices> {
        let seen = Devices::take(&self.pins)?;
        for change in self.interfaces.look(&seen, Instant::now()) {
            tell(&change);
        }
        Ok(seen)
    }

    /// Says again what is still missing.
    pub(super) fn tell_missing(&mut self) {
        for change in self.interfaces.overdue(Instant::now()) {
            tell(&change);
        }
    }

    fn attach(&mut self, wanted: &Wanted) -> Result<()> {
        let Wanted { name, index, generic, .. } = wanted;
        self.clear_way(wanted)?;
        match link::attach(&self.pins, std::slice::from_ref(name), *generic) {
            Ok(_) => {
                let missing = format!("{:.3}", wanted.missing.as_secs_f64());
                self.interfaces.attached(name, *index);
                let maps = Maps::open(&self.pins.root())?;
                let place = if *generic { " (generic mode)" } else { "" };
                let before = crate::history::State::of(&maps);
                self.record.happened(
                    before,
                    Some(&maps),
                    vec![format!("attached to {name}{place}")],
                );
                info!(interface = %name, index, missing_seconds = %missing, "attached");
            }
            Err(error) => {
                let why = format!("{error:#}");
                if self.interfaces.refused(name, why.clone(), Instant::now()) {
                    error!(interface = %name, error = %why, "cannot attach: what comes in there is not limited; it is tried again");
                }
            }
        }
        Ok(())
    }

    /// Removes the pins of dead links that a new one replaces: of the same interface, or in the place of its pin. One that no missing
    /// interface accounts for was made before this daemon began, for the interface that comes back now or one that nobody knows.
    fn clear_way(&self, wanted: &Wanted) -> Result<()> {
        let claimed = self.interfaces.claimed();
        for dead in inventory::links(&self.pins)?.iter().filter(|link| link.gone) {
            let is_same = wanted.before == Some(dead.index) || wanted.index == dead.index;
            if is_same || wanted.before.is_none() && !claimed.contains(&dead.index) {
                link::detach(&self.pins, dead.index)?;
            }
        }
        Ok(())
    }
}

fn tell(change: &LinkNews) {
    match change {
        LinkNews::Adopted(name) => info!(interface = %name, "limiter is attached to it: watched"),
        LinkNews::Gone(name) => warn!(
            interface = %name,
            "gone: deleted, renamed or moved to another network namespace; it is attached again when it is back"
        ),
        LinkNews::Detached(name) => warn!(
            interface = %name,
            "detached by another command: nothing that comes in there is limited; reload (SIGHUP) attaches what the policy file names"
        ),
        LinkNews::Missing(name, time, why) => warn!(
            interface = %name,
            missing_seconds = time.as_secs(),
            "missing: {why}; it is attached when it comes"
        ),
    }
}
