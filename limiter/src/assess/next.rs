//! Which command comes next. The runbook "the site is down" has a row for each cause.

use super::{Cause, Facts, HARMS, RECENT};
use crate::observe::concentrated::EVERYBODY;

/// The part of what the server takes that is a budget which leaves it room.
const BELOW: f64 = 0.9;
/// Connections per second that a server opens from which on one second says what it takes.
const TELLS: f64 = 10.0;

/// What to do, in this order.
pub fn next(facts: &Facts, cause: Cause) -> Vec<String> {
    let service = facts.service();
    let name = service.map_or("NAME", |service| service.name.as_str());
    let bounds = service.is_some_and(|service| service.is_bounded);
    if matches!(cause, Cause::Crowd | Cause::Unclear) && facts.catches_up() {
        return vec![
            "nothing for a minute: the server gets through what waits first, then users come in"
                .to_owned(),
        ];
    }
    let said = match cause {
        Cause::NotAttached | Cause::Gone => {
            "`limiter apply --confirm 5m`, or `limiter attach IFACE`"
        }
        Cause::OtherInterface => match facts.not_attached.first() {
            Some(name) => return vec![format!("`limiter attach {name}`, then `limiter status`")],
            None => "`limiter doctor`, then `limiter attach IFACE`",
        },
        Cause::Down => "start the server: `ss -ltn` shows what listens",
        Cause::NoService | Cause::NotNamed => {
            "`limiter policy check`: name the service, then `limiter apply --confirm 5m`"
        }
        Cause::Banned => "`limiter ban list`: is one of them too wide?",
        Cause::OwnLimit if facts.enforces && facts.changed(RECENT[0]).is_some() => {
            "`limiter rollback`, which says if the policy file would bring it back"
        }
        Cause::OwnLimit if facts.began_with_change => "`limiter history --last 5`",
        Cause::OwnLimit => "`limiter suggest`: which limit fits what comes",
        Cause::Crowd if facts.long_wait => "more capacity, then `limiter set --budget RATE`",
        Cause::Server => return server(facts, name, bounds),
        Cause::Few | Cause::Familiar => return few(facts, name),
        Cause::Programs => {
            let look = "`limiter top --networks`: an app of yours? Else ban what you do not know";
            return armed(facts, vec![look.to_owned()]);
        }
        Cause::Botnet => {
            let look = match &facts.common {
                Some(common) if common.percent < EVERYBODY => {
                    let prefix = &common.prefix;
                    format!("`limiter ban add {prefix} --for 30m` if it is no network of yours")
                }
                _ => "`limiter top --networks`: ban networks that you do not know".to_owned(),
            };
            return armed(facts, vec![look]);
        }
        Cause::Crowd => return crowd(facts, name, bounds),
        Cause::Unclear if facts.is_little() => "`limiter top`: do you know them?",
        Cause::Spoofed | Cause::Mixed | Cause::Unclear => {
            return forged(facts, name, bounds, cause);
        }
        Cause::Nothing if facts.banned() > facts.attempts() => "nothing: the ban list holds it",
        Cause::Nothing if !facts.is_served() => {
            "start the server if it is down; in a container, look at it there"
        }
        Cause::Nothing if facts.answers_late() => {
            "look at the server, and behind it: application, database; then `limiter doctor`"
        }
        Cause::Nothing => "where users complain, look behind limiter: servers; `limiter doctor`",
        Cause::Quiet => "look before limiter: link, route, DNS, load balancer",
        Cause::NotMeasured => "`limiter status` without --quick",
    };
    vec![said.to_owned()]
}

/// Limits drop only in enforce mode.
fn armed(facts: &Facts, more: Vec<String>) -> Vec<String> {
    let arm = (!facts.enforces).then(|| "`limiter arm --for 30m`".to_owned());
    arm.into_iter().chain(more).collect()
}

/// A budget of what the server opens, where there is none.
fn server(facts: &Facts, name: &str, bounds: bool) -> Vec<String> {
    let opened = facts.opened().unwrap_or(0.0).floor();
    let look = "`limiter doctor`: which accept queue; restart that server if it hangs".to_owned();
    let open = "`limiter top --by open`: who holds connections".to_owned();
    if bounds || opened < TELLS {
        return vec![look, open];
    }
    let budget = format!("`limiter set --service {name} --budget {opened:.0}/s`");
    [vec![look, budget], armed(facts, Vec::new())].concat()
}

