//! What is typed. One file per command; each turns its arguments into a call of `policy` and `kernel`.

mod apply;
mod arm;
mod attach;
mod detach;
mod docs;
mod doctor;
mod drain;
mod events;
pub mod failure;
mod fit;
mod fleet;
mod history;
mod list;
mod metrics;
mod note;
mod policy;
mod profile;
mod record;
mod report;
mod room;
mod run;
mod set;
mod settings;
mod settle;
mod status;
mod suggest;
mod top;
mod trace;
mod upgrade;
mod watch;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::history::History;
use crate::kernel::lock::Lock;
use crate::kernel::{Maps, Pins, open};
use crate::report::Format;

/// Limit new TCP connections per source and in total, in the network driver.
///
/// Attach it in calm, in observe mode: everything passes and is counted. In an incident, `limiter
/// arm` starts dropping attempts over the limits, and `limiter disarm` stops it. Limits never touch
/// established connections; only a ban does.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "limiter", version, max_term_width = 100)]
pub struct Command {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Directory in a BPF file system where limiter is pinned.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/sys/fs/bpf/limiter",
        env = "LIMITER_PINS"
    )]
    pins: PathBuf,
    /// File that records every change.
    #[arg(long, global = true, value_name = "FILE", default_value = crate::history::PATH, env = "LIMITER_HISTORY")]
    history: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Load limiter, if it is not loaded, and attach it to interfaces.
    Attach(attach::Attach),
    /// Detach limiter from interfaces. Detaching the last one, or --all, also unloads limiter.
    Detach(detach::Detach),
    /// Show the mode, limits, counters and current refusals per second.
    Status(status::Status),
    /// Show the sources that are refused most often, or that make the most attempts.
    Top(top::Top),
    /// Show how many of the attempts seen other source limits would have refused, and suggest one.
    Suggest(suggest::Suggest),
    /// Show a sample of single refusals, and every change of mode, policy and interfaces.
    Events(events::Events),
    /// Print metrics for Prometheus once, or write them as a textfile. `limiter run --listen` serves them.
    ///
    /// This works without limiter loaded, too: `limiter_loaded` is then 0. While limiter is loaded,
    /// counters only ever rise; Prometheus computes the rates.
    Metrics(metrics::Metrics),
    /// A live view of attempts, refusals, budgets and changes. It only reads: no key changes a limit.
    ///
    /// Keys: q quits; 1 to 4, + and - choose the time span; Tab and the arrows choose all services
    /// or one; p pauses the display; ? explains everything.
    ///
    /// It keeps running while limiter is loaded, unloaded or upgraded, and takes less than 2% of a
    /// core.
    Watch(watch::Watch),
    /// Start dropping attempts over the limits: switch to enforce mode.
    Arm(arm::Arm),
    /// Stop dropping: switch to observe mode.
    Disarm,
    /// Change limits while traffic flows.
    Set(set::Set),
    /// Check everything that limiter depends on, and say what is wrong and how to fix it. It
    /// changes nothing.
    Doctor(doctor::Doctor),
    /// Sources that always pass; they beat bans.
    #[command(subcommand)]
    Allow(list::ListAction),
    /// Sources that lose every packet to a service, in enforce mode.
    #[command(subcommand)]
    Ban(list::ListAction),
    /// Bring a policy file into force, in one switch.
    Apply(apply::Apply),
    /// Keep a change that the kernel would take back by itself: a policy on trial, or `arm --for`.
    Confirm,
    /// Go back at once: to the state before the trial, or to the previous policy.
    Rollback,
    /// The named variations of the policy file.
    #[command(subcommand)]
    Profile(profile::Profile),
    /// The daemon: keep the policy file in force and its interfaces attached, until SIGTERM. Limits
    /// stay in force after it ends.
    ///
    /// If limiter is not loaded, the daemon loads the file and attaches its interfaces; it attaches
    /// a missing one as soon as that appears. If limiter is already loaded, policy and mode stay as
    /// they are, whatever the file says, and the daemon attaches those interfaces of the file that
    /// are not attached yet.
    ///
    /// When an interface disappears and comes back, the daemon attaches it again at once. An
    /// interface that an operator detaches stays detached.
    ///
    /// On SIGHUP the daemon reads the file again and applies it with the profile in force. Nothing
    /// changes if the file is bad, if it says what is in force already, or while a policy is on
    /// trial. The mode changes only if `mode` in the file has changed; an armed limiter stays
    /// armed.
    ///
    /// Limits need no daemon: the kernel side makes every decision. If the daemon is killed,
    /// everything stays in force, and the next daemon takes over.
    Run(run::Run),
    /// Several front ends with one budget: each has a share of it that follows demand.
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    /// The waiting room: until SIGTERM, answer clients whose turn has not come with a page that
    /// reloads itself.
    ///
    /// PORT is the service's port. The kernel side diverts connections here that it would otherwise
    /// refuse; a client whose turn has come reaches the service itself. Every answer has status 503
    /// and `Retry-After`.
    ///
    /// The room reads its files once, at the start, as root, and then drops all privileges. Start
    /// it again after you renew a certificate.
    Room(room::Room),
    /// Replace the running program with the one in this command, without a gap, and keep all state.
    Upgrade,
    /// Show who changed what, and when.
    History(history::Arguments),
    /// Record everything that a post-mortem needs, second by second.
    Record(record::Record),
    /// Report what happened, from a record of `limiter record`: as text, or as a page with plots.
    Report(report::Report),
    /// Check a policy file, compare it with the policy in force, or print the latter as a file.
    #[command(subcommand)]
    Policy(policy::PolicyAction),
    /// Generate man pages and shell completions.
    #[command(subcommand)]
    Docs(docs::Docs),
    /// Put the kernel's settings back when an armed time is over. `arm --for` starts it.
    #[command(hide = true)]
    Settle,
    /// Show sampled decisions, for debugging, until Ctrl-C. Other commands keep working meanwhile.
    Trace(trace::Trace),
}

