//! Settings that a file has beside those of the policy, and what is found wrong by what a file means.

use limiter_common::switch::Mode;

use super::problem::closest;
use super::{Document, Profile};
use crate::Name;
use crate::settings::{Setting, Takes, Whole, Wrong, field};
use crate::text::show_mode;

/// Bounds of the number of sources that the table is made for.
const SOURCES: Whole = Whole { least: 8, most: 1 << 28, example: "524288", name: "N" };

/// The mode.
const MODE: Takes = Takes::Choice {
    noun: "mode",
    words: &[
        (show_mode(Mode::Observe), "count, drop nothing"),
        (show_mode(Mode::Enforce), "drop what is over the limits"),
    ],
};

/// Settings at the top; interfaces and tables come besides.
pub static DOCUMENT: [Setting<Document, ()>; 4] = [
    Setting {
        key: "generic",
        what: "generic",
        help: "Attach in the kernel's generic path, for drivers without XDP",
        takes: Takes::Yes,
        model: field!(generic),
        ..Setting::PLAIN
    },
    Setting {
        key: "mode",
        what: "mode",
        help: "Whether what is over the limits is dropped",
        takes: MODE,
        model: field!(mode),
        ..Setting::PLAIN
    },
    Setting {
        key: "sources",
        what: "table",
        help: "Sources that the source table has entries for, at eight bytes each [default: \
               524288]",
        takes: Takes::Number(SOURCES),
        model: field!(sources),
        ..Setting::PLAIN
    },
    Setting {
        key: "set_syncookies",
        what: "may set tcp_syncookies",
        help: "Let limiter set net.ipv4.tcp_syncookies to 2 while it enforces a challenge; it puts \
               the setting back afterwards",
        takes: Takes::Yes,
        model: field!(set_syncookies),
        ..Setting::PLAIN
    },
];

/// Settings at the top of a profile.
pub static PROFILE: [Setting<Profile, ()>; 1] = [Setting {
    key: "mode",
    what: "mode",
    help: "Whether what is over the limits is dropped",
    takes: MODE,
    model: field!(mode),
    ..Setting::PLAIN
}];

/// Something that cannot be, found by what the file means rather than by how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Keys from the top of the file, joined by dots.
    pub at: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Joins keys to the path of a value.
pub fn path(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

/// Notes what is wrong with the settings of the table at `at`.
pub fn note(findings: &mut Vec<Finding>, at: &str, wrong: Vec<Wrong>) {
    findings.extend(
        wrong.into_iter().map(|wrong| Finding { at: path(at, wrong.key), message: wrong.message }),
    );
}

/// That the table at `at` is about something that the file does not have.
pub fn missing<'n>(
    at: String,
    what: &str,
    name: &Name,
    there: impl Iterator<Item = &'n Name>,
) -> Finding {
    let names: Vec<&str> = there.map(Name::as_str).collect();
    let advice = match (names.is_empty(), closest(name.as_str(), &names)) {
        (true, _) => format!("; add [{what}.{name}] above the profiles"),
        (_, Some(meant)) => format!("; did you mean {meant}?"),
        _ => format!("; there are: {}", names.join(", ")),
    };
    Finding { at, message: format!("there is no {what} {name}{advice}") }
}
