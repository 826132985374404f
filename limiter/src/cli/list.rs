//! `limiter allow` and `limiter ban`: the same actions on two lists.

mod file;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use limiter_common::record::List;
use limiter_common::switch::Mode;
use serde::Serialize;

use super::{Context, Usage};
use crate::kernel::lists::Entry;
use crate::kernel::{Maps, clock, interface};
use crate::operator::{self, Connection};
use crate::output;
use crate::policy::prefix::{self, Prefix};
use crate::policy::text;
use crate::report::{self, numbers};
use file::Lines;

/// Entries that are shown, and noted, one by one; of more the number is told.
const SHOWN: usize = 256;
/// Entries of which the history says what a later one overtakes.
const NOTED: usize = 1000;

/// What to do with a list.
#[derive(Debug, Subcommand)]
pub enum ListAction {
    /// Put addresses or prefixes on the list.
    Add(Add),
    /// Take addresses or prefixes off the list.
    Del(Del),
    /// Show the list.
    List,
    /// Save the list to a file, each entry with its end; `load` brings it back, even after a
    /// reboot.
    Save {
        /// The file to write, readable only by its owner; `-` is standard output.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Put saved entries on the list again, each until its end in the file; entries that have
    /// expired are left out.
    Load {
        /// The file that `save` wrote; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Ban even the address you are connected from, an address of this host, or a prefix
        /// shorter than /8 (IPv6: /16).
        #[arg(long)]
        force: bool,
    },
}

/// What stands behind `add`: a prefix, or `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Prefix(Prefix),
    Input,
}

fn word(text: &str) -> Result<Word, String> {
    if text == file::STANDARD { Ok(Word::Input) } else { prefix::logged(text).map(Word::Prefix) }
}

/// Arguments of `add`.
#[derive(Args, Debug)]
pub struct Add {
    /// Addresses or prefixes: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/48`, or as logs write them:
    /// `192.0.2.7:443`, `[2001:db8::1]`. `-` reads them from standard input, one per line.
    #[arg(required_unless_present = "from", value_name = "PREFIX", value_delimiter = ',', value_parser = word)]
    prefixes: Vec<Word>,
    /// Read prefixes from a file, one per line, each with or without `until TIME`; # begins a
    /// comment.
    #[arg(long, value_name = "FILE", conflicts_with = "prefixes")]
    from: Option<PathBuf>,
    /// How long the entries last; the kernel ends them. Without this, they last until `del` or
    /// `detach --all`.
    #[arg(long = "for", value_name = "TIME", value_parser = text::duration)]
    time: Option<Duration>,
    /// Ban even the address you are connected from, an address of this host, or a prefix shorter
    /// than /8 (IPv6: /16).
    #[arg(long)]
    force: bool,
}

/// Arguments of `del`.
#[derive(Args, Debug)]
pub struct Del {
    /// The addresses or prefixes, exactly as they were added.
    #[arg(required = true, value_name = "PREFIX", value_delimiter = ',', value_parser = prefix::logged)]
    prefixes: Vec<Prefix>,
    /// Do not fail if an entry is no longer on the list, such as a ban that has expired.
    #[arg(long)]
    missing_ok: bool,
}

#[derive(Serialize)]
struct Changed {
    list: &'static str,
    added: Vec<String>,
    removed: Vec<String>,
    for_seconds: Option<f64>,
    #[serde(skip)]
    ends: Ends,
}

/// When what was added ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// All together.
    One,
    /// Each when its line says; so many had passed.
    Own { expired: usize },
}

#[derive(Serialize)]
struct Saved<'a> {
    list: &'static str,
    file: &'a Path,
    entries: usize,
}

#[derive(Serialize)]
struct Shown {
    prefix: String,
    /// `None`: for ever.
    expires_in_seconds: Option<f64>,
}

impl ListAction {
    /// Does it to `list`.
    pub fn run(&self, context: &Context, list: List) -> Result<()> {
        context.pins.require()?;
        match self {
            ListAction::List => show(context, list),
            ListAction::Add(add) => add.run(context, list),
            ListAction::Del(del) => del.run(context, list),
            ListAction::Save { file } => save(context, list, file),
            ListAction::Load { file, force } => {
                put(context, list, &file::read(file, None)?, (None, *force))
            }
        }
    }
}

