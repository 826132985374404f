//! Is it us or them? What the numbers say, and no more than they can say.

use limiter_common::reason::{Group, Limit, Reason};

use super::model::{Effect, Model};
use super::reading::Counts;
use super::series::Rates;
use crate::report::human;

/// How long a change is held to be a cause, in seconds.
const RECENT: f64 = 600.0;
/// How many attempts become of one that is refused and sent again.
const REPEATED: f64 = 3.0;

/// How it stands, for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Good,
    Notice,
    Alarm,
}

/// What the screen says first.
#[derive(Clone, Debug)]
pub struct Words {
    pub level: Level,
    /// What happens.
    pub what: String,
    /// What it means, as far as counters can tell.
    pub meaning: String,
}

/// A rate as people read it: `3.4`, `38,120`, `1.23M`.
pub fn rate(rate: f64) -> String {
    match rate {
        _ if rate <= 0.0 => "0".to_owned(),
        _ if rate < 0.05 => "<0.1".to_owned(),
        _ if rate < 9.95 => format!("{rate:.1}"),
        _ if rate < 999_999.5 => human::count(rate.round() as u64),
        _ => format!("{:.2}M", rate / 1e6),
    }
}

/// A share of the whole: `0.4%`, `97%`. What is not all is not 100%, and what is not nothing is not 0%.
pub fn percent(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
    match percent {
        _ if percent <= 0.0 => "0%".to_owned(),
        _ if percent < 0.1 => "<0.1%".to_owned(),
        _ if percent < 0.95 => format!("{percent:.1}%"),
        _ if percent > 99.0 && percent < 99.95 => format!("{percent:.1}%"),
        _ if (99.95..100.0).contains(&percent) => ">99.9%".to_owned(),
        _ => format!("{percent:.0}%"),
    }
}

/// Reasons that refuse, with their rates of now, the most frequent first.
pub fn refusals(rates: &Rates) -> Vec<(Reason, f64)> {
    let dropping = Reason::ALL.iter().copied().filter(|reason| reason.drops());
    let mut found: Vec<_> =
        dropping.map(|reason| (reason, rates.of(|counts| counts.one(reason)))).collect();
    found.retain(|(_, rate)| *rate > 0.0);
    found.sort_by(|one, other| other.1.total_cmp(&one.1));
    found
}

/// What is said of a service, or of all.
pub fn words(model: &Model, service: Option<&str>) -> Words {
    let Some(reading) = model.reading.as_ref().filter(|_| model.trouble.is_none()) else {
        return waiting(model.trouble.as_deref(), model.reading.is_some());
    };
    let Some(rates) = model.rates(service) else { return waiting(None, true) };
    let now = Now::of(&rates, reading.enforces);
    // Sources are counted for the whole host.
    let distinct = &reading.distinct;
    let from = match service {
        None if distinct.sources > 0 => {
            format!(" from about {} sources", human::count(distinct.sources))
        }
        _ => String::new(),
    };
    let returning = match (service, distinct.returning_percent) {
        (None, Some(percent)) => {
            format!(" {percent:.0}% of the sources were here in the ten minutes before.")
        }
        _ => String::new(),
    };
    if reading.interfaces.is_empty() {
        let what = "NOT ATTACHED: limiter sees no traffic and refuses nobody.".to_owned();
        return Words {
            level: Level::Alarm,
            what,
            meaning: "Attach it: `limiter attach IFACE`.".to_owned(),
        };
    }
    if now.attempts <= 0.0 && now.refused <= 0.0 {
        let meaning =
            "Should there be traffic, look before limiter: link, route, DNS, load balancer."
                .to_owned();
        return Words {
            level: Level::Good,
            what: "QUIET: nobody tries to connect.".to_owned(),
            meaning,
        };
    }
    let attempts = format!("{} attempts/s{from}", rate(now.attempts));
    if now.refused <= 0.0 && now.challenged <= 0.0 && now.diverted <= 0.0 {
        let meaning = match reading.enforces {
            true => "limiter refuses nobody: whatever is slow or failing now, look behind it.",
            false => "limiter would refuse nobody, and in observe mode drops nothing anyway.",
        };
        let what = format!("CALM: {attempts}, all admitted.");
        return Words { level: Level::Good, what, meaning: format!("{meaning}{returning}") };
    }
    let level = if reading.enforces { Level::Alarm } else { Level::Notice };
    let meaning = match began_with_change(model, service) {
        _ if now.most_wait && most_waited(model, service) => {
            "US: for ten minutes most connections got the waiting room's page. Capacity is missing; that is no attack by itself."
        }
        true => "US? It began with the last change: before it hardly anything was over a limit.",
        false => now.meaning(),
    };
    Words { level, what: now.what(&attempts), meaning: format!("{meaning}{returning}") }
}

