//! `limiter apply`, `confirm` and `rollback`: a policy file comes into force, stays, or goes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use limiter_common::record::List;
use limiter_common::switch::{Mode, Switch};
use serde::Serialize;

use super::{Context, settle};
use crate::apply::{self, Request};
use crate::combinations;
use crate::history::SWITCH;
use crate::kernel::{Maps, clock};
use crate::operator;
use crate::output;
use crate::policy::file::{DEFAULT_FILE, Document};
use crate::policy::{Name, Policy, diff, text};
use crate::report::{self, numbers};

/// Which file.
#[derive(Args, Debug)]
pub struct File {
    /// The policy file.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE, env = "LIMITER_POLICY")]
    pub file: PathBuf,
}

/// Arguments of `apply`.
#[derive(Args, Debug)]
pub struct Apply {
    #[command(flatten)]
    file: File,
    /// Apply the file with this one of its profiles.
    #[arg(long, value_name = "NAME")]
    profile: Option<Name>,
    /// Go back to the previous policy, unless `limiter confirm` follows within this time. The
    /// kernel does so by itself; no process has to keep running.
    #[arg(long, value_name = "TIME", value_parser = text::duration)]
    confirm: Option<Duration>,
}

#[derive(Serialize)]
struct Done {
    /// The file; null for `confirm` and `rollback`.
    file: Option<PathBuf>,
    profile: Option<Name>,
    loaded: bool,
    attached: Vec<String>,
    changed: Vec<String>,
    mode: &'static str,
    mode_before: &'static str,
    goes_back_in_seconds: Option<f64>,
    notes: Vec<String>,
}

impl Apply {
    /// Applies the file.
    pub fn run(&self, context: &Context) -> Result<()> {
        let document = Document::read(&self.file.file)?;
        let request = Request {
            document: &document,
            profile: self.profile.as_ref(),
            confirm: self.confirm,
            time: None,
        };
        enforce(context, &self.file, &request)
    }
}

/// Brings a file into force, records it, and says what was done.
pub fn enforce(context: &Context, file: &File, request: &Request<'_>) -> Result<()> {
    let (policy, mode) = request.document.with_profile(request.profile)?;
    let pins = &context.pins;
    let _lock = context.lock()?;
    let maps = if pins.is_loaded()? { Some(Maps::open(&pins.root())?) } else { None };
    let now = maps
        .as_ref()
        .map_or(Ok(Mode::Observe), |maps| maps.selection().map(|selection| selection.mode))?;
    warn_operator(maps.as_ref(), &policy, mode.unwrap_or(now))?;
    let note = context.note(maps.as_ref()).decides(SWITCH);
    drop(maps);
    let applied = apply::apply(pins, request)?;
    let mut maps = Maps::open(&pins.root())?;
    let mut changed = applied.changes;
    let (before, after) = (report::mode(applied.modes.0), report::mode(applied.modes.1));
    if before != after {
        changed.push(format!("mode {before} -> {after}"));
    }
    let attached: Vec<_> = applied
        .attached
        .iter()
        .map(|one| one.name.clone().unwrap_or_else(|| one.index.to_string()))
        .collect();
    changed.extend(attached.iter().map(|name| format!("attached to {name}")));
    let switch = maps.switch()?;
    note.until(switch.revert()).record(Some(&maps), changed.clone());
    settle::now_and_later(pins, &mut maps)?;
    let mut notes = applied.notes;
    let combinations = combinations::found(&maps, &policy, applied.modes.1);
    notes.extend(combinations.iter().map(ToString::to_string));
    let done = Done {
        file: Some(file.file.clone()),
        profile: request.profile.cloned(),
        loaded: applied.loaded,
        attached,
        changed,
        mode: after,
        mode_before: before,
        goes_back_in_seconds: left(switch),
        notes,
    };
    report::done(context.format, &done, describe);
    Ok(())
}

