//! `limiter policy`: what a policy file says, what is enforced as such a file, and what differs between the two.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use limiter_common::source_table::WAYS;
use limiter_common::switch::Mode;
use serde::Serialize;

use super::Context;
use crate::combinations::{self, Combination};
use crate::kernel::interface::Attachment;
use crate::kernel::{Maps, Pins, link};
use crate::policy::file::{DEFAULT_FILE, Document};
use crate::policy::{Name, Policy, diff, sets_for, text};
use crate::report::{self, numbers};

/// What to do with a policy file.
#[derive(Debug, Subcommand)]
pub enum PolicyAction {
    /// Check a file and every profile in it. Needs no root, and changes nothing.
    Check(Check),
    /// Print the policy in force, as a policy file.
    Show,
    /// Show what applying a file would change.
    Diff(Diff),
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct Check {
    /// The policy file.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE, env = "LIMITER_POLICY")]
    file: PathBuf,
}

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// The policy file.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE, env = "LIMITER_POLICY")]
    file: PathBuf,
    /// Compare the file with this one of its profiles applied.
    #[arg(long, value_name = "NAME")]
    profile: Option<Name>,
}

/// What a good file holds.
#[derive(Serialize)]
struct Good {
    file: String,
    /// `None`: as it is when it is applied.
    mode: Option<&'static str>,
    interfaces: Vec<String>,
    services: Vec<Service>,
    classes: Vec<Class>,
    profiles: Vec<Profile>,
    /// Its fleet.
    fleet: Option<Name>,
    /// What is allowed, but may not be what was meant.
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Service {
    name: String,
    listeners: Vec<String>,
}

#[derive(Serialize)]
struct Class {
    name: String,
    prefixes: usize,
    source_limit: String,
}

#[derive(Serialize)]
struct Profile {
    name: String,
    mode: Option<&'static str>,
    /// What differs from the policy without a profile.
    changes: Vec<String>,
}

#[derive(Serialize)]
struct Differs {
    changes: Vec<String>,
}

impl PolicyAction {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<()> {
        match self {
            Self::Check(check) => check.run(context),
            Self::Show => show(context),
            Self::Diff(diff) => diff.run(context),
        }
    }
}

impl Check {
    fn run(&self, context: &Context) -> Result<()> {
        let document = Document::read(&self.file)?;
        let good = Good {
            file: self.file.display().to_string(),
            mode: document.mode.map(text::show_mode),
            services: document.policy.services.iter().map(Service::from).collect(),
            classes: document.policy.classes.iter().map(Class::from).collect(),
            profiles: profiles(&document)?,
            notes: notes(&document),
            fleet: document.fleet.map(|fleet| fleet.name),
            interfaces: document.interfaces,
        };
        report::print(context.format, &good, describe)
    }
}

fn profiles(document: &Document) -> Result<Vec<Profile>> {
    let profiles = document.profiles.iter().map(|profile| {
        let (policy, _) = document.with_profile(Some(&profile.name))?;
        Ok(Profile {
            name: profile.name.to_string(),
            mode: profile.mode.map(text::show_mode),
            changes: diff::changes(&document.policy, &policy),
        })
    });
    profiles.collect()
}

fn notes(document: &Document) -> Vec<String> {
    let policies: Vec<Policy> =
        document.profiles.iter().map(|one| one.apply(&document.policy, &mut Vec::new())).collect();
    let any = |holds: fn(&Policy) -> bool| holds(&document.policy) || policies.iter().any(holds);
    let mut notes = Vec::new();
    if document.policy.services.is_empty() {
        notes.push("no service: everything passes; add [service.web] with `listen = [\"*:80\", \"*:443\"]`".to_owned());
    } else if !any(Policy::has_limits) {
        notes.push("no limit: nothing is ever refused; add a source_rate or a budget".to_owned());
    }
    if any(Policy::may_challenge) && !document.set_syncookies {
        notes.push(
            "a challenge works only while net.ipv4.tcp_syncookies is 2; `set_syncookies = true` lets limiter set it"
                .to_owned(),
        );
    }
    notes.extend(unbounded(document));
    notes
}

/// Which services nothing bounds once the file is enforced, as it is or with its profiles.
fn unbounded(document: &Document) -> Vec<String> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let profiles = document.profiles.iter().map(|profile| Some(&profile.name));
    for profile in std::iter::once(None).chain(profiles) {
        let Ok((policy, Some(Mode::Enforce))) = document.with_profile(profile) else { continue };
        if let Some(Combination { what, .. }) = combinations::unbounded(&policy) {
            found.entry(what).or_default().extend(profile.map(ToString::to_string));
        }
    }
    let say = |(what, profiles): (String, Vec<String>)| {
        let with = match profiles.is_empty() {
            true => String::new(),
            false => format!("with profile {}, ", profiles.join(" or ")),
        };
        format!("{with}{what}: set a `budget` that your servers can stand")
    };
    found.into_iter().map(say).collect()
}