/// Whether the last change began it: of the attempts before it hardly any were over a limit, and since then there are no more than those
/// and their repetitions.
fn began_with_change(model: &Model, service: Option<&str>) -> bool {
    let Some(Effect { before: Some(before), since: Some(since) }) = model.effect(service) else {
        return false;
    };
    let attempts = [before, since].map(|rates| rates.of(Counts::attempts));
    let refused = [before, since].map(|rates| rates.of(Counts::refused));
    let recent = model.marks.last().is_some_and(|mark| model.now - mark.at < RECENT);
    recent
        && attempts[1] < REPEATED * attempts[0]
        && refused[0] < attempts[0] / 100.0
        && refused[1] > attempts[1] / 20.0
}

/// Whether the waiting room has answered more connections than were let in for ten minutes.
fn most_waited(model: &Model, service: Option<&str>) -> bool {
    model.long_rates(service).is_some_and(|rates| most_wait(&rates))
}

fn most_wait(rates: &Rates) -> bool {
    let [diverted, admitted] = [Counts::diverted, Counts::admitted].map(|pick| rates.of(pick));
    diverted > 0.0 && diverted > admitted
}

/// `seen`: whether there is anything of before to be seen.
fn waiting(trouble: Option<&str>, seen: bool) -> Words {
    match trouble {
        None => Words {
            level: Level::Notice,
            what: "MEASURING: the first rates come with the second reading.".to_owned(),
            meaning: String::new(),
        },
        Some(trouble) => Words {
            level: Level::Alarm,
            what: format!("{}.", trouble.trim_end_matches('.')),
            meaning: match seen {
                true => {
                    "What is below is of before. It goes on by itself when limiter can be read."
                }
                false => "It goes on by itself when limiter can be read.",
            }
            .to_owned(),
        },
    }
}

/// The rates of now.
struct Now {
    enforces: bool,
    attempts: f64,
    refused: f64,
    /// Those of the refusals that were attempts.
    refused_attempts: f64,
    challenged: f64,
    /// Connections that the waiting room answers.
    diverted: f64,
    /// Whether these are more than those that are let in.
    most_wait: bool,
    /// ACKs that brought a cookie back, let in or not.
    proven: f64,
    refusals: Vec<(Reason, f64)>,
}

impl Now {
    fn of(rates: &Rates, enforces: bool) -> Self {
        let refusals = refusals(rates);
        let one = |reason| rates.of(|counts| counts.one(reason));
        Self {
            enforces,
            attempts: rates.of(Counts::attempts),
            refused: rates.of(Counts::refused),
            refused_attempts: refusals
                .iter()
                .filter(|(reason, _)| reason.is_attempt())
                .map(|(_, rate)| rate)
                .sum(),
            challenged: one(Reason::Challenged),
            diverted: rates.of(Counts::diverted),
            most_wait: most_wait(rates),
            proven: rates.of(Counts::proofs),
            refusals,
        }
    }