/// Tells the operator, before anything is switched, if his own next connection could be refused.
pub fn warn_operator(maps: Option<&Maps>, policy: &Policy, mode: Mode) -> Result<()> {
    let (Mode::Enforce, Some(connection)) = (mode, operator::connection()) else { return Ok(()) };
    let client = connection.client.into();
    if maps.map_or(Ok(false), |maps| maps.is_listed(List::Allow, client))? {
        return Ok(());
    }
    if let Some(warning) = operator::warning(policy, connection) {
        output::note(format_args!("limiter: warning: {warning}"));
    }
    Ok(())
}

/// Keeps what would go back by itself.
pub fn confirm(context: &Context) -> Result<()> {
    turn(context, |maps| maps.confirmed(), |_, _| None)
}

/// Goes back at once.
pub fn rollback(context: &Context) -> Result<()> {
    turn(context, |maps| maps.rolled_back(), says_otherwise)
}

fn turn(
    context: &Context,
    to: impl FnOnce(&Maps) -> Result<Switch>,
    note_of: impl FnOnce(&Policy, &Policy) -> Option<String>,
) -> Result<()> {
    let pins = &context.pins;
    pins.require()?;
    let _lock = context.lock()?;
    let mut maps = Maps::open(&pins.root())?;
    let switch = to(&maps)?;
    let (before, after) = (maps.selection()?, switch.at(clock::now()));
    let (old, new) = (maps.policy(before.slot)?, maps.policy(after.slot)?);
    warn_operator(Some(&maps), &new, after.mode)?;
    let note = context.note(Some(&maps)).decides(SWITCH);
    maps.set_switch(switch)?;
    Maps::settle();
    let mut changed = diff::changes(&old, &new);
    let (mode_before, mode) = (report::mode(before.mode), report::mode(after.mode));
    if mode_before != mode {
        changed.push(format!("mode {mode_before} -> {mode}"));
    }
    note.until(switch.revert()).record(Some(&maps), changed.clone());
    settle::now_and_later(pins, &mut maps)?;
    let done = Done {
        file: None,
        profile: maps.origin(after.slot)?.profile,
        loaded: false,
        attached: Vec::new(),
        changed,
        mode,
        mode_before,
        goes_back_in_seconds: left(switch),
        notes: note_of(&old, &new).into_iter().collect(),
    };
    report::done(context.format, &done, describe);
    Ok(())
}

/// That the policy file would bring what was taken back into force again.
fn says_otherwise(old: &Policy, new: &Policy) -> Option<String> {
    let path = std::env::var_os("LIMITER_POLICY").map_or(DEFAULT_FILE.into(), PathBuf::from);
    let document = Document::read(&path).ok()?;
    let taken = diff::changes(new, old);
    let change =
        diff::changes(new, &document.policy).into_iter().find(|one| taken.contains(one))?;
    Some(format!(
        "{} still says otherwise ({change}): correct the file, or the next `limiter apply` \
         brings that back",
        path.display()
    ))
}

/// Seconds until the switch goes back by itself.
pub fn left(switch: Switch) -> Option<f64> {
    let left = switch.revert()?.checked_sub(clock::now())?;
    Some(left as f64 / 1e9)
}

fn describe(done: &Done) -> String {
    let profile =
        done.profile.as_ref().map_or_else(String::new, |name| format!(", profile {name}"));
    let mut text = match (&done.file, done.changed.is_empty()) {
        (Some(file), false) => format!("{} is in force{profile}\n", file.display()),
        (Some(file), true) => {
            format!("{} is in force{profile}, and that is how it was already\n", file.display())
        }
        (None, false) => format!("back to the policy before{profile}\n"),
        (None, true) => format!("it stays as it is{profile}\n"),
    };
    for change in &done.changed {
        text.push_str(&format!("  {change}\n"));
    }
    text.push_str(match done.mode {
        "enforce" => "mode enforce: attempts over the limits are dropped\n",
        _ => "mode observe: nothing is dropped; `limiter arm` starts dropping\n",
    });
    if let Some(time) = done.goes_back_in_seconds {
        text.push_str(&format!(
            "goes back by itself in {}; `limiter confirm` keeps it, `limiter rollback` goes back now\n",
            numbers::seconds(time)
        ));
    }
    for note in &done.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}
