//! The history: who changed what, when, and what the counters were, in a bounded file that survives reboots.
//!
//! One JSON object a line. `file` owns the file, `back` what became of a change that goes back by itself.

mod back;
mod file;
mod moment;
mod who;

use serde::{Deserialize, Serialize};

pub use back::{Back, back};
pub use file::{BOUND, History, Read};
pub use moment::Moment;
pub use who::Who;

use crate::kernel::Maps;
use crate::report::{self, Sample};

/// Where the history is unless the operator says otherwise.
pub const PATH: &str = "/var/lib/limiter/history.jsonl";

/// What an entry decides when it changes the mode, or which policy counts: the one thing that has one revert time.
pub const SWITCH: &str = "switch";

/// Entries that are looked at for the last change and for what is usual.
pub const ENTRIES: usize = 50;

/// Bytes of the words of a command, and again of its changes, that an entry keeps. The rest is counted: a ban of ten thousand prefixes is
/// noted, but does not push everything else out.
const LONGEST: usize = 16 << 10;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was done.
    pub time: Moment,
    /// By whom.
    pub who: Who,
    /// The words that were typed behind `limiter`.
    pub command: Vec<String>,
    /// What changed, one sentence each; empty when everything was so already.
    pub changed: Vec<String>,
    /// What decided before; `None`: limiter was not loaded.
    pub before: Option<State>,
    /// What decides since; `None`: limiter is not loaded any more.
    pub after: Option<State>,
    /// When the kernel side takes the change back, unless a later entry decides otherwise.
    #[serde(default)]
    pub goes_back_at: Option<Moment>,
    /// What the entry decides: [`SWITCH`], `ban 192.0.2.0/24`. A later entry that decides the same is what counts.
    #[serde(default)]
    pub decides: Vec<String>,
    /// The counters at that time.
    #[serde(default)]
    pub counters: Option<Totals>,
}

/// What decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `observe` or `enforce`.
    pub mode: String,
    /// The profile, where the policy has one.
    #[serde(default)]
    pub profile: Option<String>,
}

/// The counters of all services together since limiter was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Attempts that a limit judged.
    pub attempts: u64,
    /// Connections that were let in.
    pub admitted: u64,
    /// Packets with a dropping reason, dropped or (in observe mode) not.
    pub refused: u64,
}

impl State {
    /// What decides now; nothing when it cannot be read: a note is never worth failing for.
    pub fn of(maps: &Maps) -> Option<Self> {
        let selection = maps.selection().ok()?;
        let profile = maps.origin(selection.slot).ok()?.profile;
        Some(Self {
            mode: report::mode(selection.mode).to_owned(),
            profile: profile.map(|name| name.to_string()),
        })
    }
}

impl Totals {
    /// The counters now, under the same condition.
    pub fn of(maps: &Maps) -> Option<Self> {
        let total = Sample::take(maps).ok()?.total();
        Some(Self {
            attempts: report::attempts(&total),
            admitted: report::admitted(&total),
            refused: report::refused(&total),
        })
    }
}

impl Entry {
    /// Whether all that it decides is who is on a list.
    pub fn is_of_lists(&self) -> bool {
        !self.decides.is_empty() && self.decides.iter().all(|subject| subject != SWITCH)
    }

    /// The entry as the file keeps it: of very long lists the beginning.
    fn shortened(&self) -> Self {
        Self {
            command: shortened(&self.command),
            changed: shortened(&self.changed),
            decides: shortened(&self.decides),
            ..self.clone()
        }
    }
}

fn shortened(words: &[String]) -> Vec<String> {
    let mut left = LONGEST;
    let fits = |word: &&String| {
        let fits = word.len() <= left;
        left = left.saturating_sub(word.len() + 1);
        fits
    };
    let mut kept: Vec<String> = words.iter().take_while(fits).cloned().collect();
    if kept.len() < words.len() {
        kept.push(format!("... and {} more", words.len() - kept.len()));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_counted() {
        let words: Vec<String> = (0..10_000).map(|n| format!("192.0.2.{n}")).collect();
        let short = shortened(&words);
        let bytes: usize = short.iter().map(|word| word.len() + 1).sum();
        assert!(bytes <= LONGEST + 30, "{bytes}");
        assert_eq!(short.last(), Some(&format!("... and {} more", 10_000 - (short.len() - 1))));
        assert_eq!(shortened(&["x".repeat(1 << 20)]), ["... and 1 more"]);
        let few = [String::from("arm"), String::from("--for")];
        assert_eq!(shortened(&few), few);
    }
}
