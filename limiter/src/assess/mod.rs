//! What is likely wrong, and which command comes next: one assessment, in one place.
//!
//! `facts` gathers what was seen, this file names the cause, `words` says it. `status`, `watch`,
//! `doctor` and `arm` show the same [`Assessment`]. It says no more than is known: what was not
//! seen is an `Option`, and where the numbers do not tell two causes apart it names both, or
//! neither, and what would tell.

mod facts;
mod next;
mod signs;
#[cfg(test)]
mod tests;
mod usual;
mod words;

use limiter_common::reason::Limit;
use serde::Serialize;

pub use facts::{Facts, Service};

pub use crate::observe::Sources;
pub use signs::Signs;
pub use usual::{Before, Last};
pub use words::text;

/// How many times the usual rate are no usual rate any more.
const SURGE: f64 = 3.0;
/// Attempts per second that may be usual where what is usual is not known.
const ORDINARY: f64 = 300.0;
/// The share of attempts over a limit or challenged from which on that is worth a cause.
const HARMS: f64 = 0.05;
/// The share that limits refuse of what usually comes from which on they are the cause.
const TIGHT: f64 = 0.2;
/// Seconds for which a change of a limit is held to be a cause: where attempts are known to be as
/// usual, and where that is not known.
const RECENT: [f64; 2] = [24.0 * 3600.0, 3600.0];
/// Below the one share of finished attempts hardly any sender is a client, above the other most
/// are.
const HARDLY: f64 = 0.2;
const MOSTLY: f64 = 0.6;
/// Attempts that tell which share of them is finished.
const ENOUGH: u64 = 50;
/// The share of what was let through that a full accept queue turns away from which on clients
/// cannot finish.
const FULL: f64 = 0.2;
/// The share that the ten heaviest sources have where they alone are the cause; and below which
/// the others have it.
const HEAVY: f64 = 0.8;
const SPREAD: f64 = 0.5;
const NEARLY: f64 = 0.75;
const LEFT: f64 = 0.33;
/// Up to so many sources are few.
const FEW: u64 = 10;
/// The share of the few that came before, and how many times as often as then they come now.
const KNOWN: f64 = 0.5;
const GROWN: f64 = 1.05;
/// Sources of the sample, and pages of theirs, that are enough to say how they come.
const SAMPLED: u64 = 5;
const PAGES: u64 = 10;
/// Segments of a connection that carries a request: its ACK, the request, the ACK of the answer, FIN.
const ASKS: f64 = 4.0;
/// Seconds between two pages from which on a program does not come by a clock.
const PACED: f64 = 10.0;
/// The share of sources that come once only, and sources of each network, where addresses are drawn
/// at random.
const ONCE: f64 = 0.75;
const ALONE: f64 = 1.15;
/// The share of connections that programs open from which on they are what happens, and the share
/// of those let in that come again at once.
const PROGRAMS: f64 = 0.4;
const AGAIN: f64 = 0.6;
/// Connections in an accept queue that a server which is well does not let wait, and the share of
/// what usually comes below which it takes less than usual.
const WAITING: u32 = 100;
const LESS: f64 = 0.7;
/// Seconds after limits came into force in which a full queue says nothing of the server.
const JUST: f64 = 10.0;
/// Seconds that a server which is behind has at most.
const CATCHES_UP: f64 = 65.0;
/// Clients that wait for an answer from which on that is said.
const UNANSWERED: usize = 20;
/// Connections of a port that are looked at for it: `watch` looks every second.
const LOOKED_AT: usize = 10_000;
/// Connections per second that come by another way than through limiter.
const ELSEWHERE: f64 = 5.0;
/// Connections per second of a server that hardly accepts any.
const HANGS: f64 = 3.0;

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
    /// No process listens, and the kernel says so to clients.
    Down,
    /// A flood from forged addresses.
    Spoofed,
    /// Forged addresses beside real clients.
    Mixed,
    /// Few sources.
    Few,
    /// Few sources that came before already.
    Familiar,
    /// Many machines that come by a clock, and ask nothing.
    Botnet,
    /// Many programs that connect one by one: a botnet, or an app that retries or polls.
    Programs,
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
    if facts.come_beside() {
        return Cause::OtherInterface;
    }
    if facts.attempts() < 0.5 {
        return without_attempts(facts);
    }
    if facts.is_down() {
        return Cause::Down;
    }
    let kept = facts.refused() + facts.unproven() + facts.diverted();
    let harms = kept > facts.attempts() * HARMS;
    let surges = facts.surges().unwrap_or(facts.attempts() > ORDINARY);
    if is_server(facts, surges || harms) {
        // What `arm` sees at once is what came before it.
        return if facts.has_just_begun() { Cause::Unclear } else { Cause::Server };
    }
    if !harms && !surges && !facts.is_full() {
        return Cause::Nothing;
    }
    let kind = match who(&Signs::of(facts)) {
        // Few of very many may be a crowd.
        Cause::Spoofed if facts.is_real_surge() => Cause::Mixed,
        kind => kind,
    };
    if is_own(facts, kind) {
        return Cause::OwnLimit;
    }
    match kind {
        // In line connections come one by one, whoever they are of.
        Cause::Botnet | Cause::Programs if facts.holds_everybody() => Cause::Crowd,
        Cause::Crowd | Cause::Programs | Cause::Botnet if !surges && facts.is_little() => {
            Cause::Unclear
        }
        // Without knowing what is usual, many clients who are all served are no trouble.
        Cause::Crowd | Cause::Unclear if !harms && !facts.is_full() => match facts.surges() {
            Some(true) => kind,
            _ => Cause::Nothing,
        },
        // Who cannot be served is no crowd unless more come than usual.
        Cause::Crowd | Cause::Unclear if facts.is_full() && !surges => Cause::Server,
        _ => kind,
    }
}

