//! `limiter profile`: the named variations of the policy file.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::apply::{self, File};
use super::{Context, Usage};
use crate::apply::Request;
use crate::kernel::{Maps, clock};
use crate::policy::file::{Document, NORMAL};
use crate::policy::{Name, diff, text};
use crate::report;

/// What to do with profiles.
#[derive(Debug, Subcommand)]
pub enum Profile {
    /// Show the profiles of the policy file, what each changes, and which one is in force.
    List(File),
    /// Apply the policy file with a profile.
    Use(Use),
}

/// Arguments of `profile use`.
#[derive(Args, Debug)]
pub struct Use {
    /// The profile; `normal` is the file without changes, unless the file says otherwise.
    #[arg(value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    file: File,
    /// Go back to the previous policy, unless `limiter confirm` follows within this time.
    #[arg(long, value_name = "TIME", value_parser = text::duration)]
    confirm: Option<Duration>,
    /// Go back to the previous policy after this time. The kernel does so by itself; no process has
    /// to keep running.
    #[arg(long = "for", value_name = "TIME", value_parser = text::duration)]
    time: Option<Duration>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    /// Whether the policy in force was made with it.
    in_force: bool,
    /// What it changes of the policy without a profile.
    changes: Vec<String>,
}

impl Profile {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<()> {
        match self {
            Self::List(file) => list(context, file),
            Self::Use(wanted) => wanted.run(context),
        }
    }
}

impl Use {
    fn run(&self, context: &Context) -> Result<()> {
        if let (Some(confirm), Some(time)) = (self.confirm, self.time)
            && confirm >= time
        {
            return Err(Usage(
                "--confirm must be shorter than --for: once confirmed, the profile stays for the \
                 time of --for"
                    .to_owned(),
            )
            .into());
        }
        let document = Document::read(&self.file.file)?;
        let request = Request {
            document: &document,
            profile: Some(&self.name),
            confirm: self.confirm,
            time: self.time,
        };
        apply::enforce(context, &self.file, &request)
    }
}

fn list(context: &Context, file: &File) -> Result<()> {
    let document = Document::read(&file.file)?;
    let current = current(context);
    let mut listed = Vec::new();
    for name in document.profile_names() {
        let parsed: Name = name.parse().map_err(anyhow::Error::msg)?;
        let (policy, mode) = document.with_profile(Some(&parsed))?;
        let mut changes = diff::changes(&document.policy, &policy);
        if mode != document.mode {
            changes.extend(mode.map(|mode| format!("mode {}", report::mode(mode))));
        }
        listed.push(Listed {
            name: name.to_owned(),
            in_force: current.as_deref() == Some(name),
            changes,
        });
    }
    report::print(context.format, &listed, |listed| describe(listed))
}

/// The profile in force; nothing where limiter is not loaded or cannot be read: the list is of the file.
fn current(context: &Context) -> Option<String> {
    if !context.pins.is_loaded().ok()? {
        return None;
    }
    let maps = Maps::open(&context.pins.root()).ok()?;
    let slot = maps.switch().ok()?.at(clock::now()).slot;
    Some(maps.origin(slot).ok()?.profile.map_or_else(|| NORMAL.to_owned(), |name| name.to_string()))
}

fn describe(listed: &[Listed]) -> String {
    let mut text = String::new();
    for profile in listed {
        let mark = if profile.in_force { "  (in force)" } else { "" };
        text.push_str(&format!("{}{mark}\n", profile.name));
        if profile.changes.is_empty() {
            text.push_str("  as the file says\n");
        }
        for change in &profile.changes {
            text.push_str(&format!("  {change}\n"));
        }
    }
    text
}
