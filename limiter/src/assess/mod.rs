//! What is likely wrong, and which command comes next: one assessment, in one place.
//!
//! `facts` gathers what was seen, this file names the cause, `words` says it. `status`, `watch`,
//! `doctor` and `arm` show the same [`Assessment`]. It says no more than is known: what was not
//! seen is an `Option`, and where the numbers do not tell two causes apart it names both, or
//! neither, and what would tell.

mod facts;
mod next;
#[cfg(test)]
mod tests;
mod usual;
mod words;

use limiter_common::reason::Limit;
use serde::Serialize;

pub use facts::{Facts, Service};
pub use usual::Last;
pub use words::text;

/// How many times the usual rate are no usual rate any more.
const SURGE: f64 = 3.0;
/// Attempts per second that may be usual where what is usual is not known.
const ORDINARY: f64 = 300.0;
/// The share of attempts over a limit or challenged from which on that is worth a cause.
const HARMS: f64 = 0.05;
/// The share that limits refuse of what usually comes from which on they are the cause.
const TIGHT: f64 = 0.2;
/// The share that sources over their own limit make of the attempts where they are what happens.
const MOST: f64 = 0.5;
/// Seconds for which a change of a limit is held to be a cause: where attempts are known to be as
/// usual, and where that is not known.
const RECENT: [f64; 2] = [24.0 * 3600.0, 3600.0];
/// Below the one share of finished attempts hardly any sender is a client, above the other most
/// are.
const HARDLY: f64 = 0.2;
const MOSTLY: f64 = 0.6;
/// Attempts that tell which share of them is finished.
const ENOUGH: u64 = 50;
/// The share of the ten heaviest sources that makes them the cause, and the one that does not.
const HEAVY: f64 = 0.8;
const SPREAD: f64 = 0.5;
/// From so many sources on they are many, and up to so many they are few.
const MANY: u64 = 200;
const FEW: u64 = 10;
/// Connections per second that the average of many people does not ask for, page after page.
const AUTOMATED: f64 = 1.0;
/// Connections per second that come by another way than through limiter.
const ELSEWHERE: f64 = 5.0;

/// What is likely wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// limiter is attached to no interface.
    NotAttached,
    /// Its interface is gone, or another tool detached it.
    Gone,
    /// Connections come in beside limiter.
    OtherInterface,
    /// The policy names no service.
    NoService,
    /// What comes is to no service that the policy names.
    NotNamed,
    /// All that comes is from banned sources.
    Banned,
    /// A limit of our own.
    OwnLimit,
    /// The server accepts too slowly, or not at all.
    Server,
    /// A flood from forged addresses.
    Spoofed,
    /// Forged addresses beside real clients.
    Mixed,
    /// Few sources.
    Few,
    /// Many sources, each above what a person does.
    Botnet,
    /// More real clients than there is room for.
    Crowd,
    /// The numbers do not tell.
    Unclear,
    /// Nothing that limiter sees.
    Nothing,
    /// No attempt arrives.
    Quiet,
    /// Rates were not measured.
    NotMeasured,
}

/// How it stands, for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing to do.
    Good,
    /// Worth a look.
    Notice,
    /// Clients are refused, or limiter does not limit.
    Alarm,
}

/// The assessment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assessment {
    /// The cause.
    pub cause: Cause,
    /// The same in words, behind "likely:".
    pub likely: String,
    /// What to do next, in this order; commands in backquotes.
    pub next: Vec<String>,
    /// What happens, in one sentence.
    pub what: String,
    /// What else it rests on.
    pub evidence: Vec<String>,
    /// How it stands.
    #[serde(skip)]
    pub level: Level,
}

/// Assesses what was seen.
pub fn assess(facts: &Facts) -> Assessment {
    words::assessment(facts, cause(facts))
}

fn cause(facts: &Facts) -> Cause {
    if facts.attached == 0 {
        return if facts.gone > 0 { Cause::Gone } else { Cause::NotAttached };
    }
    if facts.services.is_empty() {
        return Cause::NoService;
    }
    if facts.now.is_none() {
        return Cause::NotMeasured;
    }
    if facts.attempts() < 0.5 {
        return without_attempts(facts);
    }
    let kept = facts.refused() + facts.challenged();
    let harms = kept > facts.attempts() * HARMS;
    let surges = facts.surges().unwrap_or(facts.attempts() > ORDINARY);
    if !harms && !surges && !facts.is_full() {
        return Cause::Nothing;
    }
    let kind = kind(facts);
    if is_own(facts, kind) {
        return Cause::OwnLimit;
    }
    match kind {
        // Without knowing what is usual, many clients who are all served are no trouble.
        Cause::Crowd | Cause::Unclear if !harms && !facts.is_full() => match facts.surges() {
            Some(true) => kind,
            _ => Cause::Nothing,
        },
        // Who cannot be served is no crowd unless more come than usual.
        Cause::Crowd | Cause::Unclear if facts.is_full() && facts.surges() != Some(true) => {
            Cause::Server
        }
        _ => kind,
    }
}

/// Where no attempt comes to a service, or a stray one.
fn without_attempts(facts: &Facts) -> Cause {
    let stray = facts.attempts() > 0.0;
    match facts {
        _ if facts.banned() > 0.0 && !stray => Cause::Banned,
        _ if facts.allowed() > 0.0 => Cause::Nothing,
        _ if facts.not_named() >= ELSEWHERE => Cause::NotNamed,
        _ if facts.opened().is_some_and(|opened| opened >= ELSEWHERE) => Cause::OtherInterface,
        _ if stray => Cause::Nothing,
        _ => Cause::Quiet,
    }
}

/// Who comes. Two questions decide: do the attempts become connections, which takes a client at its
/// address, and do few sources make most of them?
fn kind(facts: &Facts) -> Cause {
    let few = facts.few();
    match facts.finished() {
        _ if few == Some(true) => Cause::Few,
        Some(share) if share < HARDLY => Cause::Spoofed,
        Some(share) if share <= MOSTLY => Cause::Mixed,
        Some(_) if facts.are_automated() => Cause::Botnet,
        Some(_) => Cause::Crowd,
        None => Cause::Unclear,
    }
}

/// Whether our own limits keep clients away that come as usual.
fn is_own(facts: &Facts, kind: Cause) -> bool {
    let tight = facts.over(Limit::Own) + facts.over(Limit::Budget) > facts.attempts() * TIGHT;
    if !tight || matches!(kind, Cause::Spoofed | Cause::Mixed) {
        return false;
    }
    match facts.surges() {
        _ if facts.began_with_change => true,
        Some(true) => false,
        Some(false) => kind != Cause::Few || facts.changed(RECENT[0]).is_some(),
        None => !matches!(kind, Cause::Few | Cause::Botnet) && facts.changed(RECENT[1]).is_some(),
    }
}
