//! `limiter arm` and `limiter disarm`: one store to the switch.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use limiter_common::switch::{Mode, Selection};
use serde::Serialize;

use super::{Context, settle};
use crate::history::SWITCH;
use crate::kernel::{Maps, clock};
use crate::policy::text;
use crate::report::{self, human};

/// Arguments of `arm`.
#[derive(Args, Debug)]
pub struct Arm {
    /// Go back to observe mode after this time. The kernel side does it, even if nobody is left to.
    #[arg(long = "for", value_name = "TIME", value_parser = text::duration)]
    time: Option<Duration>,
}

#[derive(Serialize)]
struct Done {
    mode: &'static str,
    before: &'static str,
    reverts_in_seconds: Option<f64>,
    has_limits: bool,
    challenge_works: bool,
}

impl Arm {
    /// Switches to enforce.
    pub fn run(&self, context: &Context) -> Result<()> {
        change(context, Mode::Enforce, self.time)
    }
}

/// Switches to observe.
pub fn disarm(context: &Context) -> Result<()> {
    change(context, Mode::Observe, None)
}

fn change(context: &Context, mode: Mode, time: Option<Duration>) -> Result<()> {
    context.pins.require()?;
    let _lock = context.pins.lock_for_change()?;
    let mut maps = Maps::open(&context.pins.root())?;
    let switch = maps.switch()?;
    let before = switch.at(clock::now());
    let note = context.note(Some(&maps)).decides(SWITCH);
    let plain = switch.select(Selection { mode, ..before });
    let armed = match time {
        Some(time) => plain.until(clock::after(time), Selection { mode: Mode::Observe, ..before }),
        None => plain,
    };
    maps.set_switch(armed)?;
    let pending = switch.revert().is_some_and(|revert| revert > clock::now());
    note.until(armed.revert()).record(Some(&maps), changes(before.mode, mode, time, pending));
    settle::now_and_later(&context.pins, &mut maps)?;
    let policy = maps.policy(before.slot)?;
    let done = Done {
        mode: report::mode(mode),
        before: report::mode(before.mode),
        reverts_in_seconds: time.map(|time| time.as_secs_f64()),
        has_limits: policy.has_limits(),
        challenge_works: !policy.may_challenge() || maps.cookies()?.works(),
    };
    report::print(context.format, &done, describe)
}

/// What the history says. `pending`: it would have gone back by itself.
fn changes(before: Mode, mode: Mode, time: Option<Duration>, pending: bool) -> Vec<String> {
    let (before, mode) = (report::mode(before), report::mode(mode));
    let line = match time {
        _ if before != mode => format!("mode {before} -> {mode}"),
        Some(time) => format!("mode {mode} for {}", human::seconds(time.as_secs_f64())),
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
    if let Some(time) = done.reverts_in_seconds {
        text.push_str(&format!("goes back to observe by itself in {}\n", human::seconds(time)));
    }
    if done.mode == done.before {
        text.push_str(&format!("(it was in {} already)\n", done.before));
    }
    if done.mode == "enforce" && !done.challenge_works {
        text.push_str(
            "but nobody is challenged: net.ipv4.tcp_syncookies is not 2; set it, or let limiter: `limiter set --set-syncookies yes`\n",
        );
    }
    if done.mode == "enforce" && !done.has_limits {
        text.push_str(
            "but no limit is set, so only bans are enforced: `limiter set --source-rate 20/s --budget 1000/s`\n",
        );
    }
    text
}
