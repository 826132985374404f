//! `limiter arm` and `limiter disarm`: one store to the switch.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use limiter_common::challenge::Challenge;
use limiter_common::switch::{Mode, Selection};
use serde::Serialize;

use super::{Context, Usage, apply, settle};
use crate::assess::{self, Assessment, Facts, assess};
use crate::combinations::{self, names};
use crate::history::{ENTRIES, SWITCH};
use crate::kernel::{Maps, clock};
use crate::policy::{Policy, text};
use crate::report::{self, numbers};

/// Arguments of `arm`.
#[derive(Args, Debug)]
pub struct Arm {
    /// Go back to observe mode after this time. The kernel does so by itself; no process has to
    /// keep running.
    #[arg(long = "for", value_name = "TIME", value_parser = text::duration)]
    time: Option<Duration>,
    /// Go back to observe mode, unless `limiter confirm` follows within this time.
    #[arg(long, value_name = "TIME", value_parser = text::duration)]
    confirm: Option<Duration>,
}

#[derive(Serialize)]
struct Done {
    mode: &'static str,
    before: &'static str,
    reverts_in_seconds: Option<f64>,
    /// Whether it was armed on trial.
    on_trial: bool,
    /// When the policy is on trial: until it goes back, with its mode.
    policy_goes_back_in_seconds: Option<f64>,
    has_limits: bool,
    /// Services for which sources wait in line.
    in_line: Vec<String>,
    /// Services that let in any number of sources.
    unbounded: Vec<String>,
    challenge_works: bool,
    /// Services at which sources may be challenged.
    challenged: Vec<String>,
    /// `net.ipv4.tcp_syncookies` before limiter set it to 2.
    syncookies_before: Option<u32>,
    /// What could not be done, or cannot work, and what to do.
    but: Vec<String>,
    /// What is likely wrong since, and what comes next; not asked where nothing is dropped.
    assessment: Option<Assessment>,
}

impl Arm {
    /// Switches to enforce.
    pub fn run(&self, context: &Context) -> Result<()> {
        if self.time.is_some() && self.confirm.is_some() {
            return Err(Usage(
                "--for and --confirm cannot be combined: `limiter arm --confirm 2m` to try it, \
                 then `limiter arm --for 30m` to keep it for that time"
                    .to_owned(),
            )
            .into());
        }
        let on_trial = self.confirm.is_some();
        change(context, Mode::Enforce, self.time.or(self.confirm), on_trial)
    }
}

/// Switches to observe.
pub fn disarm(context: &Context) -> Result<()> {
    change(context, Mode::Observe, None, false)
}

/// `on_trial`: that time is one to confirm.
fn change(context: &Context, mode: Mode, time: Option<Duration>, on_trial: bool) -> Result<()> {
    context.pins.require()?;
    let lock = context.lock()?;
    let mut maps = Maps::open(&context.pins.root())?;
    let switch = maps.switch()?;
    let now = clock::now();
    let before = switch.at(now);
    let trial = switch.trial(now);
    if trial.is_some() && time.is_some() {
        bail!(
            "a policy is on trial, and there is only one way back at a time: run `limiter confirm` \
             or `limiter rollback` first"
        );
    }
    let policy = maps.policy(before.slot)?;
    apply::warn_operator(Some(&maps), &policy, mode)?;
    let note = context.note(Some(&maps)).decides(SWITCH);
    let armed = match (trial, time) {
        // The way back stays. Who stops dropping means it for the policy before too.
        (Some(revert), _) => match mode {
            Mode::Enforce => switch.with_mode(mode),
            Mode::Observe => {
                switch.with_mode(mode).until(revert, Selection { mode, ..switch.fallback() })
            }
        },
        (None, Some(time)) => {
            let fallback = Selection { mode: Mode::Observe, ..before };
            switch.select(Selection { mode, ..before }).until(clock::after(time), fallback)
        }
        (None, None) => switch.select(Selection { mode, ..before }),
    };
    maps.set_switch(armed)?;
    let pending = trial.is_none() && switch.revert().is_some_and(|revert| revert > now);
    note.until(armed.revert()).record(Some(&maps), changes(before.mode, mode, time, pending));
    // It is armed: what fails from here on is said with what was done.
    let settled = settle::now_and_later(&context.pins, &mut maps);
    drop(lock);
    let cookies = maps.cookies()?;
    let mut done = Done {
        mode: report::mode(mode),
        before: report::mode(before.mode),
        reverts_in_seconds: time.map(|time| time.as_secs_f64()),
        on_trial,
        policy_goes_back_in_seconds: trial.map(|revert| (revert - now) as f64 / 1e9),
        has_limits: policy.has_limits(),
        in_line: names(&policy, |service| policy.has_line(service)),
        unbounded: names(&policy, |service| !policy.is_bounded(service)),
        challenge_works: !policy.may_challenge() || cookies.works(),
        challenged: names(&policy, |service| service.admission.challenge != Challenge::Off),
        syncookies_before: cookies.syncookies_before,
        but: settled.err().map(|error| format!("{error:#}")).into_iter().collect(),
        assessment: (mode == Mode::Enforce).then(|| assessment(context, &maps)).flatten(),
    };
    if mode == Mode::Enforce {
        done.but.extend(but(&maps, &policy));
    }
    report::done(context.format, &done, describe);
    Ok(())
}

