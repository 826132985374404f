//! The snapshot for an operator who is tired.

use std::fmt::Write as _;

use limiter_common::challenge::Challenge;
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::Refuse;

use super::numbers::{count, networks, plural, seconds};
use super::sample::ByReason;
use super::shadow::Shadow;
use super::snapshot::{Admission, Service, Snapshot};
use super::take::network_limit;
use crate::kernel::interface::Attachment;
use crate::policy::{self, text};

/// The text of `limiter status`.
pub fn status(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_status(&mut text, snapshot);
    text
}

fn write_status(to: &mut String, snapshot: &Snapshot) -> std::fmt::Result {
    let meaning = match snapshot.mode {
        "enforce" => "excess attempts are DROPPED",
        _ => "nothing is dropped, excess attempts are only counted",
    };
    writeln!(to, "mode        {}: {meaning}", snapshot.mode)?;
    if let Some(revert) = &snapshot.reverts {
        let what = match revert.policy {
            true => format!("the policy before, in mode {},", revert.mode),
            false => revert.mode.to_owned(),
        };
        writeln!(
            to,
            "            goes back to {what} by itself in {}",
            seconds(revert.in_seconds)
        )?;
        if revert.policy {
            writeln!(
                to,
                "            unless you keep it: `limiter confirm`; back now: `limiter rollback`"
            )?;
        }
    }
    let profile =
        snapshot.profile.as_ref().map_or_else(String::new, |name| format!(", profile {name}"));
    writeln!(to, "policy      number {}{profile}", snapshot.generation)?;
    if snapshot.interfaces.is_empty() {
        writeln!(to, "interfaces  none: attach one with `limiter attach IFACE`")?;
    }
    for (row, interface) in snapshot.interfaces.iter().enumerate() {
        let label = if row == 0 { "interfaces" } else { "" };
        let name = interface.name.clone().unwrap_or_else(|| format!("index {}", interface.index));
        let place = match interface.attachment {
            Some(Attachment::Native) if interface.in_dispatcher => {
                "native (in the driver), in a dispatcher"
            }
            Some(Attachment::Native) => "native (in the driver)",
            Some(Attachment::Generic) => "GENERIC (slow path; see `limiter attach --help`)",
            Some(Attachment::Offloaded) => "in the NIC",
            None if interface.name.is_some() && interface.in_dispatcher => {
                "NOT ATTACHED: another tool took the dispatcher away; \
                 `limiter attach --dispatcher` attaches it again"
            }
            None if interface.name.is_some() => {
                "NOT ATTACHED: another tool detached the link; `limiter attach` attaches it again"
            }
            None => "gone, or in another network namespace",
        };
        writeln!(to, "{label:<11} {name}  {place}")?;
    }
    writeln!(
        to,
        "budget      {} for the whole host{}",
        snapshot.budget,
        used(snapshot.budget_used_percent)
    )?;
    for share in &snapshot.shares {
        writeln!(to, "share       {share}")?;
    }
    writeln!(
        to,
        "sources     {} by default; a source is an IPv4 /{} or an IPv6 /{}",
        snapshot.source_limit, snapshot.prefixes.v4, snapshot.prefixes.v6
    )?;
    for (row, class) in snapshot.classes.iter().enumerate() {
        let label = if row == 0 { "classes" } else { "" };
        let prefixes = plural(class.prefixes as u64, ["prefix", "prefixes"]);
        let networks = (class.network_limit.as_ref())
            .map_or_else(String::new, |limit| format!(";  network limit {limit}"));
        let open = match class.open {
            None => String::new(),
            Some(0) => ";  any number open".to_owned(),
            Some(most) => format!(";  at most {most} open"),
        };
        let (name, limit) = (&class.name, &class.source_limit);
        writeln!(to, "{label:<11} {name}: {prefixes}, {limit}{networks}{open}")?;
    }
    let table = &snapshot.table;
    let percent = 100.0 * table.live as f64 / table.ways.max(1) as f64;
    writeln!(
        to,
        "table       about {} of {} entries in use ({percent:.1}%), {} evicted",
        count(table.live as u64),
        count(table.ways as u64),
        count(table.steals)
    )?;
    write_distinct(to, snapshot)?;
    write_waiting(to, snapshot)?;
    write_open(to, snapshot)?;
    write_cookies(to, snapshot)?;
    writeln!(to, "lists       {} allowed, {} banned", snapshot.allowed, snapshot.banned)?;
    if snapshot.services.is_empty() {
        writeln!(
            to,
            "\nno service is named, so everything passes; name one when you attach: `--service web=*:80,*:443`"
        )?;
    }
    for service in &snapshot.services {
        write_service(to, service, snapshot)?;
    }
    writeln!(to, "\nto no service:")?;
    write_reasons(to, &snapshot.other, Verdict::Pass, "passed")?;
    write_reasons(to, &snapshot.other, Verdict::Drop, "dropped")
}

