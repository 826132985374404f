//! What the daemon notes in the history.

use tracing::warn;

use crate::history::{Entry, History, Moment, SWITCH, State, Totals, Who};
use crate::kernel::Maps;

/// How the entry of something that went back by itself begins.
const WENT_BACK: &str = "went back by itself";

/// The history, and the words that started the daemon.
#[derive(Clone, Debug)]
pub struct Record {
    history: History,
    command: Vec<String>,
}

impl Record {
    /// Notes to `history` what a daemon does that was started with `command`.
    pub fn new(history: History, command: Vec<String>) -> Self {
        Self { history, command }
    }

    /// Notes that a policy or a mode came into force.
    pub fn switched(&self, before: Option<State>, maps: &Maps, changed: Vec<String>) {
        let until = maps.switch().ok().and_then(|switch| switch.revert()).and_then(Moment::of);
        self.write(Entry {
            decides: vec![SWITCH.to_owned()],
            goes_back_at: until,
            ..self.entry(before, Some(maps), changed)
        });
    }

    /// Notes what happened; `None`: limiter is not loaded any more.
    pub fn happened(&self, before: Option<State>, maps: Option<&Maps>, changed: Vec<String>) {
        self.write(self.entry(before, maps, changed));
    }

    /// Notes what went back by itself at `revert` (nanoseconds of the kernel side's clock), unless that is noted.
    pub fn went_back(&self, revert: u64, before: State, maps: &Maps, mut changed: Vec<String>) {
        // The same time in two processes is the same wall time but for milliseconds.
        const SLACK: u64 = 5_000_000;
        let since = Moment::of(revert.saturating_sub(SLACK));
        let is_noted = |entry: &Entry| {
            Some(entry.time) >= since
                && entry.changed.first().is_some_and(|line| line.starts_with(WENT_BACK))
        };
        let entries = self.history.read(usize::MAX).map(|read| read.entries).unwrap_or_default();
        if !entries.iter().any(is_noted) {
            changed[0].insert_str(0, &format!("{WENT_BACK}: "));
            self.happened(Some(before), Some(maps), changed);
        }
    }

    fn entry(&self, before: Option<State>, maps: Option<&Maps>, changed: Vec<String>) -> Entry {
        Entry {
            time: Moment::now(),
            who: Who::now(),
            command: self.command.clone(),
            changed,
            before,
            after: maps.and_then(State::of),
            goes_back_at: None,
            decides: Vec::new(),
            counters: maps.and_then(Totals::of),
        }
    }

    fn write(&self, entry: Entry) {
        if let Err(error) = self.history.append(&entry) {
            let history = self.history.path().display();
            warn!(error = format!("{error:#}"), %history, "this is done, but the history does not \
                                                           record it");
        }
    }
}