/// What half a second shows of what it does. What cannot be read stops no arming.
fn assessment(context: &Context, maps: &Maps) -> Option<Assessment> {
    let snapshot = report::take(&context.pins, maps, Duration::from_millis(500)).ok()?;
    let entries = context.history.read(ENTRIES).map(|read| read.entries).unwrap_or_default();
    Some(assess(&Facts::of(&snapshot, &entries)))
}

/// What of the policy cannot work now that it is enforced.
fn but(maps: &Maps, policy: &Policy) -> Vec<String> {
    let found = combinations::found(maps, policy, Mode::Enforce);
    let mut but: Vec<_> = found.iter().map(ToString::to_string).collect();
    if !policy.has_limits() {
        but.push(
            "no limit is set, so only bans are enforced: set limits, such as `limiter set \
             --source-rate 20/s --budget 1000/s`"
                .to_owned(),
        );
    }
    but
}

/// What the history says. `pending`: it would have gone back by itself.
fn changes(before: Mode, mode: Mode, time: Option<Duration>, pending: bool) -> Vec<String> {
    let (before, mode) = (report::mode(before), report::mode(mode));
    let line = match time {
        _ if before != mode => format!("mode {before} -> {mode}"),
        Some(time) => format!("mode {mode} for {}", numbers::seconds(time.as_secs_f64())),
        None if pending => format!("mode {mode} stays"),
        None => return Vec::new(),
    };
    vec![line]
}

fn describe(done: &Done) -> String {
    let mut text = match done.mode {
        "enforce" => "mode enforce: attempts over the limits are now dropped\n".to_owned(),
        _ => "mode observe: nothing is dropped any more\n".to_owned(),
    };
    if done.mode == "enforce" {
        if done.challenge_works && !done.challenged.is_empty() {
            let set = done.syncookies_before.map_or_else(String::new, |before| {
                format!(" (limiter set net.ipv4.tcp_syncookies from {before} to 2)")
            });
            text.push_str(&format!(
                "forged addresses get nothing: sources are challenged when a budget is short, at {}{set}\n",
                done.challenged.join(", ")
            ));
        }
        if !done.in_line.is_empty() {
            text.push_str(&format!(
                "more people than there is room for come in by turns, at {}\n",
                done.in_line.join(", ")
            ));
        }
    }
    if done.mode == done.before {
        text.push_str(&format!("(it was in {} already)\n", done.before));
    }
    if let Some(time) = done.reverts_in_seconds {
        let keeps = if done.on_trial { "; `limiter confirm` keeps it" } else { "" };
        let time = numbers::seconds(time);
        text.push_str(&format!("goes back to observe by itself in {time}{keeps}\n"));
    }
    if let Some(time) = done.policy_goes_back_in_seconds {
        let time = numbers::seconds(time);
        text.push_str(&format!(
            "the policy is on trial: it goes back by itself in {time}, unless `limiter confirm` keeps it\n"
        ));
    }
    text.extend(done.but.iter().map(|but| format!("but {but}\n")));
    if let Some(assessment) = &done.assessment {
        text.push_str(&assess::text(assessment));
    }
    text
}
