//! `limiter settle`: waits until servers that were behind got through what waited, the kernel side has gone back by
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

use super::Context;
use super::drain::{self, Keeper};
use crate::hindrance::{self, Hindrance};
use crate::kernel::lock::Lock;
use crate::kernel::{Maps, Pins, clock, open};
use crate::output;

/// How often it may fail to see what there is to wait for, a second apart.
const FAILS: u32 = 600;

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
    follow(pins, maps, !drains.is_empty())
}

/// Starts what follows, if something is to be settled later.
pub fn follow(pins: &Pins, maps: &Maps, drains: bool) -> Result<()> {
    let reverts = maps.switch()?.revert().is_some_and(|revert| revert > clock::now());
    let counts = || -> Result<bool> {
        let (switch, now) = (maps.switch()?, clock::now());
        let policies = [switch.at(now), switch.fallback()].map(|one| maps.policy(one.slot));
        let [decides, back] = policies;
        Ok(decides?.counts_open() || back?.counts_open())
    };
    let follows = reverts && (maps.cookies()?.syncookies_before.is_some() || counts()?);
    if (follows || drains || maps.both_pay_for()?.is_some()) && !pins.has_settler() {
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
    let mut keeper = Keeper::default();
    loop {
        wait(context, &mut keeper)?;
        let Some(_lock) = settle(context)? else { return Ok(()) };
        if !is_draining(context, &mut keeper) && waiting_for(context)?.is_none() {
            drop(mark);
            return Ok(());
        }
    }
}

/// Until something is to be settled. What cannot be read for a moment ends nothing: there is nothing
/// else that would put the setting back.
fn wait(context: &Context, keeper: &mut Keeper) -> Result<()> {
    let (mut revert, mut failed) = (None, 0);
    loop {
        let looked = Instant::now();
        let drains = is_draining(context, keeper);
        // Of very many connections the kernel tells for long: a tenth of a CPU at most.
        let look = drain::LOOK.max(10 * looked.elapsed());
        let waits = match waiting_for(context) {
            Ok(waits) => waits,
            Err(error) if failed >= FAILS => return Err(error),
            Err(_) => {
                failed += 1;
                std::thread::sleep(Duration::from_secs(1));
                continue;
            }
        };
        // Also while a drain or proofs go on.
        let went_back = revert.is_some_and(|revert| revert <= clock::now());
        let left = waits.map(|waits| waits.left).filter(|left| !left.is_zero());
        let Some(pause) = drains.then_some(look).or(left).filter(|_| !went_back) else {
            return Ok(());
        };
        revert = waits.and_then(|waits| waits.revert);
        std::thread::sleep(pause.clamp(Duration::from_millis(10), Duration::from_secs(1)));
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

/// Whether a server that was behind is given less still.
fn is_draining(context: &Context, keeper: &mut Keeper) -> bool {
    keeper.keep(|| {
        let is_loaded = context.pins.is_loaded().unwrap_or(false);
        is_loaded.then(|| Maps::open(&context.pins.root()).ok())?
    })
}

/// What there is to wait for.
#[derive(Clone, Copy)]
struct Waits {
    /// When the switch goes back.
    revert: Option<u64>,
    /// In what time that is, or proofs pay no longer.
    left: Duration,
}

/// In what time there is something to settle: the switch goes back, or proofs pay no longer.
fn waiting_for(context: &Context) -> Result<Option<Waits>> {
    if !context.pins.is_loaded()? {
        return Ok(None);
    }
    let maps = Maps::open(&context.pins.root())?;
    let now = clock::now();
    let revert = maps.switch()?.revert().filter(|revert| *revert > now);
    let in_time = revert.map(|revert| Duration::from_nanos(revert - now));
    let left = in_time.into_iter().chain(maps.both_pay_for()?).min();
    Ok(left.map(|left| Waits { revert, left }))
}
