//! `limiter doctor`: looks at everything that limiter depends on, and says what is wrong and what to do. It changes nothing.
//!
//! One file per area. Each checks facts that it is handed, so that tests hand it bad ones; `examine` gathers them.

mod auto;
mod caller;
mod challenge;
mod conntrack;
mod examine;
mod fleet;
mod interface;
mod kernel;
mod lists;
mod networks;
mod open;
mod pins;
mod queues;
mod room;
mod settings;
mod sockets;
mod subject;
mod table;
mod text;

use serde::Serialize;

pub use crate::tree::Tree;
pub use examine::{Question, examine};
pub use text::text;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but less well than it could, or not in every case.
    Warning,
    /// Something does not work.
    Problem,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `kernel`, `interface web0`.
    pub area: String,
    /// How bad it is.
    pub level: Level,
    /// What is.
    pub what: String,
    /// What to do about it; always there unless the level is ok.
    pub advice: Option<String>,
}

/// Collects findings, area by area.
#[derive(Debug, Default)]
pub struct Findings {
    area: String,
    all: Vec<Finding>,
    unseen: Vec<String>,
}

impl Findings {
    /// What follows is about `area`.
    fn area(&mut self, area: impl Into<String>) {
        self.area = area.into();
    }

    fn ok(&mut self, what: impl Into<String>) {
        self.add(Level::Ok, what.into(), None);
    }

    fn warning(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Level::Warning, what.into(), Some(advice.into()));
    }

    fn problem(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Level::Problem, what.into(), Some(advice.into()));
    }

    /// Something that this user may not look at.
    fn unseen(&mut self, what: impl Into<String>) {
        self.unseen.push(what.into());
    }

    fn add(&mut self, level: Level, what: String, advice: Option<String>) {
        self.all.push(Finding { area: self.area.clone(), level, what, advice });
    }

    /// All findings; last, in one, what could not be looked at.
    fn finish(mut self) -> Vec<Finding> {
        if !self.unseen.is_empty() {
            self.area("not looked at");
            self.warning(self.unseen.join("; "), "this user may not look at them: run it as root");
        }
        self.all
    }
}

#[cfg(test)]
impl Findings {
    /// The one finding that holds `words`.
    #[track_caller]
    fn one(&self, words: &str) -> &Finding {
        let found: Vec<_> =
            self.all.iter().filter(|finding| finding.what.contains(words)).collect();
        assert_eq!(found.len(), 1, "one finding with `{words}` in {:#?}", self.all);
        found[0]
    }

    /// The worst level.
    fn worst(&self) -> Level {
        self.all.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unseen_is_one_warning_at_the_end() {
        let mut findings = Findings::default();
        findings.area("kernel");
        findings.ok("fine");
        findings.unseen("the pins");
        findings.unseen("the program");
        let all = findings.finish();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].area.as_str(), all[0].level), ("kernel", Level::Ok));
        assert_eq!((all[1].what.as_str(), all[1].level), ("the pins; the program", Level::Warning));
        assert!(all[1].advice.as_ref().is_some_and(|advice| advice.contains("root")));
    }
}