impl Add {
    fn run(&self, context: &Context, list: List) -> Result<()> {
        let lines = match &self.from {
            Some(path) => file::read(path, self.time)?,
            None if self.prefixes.contains(&Word::Input) => {
                if self.prefixes.len() > 1 {
                    bail!(Usage(
                        "`-` stands alone: give all prefixes on standard input".to_owned()
                    ));
                }
                file::read(Path::new(file::STANDARD), self.time)?
            }
            None => Lines { entries: self.entries(), ..Lines::default() },
        };
        put(context, list, &lines, (self.time, self.force))
    }

    fn entries(&self) -> Vec<Entry> {
        let expires = self.time.map_or(u64::MAX, clock::after);
        let prefixes = self.prefixes.iter().filter_map(|word| match word {
            Word::Prefix(prefix) => Some(*prefix),
            Word::Input => None,
        });
        prefixes.map(|prefix| Entry { prefix, expires }).collect()
    }
}

/// Puts entries on `list`, for `time` where they have no end of their own. `force`: whoever they
/// are.
fn put(
    context: &Context,
    list: List,
    lines: &Lines,
    (time, force): (Option<Duration>, bool),
) -> Result<()> {
    if list == List::Ban && !force {
        check_bans(&lines.entries)?;
    }
    if lines.entries.is_empty() {
        bail!("there is nothing to add: no line holds an address or prefix that has not expired");
    }
    let _lock = context.pins.lock_lists()?;
    let mut maps = Maps::open(&context.pins.root())?;
    let note = context.note(Some(&maps));
    maps.add_entries(list, &lines.entries)?;
    let added: Vec<String> = lines.entries.iter().map(|entry| entry.prefix.to_string()).collect();
    let for_seconds = time.filter(|_| !lines.own_ends).map(|time| time.as_secs_f64());
    let ends = if lines.own_ends { Ends::Own { expired: lines.expired } } else { Ends::One };
    let done = Changed { list: name(list), added, removed: Vec::new(), for_seconds, ends };
    let noted = lines.entries.iter().take(NOTED);
    let note = noted.fold(note, |note, entry| note.decides(subject(list, &entry.prefix)));
    note.until(time.filter(|_| !lines.own_ends).map(clock::after))
        .record(Some(&maps), done.lines());
    if list == List::Ban
        && let Err(error) = warn_allowed(&maps, &lines.entries)
    {
        output::note(format_args!(
            "limiter: warning: this is done, but the allow list cannot be read: {error:#}"
        ));
    }
    report::done(context.format, &done, describe);
    if list == List::Ban && maps.selection().is_ok_and(|it| it.mode == Mode::Observe) {
        output::note(format_args!(
            "limiter: note: observe mode drops nothing, not even from banned sources: `limiter arm \
             --for 30m` starts dropping"
        ));
    }
    Ok(())
}

fn save(context: &Context, list: List, path: &Path) -> Result<()> {
    let entries = Maps::open(&context.pins.root())?.list(list)?;
    file::write(path, list, &entries)?;
    if path.to_str() != Some(file::STANDARD) {
        let saved = Saved { list: name(list), file: path, entries: entries.len() };
        report::done(context.format, &saved, |saved| {
            let Saved { list, file, entries } = saved;
            format!(
                "saved {entries} of the {list} list to {}; `limiter {list} load` reads it\n",
                file.display()
            )
        });
    }
    Ok(())
}

impl Del {
    fn run(&self, context: &Context, list: List) -> Result<()> {
        let _lock = context.pins.lock_lists()?;
        let mut maps = Maps::open(&context.pins.root())?;
        let note = context.note(Some(&maps));
        let missing = maps.del(list, &self.prefixes)?;
        let gone: Vec<&Prefix> =
            self.prefixes.iter().filter(|prefix| !missing.contains(prefix)).collect();
        let removed = gone.iter().map(ToString::to_string).collect();
        let done = Changed {
            list: name(list),
            added: Vec::new(),
            removed,
            for_seconds: None,
            ends: Ends::One,
        };
        if !gone.is_empty() {
            let note =
                gone.into_iter().fold(note, |note, prefix| note.decides(subject(list, prefix)));
            note.record(Some(&maps), done.lines());
        }
        report::done(context.format, &done, describe);
        if let Some(first) = missing.first().filter(|_| !self.missing_ok) {
            bail!(
                "{first} is not on the {} list; `limiter {} list` shows its entries",
                name(list),
                name(list)
            );
        }
        Ok(())
    }
}

