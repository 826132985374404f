//! `limiter set`: the whole policy is written again beside the one that decides, then switched to.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::settings::{Typed, applied_around, apply_to_host, apply_to_service};
use super::{Context, Usage, settle};
use crate::kernel::Maps;
use crate::kernel::slots::Origin;
use crate::policy::diff::{self, Change};
use crate::policy::file::Document;
use crate::policy::{Name, Policy};
use crate::report;

/// Arguments of `set`.
#[derive(Args, Debug)]
pub struct Set {
    /// Change this service, rather than the defaults and the budget of the host.
    #[arg(long, value_name = "NAME")]
    service: Option<Name>,
    #[command(flatten)]
    said: Typed<true>,
}

#[derive(Serialize)]
struct Done {
    scope: String,
    changed: Vec<Change>,
    challenge_works: bool,
}

impl Set {
    /// Changes what was named, in one switch.
    pub fn run(&self, context: &Context) -> Result<()> {
        self.check_usage()?;
        context.pins.require()?;
        let _lock = context.lock()?;
        let mut maps = Maps::open(&context.pins.root())?;
        let slot = maps.selection()?.slot;
        let (old, origin) = (maps.policy(slot)?, Origin { ends: 0, ..maps.origin(slot)? });
        let note = context.note(Some(&maps));
        let mut new = old.clone();
        match &self.service {
            None => apply_to_host(&self.said.0, &mut new)?,
            Some(name) => apply_to_service(&self.said.0, &mut new, name)?,
        }
        let before = Document { set_syncookies: maps.cookies()?.may_set, ..Document::default() };
        let around = applied_around(&self.said.0, &before);
        let switch = maps.stage_policy(&new, &origin)?;
        if around != before {
            maps.let_set_syncookies(around.set_syncookies)?;
        }
        maps.set_switch(switch)?;
        Maps::settle();
        let scope = self
            .service
            .as_ref()
            .map_or_else(|| "host".to_owned(), |name| format!("service {name}"));
        let mut changed = self.changes(&old, &new);
        changed.extend(diff::document(&before, &around));
        note.record(
            Some(&maps),
            changed.iter().map(|change| format!("{scope} {change}")).collect(),
        );
        settle::now_and_later(&context.pins, &mut maps)?;
        let answers = maps.cookies().is_ok_and(|cookies| cookies.works() || cookies.may_set);
        let challenge_works = !new.may_challenge() || answers;
        let done = Done { scope, changed, challenge_works };
        report::done(context.format, &done, describe);
        Ok(())
    }

    fn check_usage(&self) -> Result<(), Usage> {
        if !self.said.0.is_empty() {
            return Ok(());
        }
        Err(Usage("nothing to set; say what, such as `limiter set --source-rate 20/s` or `limiter set --service web --budget 500/s`".to_owned()))
    }

    /// What came out differently of what this command can change.
    fn changes(&self, old: &Policy, new: &Policy) -> Vec<Change> {
        let Some(name) = &self.service else { return diff::host(old, new) };
        match (old.service(name), new.service(name)) {
            (Some(was), Some(is)) => diff::service_in_effect(old, was, new, is),
            _ => Vec::new(),
        }
    }
}

fn describe(done: &Done) -> String {
    let mut text = match done.changed.is_empty() {
        true => format!("{}: that is how it was already\n", done.scope),
        false => String::new(),
    };
    for change in &done.changed {
        text.push_str(&format!("{} {change}\n", done.scope));
    }
    if !done.challenge_works {
        text.push_str(
            "but nobody is challenged: net.ipv4.tcp_syncookies is not 2; set it, or let limiter: `limiter set --set-syncookies yes`\n",
        );
    }
    text
}
