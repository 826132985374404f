//! Ending challenges that cannot work here: clients would be cut off, and nothing would say so.

use anyhow::Result;
use limiter_common::switch::Mode;
use tracing::error;

use super::Daemon;
use crate::hindrance::Hindrance;
use crate::history::State;
use crate::kernel::Maps;

impl Daemon {
    /// Looks whether challenges work while proofs pay, and ends those that do not.
    pub(super) fn end_hindered(&mut self, maps: &Maps) -> Result<()> {
        let selection = maps.selection()?;
        let policy = maps.policy(selection.slot)?;
        let on = selection.mode == Mode::Enforce && maps.switch()?.asks();
        if !on || !policy.may_challenge() {
            return Ok(());
        }
        match self.watcher.look(&self.pins, maps, &policy)? {
            found if found.is_empty() => Ok(()),
            found => self.end_challenges(&found),
        }
    }

    fn end_challenges(&self, found: &[Hindrance]) -> Result<()> {
        let _lock = self.lock()?;
        let mut maps = Maps::open(&self.pins.root())?;
        for Hindrance { services, what, advice } in found {
            let before = State::of(&maps);
            let ended = maps.end_challenges(services)?;
            let names: Vec<_> = ended.iter().map(ToString::to_string).collect();
            if names.is_empty() {
                continue;
            }
            let names = names.join(", ");
            error!(services = %names, %advice, "the challenge is ended, as it cannot work here: {what}");
            let line = format!("the challenge of {names} ended, as it cannot work here: {what}");
            self.record.happened(before, Some(&maps), vec![line]);
        }
        maps.settle_cookies()
    }
}
