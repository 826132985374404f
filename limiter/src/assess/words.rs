//! The assessment in words.

use super::{Assessment, Cause, ENOUGH, Facts, HANGS, Last, Level, RECENT};
use crate::observe::concentrated::EVERYBODY;
use crate::report::numbers::{self, count, seconds_short};
use crate::report::{Counts, percent, rate, refusals};

/// Columns of an ordinary terminal.
const WIDTH: usize = 80;
/// Seconds for which the last change is told beside another cause.
const LATELY: f64 = 3600.0;

/// What `status` begins with: `likely: ...`, `next: ...`, `why: ...`.
pub fn text(assessment: &Assessment) -> String {
    let mut text = block("likely: ", &assessment.likely);
    for (index, next) in assessment.next.iter().enumerate() {
        text.push_str(&block(if index == 0 { "next:   " } else { "then:   " }, next));
    }
    for (index, why) in [&assessment.what].into_iter().chain(&assessment.evidence).enumerate() {
        text.push_str(&block(if index == 0 { "why:    " } else { "        " }, why));
    }
    text
}

/// Lines of at most [`WIDTH`] columns, the first behind its label. A command stays whole.
fn block(label: &str, words: &str) -> String {
    let (mut text, mut column) = (label.to_owned(), label.len());
    let mut quoted = false;
    let pieces = words.split_inclusive(|letter| {
        quoted ^= letter == '`';
        letter == ' ' && !quoted
    });
    for word in pieces {
        let length = word.trim_end().chars().count();
        if column + length > WIDTH && column > label.len() {
            text.truncate(text.trim_end().len());
            text.push_str(&format!("\n{:8}", ""));
            column = label.len();
        }
        column += word.chars().count();
        text.push_str(word);
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// Says what was found.
pub fn assessment(facts: &Facts, cause: Cause) -> Assessment {
    let level = match cause {
        Cause::Nothing if refuses(facts) => Level::Notice,
        Cause::Nothing | Cause::Quiet | Cause::NotMeasured => Level::Good,
        Cause::NotAttached | Cause::Gone | Cause::NoService => Level::Alarm,
        Cause::OtherInterface if !facts.not_attached.is_empty() => Level::Alarm,
        Cause::OtherInterface | Cause::NotNamed => Level::Notice,
        Cause::Down => Level::Alarm,
        _ if facts.enforces || facts.is_full() => Level::Alarm,
        _ => Level::Notice,
    };
    Assessment {
        cause,
        likely: likely(facts, cause),
        next: super::next::next(facts, cause),
        what: what(facts, cause),
        evidence: evidence(facts, cause),
        level,
    }
}

fn refuses(facts: &Facts) -> bool {
    facts.refused() + facts.challenged() > 0.0
}

fn likely(facts: &Facts, cause: Cause) -> String {
    match cause {
        Cause::NotAttached => "nothing is limited: limiter is attached to no interface",
        Cause::Gone => "nothing is limited here: the interface went, or is in another namespace",
        Cause::OtherInterface if !facts.not_attached.is_empty() => {
            return format!(
                "nothing arrives here, and limiter is not attached to {}, which the policy names",
                facts.not_attached.join(", ")
            );
        }
        Cause::OtherInterface => {
            "nothing arrives here: connections come over another interface, or from this host"
        }
        Cause::NoService => "nothing is limited: the policy names no service",
        Cause::NotNamed => {
            "nothing arrives for a service: what comes is for ports that the policy does not name"
        }
        Cause::Banned => "our own ban list: all that comes is from banned sources",
        Cause::OwnLimit if !facts.enforces => {
            "our own limit: it would refuse what comes on any day"
        }
        Cause::OwnLimit => match facts.changed(RECENT[0]) {
            Some(last) => {
                let ago = seconds_short(last.seconds_ago);
                let or = match facts.surges() {
                    None if !facts.began_with_change => {
                        "; or more clients than usual, which is not known"
                    }
                    _ => "",
                };
                return format!("our own limit, changed {ago} ago by {}{or}", last.who);
            }
            None if facts.began_with_change => "our own limit: it began with the last change",
            None => "our own limit: as many come as usual, and it refuses them",
        },
        Cause::Server => match facts.opened() {
            Some(opened) if opened < 1.0 => {
                "the server accepts no connection now: it hangs, or slow readers hold its places"
            }
            Some(opened) if opened < HANGS => {
                return format!(
                    "the server accepts only {}/s: far too slow, or slow readers hold its places",
                    rate(opened)
                );
            }
            _ => "the server accepts too slowly, or slow readers hold its places",
        },
        Cause::Down => {
            let services: Vec<&str> =
                facts.services.iter().map(|service| service.name.as_str()).collect();
            return format!(
                "the server is down: no process listens for {}, and the kernel resets clients",
                services.join(", ")
            );
        }
        Cause::Spoofed => "a flood from forged addresses, not a crowd",
        Cause::Mixed => "a flood from forged addresses beside real clients",
        Cause::Few if facts.finish_nothing() => {
            "few sources come too often and finish no handshake: an attack"
        }
        Cause::Few => "few sources come too often: an attack, a tool, or a shared address",
        Cause::Familiar => {
            "few sources that came before come far more: shared addresses, or a tool"
        }
        Cause::Botnet => "a botnet: many machines that come by a clock and ask nothing",
        Cause::Programs => "a botnet or an app that retries: programs that connect one by one",
        Cause::Crowd if facts.long_wait => {
            "a crowd, for ten minutes: capacity is missing, most see the waiting room's page"
        }
        Cause::Crowd if facts.most_wait() => {
            "a crowd: most who come see the waiting room's page, and come in by turns"
        }
        Cause::Crowd if facts.is_full() => {
            "a crowd, or a botnet of browsers: more than the server takes"
        }
        Cause::Crowd if refuses(facts) => {
            "a crowd, or a botnet of browsers: more than there is room for"
        }
        Cause::Crowd => "a crowd: far more real clients than usual, and room for them",
        Cause::Unclear if facts.is_little() => {
            "some sources are over a limit; too few attempts come to tell why"
        }
        Cause::Unclear if facts.look_drawn() => {
            "forged addresses, or a crowd from all over the world: the numbers do not tell"
        }
        Cause::Unclear => "a crowd or an attack: the numbers do not tell which",
        Cause::Nothing if facts.banned() > facts.attempts() => {
            "nothing that limiter sees, beside what is banned"
        }
        Cause::Nothing if facts.is_served() && facts.answers_late() => {
            "nothing that limiter sees, but the server answers late"
        }
        Cause::Nothing => {
            let silent = silent(facts);
            if silent.is_empty() {
                "nothing that limiter sees"
            } else {
                return format!("nothing that limiter sees, but {silent}");
            }
        }
        Cause::Quiet => "nothing arrives here",
        Cause::NotMeasured => "not known: --quick measures no rates",
    }
    .to_owned()
}

/// What happens.
fn what(facts: &Facts, cause: Cause) -> String {
    if facts.attached == 0 {
        return "NOT ATTACHED: limiter sees no traffic and refuses none.".to_owned();
    }
    let Some(now) = facts.now else { return "Rates were not measured.".to_owned() };
    let window = match now.seconds {
        seconds if seconds < 0.95 => format!("{seconds:.1}s"),
        seconds => format!("{seconds:.0}s"),
    };
    if facts.attempts() <= 0.0 {
        let beside = [
            (facts.banned(), "packets/s of banned sources"),
            (facts.allowed(), "packets/s of allowed sources"),
            (facts.not_named(), "SYNs/s to no service"),
        ];
        let beside = beside.iter().filter(|(of, _)| *of > 0.0);
        let beside: String = beside.map(|(of, name)| format!(", {} {name}", rate(*of))).collect();
        return format!("QUIET: no attempt in {window}{beside}.");
    }
    let from = match facts.distinct.sources {
        0 => String::new(),
        sources => format!(
            " from about {} ({:.0}s)",
            numbers::plural(sources, ["source", "sources"]),
            facts.distinct.seconds
        ),
    };
    let attempts = format!("{} attempts/s ({window}){from}", rate(facts.attempts()));
    let refusals = refusals(&now);
    let (refused, challenged) = (facts.refused(), facts.challenged());
    if refusals.is_empty() && challenged <= 0.0 && facts.diverted() <= 0.0 {
        return match cause {
            Cause::Nothing => format!("CALM: limiter lets in all of {attempts}."),
            _ => format!("LETTING IN all of {attempts}."),
        };
    }
    let mut parts = Vec::new();
    let diverted = facts.diverted();
    for (verb, of) in [("challenge", challenged), ("divert", diverted), ("refuse", refused)] {
        if of > 0.0 {
            parts.push(format!("{verb} {}", percent(of, facts.attempts())));
        }
    }
    let beside = parts.is_empty();
    if beside {
        parts.push(format!("refuse {} packets/s", rate(now.of(Counts::refused))));
    }
    let of = if beside { "beside" } else { "of" };
    let mut by: Vec<String> = (refusals.iter().take(3))
        .map(|(reason, of)| match reason.is_attempt() {
            true => format!("{} {}", reason.name(), percent(*of, facts.attempts())),
            false => format!("{} {} packets/s", reason.name(), rate(*of)),
        })
        .collect();
    if challenged > 0.0 && facts.enforces {
        by.push(format!("{} proofs/s answered it", rate(now.of(Counts::proofs))));
    }
    let by = if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) };
    let parts = parts.join(", ");
    match facts.enforces {
        true => {
            let done = parts.replace("refuse", "REFUSING").replace("challenge", "CHALLENGING");
            let done = done.replace("divert", "DIVERTING");
            format!("{done} {of} {attempts}{by}.")
        }
        false => format!("NOTHING IS DROPPED; enforcing would {parts} {of} {attempts}{by}."),
    }
}

