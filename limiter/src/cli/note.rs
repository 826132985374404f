//! How commands note in the history what they change. One that changes something takes a note of what decides before, and records it
//! as soon as the change is made:
//!
//! ```text
//! let note = context.note(Some(&maps)).decides(SWITCH);    // under the lock of the pins, before the change
//! maps.set_switch(switch)?;
//! note.until(switch.revert()).record(Some(&maps), vec!["mode observe -> enforce".to_owned()]);
//! ```

use super::Context;
use crate::history::{Entry, History, Moment, State, Totals, Who};
use crate::kernel::Maps;
use crate::output;

/// An entry in the making.
#[must_use = "a note that is not recorded is not in the history"]
pub struct Note {
    history: History,
    entry: Entry,
}

impl Context {
    /// Notes what decides now; `None`: limiter is not loaded.
    pub fn note(&self, maps: Option<&Maps>) -> Note {
        let entry = Entry {
            time: Moment::now(),
            who: Who::now(),
            command: self.typed.clone(),
            changed: Vec::new(),
            before: maps.and_then(State::of),
            after: None,
            goes_back_at: None,
            decides: Vec::new(),
            counters: maps.and_then(Totals::of),
        };
        Note { history: self.history.clone(), entry }
    }
}

impl Note {
    /// Says what the change decides, such as [`crate::history::SWITCH`]: a later entry that decides the same overtakes it.
    pub fn decides(mut self, subject: impl Into<String>) -> Self {
        self.entry.decides.push(subject.into());
        self
    }

    /// Says when the kernel side takes the change back, in nanoseconds of its clock.
    pub fn until(mut self, time: Option<u64>) -> Self {
        self.entry.goes_back_at = time.and_then(Moment::of);
        self
    }

    /// Writes the entry, with `changed` as what changed, one sentence each. `maps` is limiter as it is now; `None`: not loaded.
    ///
    /// The change is made, so a history that cannot be written is a warning on standard error and no failure.
    pub fn record(mut self, maps: Option<&Maps>, changed: Vec<String>) {
        self.entry.time = Moment::now();
        self.entry.changed = changed;
        self.entry.after = maps.and_then(State::of);
        self.entry.counters = maps.and_then(Totals::of).or(self.entry.counters);
        if let Err(error) = self.history.append(&self.entry) {
            output::note(format_args!(
                "limiter: warning: this is done, but the history does not record it: {error:#}; \
                 `--history FILE` names another file"
            ));
        }
    }
}