/// A budget below what the server takes, where it gets more than that.
fn lower(facts: &Facts, name: &str, bounds: bool) -> Option<String> {
    let takes = facts
        .opened()
        .filter(|_| bounds && facts.enforces && facts.is_full() && !facts.is_shared)?;
    let budget = (takes * BELOW).floor();
    let said = "the budget is above what the server takes";
    (budget >= 1.0)
        .then(|| format!("`limiter set --service {name} --budget {budget:.0}/s`: {said}"))
}

fn few(facts: &Facts, name: &str) -> Vec<String> {
    let mut all: Vec<String> = facts.heavy().heaviest.iter().take(5).cloned().collect();
    // In the same order, whoever of them comes most in this second.
    all.sort();
    let ban = format!("`limiter ban add {} --for 30m`", all.join(" "));
    let known = match facts.heavy().heaviest.first() {
        Some(_) if facts.finish_nothing() => ban,
        Some(source) => {
            format!("`limiter allow add {source} --for 2h` if you know it, else {ban}")
        }
        None => "`limiter top --by attempts`: do you know them?".to_owned(),
    };
    let mut next = armed(facts, vec![known]);
    if facts.service().is_some_and(|service| !service.has_source_limit) {
        next.insert(0, format!("`limiter set --service {name} --source-rate 20/s`"));
    }
    next
}

fn crowd(facts: &Facts, name: &str, bounds: bool) -> Vec<String> {
    match (bounds, facts.enforces) {
        (false, _) => [vec![bound(facts, name)], armed(facts, Vec::new())].concat(),
        (true, false) => armed(facts, Vec::new()),
        (true, true) if facts.is_full() => {
            lower(facts, name, bounds).into_iter().chain(server(facts, name, bounds)).collect()
        }
        (true, true) => {
            let wait = match facts.waiting {
                Some(_) => "nothing: they come in by turns, which takes a minute to show; or ",
                None => "",
            };
            vec![format!(
                "{wait}`limiter set --service {name} --budget RATE`, if the servers have room for \
                 more"
            )]
        }
    }
}

/// A first budget: what the server takes, where its full queue shows that.
fn bound(facts: &Facts, name: &str) -> String {
    // What it opens while its queue fills is more than it takes.
    let takes = facts.opened().filter(|rate| facts.is_full() && *rate >= TELLS);
    let rate = takes.map_or(500.0, |rate| (rate * BELOW).floor());
    format!("`limiter set --service {name} --budget {rate:.0}/s`, or what your servers stand")
}

/// Limits alone do not help against forged addresses, and a challenge, which begins when a budget
/// is short, tells whether they are.
fn forged(facts: &Facts, name: &str, bounds: bool, cause: Cause) -> Vec<String> {
    let unclear = cause == Cause::Unclear;
    if let Some(lower) = lower(facts, name, bounds).filter(|_| unclear) {
        return vec![lower];
    }
    let tells = if unclear { ", which tells" } else { "" };
    if facts.enforces && facts.services.iter().any(|service| service.challenges) {
        let said = match unclear {
            true => "`limiter top --by attempts --prefix 24`: do you know them?",
            false => "nothing: forged attempts are answered with cookies and reach no server",
        };
        return vec![said.to_owned()];
    }
    let mut next = Vec::new();
    if !facts.service().is_some_and(|service| service.is_bounded) {
        next.push(bound(facts, name));
    }
    if !facts.cookies {
        next.push("`limiter set --set-syncookies yes`".to_owned());
    }
    if !facts.services.iter().any(|service| service.may_challenge) {
        next.push(format!("`limiter set --service {name} --challenge auto`{tells}"));
    }
    let mut next = [next, armed(facts, Vec::new())].concat();
    if next.is_empty() {
        next.push(match facts.refused() > facts.attempts() * HARMS {
            true => format!("`limiter set --service {name} --challenge always`{tells}"),
            false => "`limiter status` again: a challenge begins when a budget is short".to_owned(),
        });
    }
    next
}
