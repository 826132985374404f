//! The assessment in words.

use super::{Assessment, Cause, Facts, Kind, Now, ORDINARY};
use crate::report::human::{self, count};

/// Columns of an ordinary terminal.
const WIDTH: usize = 80;

/// The first lines of `status`: `likely: ...`, `next: ...`.
pub fn text(assessment: &Assessment) -> String {
    let mut likely = assessment.likely.clone();
    for (index, evidence) in assessment.evidence.iter().enumerate() {
        likely.push_str(if index == 0 { ": " } else { "; " });
        likely.push_str(evidence);
    }
    let mut text = block("likely: ", &likely);
    for (index, next) in assessment.next.iter().enumerate() {
        text.push_str(&block(if index == 0 { "next:   " } else { "then:   " }, next));
    }
    text
}

/// Lines of at most [`WIDTH`] columns, the first behind its label. A command stays whole.
fn block(label: &str, words: &str) -> String {
    let mut text = label.to_owned();
    let mut column = label.len();
    // Between two backquotes there is one word.
    let quoted = words.split('`').enumerate().flat_map(|(index, part)| match index % 2 {
        0 => part.split_inclusive(' ').map(str::to_owned).collect(),
        _ => vec![format!("`{part}`")],
    });
    for word in quoted.collect::<Vec<_>>() {
        let length = word.trim_end().chars().count();
        if column + length > WIDTH && column > label.len() && !",.;:".contains(word.trim()) {
            text.truncate(text.trim_end().len());
            text.push_str(&format!("\n{:8}", ""));
            column = 8;
        }
        column += word.chars().count();
        text.push_str(&word);
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// Names the cause.
pub fn assessment(facts: &Facts, cause: Cause) -> Assessment {
    let likely = likely(facts, cause);
    let mut evidence = Vec::new();
    if let Some(now) = &facts.now {
        evidence = self::evidence(facts, now, cause);
    }
    if facts.gone > 0 && cause != Cause::Gone {
        evidence.push(format!("{} gone", human::plural(facts.gone as u64, ["interface is", "interfaces are"])));
    }
    Assessment { cause, likely, evidence, next: next(facts, cause) }
}

fn likely(facts: &Facts, cause: Cause) -> String {
    let kind = facts.traffic().kind();
    match cause {
        Cause::NotAttached => "limiter LIMITS NOTHING, since it is attached to no interface".to_owned(),
        Cause::Gone => "limiter LIMITS NOTHING, since its interface is gone".to_owned(),
        Cause::OtherInterface => "the connections come over an interface that limiter is not attached to".to_owned(),
        Cause::NoService => "limiter LIMITS NOTHING, since no service is named".to_owned(),
        Cause::OwnLimit => match facts.last.as_ref().filter(|last| last.of_limits) {
            Some(last) => format!(
                "our own limit; the last change, {} ago by {}, was `{}`",
                human::seconds_short(last.seconds_ago),
                last.who,
                last.what
            ),
            None if facts.began_with_change => "our own limit: it began with the last change".to_owned(),
            None => "our own limit, which is below what comes as usual".to_owned(),
        },
        Cause::Server => match facts.now.and_then(|now| now.opened) {
            Some(opened) if opened < 1.0 => "the server, which accepts no connection".to_owned(),
            _ => "the server, which is slower than its clients come; its accept queue is full".to_owned(),
        },
        Cause::Nothing => "nothing that limiter sees".to_owned(),
        Cause::Quiet => "no attempt arrives here".to_owned(),
        Cause::NotMeasured => "not measured, because of --quick".to_owned(),
        Cause::Crowd if facts.traffic().connections().is_some_and(|each| each > super::kind::MODEST) => {
            "a crowd; a botnet at the pace of people would look the same".to_owned()
        }
        Cause::Unclear => Kind::Unknown.words().to_owned(),
        _ => kind.words().to_owned(),
    }
}

fn rate(per_second: f64) -> String {
    if per_second >= 9.5 { count(per_second.round() as u64) } else { format!("{per_second:.1}") }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", (share * 100.0).clamp(0.0, 100.0))
}

fn evidence(facts: &Facts, now: &Now, cause: Cause) -> Vec<String> {
    let mut said = Vec::new();
    let usual = match facts.usual {
        Some(usual) => format!(", usually {}", rate(usual)),
        None if matches!(cause, Cause::Nothing | Cause::Crowd) => " (what is usual is not known)".to_owned(),
        None => String::new(),
    };
    let refused = match (now.refused > 0.0, facts.enforces) {
        (false, _) => ", none refused".to_owned(),
        (true, true) => format!(", {} refused", percent(now.refused / now.attempts.max(1e-9))),
        (true, false) => {
            format!(", {} would be refused, but nothing is dropped", percent(now.refused / now.attempts.max(1e-9)))
        }
    };
    said.push(format!("{} attempts/s{usual}{refused}", rate(now.attempts)));
    if matches!(cause, Cause::Quiet | Cause::NotAttached | Cause::Gone) {
        return if facts.enforces || now.attempts > 0.0 { Vec::new() } else { said };
    }
    let traffic = facts.traffic();
    if let Some(sources) = traffic.sources.filter(|_| !matches!(cause, Cause::Nothing | Cause::Server)) {
        said.push(format!(
            "about {} of {}, {} each in {:.0} s",
            human::plural(sources.sources, ["source", "sources"]),
            human::plural(sources.networks, ["network", "networks"]),
            human::plural(sources.each.round().max(1.0) as u64, ["attempt", "attempts"]),
            sources.seconds
        ));
    }
    if let Some(network) = facts.network.as_ref().filter(|_| !matches!(cause, Cause::Nothing)) {
        let what = if now.refused > 0.0 { "what is refused" } else { "the attempts" };
        said.push(format!("{} of {what} comes from {}", percent(network.share), network.prefix));
    }
    if let (Cause::Few, Some((source, times))) = (cause, &facts.most) {
        said.push(format!("most refused: {source}, {}", human::plural(*times, ["time", "times"])));
    }
    if now.challenged >= 1.0 {
        said.push(format!("{} of the challenged proved to be there", percent(now.proofs / now.challenged)));
    } else if let Some(finished) = traffic.finished {
        said.push(format!("{} of those let through became connections", percent(finished)));
    }
    if let Some(opened) = now.opened.filter(|_| now.overflows + now.queue_full > 0.0) {
        said.push(format!(
            "the server opens {}/s, and its full queue turned {}/s away",
            rate(opened),
            rate(now.overflows + now.queue_full)
        ));
    } else if let Some((waiting, room)) = facts.queue.filter(|(waiting, room)| *room > 0 && waiting * 2 > *room) {
        said.push(format!("{} of {} places of its accept queue taken", count(waiting), count(room)));
    }
    if let (Cause::OwnLimit, Some(service)) = (cause, facts.service().filter(|service| service.budget.is_some())) {
        said.push(format!("budget of {} {}", service.name, service.stated));
    }
    if let Some(last) = facts.last.as_ref().filter(|last| cause != Cause::OwnLimit && last.seconds_ago < 3600.0) {
        said.push(format!("last change {} ago by {}: {}", human::seconds_short(last.seconds_ago), last.who, last.what));
    }
    said
}

/// What comes next. The runbook "on fire" has a row for each cause.
fn next(facts: &Facts, cause: Cause) -> Vec<String> {
    let name = facts.service().map_or("NAME", |service| service.name.as_str());
    let now = facts.now.unwrap_or_default();
    let arm = || "`limiter arm --for 30m`".to_owned();
    let armed = |first: Vec<String>| -> Vec<String> {
        let own = (!facts.enforces).then(arm);
        own.into_iter().chain(first).collect()
    };
    match cause {
        Cause::NotAttached => vec!["`limiter apply --confirm 5m`, or `limiter attach IFACE`".to_owned()],
        Cause::Gone => {
            vec!["`limiter apply --confirm 5m`, or `limiter attach IFACE` with the name of the new one".to_owned()]
        }
        Cause::OtherInterface => vec!["`limiter attach IFACE`; `limiter doctor` looks at the interfaces".to_owned()],
        Cause::NoService => vec!["`limiter apply --confirm 5m`, with a policy file that names a service".to_owned()],
        Cause::OwnLimit => match (&facts.last, facts.usual) {
            (Some(last), _) if last.of_limits => {
                vec!["`limiter rollback`; then correct the policy file, or it comes back".to_owned()]
            }
            (_, Some(usual)) => vec![format!("`limiter set --service {name} --budget {:.0}/s`", (usual * 3.0).ceil())],
            _ => vec!["`limiter history --last 5`".to_owned()],
        },
        Cause::Server => server(facts, &now, name),
        Cause::Spoofed | Cause::Mixed => forged(facts, name),
        Cause::Few => {
            let known = facts.most.as_ref().map(|(source, _)| {
                format!("if {source} is a school or carrier that you know: `limiter allow add {source} --for 2h`")
            });
            let rest = known.unwrap_or_else(|| "`limiter top`, then `limiter ban add SOURCE --for 30m`".to_owned());
            armed(vec![rest])
        }
        Cause::Botnet => {
            let ban = match &facts.network {
                Some(network) => format!(
                    "`limiter ban add {} --for 30m`, unless you know that network: a ban cuts off all of it",
                    network.prefix
                ),
                None => "`limiter top --prefix 24 --by attempts`, then `limiter ban add PREFIX --for 30m`".to_owned(),
            };
            armed(vec![ban])
        }
        Cause::Crowd if now.overflows + now.queue_full > 1.0 => server(facts, &now, name),
        Cause::Crowd => {
            let budget = facts.service().and_then(|service| service.budget);
            let rest = match budget {
                Some(_) => {
                    format!("if the server has room, raise its budget: `limiter set --service {name} --budget RATE`")
                }
                None => {
                    format!("give the server a budget that it can take: `limiter set --service {name} --budget RATE`")
                }
            };
            armed(vec![rest])
        }
        Cause::Unclear => {
            let look = "`limiter top --prefix 24 --by attempts`: a network that you do not know?".to_owned();
            armed(vec![look])
        }
        Cause::Nothing => {
            vec!["look behind limiter: servers, database, network; `limiter doctor` looks at queues".to_owned()]
        }
        Cause::Quiet => vec!["look before limiter: link, route, DNS, load balancer".to_owned()],
        Cause::NotMeasured => vec!["`limiter status` without --quick".to_owned()],
    }
}

/// A server that is too slow: its budget, with a burst that its queue holds.
fn server(facts: &Facts, now: &Now, name: &str) -> Vec<String> {
    let Some(opened) = now.opened.filter(|opened| *opened >= 5.0) else {
        return vec!["restart the server, or find out what it waits for; no limit helps here".to_owned()];
    };
    let room = facts.queue.map_or(100, |(_, room)| room * 3 / 4).max(1);
    let budget = (opened * 0.8).floor().max(1.0);
    let set = format!("`limiter set --service {name} --budget {budget:.0}/s --budget-burst {room}`");
    let own = (!facts.enforces).then(|| "`limiter arm --for 30m`".to_owned());
    std::iter::once(set).chain(own).collect()
}

/// A flood from forged addresses: limits alone do not help, a challenge does.
fn forged(facts: &Facts, name: &str) -> Vec<String> {
    if facts.enforces && facts.services.iter().any(|service| service.challenging) {
        return vec!["nothing: its attempts are answered with cookies and reach no server".to_owned()];
    }
    let mut next = Vec::new();
    if !facts.cookies {
        next.push("`limiter set --set-syncookies yes`".to_owned());
    }
    if !facts.services.iter().any(|service| service.challenge) {
        next.push(format!("`limiter set --service {name} --challenge auto`"));
    }
    if !facts.enforces {
        next.push("`limiter arm --for 30m`".to_owned());
    }
    if next.is_empty() {
        let now = facts.now.map_or(0.0, |now| now.attempts);
        next.push(match now > ORDINARY {
            true => format!("`limiter set --service {name} --challenge always`"),
            false => "`limiter status` again: the challenge begins when the budget is short".to_owned(),
        });
    }
    next
}