impl From<&crate::policy::Service> for Service {
    fn from(service: &crate::policy::Service) -> Self {
        Self { name: service.name.to_string(), listeners: text::show_listeners(&service.listeners) }
    }
}

impl From<&crate::policy::Class> for Class {
    fn from(class: &crate::policy::Class) -> Self {
        let source_limit = match class.source.is_none() {
            true => "unlimited".to_owned(),
            false => text::show_limit(class.source),
        };
        Self { name: class.name.to_string(), prefixes: class.members.len(), source_limit }
    }
}

fn describe(good: &Good) -> String {
    let mut lines = vec![format!("{} is good", good.file)];
    lines.push(match good.mode {
        Some(mode) => format!("mode        {mode}"),
        None => "mode        not said: stays as it is, observe at first".to_owned(),
    });
    if !good.interfaces.is_empty() {
        lines.push(format!("interfaces  {}", good.interfaces.join(", ")));
    }
    for service in &good.services {
        lines.push(format!("service     {} on {}", service.name, service.listeners.join(" ")));
    }
    for class in &good.classes {
        let prefixes = numbers::plural(class.prefixes as u64, ["prefix", "prefixes"]);
        lines.push(format!("class       {}: {prefixes}, {}", class.name, class.source_limit));
    }
    for profile in &good.profiles {
        lines.push(format!("profile     {}", profile.name));
        lines.extend(profile.mode.map(|mode| format!("              mode {mode}")));
        lines.extend(profile.changes.iter().map(|change| format!("              {change}")));
    }
    lines.extend(good.fleet.iter().map(|name| format!("fleet       {name}")));
    lines.extend(good.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n") + "\n"
}

/// What the kernel side enforces now, as a policy file would say it.
pub fn enforced(pins: &Pins, maps: &Maps) -> Result<Document> {
    let selection = maps.selection()?;
    let attached = link::attached(pins)?;
    let is_generic = |one: &link::Attached| one.attachment == Some(Attachment::Generic);
    let mut policy = maps.policy(selection.slot)?;
    for class in &mut policy.classes {
        class.members.sort_unstable();
    }
    Ok(Document {
        generic: !attached.is_empty() && attached.iter().all(is_generic),
        interfaces: attached.into_iter().filter_map(|one| one.name).collect(),
        mode: Some(selection.mode),
        sources: Some(maps.sets() * WAYS as u32),
        set_syncookies: maps.cookies()?.may_set,
        policy,
        profiles: Vec::new(),
        fleet: None,
        auto: Vec::new(),
    })
}

fn show(context: &Context) -> Result<()> {
    context.pins.require()?;
    let file = enforced(&context.pins, &Maps::open(&context.pins.root())?)?.to_toml();
    let value: toml::Table = toml::from_str(&file).map_err(|error| {
        anyhow::anyhow!(
            "cannot make a policy file of what the maps hold ({}): if another program wrote into \
             them, `limiter apply` a good file; otherwise please report this",
            error.message()
        )
    })?;
    report::print(context.format, &value, |_| format!("# What limiter enforces now.\n{file}"))
}

impl Diff {
    fn run(&self, context: &Context) -> Result<()> {
        let document = Document::read(&self.file)?;
        let (policy, mode) = document.with_profile(self.profile.as_ref())?;
        context.pins.require()?;
        let now = enforced(&context.pins, &Maps::open(&context.pins.root())?)?;
        let mut changes = around(&now, &Document { mode, ..document });
        changes.extend(diff::changes(&now.policy, &policy));
        report::print(context.format, &Differs { changes }, |differs| {
            match differs.changes.is_empty() {
                true => "nothing would change\n".to_owned(),
                false => differs.changes.join("\n") + "\n",
            }
        })
    }
}

/// What differs beside the policy itself. What the file does not say stays as it is.
fn around(now: &Document, file: &Document) -> Vec<String> {
    let (generic, mode, sources) = (now.generic, file.mode.or(now.mode), now.sources);
    let wanted = Document { generic, mode, sources, ..file.clone() };
    let mut changes: Vec<String> =
        diff::document(now, &wanted).iter().map(ToString::to_string).collect();
    for name in file.interfaces.iter().filter(|name| !now.interfaces.contains(name)) {
        changes.push(format!("interface {name}: not attached"));
    }
    if !file.interfaces.is_empty() {
        for name in now.interfaces.iter().filter(|name| !file.interfaces.contains(name)) {
            changes.push(format!("interface {name}: attached, and not in the file"));
        }
    }
    if let (Some(is), Some(wanted)) = (now.sources, file.sources)
        && sets_for(is) != sets_for(wanted)
    {
        changes.push(format!("table: {is} -> {wanted} sources, the next time limiter is loaded"));
    }
    changes
}