/// Whether the server takes less than it usually does: its accept queue is full, or many wait in it,
/// and it opens fewer connections than come on any day.
fn is_server(facts: &Facts, surges: bool) -> bool {
    let Some(opened) = facts.opened() else { return false };
    let least = facts.usual.map_or(1.0, |usual| usual * LESS);
    // While a part of the budget is in force that is what is opened.
    let (least, hangs) = if facts.is_shared { (1.0, 1.0) } else { (least, HANGS) };
    facts.is_full() && opened < least || facts.waits() && (!surges || opened < hangs)
}

/// Where no attempt comes to a service, or a stray one.
fn without_attempts(facts: &Facts) -> Cause {
    let stray = facts.attempts() > 0.0;
    match facts {
        // Connections wait, and nobody comes any more.
        _ if facts.waits() => Cause::Server,
        _ if facts.banned() > 0.0 && !stray => Cause::Banned,
        // One quiet moment of those who are held back.
        _ if facts.holds_back() && is_recent(facts) => Cause::OwnLimit,
        _ if facts.holds_back() => Cause::Unclear,
        _ if facts.allowed() > 0.0 => Cause::Nothing,
        _ if facts.not_named() >= ELSEWHERE => Cause::NotNamed,
        _ if facts.opened().is_some_and(|opened| opened >= ELSEWHERE) => Cause::OtherInterface,
        _ if stray => Cause::Nothing,
        _ => Cause::Quiet,
    }
}

/// Who comes.
pub fn who(signs: &Signs) -> Cause {
    if signs.is_few() && !signs.are_forged() {
        let is_real = signs.finished.is_none_or(|share| share >= HARDLY);
        let is_known = is_real && signs.familiar >= KNOWN && signs.grown >= GROWN;
        return if is_known { Cause::Familiar } else { Cause::Few };
    }
    let is_seen = signs.finished.is_some() || signs.turned_away > FULL;
    match signs.finished {
        Some(share) if share < HARDLY => Cause::Spoofed,
        Some(share) if share <= MOSTLY => Cause::Mixed,
        _ if signs.are_forged() && is_seen => Cause::Mixed,
        None if signs.are_forged() && signs.are_silent() => Cause::Spoofed,
        None if signs.are_forged() => Cause::Unclear,
        // Where nothing of what is let in says who comes, the sample may.
        None if signs.sampled < SAMPLED => Cause::Unclear,
        _ if signs.programs >= PROGRAMS => signs.program(),
        _ => Cause::Crowd,
    }
}

impl Signs {
    /// Whether few sources make most of it, or so much that the others do not explain it.
    fn is_few(&self) -> bool {
        let of_ten = self.of_ten.unwrap_or(0.0);
        match self.explained {
            _ if self.sources > 0.0 && self.sources <= FEW as f64 => true,
            // What comes now is compared with a minute: of a surge that has just begun less is
            // explained.
            Some(others) => {
                others < SPREAD && of_ten >= NEARLY || others < LEFT && of_ten >= SPREAD
            }
            None => of_ten >= HEAVY,
        }
    }

    /// Whether addresses look as if they were drawn at random: each comes once, and hardly two are
    /// neighbours.
    fn are_forged(&self) -> bool {
        self.sampled >= 2 * SAMPLED && self.once >= ONCE && self.neighbours < ALONE
    }

    /// Whether SYNs that are dropped are not sent again, as the TCP of every client does.
    fn are_silent(&self) -> bool {
        self.dropped >= SPREAD && self.repeats < AGAIN / 10.0
    }

    /// Programs that ask nothing are a botnet. An app that retries ends when it is served; one that
    /// polls comes again like a botnet, which only its owner can tell.
    fn program(&self) -> Cause {
        let is_served = self.turned_away <= FULL && !self.waits;
        match () {
            () if is_served && self.segments.is_some_and(|each| each < ASKS) => Cause::Botnet,
            () if is_served
                && self.let_in >= PAGES
                && self.again < AGAIN / 2.0
                && self.gap <= PACED =>
            {
                Cause::Crowd
            }
            () => Cause::Programs,
        }
    }
}

/// Whether our own limits keep clients away that come as usual.
fn is_own(facts: &Facts, kind: Cause) -> bool {
    // A budget that is short has sources challenged, and refuses their proofs.
    let kept = facts.over(Limit::Own) + facts.over(Limit::Budget) + facts.unproven();
    if kept <= facts.attempts() * TIGHT || matches!(kind, Cause::Spoofed | Cause::Mixed) {
        return false;
    }
    match facts.surges() {
        // Where nothing is dropped limits keep nobody away.
        usual if !facts.enforces => usual == Some(false) && kind != Cause::Few && !facts.is_full(),
        _ if facts.began_with_change => true,
        Some(true) => false,
        Some(false) => kind != Cause::Few || facts.changed(RECENT[0]).is_some(),
        None => !matches!(kind, Cause::Few | Cause::Botnet) && is_recent(facts),
    }
}

/// Whether a limit was changed lately, and as far as is known hardly anything was refused before,
/// and no more come now.
fn is_recent(facts: &Facts) -> bool {
    let is_calm = |before: Before| {
        before.refused <= HARMS && facts.fresh() <= (before.attempts * SURGE).max(20.0)
    };
    let is_last = facts.changed(RECENT[1]).is_some_and(|last| last.before.is_none_or(is_calm));
    is_last && !facts.is_full() && !facts.waits() && !facts.answers_late()
}
