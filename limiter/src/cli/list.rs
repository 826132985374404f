//! `limiter allow` and `limiter ban`: the same actions on two lists.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use limiter_common::record::List;
use serde::Serialize;

use super::Context;
use crate::kernel::lists::Entry;
use crate::kernel::{Maps, clock};
use crate::operator::{self, Connection};
use crate::policy::prefix::Prefix;
use crate::policy::text;
use crate::report::{self, human};

/// What to do with a list.
#[derive(Debug, Subcommand)]
pub enum ListAction {
    /// Put addresses or prefixes on the list.
    Add(Add),
    /// Take addresses or prefixes off the list.
    Del(Del),
    /// Show the list.
    List,
}

/// Arguments of `add`.
#[derive(Args, Debug)]
pub struct Add {
    /// `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/48`.
    #[arg(required = true, value_name = "PREFIX")]
    prefixes: Vec<Prefix>,
    /// For how long; the kernel ends it. Without this, until `del` or `detach --all`.
    #[arg(long = "for", value_name = "TIME", value_parser = text::duration)]
    time: Option<Duration>,
    /// Ban even the address you are connected from, or a prefix shorter than /8 (IPv6: /16).
    #[arg(long)]
    force: bool,
}

/// Arguments of `del`.
#[derive(Args, Debug)]
pub struct Del {
    /// Exactly as they were added.
    #[arg(required = true, value_name = "PREFIX")]
    prefixes: Vec<Prefix>,
}

#[derive(Serialize)]
struct Changed {
    list: &'static str,
    added: Vec<String>,
    removed: Vec<String>,
    for_seconds: Option<f64>,
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
        }
    }
}

impl Add {
    fn run(&self, context: &Context, list: List) -> Result<()> {
        if list == List::Ban && !self.force {
            self.prefixes.iter().try_for_each(check_ban)?;
        }
        let _lock = context.lock()?;
        let mut maps = Maps::open(&context.pins.root())?;
        let note = context.note(Some(&maps));
        maps.add(list, &self.prefixes, self.time)?;
        let added = self.prefixes.iter().map(Prefix::to_string).collect();
        let for_seconds = self.time.map(|time| time.as_secs_f64());
        let done = Changed { list: name(list), added, removed: Vec::new(), for_seconds };
        let note = self.prefixes.iter().fold(note, |note, prefix| note.decides(subject(list, prefix)));
        note.until(self.time.map(clock::after)).record(Some(&maps), done.lines());
        report::done(context.format, &done, describe);
        Ok(())
    }
}

impl Del {
    fn run(&self, context: &Context, list: List) -> Result<()> {
        let _lock = context.lock()?;
        let mut maps = Maps::open(&context.pins.root())?;
        let note = context.note(Some(&maps));
        let missing = maps.del(list, &self.prefixes)?;
        let gone: Vec<&Prefix> = self.prefixes.iter().filter(|prefix| !missing.contains(prefix)).collect();
        let removed = gone.iter().map(ToString::to_string).collect();
        let done = Changed { list: name(list), added: Vec::new(), removed, for_seconds: None };
        if !gone.is_empty() {
            let note = gone.into_iter().fold(note, |note, prefix| note.decides(subject(list, prefix)));
            note.record(Some(&maps), done.lines());
        }
        report::done(context.format, &done, describe);
        if let Some(first) = missing.first() {
            bail!("{first} is not on the {} list; `limiter {} list` shows what is", name(list), name(list));
        }
        Ok(())
    }
}

/// Nobody bans himself, or a large part of the world, by a slip.
fn check_ban(prefix: &Prefix) -> Result<()> {
    let shortest = if prefix.address.is_v4() { 8 } else { 16 };
    if prefix.written_length() < shortest {
        bail!("banning {prefix} would cut off a large part of the world; if that is what you mean, add --force");
    }
    match operator::connection() {
        Some(Connection { client, .. }) if prefix.covers(&client.into()) => {
            bail!("{prefix} holds {client}, from which you are connected; if that is what you mean, add --force")
        }
        _ => Ok(()),
    }
}

fn show(context: &Context, list: List) -> Result<()> {
    let entries = Maps::open(&context.pins.root())?.list(list)?;
    let now = clock::now();
    let shown: Vec<_> = entries.iter().map(|entry| shown(entry, now)).collect();
    report::print(context.format, &shown, |shown| {
        let lines = shown.iter().map(|entry| match entry.expires_in_seconds {
            Some(time) => format!("{:<43} {} left\n", entry.prefix, human::seconds(time)),
            None => format!("{:<43} until removed\n", entry.prefix),
        });
        if shown.is_empty() { format!("the {} list is empty\n", name(list)) } else { lines.collect() }
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
        let time = match self.for_seconds {
            Some(time) => format!("for {}", human::seconds(time)),
            None => "until removed".to_owned(),
        };
        let verb = if self.list == "ban" { "banned" } else { "allowed" };
        let added = self.added.iter().map(|prefix| format!("{verb} {prefix} {time}"));
        let removed = self.removed.iter().map(|prefix| format!("{prefix} is no longer on the {} list", self.list));
        added.chain(removed).collect()
    }
}

fn describe(done: &Changed) -> String {
    done.lines().iter().map(|line| format!("{line}\n")).collect()
}
