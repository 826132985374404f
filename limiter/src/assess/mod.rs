//! What is likely wrong, and which command comes next: one assessment, in one place.
//!
//! `facts` gathers what was seen, `kind` tells crowd from attack, `words` says it. `status`,
//! `watch`, `doctor` and `arm` print an [`Assessment`]; `report` asks `kind` about a whole surge.
//! It says no more than is known: what could not be seen is an `Option` in [`Facts`], and where the
//! numbers do not tell, the assessment says so.

mod facts;
pub mod kind;
pub mod network;
#[cfg(test)]
mod tests;
pub mod usual;
mod words;

use serde::Serialize;

pub use facts::{Facts, Now, Service, common, sources};
pub use kind::{Kind, Sources, Traffic};
pub use words::text;

/// How many times the usual rate are no usual rate any more.
const SURGE: f64 = 3.0;
/// The share of attempts over a limit from which on limits are what is wrong.
const HARMS: f64 = 0.05;
/// Seconds for which the last change is held to be a cause.
const RECENT: f64 = 24.0 * 3600.0;
/// Attempts per second that nobody would call a surge without knowing what is usual.
const ORDINARY: f64 = 300.0;
/// Connections a second beside limiter that mean another interface.
const BESIDE: f64 = 5.0;

/// What is likely wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// limiter is attached to no interface.
    NotAttached,
    /// The interface that limiter was attached to is gone.
    Gone,
    /// Connections come over an interface that limiter is not attached to.
    OtherInterface,
    /// No service is named.
    NoService,
    /// A limit of our own.
    OwnLimit,
    /// The server is too slow, or does not accept.
    Server,
    /// A flood from forged addresses.
    Spoofed,
    /// Few sources.
    Few,
    /// Many real machines.
    Botnet,
    /// Many real clients.
    Crowd,
    /// Forged attempts beside real clients.
    Mixed,
    /// A surge that the numbers do not explain.
    Unclear,
    /// Nothing that limiter sees.
    Nothing,
    /// No attempt arrives.
    Quiet,
    /// Rates were not measured.
    NotMeasured,
}

/// The assessment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assessment {
    /// The cause.
    pub cause: Cause,
    /// The same in words, behind "likely:".
    pub likely: String,
    /// What it rests on, the weightiest first.
    pub evidence: Vec<String>,
    /// What to type, or to do, next; in this order.
    pub next: Vec<String>,
}

/// Assesses what was seen.
pub fn assess(facts: &Facts) -> Assessment {
    let cause = cause(facts);
    words::assessment(facts, cause)
}

fn cause(facts: &Facts) -> Cause {
    if facts.attached == 0 {
        return if facts.gone > 0 { Cause::Gone } else { Cause::NotAttached };
    }
    if facts.services.is_empty() {
        return Cause::NoService;
    }
    let Some(now) = &facts.now else { return Cause::NotMeasured };
    if now.attempts < 0.5 && now.refused <= 0.0 {
        let beside = now.opened.is_some_and(|opened| opened >= BESIDE);
        return if beside { Cause::OtherInterface } else { Cause::Quiet };
    }
    let harms = now.refused > now.attempts * HARMS || now.challenged > now.attempts * HARMS;
    let more = facts.usual.map_or(now.attempts > ORDINARY, |usual| now.attempts > (SURGE * usual).max(20.0));
    let kind = facts.traffic().kind();
    let full = is_full(facts, now);
    // A calm in which most are served needs no name.
    if !harms && !more && !full && !(kind.is_attack() && now.attempts > ORDINARY) {
        return Cause::Nothing;
    }
    if is_own(facts, now, kind, more) {
        return Cause::OwnLimit;
    }
    if full && !kind.is_attack() && !kind.is_few() && !more {
        return Cause::Server;
    }
    match kind {
        Kind::SpoofedFlood | Kind::Flood => Cause::Spoofed,
        Kind::FloodOfFew | Kind::HeavyClients | Kind::FewSources => Cause::Few,
        Kind::Botnet => Cause::Botnet,
        Kind::Crowd | Kind::RealClients if harms || more => Cause::Crowd,
        Kind::Mixed => Cause::Mixed,
        _ if full => Cause::Server,
        _ if !harms => Cause::Nothing,
        _ => Cause::Unclear,
    }
}

/// Whether the server's accept queue turns clients away.
fn is_full(facts: &Facts, now: &Now) -> bool {
    let lost = now.overflows + now.queue_full;
    lost > 1.0_f64.max(now.attempts * 0.02) || facts.queue.is_some_and(|(waiting, room)| room > 0 && waiting >= room)
}

/// Whether our own limits keep clients away that came before too.
fn is_own(facts: &Facts, now: &Now, kind: Kind, more: bool) -> bool {
    let refused = now.refused / now.attempts.max(1e-9);
    if refused < 4.0 * HARMS || now.queue_full > now.refused / 2.0 {
        return false;
    }
    if facts.began_with_change {
        return true;
    }
    if more {
        return false;
    }
    let changed = facts.last.as_ref().is_some_and(|last| last.of_limits && last.seconds_ago < RECENT);
    let least = facts.service().and_then(|service| service.budget);
    let below = least.zip(facts.usual).is_some_and(|(budget, usual)| budget < 0.8 * usual);
    let by_budget = now.own * 2.0 < now.refused;
    (changed && !(kind.is_attack() && facts.usual.is_none()) && !(kind.is_few() && by_budget)) || (below && by_budget)
}
