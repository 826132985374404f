//! `limiter settle`: waits until full accept queues are drained, the kernel side has gone back by
//! itself and proofs from before limits have had their time; then puts back what was set for the
//! challenge, lets attempts alone pay, and counts open connections as the policy needs it then.
//!
//! BPF cannot write a sysctl. If this process is ended too, the setting stays until the next
//! command that changes limits, and `status` says so.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use limiter_common::switch::Mode;

use super::{Context, drain};
use crate::hindrance::{self, Hindrance};
use crate::kernel::lock::Lock;
use crate::kernel::{Maps, Pins, clock, open};
use crate::output;

/// Brings the kernel's settings in line with what decides now; if that goes back by itself later, something must be there to follow.
pub fn now_and_later(pins: &Pins, maps: &mut Maps) -> Result<()> {
    maps.settle_cookies()?;
    if let Some(failure) = open::settled(pins, maps) {
        output::note(format_args!("{failure}"));
    }
    warn_hindered(pins, maps);
    // Limits are in force all the same.
    let drains = drain::begin(maps).unwrap_or_default();
    for drain in &drains {
        output::note(format_args!("{drain}"));
    }
    let reverts = maps.switch()?.revert().is_some_and(|revert| revert > clock::now());
    let counts = || -> Result<bool> {
        let (switch, now) = (maps.switch()?, clock::now());
        let policies = [switch.at(now), switch.fallback()].map(|one| maps.policy(one.slot));
        let [decides, back] = policies;
        Ok(decides?.counts_open() || back?.counts_open())
    };
    let follows = reverts && (maps.cookies()?.syncookies_before.is_some() || counts()?);
    let both_pay = maps.both_pay_for()?.is_some();
    if (follows || both_pay || !drains.is_empty()) && !pins.has_settler() {
        spawn(pins)?;
    }
    Ok(())
}

/// Says what will keep a challenge from working that is on from now on.
fn warn_hindered(pins: &Pins, maps: &Maps) {
    let look = || -> Result<Vec<Hindrance>> {
        let selection = maps.selection()?;
        let policy = maps.policy(selection.slot)?;
        let on = selection.mode == Mode::Enforce && maps.switch()?.asks();
        if on && policy.may_challenge() {
            hindrance::in_calm(pins, maps, &policy)
        } else {
            Ok(Vec::new())
        }
    };
    for Hindrance { what, advice, .. } in look().unwrap_or_default() {
        output::note(format_args!("limiter: warning: a challenge will not work: {what}; {advice}"));
    }
}

/// Starts it in the background, in a session of its own, so that a closed terminal does not end it.
fn spawn(pins: &Pins) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.arg("--pins").arg(pins.base()).arg("settle");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: setsid is a single system call, safe between fork and exec.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
    command
        .spawn()
        .context("cannot start `limiter settle`, which puts net.ipv4.tcp_syncookies back")?;
    Ok(())
}

/// Waits, and settles. Commands see its mark under their lock, and start no second one; so it looks
/// under that lock whether there is something new to wait for before it takes the mark away.
pub fn run(context: &Context) -> Result<()> {
    let mark = context.pins.mark_settler()?;
    let mut since = None;
    loop {
        loop {
            let drains = is_draining(context, &mut since)?;
            let left = waiting_for(context)?.filter(|left| !left.is_zero());
            let Some(pause) = drains.then_some(drain::LOOK).or(left) else { break };
            std::thread::sleep(pause.clamp(Duration::from_millis(10), Duration::from_secs(1)));
        }
        let Some(_lock) = settle(context)? else { return Ok(()) };
        if waiting_for(context)?.is_none() {
            drop(mark);
            return Ok(());
        }
    }
}

/// Takes the lock, which settles; `None` where limiter was unloaded, by a command or with its file
/// system: that settled for it. Whoever holds the lock may take long.
fn settle(context: &Context) -> Result<Option<Lock>> {
    let patience = Instant::now() + Duration::from_secs(3600);
    while context.pins.is_loaded()? {
        match context.lock() {
            Ok(lock) => return Ok(Some(lock)),
            Err(error) if Instant::now() > patience => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
    }
    Ok(None)
}

/// Whether an accept queue is being drained, `since` when. After [`drain::LONGEST`] it is not, and
/// for as long none is.
fn is_draining(context: &Context, since: &mut Option<Instant>) -> Result<bool> {
    if !context.pins.is_loaded()? {
        return Ok(false);
    }
    let drains = match *since {
        Some(time) if time.elapsed() > drain::LONGEST => {
            since.take_if(|time| time.elapsed() > 2 * drain::LONGEST);
            return Ok(false);
        }
        _ => drain::keep(&Maps::open(&context.pins.root())?)?,
    };
    *since = if drains { since.or_else(|| Some(Instant::now())) } else { None };
    Ok(drains)
}

/// In what time there is something to settle: the switch goes back, or proofs pay no longer.
fn waiting_for(context: &Context) -> Result<Option<Duration>> {
    if !context.pins.is_loaded()? {
        return Ok(None);
    }
    let maps = Maps::open(&context.pins.root())?;
    let now = clock::now();
    let revert = maps.switch()?.revert().filter(|revert| *revert > now);
    let revert = revert.map(|revert| Duration::from_nanos(revert - now));
    Ok(revert.into_iter().chain(maps.both_pay_for()?).min())
}