/// Who waits, and whether the room is open.
fn write_waiting(to: &mut String, snapshot: &Snapshot) -> std::fmt::Result {
    if let Some(waiting) = snapshot.waiting.filter(|one| one.sources + one.gone > 0) {
        writeln!(
            to,
            "waiting     about {} in line, half of them for {} or longer, a tenth for {}; about {} gave up",
            plural(
                waiting.sources as u64,
                match snapshot.mode {
                    "enforce" => ["source waits", "sources wait"],
                    _ => ["source would wait", "sources would wait"],
                }
            ),
            seconds(waiting.half_seconds),
            seconds(waiting.tenth_seconds),
            count(waiting.gone as u64)
        )?;
    }
    let Some(room) = &snapshot.room else { return Ok(()) };
    let list = |ports: &[u16]| {
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        format!("{} {}", if ports.len() == 1 { "port" } else { "ports" }, ports.join(", "))
    };
    if !room.open.is_empty() {
        writeln!(to, "room        open for {}", list(&room.open))?;
    }
    if !room.closed.is_empty() {
        writeln!(
            to,
            "room        CLOSED for {}, so who waits there gets no answer: start `limiter room`",
            list(&room.closed)
        )?;
    }
    Ok(())
}

/// The open connections, where they are bounded.
fn write_open(to: &mut String, snapshot: &Snapshot) -> std::fmt::Result {
    let Some(open) = &snapshot.open else { return Ok(()) };
    if !open.counted {
        return writeln!(
            to,
            "open        connections are NOT COUNTED, so none is refused for them: `limiter doctor` says why"
        );
    }
    let connections = of(open.connections, open.budget, ["connection", "connections"]);
    let uncounted = match open.uncounted {
        0 => String::new(),
        number => format!("; {} found no place in the table", count(number)),
    };
    writeln!(to, "open        {connections}{uncounted}")?;
    if open.older > 0 {
        let older = plural(open.older, ["connection", "connections"]);
        writeln!(
            to,
            "            and {older} from before the count, which this kernel does not take over"
        )?;
    }
    Ok(())
}

/// A number of things, and of how many: `1,234 of 20,000 connections`.
fn of(number: u64, most: Option<u64>, [one, many]: [&str; 2]) -> String {
    match most {
        Some(most) => format!("{} of {} {many}", count(number), count(most)),
        None => plural(number, [one, many]),
    }
}

