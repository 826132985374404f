//! Bringing a policy file into force: load or attach what is missing, write a free slot whole, switch by one word.
//!
//! Whatever fails, fails before the switch: the policy that decides stays.

use std::time::Duration;

use anyhow::{Result, bail};
use limiter_common::record::DEFAULT_SETS;
use limiter_common::source_table::WAYS;
use limiter_common::switch::{Mode, Selection, Switch};

use crate::kernel::link::{self, Attached};
use crate::kernel::slots::Origin;
use crate::kernel::{Maps, Pins, clock, cookies, object, open};
use crate::policy::file::Document;
use crate::policy::{Name, Policy, diff};

/// What is wanted. The caller holds the lock.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The file.
    pub document: &'a Document,
    /// Which of its profiles.
    pub profile: Option<&'a Name>,
    /// Go back to the policy before, unless it is confirmed within this time.
    pub confirm: Option<Duration>,
    /// Go back to the policy before after this time.
    pub time: Option<Duration>,
}

/// What was done.
#[derive(Debug)]
pub struct Applied {
    /// Whether limiter was loaded for it.
    pub loaded: bool,
    /// Interfaces that were attached for it.
    pub attached: Vec<Attached>,
    /// What is different now, a line each.
    pub changes: Vec<String>,
    /// Mode before and now.
    pub modes: (Mode, Mode),
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Applies a policy file.
///
/// # Errors
/// When the policy cannot be kept, an interface cannot be attached, or the kernel refuses. The policy that decided before still does.
pub fn apply(pins: &Pins, request: &Request<'_>) -> Result<Applied> {
    let (policy, mode) = request.document.with_profile(request.profile)?;
    if pins.is_loaded()? {
        change(pins, request, &policy, mode)
    } else {
        load(pins, request, &policy, mode)
    }
}

/// The first policy: there is none to go back to, so a trial goes back to observe mode.
fn load(
    pins: &Pins,
    request: &Request<'_>,
    policy: &Policy,
    mode: Option<Mode>,
) -> Result<Applied> {
    let document = request.document;
    let sources = document.sources.unwrap_or(DEFAULT_SETS * WAYS as u32);
    let mode = mode.unwrap_or(Mode::Observe);
    object::load(pins, sources, policy, &origin(request), Mode::Observe, document.set_syncookies)?;
    let attached =
        link::attach(pins, &document.interfaces, document.generic).and_then(|attached| {
            let mut maps = Maps::open(&pins.root())?;
            let observing = maps.switch()?;
            let switch = observing.with_mode(mode);
            maps.set_switch(match request.confirm.or(request.time) {
                Some(time) => switch.until(clock::after(time), observing.fallback()),
                None => observing.select(Selection { mode, ..observing.fallback() }),
            })?;
            maps.settle_cookies()?;
            Ok((attached, open::settled(pins, &mut maps)))
        });
    if attached.is_err() {
        // What was loaded here goes with the failure: state is whole or absent.
        cookies::put_back(pins)?;
        pins.remove()?;
    }
    let (attached, failure) = attached?;
    let changes = diff::changes(&Policy::default(), policy);
    let notes = idle(pins)?.into_iter().chain(failure).collect();
    Ok(Applied { loaded: true, attached, changes, modes: (Mode::Observe, mode), notes })
}

fn change(
    pins: &Pins,
    request: &Request<'_>,
    policy: &Policy,
    mode: Option<Mode>,
) -> Result<Applied> {
    let document = request.document;
    let mut maps = Maps::open(&pins.root())?;
    let before = maps.selection()?;
    if maps.switch()?.trial(clock::now()).is_some() {
        bail!(
            "the policy is on trial, and there is only one way back at a time: `limiter confirm` \
             keeps it, `limiter rollback` goes back; then try again. `limiter set` changes it \
             meanwhile"
        );
    }
    let old = maps.policy(before.slot)?;
    let mut notes = differences(pins, &maps, document)?;
    let armed_until = maps
        .switch()?
        .revert()
        .filter(|revert| *revert > clock::now() && before.mode == Mode::Enforce);
    if let (Some(end), Some(time)) = (armed_until, request.confirm.or(request.time))
        && end > clock::after(time)
    {
        notes.push(
            "limiter was armed for a time, which no longer holds: after the kernel goes back, \
             limiter drops until `limiter disarm`"
                .to_owned(),
        );
    }
    let staged = maps.stage_policy(policy, &origin(request))?;
    let attached = link::attach(pins, &missing(pins, document)?, document.generic)?;
    let mode = mode.unwrap_or(before.mode);
    let after = Selection { mode, ..staged.at(clock::now()) };
    if document.set_syncookies != maps.cookies()?.may_set {
        maps.let_set_syncookies(document.set_syncookies)?;
        let what = if document.set_syncookies { "may now" } else { "may no longer" };
        notes.push(format!(
            "limiter {what} set net.ipv4.tcp_syncookies while it enforces a challenge"
        ));
    }
    maps.set_switch(switch(&maps, request, staged, after)?)?;
    Maps::settle();
    notes.extend(idle(pins)?);
    notes.extend(shares(&maps, &old, policy));
    Ok(Applied {
        loaded: false,
        attached,
        changes: diff::changes(&old, policy),
        modes: (before.mode, mode),
        notes,
    })
}

fn switch(maps: &Maps, request: &Request<'_>, staged: Switch, after: Selection) -> Result<Switch> {
    match request.confirm.or(request.time) {
        Some(time) => maps.on_trial(staged.select(after), clock::after(time)),
        None if staged.revert().is_some() && staged.at(clock::now()).mode == after.mode => {
            Ok(staged)
        }
        None => Ok(staged.select(after)),
    }
}

/// With both times, the first ends the trial and the second the policy.
fn origin(request: &Request<'_>) -> Origin {
    let ends = match (request.confirm, request.time) {
        (Some(_), Some(time)) => clock::after(time),
        _ => 0,
    };
    Origin { profile: request.profile.cloned(), ends }
}

/// Interfaces of the file that limiter is not attached to.
fn missing(pins: &Pins, document: &Document) -> Result<Vec<String>> {
    let attached = link::attached(pins)?;
    let is_attached = |name: &String| attached.iter().any(|one| one.name.as_ref() == Some(name));
    Ok(document.interfaces.iter().filter(|name| !is_attached(name)).cloned().collect())
}

/// That no packet meets the policy.
fn idle(pins: &Pins) -> Result<Option<String>> {
    let say = "limiter is attached to no interface, so nothing is limited: name interfaces in the \
               file (`interfaces = [\"eth0\"]`) and apply it again, or `limiter attach IFACE`";
    Ok(link::indices(pins)?.is_empty().then(|| say.to_owned()))
}

/// That shares are in force instead of budgets that are others now. What is in force is,
/// also where shares cannot be read.
fn shares(maps: &Maps, old: &Policy, new: &Policy) -> Option<String> {
    let budget = |policy: &Policy, name: &Name| policy.service(name).map(|one| one.budget);
    let differs = old.budget != new.budget
        || new.services.iter().any(|one| budget(old, &one.name) != Some(one.budget));
    let shares = maps.shares().unwrap_or_default();
    let shares: Vec<String> = shares.iter().map(ToString::to_string).collect();
    (differs && !shares.is_empty()).then(|| {
        format!(
            "shares are in force instead of the stated budgets: {}; `limiter fleet budget` changes \
             the budget of all nodes of a fleet, and an auto budget starts again from the stated \
             one",
            shares.join("; ")
        )
    })
}

/// What the file says and applying it does not do.
fn differences(pins: &Pins, maps: &Maps, document: &Document) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for name in link::attached(pins)?.into_iter().filter_map(|one| one.name) {
        if !document.interfaces.is_empty() && !document.interfaces.contains(&name) {
            notes.push(format!("{name} is not in the file and stays attached; to detach it: `limiter detach {name}`"));
        }
    }
    let ways = maps.sets() * WAYS as u32;
    if let Some(sources) =
        document.sources.filter(|sources| crate::policy::sets_for(*sources) != maps.sets())
    {
        notes.push(format!(
            "the table holds {ways} sources and the file says {sources}: its size is fixed when limiter is loaded; `limiter detach --all` and apply again to change it"
        ));
    }
    Ok(notes)
}