/// Nobody bans himself, this host, or a large part of the world, by a slip.
fn check_bans(entries: &[Entry]) -> Result<()> {
    let connection = operator::connection();
    let own: Vec<Prefix> = interface::addresses()?.into_iter().map(Prefix::from).collect();
    for prefix in entries.iter().map(|entry| entry.prefix) {
        let shortest = if prefix.address.is_v4() { 8 } else { 16 };
        if prefix.written_length() < shortest {
            bail!(
                "banning {prefix} would cut off a large part of the world; if that is what you mean, add --force"
            );
        }
        if let Some(Connection { client, .. }) = connection
            && prefix.covers(&client.into())
        {
            bail!(
                "{prefix} holds {client}, the address you are connected from; if that is what you \
                 mean, add --force"
            );
        }
        if let Some(own) = own.iter().find(|own| prefix.covers(own)) {
            let holds = if prefix == *own { "is".to_owned() } else { format!("holds {own},") };
            bail!(
                "{prefix} {holds} an address of this host; if that is what you mean, add --force"
            );
        }
    }
    Ok(())
}

/// The allow list beats bans: whoever bans what is on it is told.
fn warn_allowed(maps: &Maps, entries: &[Entry]) -> Result<()> {
    let lists = maps.switch()?.lists();
    if !lists.allow_hosts && !lists.allow_prefixes {
        return Ok(());
    }
    let (mut first, mut count) = (None, 0_usize);
    for entry in entries {
        if maps.is_listed(List::Allow, entry.prefix)? {
            first = first.or(Some(entry.prefix));
            count += 1;
        }
    }
    if let Some(first) = first {
        let more =
            if count > 1 { format!(" and {} more are", count - 1) } else { " is".to_owned() };
        output::note(format_args!(
            "limiter: warning: {first}{more} on the allow list, which beats bans: the ban has no effect until \
             `limiter allow del` takes them off"
        ));
    }
    Ok(())
}

fn show(context: &Context, list: List) -> Result<()> {
    let entries = Maps::open(&context.pins.root())?.list(list)?;
    let now = clock::now();
    let shown: Vec<_> = entries.iter().map(|entry| shown(entry, now)).collect();
    report::print(context.format, &shown, |shown| {
        let lines = shown.iter().map(|entry| match entry.expires_in_seconds {
            Some(time) => format!("{:<43} {} left\n", entry.prefix, numbers::seconds(time)),
            None => format!("{:<43} until removed\n", entry.prefix),
        });
        if shown.is_empty() {
            format!("the {} list is empty\n", name(list))
        } else {
            lines.collect()
        }
    })
}

fn shown(entry: &Entry, now: u64) -> Shown {
    let left = (entry.expires != u64::MAX).then(|| entry.expires.saturating_sub(now) as f64 / 1e9);
    Shown { prefix: entry.prefix.to_string(), expires_in_seconds: left }
}

const fn name(list: List) -> &'static str {
    match list {
        List::Allow => "allow",
        List::Ban => "ban",
    }
}

/// What an entry of the history decides about `prefix`.
fn subject(list: List, prefix: &Prefix) -> String {
    format!("{} {prefix}", name(list))
}

impl Changed {
    fn lines(&self) -> Vec<String> {
        let time = match (self.ends, self.for_seconds) {
            (Ends::Own { .. }, _) => "until its time".to_owned(),
            (_, Some(time)) => format!("for {}", numbers::seconds(time)),
            (_, None) => "until removed".to_owned(),
        };
        let verb = if self.list == "ban" { "banned" } else { "allowed" };
        let expired = match self.ends {
            Ends::Own { expired } if expired > 0 => {
                format!("; {expired} had expired and are left out")
            }
            _ => String::new(),
        };
        if self.added.len() > SHOWN || !expired.is_empty() {
            return vec![format!(
                "{verb} {} addresses and prefixes {time}{expired}",
                self.added.len()
            )];
        }
        let added = self.added.iter().map(|prefix| format!("{verb} {prefix} {time}"));
        let removed = self
            .removed
            .iter()
            .map(|prefix| format!("{prefix} is no longer on the {} list", self.list));
        added.chain(removed).collect()
    }
}

fn describe(done: &Changed) -> String {
    done.lines().iter().map(|line| format!("{line}\n")).collect()
}