fn write_service(to: &mut String, service: &Service, snapshot: &Snapshot) -> std::fmt::Result {
    writeln!(to, "\nservice {}  {}", service.name, service.listeners.join(" "))?;
    let used = used(service.admission.budget_used_percent);
    writeln!(to, "  source limit {};  budget {}{used}", service.source_limit, service.budget)?;
    if let Some(limit) = network_limit(&service.settings.networks) {
        writeln!(to, "  network limit {limit}")?;
    }
    let admission = &service.admission;
    let has_budget = admission.budget_used_percent.or(snapshot.budget_used_percent).is_some();
    write_admission(to, &service.settings.admission, admission, has_budget)?;
    if snapshot.measured_seconds > 0.0 {
        writeln!(
            to,
            "  now    {:>12} attempts/s; of all packets {}/s {}",
            count(service.attempts_per_second.round() as u64),
            count(service.refused_per_second.round() as u64),
            if snapshot.mode == "enforce" { "are refused" } else { "would be refused" }
        )?;
    }
    writeln!(
        to,
        "  so far {:>12} attempts, {} admitted",
        count(service.attempts),
        count(service.admitted)
    )?;
    write_debts(to, service)?;
    write_reasons(to, &service.decided, Verdict::Pass, "passed")?;
    write_reasons(to, &service.decided, Verdict::Answer, "answered")?;
    write_reasons(to, &service.decided, Verdict::Drop, "DROPPED")?;
    write_reasons(to, &service.observed, Verdict::Answer, "would be answered")?;
    write_reasons(to, &service.observed, Verdict::Drop, "would be dropped")
}

/// How many come: what tells a crowd from a flood of spoofed addresses.
fn write_distinct(to: &mut String, snapshot: &Snapshot) -> std::fmt::Result {
    let seen = &snapshot.distinct;
    if seen.sources == 0 {
        return writeln!(to, "seen        no source lately");
    }
    let known = seen.returning_percent.map_or_else(String::new, |percent| {
        format!(", {percent:.0}% seen in the 10 minutes before")
    });
    writeln!(
        to,
        "seen        about {} ({}) in the last {:.0} s{known}",
        plural(seen.sources, ["source", "sources"]),
        networks(seen.prefixes_24, seen.prefixes_48),
        seen.seconds
    )?;
    for found in &snapshot.concentrated {
        let see = if found.advice.is_some() { ": see `limiter doctor`" } else { "" };
        writeln!(to, "            to {}, {}{see}", found.service, found.words())?;
    }
    match snapshot.refused_most.first() {
        Some(most) => {
            writeln!(
                to,
                "            most refused: {}, {}; more: `limiter top`",
                most.source,
                plural(most.count, ["time", "times"])
            )
        }
        None => Ok(()),
    }
}

/// How near to their limit the sources were when they came.
fn write_debts(to: &mut String, service: &Service) -> std::fmt::Result {
    // Counters may hold anything, also what no sum of integers can.
    let sum = |steps: &[u64]| -> f64 { steps.iter().map(|count| *count as f64).sum() };
    let all = sum(&service.debts);
    let (Some((over, within)), true) = (service.debts.split_last(), all > 0.0) else {
        return Ok(());
    };
    // The first is no debt at all, the others are sixteenths.
    let near = sum(within.get(1 + 8..).unwrap_or_default());
    let [free, near, over] = [within[0] as f64, near, *over as f64].map(|part| 100.0 * part / all);
    writeln!(
        to,
        "  of the attempts, {free:.1}% from idle sources, {near:.1}% past half of their limit, {over:.1}% over it"
    )
}

