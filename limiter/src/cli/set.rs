//! `limiter set`: the whole policy is written again beside the one that decides, then switched to.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use limiter_common::switch::{Mode, Switch};
use serde::Serialize;

use super::fit::{BUDGET, Fitted, fit};
use super::settings::{Typed, applied_around, apply_to_host, apply_to_service};
use super::{Context, Usage, apply, settle};
use crate::combinations::{self, LEAST};
use crate::history::SWITCH;
use crate::kernel::share::InForce;
use crate::kernel::slots::Origin;
use crate::kernel::{Maps, clock, listener};
use crate::policy::diff::{self, Change};
use crate::policy::file::Document;
use crate::policy::{Name, Policy, Service, fleet, text};
use crate::report::{self, numbers};

/// Arguments of `set`.
#[derive(Args, Debug)]
pub struct Set {
    /// Change this service, rather than the defaults and the budget of the host.
    #[arg(long, value_name = "NAME")]
    service: Option<Name>,
    /// Put the limits that the service tries in the shadow into force, and stop trying them.
    #[arg(long, requires = "service")]
    from_shadow: bool,
    /// Go back to the previous policy, unless `limiter confirm` follows within this time. The
    /// kernel does so by itself; no process has to keep running.
    #[arg(long, value_name = "TIME", value_parser = text::duration)]
    confirm: Option<Duration>,
    #[command(flatten)]
    said: Typed<true>,
}

/// What goes back by itself after a change.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Back {
    /// The change alone: it is on trial.
    Alone,
    /// The profile that was in force, and the change with it.
    Profile(Name),
    /// The policy that was on trial, and the change with it.
    Trial,
}

impl Back {
    fn describe(&self, time: &str) -> String {
        let with = match self {
            Self::Alone => {
                return format!(
                    "goes back by itself in {time}; `limiter confirm` keeps it, `limiter rollback` \
                     goes back now\n"
                );
            }
            Self::Profile(name) => format!("profile {name}"),
            Self::Trial => "the policy that is on trial".to_owned(),
        };
        format!(
            "goes back with {with} in {time}; `limiter confirm` keeps both, `limiter rollback` takes \
             both back now\n"
        )
    }
}

#[derive(Serialize)]
struct Done {
    scope: String,
    changed: Vec<Change>,
    /// The burst of a budget that was set without one, where the accept queue is short.
    fitted: Option<Fitted>,
    /// That a budget which was set lets in more at once than an accept queue holds, and what to do.
    burst_does_not_fit: Option<String>,
    /// Whether nothing is refused yet.
    observes: bool,
    /// Whether limiter was let set net.ipv4.tcp_syncookies, which it does once a challenge is
    /// enforced.
    lets_set_syncookies: bool,
    challenge_works: bool,
    /// What cannot work, and what to do.
    but: Option<String>,
    /// Until the kernel takes it back, or ends an armed time.
    goes_back_in_seconds: Option<f64>,
    /// With what.
    with: Option<Back>,
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
        let (switch, now) = (maps.switch()?, clock::now());
        let slot = switch.at(now).slot;
        let (old, mut origin) = (maps.policy(slot)?, maps.origin(slot)?);
        let back = self.back(switch, now, &origin)?;
        if switch.trial(now).is_none() {
            origin.ends = 0;
        }
        let mut note = context.note(Some(&maps));
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
        // What changes nothing leaves the policy before in place, for `limiter rollback`.
        let changes = new != old || self.confirm.is_some();
        let mut switch = match changes {
            true => maps.stage_policy(&new, &origin)?,
            false => switch,
        };
        if maps.selection()?.slot != slot {
            bail!(
                "the policy has gone back by itself meanwhile, so nothing was changed; look at \
                 `limiter status`, and try again"
            );
        }
        if let Some(time) = self.confirm {
            switch = maps.on_trial(switch, clock::after(time))?;
            note = note.decides(SWITCH).until(switch.revert());
        }
        if around != before {
            maps.let_set_syncookies(around.set_syncookies)?;
        }
        if changes {
            maps.set_switch(switch)?;
            Maps::settle();
        }
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
        let unanswered = combinations::challenge(&new, &maps.cookies()?);
        let share = self.share(&maps, &old, &new);
        let done = Done {
            scope,
            changed,
            fitted,
            burst_does_not_fit: self.short(&new),
            observes: switch.at(now).mode == Mode::Observe,
            lets_set_syncookies: around.set_syncookies && !before.set_syncookies,
            challenge_works: unanswered.is_none(),
            but: unanswered.map(|one| one.to_string()),
            share,
            goes_back_in_seconds: apply::left(switch),
            with: back,
        };
        report::done(context.format, &done, describe);
        Ok(())
    }

    /// That the budget which was set lets in more at once than an accept queue holds.
    fn short(&self, new: &Policy) -> Option<String> {
        self.said.0.get(BUDGET)?;
        let mut services = new
            .services
            .iter()
            .filter(|service| self.service.as_ref().is_none_or(|name| service.name == *name));
        let listeners = listener::all().ok()?;
        let short =
            services.find_map(|service| combinations::short(new, service, &listeners).next());
        short.map(|short| short.to_string())
    }

    /// What goes back by itself once this is set, if the switch says so.
    fn back(&self, switch: Switch, now: u64, origin: &Origin) -> Result<Option<Back>> {
        if self.confirm.is_some() && switch.revert().is_some_and(|revert| revert > now) {
            bail!(
                "the mode or policy in force goes back by itself, and there is only one way back \
                 at a time: leave out --confirm, and the change goes back with it; or run `limiter \
                 confirm` or `limiter rollback` first"
            );
        }
        let with = || origin.profile.clone().map_or(Back::Trial, Back::Profile);
        Ok(match self.confirm {
            Some(_) => Some(Back::Alone),
            None => switch.trial(now).map(|_| with()),
        })
    }

    fn check_usage(&self) -> Result<(), Usage> {
        if !self.said.0.is_empty() || self.from_shadow {
            return Ok(());
        }
        Err(Usage(
            "nothing to set; name a setting, as in `limiter set --source-rate 20/s` or `limiter \
             set --service web --budget 500/s`"
                .to_owned(),
        ))
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
            "service {name} tries no limits in the shadow, so there are none to set; try some \
             first: `limiter set --service {name} --shadow-source-rate 10/s`"
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
        let why = match burst > queue {
            true => format!("{LEAST} is the least that limiter chooses"),
            false => format!("it holds {queue}"),
        };
        text.push_str(&format!(
            "the burst is {burst}, because the server's accept queue is short: {why}; \
             `--budget-burst` sets another one\n"
        ));
    }
    if done.observes && !done.changed.is_empty() {
        let and = match done.lets_set_syncookies {
            true => ", and net.ipv4.tcp_syncookies is as it was",
            false => "",
        };
        text.push_str(&format!(
            "mode observe: nothing is dropped{and}; `limiter arm` starts dropping\n"
        ));
    }
    text.extend(done.burst_does_not_fit.iter().map(|but| format!("but {but}\n")));
    if let Some(share) = &done.share {
        text.push_str(&format!(
            "a share is in force instead: {share}. It is renewed while a server that was behind \
             catches up; by a fleet, whose budget for all nodes `limiter fleet budget` changes; or \
             by an auto budget, which starts again from the new budget\n"
        ));
    }
    if let (Some(time), Some(with)) = (done.goes_back_in_seconds, &done.with) {
        text.push_str(&with.describe(&numbers::seconds(time)));
    }
    text.extend(done.but.iter().map(|but| format!("but {but}\n")));
    text
}
