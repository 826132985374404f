//! What a node knows of its fleet, for metrics: its own part, and what the leader sees of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// A node's view of its fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct View {
    /// When its last report was committed, in seconds since 1970; 0: none was.
    pub reported: u64,
    /// Entries of the fleet that it refuses, by key: which kind that is, and why.
    pub refused: BTreeMap<String, (&'static str, String)>,
    /// What it sees if it leads.
    pub led: Option<Led>,
}

/// What the leader sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Led {
    /// Nodes that report.
    pub reporting: usize,
    /// Nodes that do not, and for which something is kept.
    pub silent: usize,
    /// By budget.
    pub budgets: BTreeMap<String, Sums>,
}

/// A budget over all nodes, in connections a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sums {
    /// The budget.
    pub budget: f64,
    /// What the nodes want.
    pub demand: f64,
    /// The most that may be in force on all of them together.
    pub held: f64,
}

/// A view that the parts of a node write, and the exporter reads. `None`: there is no fleet.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Option<View>>>);

impl Shared {
    /// The kinds of entries that are refused.
    pub const KINDS: [&str; 3] = ["allow", "ban", "profile"];

    /// The view as it is.
    pub fn view(&self) -> Option<View> {
        self.locked().clone()
    }

    /// Changes it.
    pub fn change<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        change(self.locked().get_or_insert_default())
    }

    /// Forgets it: there is no fleet any more.
    pub fn clear(&self) {
        *self.locked() = None;
    }

    fn locked(&self) -> MutexGuard<'_, Option<View>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
