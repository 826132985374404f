//! `limiter set`: the whole policy is written again beside the one that decides, then switched to.

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use super::fit::{Fitted, fit};
use super::settings::{Typed, applied_around, apply_to_host, apply_to_service};
use super::{Context, Usage, settle};
use crate::kernel::Maps;
use crate::kernel::share::InForce;
use crate::kernel::slots::Origin;
use crate::policy::diff::{self, Change};
use crate::policy::file::Document;
use crate::policy::{Name, Policy, Service, fleet};
use crate::report;

/// Arguments of `set`.
#[derive(Args, Debug)]
pub struct Set {
    /// Change this service, rather than the defaults and the budget of the host.
    #[arg(long, value_name = "NAME")]
    service: Option<Name>,
    /// Set the limits that the service tries in the shadow, and try them no more.
    #[arg(long, requires = "service")]
    from_shadow: bool,
    #[command(flatten)]
    said: Typed<true>,
}

#[derive(Serialize)]
struct Done {
    scope: String,
    changed: Vec<Change>,
    /// The burst of a budget that was set without one, where the accept queue is short.
    fitted: Option<Fitted>,
    challenge_works: bool,
    /// The share that is in force instead of a budget that was set.
    share: Option<InForce>,
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
        let mut said = self.said.0.clone();
        let fitted = fit(&mut said, &old, self.service.as_ref());
        match &self.service {
            None => apply_to_host(&said, &mut new)?,
            Some(name) => {
                if self.from_shadow {
                    take_over_shadow(&mut new, name)?;
                }
                apply_to_service(&said, &mut new, name)?;
            }
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
        let share = self.share(&maps, &old, &new);
        let done = Done { scope, changed, fitted, challenge_works, share };
        report::done(context.format, &done, describe);
        Ok(())
    }

    fn check_usage(&self) -> Result<(), Usage> {
        if !self.said.0.is_empty() || self.from_shadow {
            return Ok(());
        }
        Err(Usage("nothing to set; say what, such as `limiter set --source-rate 20/s` or `limiter set --service web --budget 500/s`".to_owned()))
    }

    /// The share that is in force where the budget is another now.
    fn share(&self, maps: &Maps, old: &Policy, new: &Policy) -> Option<InForce> {
        let name = self.service.as_ref();
        let budget = |policy: &Policy| match name {
            Some(name) => policy.service(name).map(|service| service.budget),
            None => Some(policy.budget),
        };
        let key = name.map_or(fleet::HOST, Name::as_str);
        // What is set is set, also where shares cannot be read.
        let shares = maps.shares().unwrap_or_default();
        shares.into_iter().find(|share| share.budget == key && budget(old) != budget(new))
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

/// Sets the limits that a service tries; one that tries none has nothing to set.
fn take_over_shadow(policy: &mut Policy, name: &Name) -> Result<()> {
    match policy.service_mut(name).map(Service::take_over_shadow) {
        Some(false) => bail!(
            "service {name} tries no limits, so there are none to set; try some first: `limiter set --service {name} --shadow-source-rate 10/s`"
        ),
        // That there is no such service is said with what else is set.
        _ => Ok(()),
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
    if let Some(Fitted { burst, queue }) = done.fitted {
        text.push_str(&format!(
            "the burst is {burst}, because the server's accept queue holds {queue}; another one: \
             `--budget-burst`\n"
        ));
    }
    if let Some(share) = &done.share {
        text.push_str(&format!(
            "a share is in force instead: {share}. In a fleet what was set is what this node falls \
             back to, and `limiter fleet budget` changes the budget of all; an auto budget begins \
             there anew\n"
        ));
    }
    if !done.challenge_works {
        text.push_str(
            "but nobody is challenged: net.ipv4.tcp_syncookies is not 2; set it, or let limiter: `limiter set --set-syncookies yes`\n",
        );
    }
    text
}