    fn what(&self, attempts: &str) -> String {
        let mut parts = Vec::new();
        if self.challenged > 0.0 {
            parts.push(format!("challenge {}", percent(self.challenged, self.attempts)));
        }
        if self.diverted > 0.0 {
            parts.push(format!("divert {}", percent(self.diverted, self.attempts)));
        }
        if self.refused_attempts > 0.0 {
            parts.push(format!("refuse {}", percent(self.refused_attempts, self.attempts)));
        }
        let by: Vec<String> = self
            .refusals
            .iter()
            .take(3)
            .map(|(reason, per_second)| match reason.is_attempt() {
                true => format!("{} {}", reason.name(), percent(*per_second, self.attempts)),
                false => format!("{} {}/s", reason.name(), rate(*per_second)),
            })
            .collect();
        let answered = format!("{}/s answered it", rate(self.proven));
        let by: Vec<_> =
            by.into_iter().chain((self.challenged > 0.0).then_some(answered)).collect();
        let by = if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) };
        let parts = if parts.is_empty() {
            format!("refuse {} packets/s beside", rate(self.refused))
        } else {
            parts.join(", ")
        };
        let done = parts.replace("refuse", "REFUSING").replace("challenge", "CHALLENGING");
        let done = done.replace("divert", "DIVERTING");
        match self.enforces {
            true => format!("{done} of {attempts}{by}."),
            false => format!("NOTHING IS DROPPED; enforcing would {parts} of {attempts}{by}."),
        }
    }

    fn share(&self, of: impl Fn(Reason) -> bool) -> f64 {
        let sum: f64 =
            self.refusals.iter().filter(|(reason, _)| of(*reason)).map(|(_, rate)| rate).sum();
        if self.refused > 0.0 { sum / self.refused } else { 0.0 }
    }

    fn meaning(&self) -> &'static str {
        if self.share(|reason| reason == Reason::QueueFull) > 0.1 {
            return "US: the accept queue of a server is full; it takes connections too slowly.";
        }
        if self.most_wait && self.diverted > self.refused {
            return "More than there is room for: most who come see the waiting room's page, in turn.";
        }
        if self.challenged > self.attempts / 10.0 {
            let answered = self.proven / self.challenged;
            return match answered {
                _ if answered < 0.1 => {
                    "THEM: hardly any of the challenged answer, so most senders are not where they say they are."
                }
                _ if answered > 0.5 => {
                    "Most of the challenged answer: real clients, more than the budget has room for."
                }
                _ => {
                    "Part of the challenged answer: real clients and senders that are not there, mixed."
                }
            };
        }
        if self.share(Reason::is_proof) > 0.5 {
            return "Clients that proved to be there wait for the budget: more real clients than it has room for.";
        }
        if self.share(|reason| reason.limit() == Some(Limit::Own)) > 0.5 {
            return "Sources that come too often: an attack, or many people behind one address (give those a class).";
        }
        let [spent, in_line] = [Group::Spent, Group::InLine]
            .map(|group| self.share(|reason| reason.group() == Some(group)));
        if spent + in_line > 0.5 {
            return match in_line > spent {
                true => {
                    "More than there is room for, so sources wait in line: a crowd, or an attack from many addresses."
                }
                false => {
                    "More than the budget: a crowd, or an attack from many addresses; counters alone cannot tell which."
                }
            };
        }
        if self.share(|reason| reason == Reason::Banned) > 0.5 {
            return "Mostly packets of who is on the ban list.";
        }
        "No one reason stands out; see the reasons below."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        let shown = [0.0, 0.04, 3.42, 9.96, 999.4, 38_120.0, 999_999.4, 1_234_567.0].map(rate);
        assert_eq!(shown, ["0", "<0.1", "3.4", "10", "999", "38,120", "999,999", "1.23M"]);
    }

    #[test]
    fn not_all_is_never_everything_nor_something_nothing() {
        let shown =
            [0.0, 0.01, 0.4, 1.2, 97.4, 99.2, 99.97, 100.0].map(|part| percent(part, 100.0));
        assert_eq!(shown, ["0%", "<0.1%", "0.4%", "1%", "97%", "99.2%", ">99.9%", "100%"]);
    }
}