/// Which services no process serves; nothing if there is none.
fn silent(facts: &Facts) -> String {
    let silent = facts.services.iter().filter(|service| !service.listens);
    let silent = silent.map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
    match silent.is_empty() {
        true => silent,
        false => format!("no process listens here for {silent}: down, or in a container"),
    }
}

/// What else it rests on. Counters of the kernel are of all ports.
fn evidence(facts: &Facts, cause: Cause) -> Vec<String> {
    let mut said = Vec::new();
    if let [first, ..] = &facts.not_attached[..]
        && !matches!(cause, Cause::NotAttached | Cause::OtherInterface)
    {
        let more = facts.not_attached.len() - 1;
        let more = if more > 0 { format!(" (+{more} more)") } else { String::new() };
        said.push(format!(
            "limiter is not attached to {first}{more} of the policy file: `limiter attach {first}`"
        ));
    }
    if let Some(waiting) = facts.waiting.filter(|_| cause == Cause::Crowd && facts.enforces) {
        said.push(format!(
            "in line: {}, half of them for {}",
            numbers::plural(waiting.sources as u64, ["source", "sources"]),
            seconds_short(waiting.half_seconds)
        ));
    }
    if facts.gone > 0 && cause != Cause::Gone {
        let gone = numbers::plural(facts.gone as u64, ["interface is", "interfaces are"]);
        said.push(format!("{gone} gone or detached"));
    }
    let Some(now) = facts.now.filter(|_| facts.attached > 0) else { return said };
    match facts.usual {
        Some(usual) => said.push(format!("usually {} attempts/s, by the history", rate(usual))),
        None if !matches!(cause, Cause::Quiet | Cause::NoService) => {
            said.push("what is usual is not known: the history has too little".to_owned());
        }
        None => {}
    }
    let silent = silent(facts);
    if !silent.is_empty() && !matches!(cause, Cause::Nothing | Cause::Down) {
        said.push(silent);
    }
    match facts.finished() {
        _ if matches!(cause, Cause::Nothing | Cause::Server | Cause::Down)
            || facts.attempts() < 0.5 => {}
        Some(share) if facts.asked().is_some() => {
            said.push(format!("{} of the challenged proved to be there", percent(share, 1.0)));
        }
        Some(share) => said.push(format!(
            "{} of the {}/s that were let through became connections",
            percent(share, 1.0),
            rate(now.of(|counts| counts.through))
        )),
        None if facts.is_full() => {
            said.push("the accept queue is full, so that clients cannot finish".to_owned());
        }
        None if now.counts.through < ENOUGH => {
            said.push("too few were let through to tell who finishes".to_owned());
        }
        None if facts.service().is_none_or(|service| !service.listens) => {}
        None => {
            said.push("who finishes is not known: the kernel counts other ports too".to_owned())
        }
    }
    if facts.is_full() {
        let opened = facts.opened().map_or_else(|| "?".to_owned(), rate);
        let turned = rate(facts.turned_away());
        said.push(format!("the kernel opens {opened}/s; full accept queues turn {turned}/s away"));
    }
    let [waiting, room] = facts.queue.unwrap_or_default();
    if waiting > 0 && (facts.is_full() || cause == Cause::Server) {
        said.push(format!(
            "{} of {} places of the accept queue are taken",
            count(waiting.into()),
            count(room.into())
        ));
    }
    if facts.answers_late() {
        let (clients, median) = facts.unanswered;
        said.push(format!(
            "the server answers late: {} clients wait, half of them for {:.1}s",
            count(clients as u64),
            median.as_secs_f64()
        ));
    }
    // Where everybody comes from, as on any day, says nothing of who they are.
    if let Some(common) = facts.common.as_ref().filter(|common| {
        matches!(cause, Cause::Botnet | Cause::Programs | Cause::Crowd | Cause::Unclear)
            && (common.percent < EVERYBODY || facts.surges() == Some(true))
    }) {
        said.push(common.words());
    }
    if cause == Cause::Botnet || cause == Cause::Programs {
        let manners = &facts.sources.manners[usize::from(facts.is_full())];
        let apart = match manners.gap {
            gap if gap < 0.05 => String::new(),
            gap => format!(", {gap:.1}s apart"),
        };
        let share = percent(manners.programs, 1.0);
        said.push(format!(
            "{share} of the connections come one by one{apart}; people open several at once"
        ));
    }
    if cause == Cause::Programs {
        said.push(
            "what tells: whether an app of yours polls; one that retries ends once it is let in"
                .to_owned(),
        );
    }
    if let (Some(share), Cause::Few | Cause::Familiar) = (facts.heavy().of_ten, cause) {
        let rate = rate(share * facts.attempts());
        said.push(format!("the ten heaviest sources make {} of it, {rate}/s", percent(share, 1.0)));
    }
    // In an incident of ten minutes all of them were.
    let returning = facts.distinct.returning_percent.filter(|percent| *percent < 90.0);
    if let (Some(percent), false) = (returning, cause == Cause::Nothing) {
        said.push(format!("{percent:.0}% of the sources were here in the ten minutes before"));
    }
    if matches!(cause, Cause::Crowd | Cause::Botnet) {
        said.push(
            "what tells: in the server's log people fetch whole pages, bots do not".to_owned(),
        );
    }
    for service in &facts.services {
        if let Some([present, users]) = service.users.filter(|[present, users]| present >= users) {
            let (name, present, users) = (&service.name, count(present), count(users));
            said.push(format!("{name}: {present} of {users} users are present"));
        }
    }
    let tells = |last: &&Last| cause == Cause::OwnLimit || last.seconds_ago < LATELY;
    if let Some(last) = facts.last.as_ref().filter(tells) {
        let ago = seconds_short(last.seconds_ago);
        said.push(format!("last change, {ago} ago by {}: {}", last.who, last.what));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_not_broken() {
        let words = "do you know it? Then `limiter allow add 2001:db8:17:3::/64 --for 2h`, or else";
        let text = block("next:   ", words);
        assert!(text.contains("`limiter allow add 2001:db8:17:3::/64 --for 2h`"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("        ")), "{text}");
    }
}
