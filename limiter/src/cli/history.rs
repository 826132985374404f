//! `limiter history`: who changed what, and when.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::Context;
use crate::history::{Back, Entry, Moment, back};
use crate::output;
use crate::report;

/// What a line shows of a command. `--json` shows all of it.
const LONGEST_COMMAND: usize = 72;

/// Arguments of `history`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Show only the last N changes.
    #[arg(long, value_name = "N")]
    last: Option<NonZeroUsize>,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    entry: Entry,
    /// What became of going back by itself; null when it does not.
    back: Option<Back>,
}

impl Arguments {
    /// Shows the entries, oldest first.
    pub fn run(&self, context: &Context) -> Result<()> {
        let read = context.history.read(self.last.map_or(usize::MAX, NonZeroUsize::get))?;
        if read.skipped > 0 {
            let path = context.history.path().display();
            let lines = if read.skipped == 1 { "line" } else { "lines" };
            output::note(format_args!(
                "limiter: left out {} {lines} of {path} that a crash cut off",
                read.skipped
            ));
        }
        let now = Moment::now();
        let became: Vec<_> = read
            .entries
            .iter()
            .enumerate()
            .map(|(n, entry)| back(entry, &read.entries[n + 1..], now))
            .collect();
        let shown: Vec<Shown> = read
            .entries
            .into_iter()
            .zip(became)
            .map(|(entry, back)| Shown { entry, back })
            .collect();
        report::print(context.format, &shown, |shown| match shown.is_empty() {
            true => format!("nothing is noted in {}\n", context.history.path().display()),
            false => describe(shown),
        })
    }
}

fn describe(shown: &[Shown]) -> String {
    let rows: Vec<_> = shown
        .iter()
        .map(|one| (one.entry.who.to_string(), command(&one.entry), change(one)))
        .collect();
    let width = |cell: fn(&(String, String, String)) -> &String| {
        rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0)
    };
    let (who, command) = (width(|row| &row.0), width(|row| &row.1));
    let lines = shown.iter().zip(&rows).map(|(one, row)| {
        format!("{}  {:<who$}  {:<command$}  {}\n", one.entry.time.local(), row.0, row.1, row.2)
    });
    lines.collect()
}

/// The command as it could be typed again, unless it is very long.
fn command(entry: &Entry) -> String {
    let words: Vec<String> = entry.command.iter().map(|word| quoted(word)).collect();
    let line = words.join(" ");
    if line.chars().count() <= LONGEST_COMMAND {
        return line;
    }
    line.chars().take(LONGEST_COMMAND - 3).chain("...".chars()).collect()
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%[]*".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.escape_debug().to_string().replace("\\'", "'").replace('\'', "'\\''"))
}

/// The first of its changes, how many more there are, and whether it goes back.
fn change(shown: &Shown) -> String {
    let entry = &shown.entry;
    let mut text = entry.changed.first().cloned().unwrap_or_else(|| "nothing changed".to_owned());
    if entry.changed.len() > 1 {
        text.push_str(&format!(" (+{} more)", entry.changed.len() - 1));
    }
    if let (Some(back), Some(at)) = (shown.back, entry.goes_back_at) {
        let at = at.local_beside(entry.time);
        text.push_str(&match back {
            Back::Due => format!(", goes back at {at}"),
            Back::Done => format!(", went back by itself at {at}"),
            Back::Overtaken => String::new(),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_command_can_be_typed_again() {
        assert_eq!(quoted("web=*:80,[2001:db8::1]:443"), "web=*:80,[2001:db8::1]:443");
        assert_eq!(quoted("1h 30m"), "'1h 30m'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("a\nb"), "'a\\nb'", "an entry stays one line");
    }
}
