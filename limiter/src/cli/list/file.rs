//! Lists in a file: a prefix a line, with its end where it has one. What `save` writes `load` and
//! `add --from` read.
//!
//! ```text
//! # the ban list of limiter
//! 192.0.2.7 until 2026-11-28T14:00:00Z
//! 2001:db8::/48
//! ```

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use limiter_common::record::List;

use super::super::metrics;
use super::name;
use crate::kernel::clock;
use crate::kernel::lists::Entry;
use crate::output;
use crate::policy::prefix;

/// The name of standard input and standard output.
pub const STANDARD: &str = "-";

/// What a file holds.
#[derive(Debug, Default)]
pub struct Lines {
    /// In the order of the file; of lines without an end for `time`, or for ever.
    pub entries: Vec<Entry>,
    /// Whether some line had an end of its own.
    pub own_ends: bool,
    /// Lines whose end has passed.
    pub expired: usize,
}

/// Reads a file, or standard input if it is called `-`.
///
/// # Errors
/// When it cannot be read, or a line is wrong: which, and how many more.
pub fn read(path: &Path, time: Option<Duration>) -> Result<Lines> {
    let (mut text, shown) = (String::new(), shown(path));
    match path.to_str() {
        Some(STANDARD) => std::io::stdin().lock().read_to_string(&mut text).map(drop),
        _ => std::fs::read_to_string(path).map(|read| text = read),
    }
    .with_context(|| format!("cannot read {shown}"))?;
    parse(&text, &shown, time, SystemTime::now())
}

fn shown(path: &Path) -> String {
    if path.to_str() == Some(STANDARD) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

fn parse(text: &str, shown: &str, time: Option<Duration>, now: SystemTime) -> Result<Lines> {
    let (expires, mut lines, mut wrong) =
        (time.map_or(u64::MAX, clock::after), Lines::default(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> =
            line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let (word, until) = match words[..] {
            [] => continue,
            [word] => (word, None),
            [word, "until", until] => (word, Some(until)),
            _ => {
                wrong.push(format!(
                    "{shown}:{number}: `{line}` is neither `PREFIX` nor `PREFIX until TIME`"
                ));
                continue;
            }
        };
        let until = until.map(humantime::parse_rfc3339).transpose();
        match (prefix::logged(word), until) {
            (Ok(prefix), Ok(None)) => lines.entries.push(Entry { prefix, expires }),
            (Ok(prefix), Ok(Some(until))) => {
                lines.own_ends = true;
                match until.duration_since(now) {
                    Ok(left) if !left.is_zero() => {
                        lines.entries.push(Entry { prefix, expires: clock::after(left) });
                    }
                    _ => lines.expired += 1,
                }
            }
            (Err(error), _) => wrong.push(format!("{shown}:{number}: {error}")),
            (_, Err(_)) => {
                wrong.push(format!("{shown}:{number}: write the end as `2026-11-28T14:00:00Z`"))
            }
        }
    }
    match &wrong[..] {
        [] => Ok(lines),
        [one] => bail!("{one}; nothing was changed"),
        [first, more @ ..] => {
            bail!("{first}; {} more lines are wrong; nothing was changed", more.len())
        }
    }
}

/// Writes `entries` of `list` to a file that only its owner may read, whole or not at all; to
/// standard output if it is called `-`.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, list: List, entries: &[Entry]) -> Result<()> {
    let (now, wall) = (clock::now(), SystemTime::now());
    let line = |entry: &Entry| match entry.expires {
        u64::MAX => format!("{}\n", entry.prefix),
        expires => {
            // No second too short.
            let end = wall
                + Duration::from_nanos(expires.saturating_sub(now))
                + Duration::from_millis(999);
            format!("{} until {}\n", entry.prefix, humantime::format_rfc3339_seconds(end))
        }
    };
    let lines: String = entries.iter().map(line).collect();
    let text =
        format!("# the {} list of limiter, for `limiter {} load`\n{lines}", name(list), name(list));
    match path.to_str() {
        Some(STANDARD) => output::data(text.as_bytes()).map(drop),
        _ => metrics::replace(path, &text, 0o600)
            .with_context(|| format!("cannot write {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(text: &str) -> Result<Lines> {
        let now = humantime::parse_rfc3339("2026-11-28T12:00:00Z").expect("a time");
        parse(text, "bans", Some(Duration::from_secs(60)), now)
    }

    #[test]
    fn lines_and_their_ends() {
        let text = "# comment\n\n192.0.2.7  # who\n[2001:db8::1]:443\n192.0.2.0/24 until 2026-11-28T12:00:09Z\n\
                    192.0.2.9 until 2026-11-28T11:59:59Z\n";
        let lines = read_from(text).expect("good lines");
        let shown: Vec<_> = lines.entries.iter().map(|entry| entry.prefix.to_string()).collect();
        assert_eq!(shown, ["192.0.2.7", "2001:db8::1", "192.0.2.0/24"]);
        assert_eq!((lines.own_ends, lines.expired), (true, 1));
        assert!(lines.entries[2].expires < lines.entries[0].expires, "9 s and 60 s");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, words) in [
            ("192.0.2.7\nhost\n", "bans:2: `host` is not an address"),
            ("192.0.2.7 for 1h\n", "bans:1: `192.0.2.7 for 1h` is neither"),
            ("192.0.2.7 until noon\n", "bans:1: write the end as"),
            ("a\nb\nc\n", "2 more lines are wrong; nothing was changed"),
        ] {
            let said = read_from(text).expect_err(text).to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}
