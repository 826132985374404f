//! What is wrong in a policy file, and where: every problem with file, line and column, not only the first.

use std::collections::BTreeSet;
use std::fmt;

/// Problems that are shown; more of the same help nobody.
const SHOWN: usize = 20;

/// A place in one of the files that were read: the policy file or a list of prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Which file, in the order of reading; 0 is the policy file.
    pub file: usize,
    /// Bytes from its beginning.
    pub offset: usize,
}

/// The files read so far, and what is wrong in them. As an error it is one line per problem.
#[derive(Debug, Default)]
pub struct Problems {
    files: Vec<(String, String)>,
    found: BTreeSet<(Position, String)>,
}

impl Problems {
    /// Notes a file, so that places in it can be told.
    pub fn file(&mut self, name: &str, text: &str) -> usize {
        self.files.push((name.to_owned(), text.to_owned()));
        self.files.len() - 1
    }

    /// Notes a problem.
    pub fn add(&mut self, place: Position, message: impl Into<String>) {
        self.found.insert((place, message.into()));
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `file:line` of a place, to speak of it in the message about another.
    pub fn line(&self, place: Position) -> String {
        let (name, line, _) = self.find(place);
        format!("{name}:{line}")
    }

    /// Name, line and column; the latter two count from 1, the column in characters.
    fn find(&self, place: Position) -> (&str, usize, usize) {
        let Some((name, text)) = self.files.get(place.file) else { return ("policy", 1, 1) };
        let before = &text.as_bytes()[..place.offset.min(text.len())];
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        (name, line, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.found.len() > 1 {
            writeln!(to, "{} problems", self.found.len())?;
        }
        for (index, (place, message)) in self.found.iter().take(SHOWN).enumerate() {
            let (name, line, column) = self.find(*place);
            let end = if index == 0 { "" } else { "\n" };
            write!(to, "{end}{name}:{line}:{column}: {message}")?;
        }
        match self.found.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(to, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// The one of `known` that `typed` was probably meant to be.
pub fn closest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let far = |name: &&str| strsim::damerau_levenshtein(typed, name);
    let best = known.iter().copied().min_by_key(far)?;
    // A third of the letters may be wrong.
    (typed.len() < 64 && far(&best) * 3 <= best.len().max(3)).then_some(best)
}