fn write_admission(
    to: &mut String,
    said: &policy::Admission,
    now: &Admission,
    has_budget: bool,
) -> std::fmt::Result {
    if let Some(line) = &now.line {
        let wait = match line.wait_seconds.round() as u64 {
            0 => "who comes next has not waited".to_owned(),
            seconds => {
                format!("who has waited {} comes in as there is room", text::show_seconds(seconds))
            }
        };
        let present = match (line.present, line.users) {
            (Some(present), Some(users)) => {
                format!("{} of {} users present;  ", count(present), count(users))
            }
            _ => String::new(),
        };
        writeln!(
            to,
            "  line: {present}{wait};  {} visits and {} pages let in, {:.1} connections a page",
            count(line.visits),
            count(line.pages),
            line.connections_per_page
        )?;
    }
    if let Some(open) = &now.open {
        let most = match open.source {
            Some(most) => format!(", at most {} of a source", count(most)),
            None => String::new(),
        };
        let connections = of(open.connections, open.budget, ["connection", "connections"]);
        writeln!(to, "  open: {connections}{most}")?;
    }
    if let Some(shadow) = &now.shadow {
        let (judged, refused) = (shadow.judged, shadow.refused());
        writeln!(to, "  shadow: {};  {}", tried(shadow), would_refuse(refused, judged))?;
    }
    if !said.line && has_budget && now.line.is_none() {
        writeln!(to, "  line: none, the budget is for those who come first")?;
    }
    if said.challenge != Challenge::Off {
        let on = match (now.challenging, said.challenge) {
            (true, _) => "ON now",
            (false, Challenge::Always) => {
                "not now: limiter observes, or the kernel makes no cookies"
            }
            // Who is present is answered here beyond an allowance of their own.
            (false, _) if said.line => "off for newcomers at this moment",
            (false, _) => "off at this moment",
        };
        let (challenge, turns) = (text::show_challenge(said.challenge), now.challenge_turns);
        writeln!(to, "  challenge {challenge}, {on} (turned on {turns} times)")?;
    }
    if said.refuse == Refuse::Reset {
        writeln!(to, "  refusals are answered with a reset, {} sent", count(now.resets_sent))?;
    }
    if said.refuse == Refuse::Room {
        writeln!(to, "  who waits is sent to the waiting room")?;
    }
    Ok(())
}

/// The kernel's settings, if any service may challenge.
fn write_cookies(to: &mut String, snapshot: &Snapshot) -> std::fmt::Result {
    let cookies = &snapshot.cookies;
    writeln!(to, "charged     {}", cookies.charged.text())?;
    if let Some(before) = cookies.syncookies_before {
        writeln!(
            to,
            "cookies     limiter set net.ipv4.tcp_syncookies from {before} to 2, and puts it back when it stops"
        )?;
    }
    let challenges = snapshot
        .services
        .iter()
        .any(|service| service.settings.admission.challenge != Challenge::Off);
    if challenges && !cookies.works() {
        let when = match (cookies.may_set, snapshot.mode) {
            (true, "enforce") => {
                "so NOBODY IS CHALLENGED: another process changed it after limiter set it"
            }
            (true, _) => "until limiter is armed",
            (false, _) => "so NOBODY IS CHALLENGED",
        };
        writeln!(
            to,
            "cookies     net.ipv4.tcp_syncookies is {}, not 2, {when}",
            cookies.syncookies
        )?;
    }
    if challenges && !cookies.keeps_options {
        writeln!(
            to,
            "            challenged connections go without window scaling and SACK: net.ipv4.tcp_timestamps is not 2"
        )?;
    }
    Ok(())
}

fn write_reasons(
    to: &mut String,
    counts: &ByReason,
    verdict: Verdict,
    label: &str,
) -> std::fmt::Result {
    let with = Reason::ALL.iter().filter(|reason| reason.verdict() == verdict);
    for reason in with {
        if let Some(number) = counts.get(reason.name()) {
            writeln!(
                to,
                "  {:>19} {label:<16} {}: {}",
                count(*number),
                reason.name(),
                reason.text()
            )?;
        }
    }
    Ok(())
}

/// What is tried in the shadow: `source limit 10/s, burst 20, at most 30 open of a source`.
pub fn tried(shadow: &Shadow) -> String {
    let limit = shadow.source_limit.as_ref().map(|limit| format!("source limit {limit}"));
    let open = shadow.open.map(|most| format!("at most {} open of a source", count(most)));
    limit.into_iter().chain(open).collect::<Vec<_>>().join(", ")
}

/// What that would have done: `would have refused 12 of 3,456 that were let in (0.3%)`.
pub fn would_refuse(refused: u64, judged: u64) -> String {
    let percent = 100.0 * refused as f64 / judged.max(1) as f64;
    format!(
        "would have refused {} of {} that were let in ({percent:.1}%)",
        count(refused),
        count(judged)
    )
}

/// How much of a budget is used, where there is one.
fn used(percent: Option<f64>) -> String {
    percent.map_or_else(String::new, |percent| format!(", {percent:.0}% used"))
}