/// An error of usage that clap cannot see: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A failure of which everything is said already: exit code 1 and no more words.
#[derive(Debug)]
pub struct Said;

impl std::fmt::Display for Said {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("see above")
    }
}

impl std::error::Error for Said {}

/// What every command needs to know.
#[derive(Debug)]
struct Context {
    pins: Pins,
    format: Format,
    history: History,
    /// The words behind the name of the program.
    typed: Vec<String>,
}

impl Context {
    /// The lock of whoever changes something. What a killed command left of the kernel's settings is put right first.
    fn lock(&self) -> Result<Lock> {
        let lock = self.pins.lock_for_change()?;
        if self.pins.is_loaded().unwrap_or(false)
            && let Ok(mut maps) = Maps::open(&self.pins.root())
        {
            maps.settle_cookies()?;
            // What hinders it is said by the command that needs it.
            let _ = open::settled(&self.pins, &mut maps);
        }
        Ok(lock)
    }
}

/// Refuses the name of a service that does not exist.
fn known_service(maps: &Maps, name: &crate::policy::Name) -> Result<()> {
    let policy = maps.policy(maps.selection()?.slot)?;
    if policy.service(name).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = policy.services.iter().map(|service| service.name.as_str()).collect();
    Err(match names.len() {
        0 => anyhow::anyhow!("there is no service `{name}`: the policy in force has no services"),
        _ => anyhow::anyhow!("there is no service `{name}`; there are: {}", names.join(", ")),
    })
}

impl Command {
    /// Does what was typed.
    ///
    /// # Errors
    /// When it cannot be done: what failed, on what, and what to do next.
    pub fn run(self) -> Result<()> {
        let format = if self.json { Format::Json } else { Format::Human };
        let typed =
            std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        let context = Context {
            pins: Pins::at(self.pins),
            format,
            history: History::at(self.history),
            typed,
        };
        match self.action {
            Action::Attach(attach) => attach.run(&context),
            Action::Detach(detach) => detach.run(&context),
            Action::Status(status) => status.run(&context),
            Action::Top(top) => top.run(&context),
            Action::Suggest(suggest) => suggest.run(&context),
            Action::Events(events) => events.run(&context),
            Action::Metrics(metrics) => metrics.run(&context),
            Action::Watch(watch) => watch.run(&context),
            Action::Arm(arm) => arm.run(&context),
            Action::Disarm => arm::disarm(&context),
            Action::Set(set) => set.run(&context),
            Action::Doctor(doctor) => doctor.run(&context),
            Action::Allow(action) => action.run(&context, limiter_common::record::List::Allow),
            Action::Ban(action) => action.run(&context, limiter_common::record::List::Ban),
            Action::Apply(apply) => apply.run(&context),
            Action::Confirm => apply::confirm(&context),
            Action::Rollback => apply::rollback(&context),
            Action::Profile(profile) => profile.run(&context),
            Action::Run(run) => run.run(&context),
            Action::Fleet(fleet) => fleet.run(&context),
            Action::Room(room) => room.run(&context),
            Action::Upgrade => upgrade::run(&context),
            Action::History(arguments) => arguments.run(&context),
            Action::Record(record) => record.run(&context),
            Action::Report(report) => report.run(&context),
            Action::Policy(action) => action.run(&context),
            Action::Docs(docs) => docs.run(&context),
            Action::Settle => settle::run(&context),
            Action::Trace(trace) => trace.run(&context),
        }
    }
}
