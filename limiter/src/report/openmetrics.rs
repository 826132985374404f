//! The snapshot for Prometheus: which families there are, and which labels.
//!
//! Names and units follow its conventions: base units, shares from 0 to 1, counters that end in `_total`. Labels come from bounded sets:
//! services (64 at most), interfaces that limiter is attached to, reasons, outcomes. No label ever holds a client's address.

use limiter_common::reason::{Packet, Reason, Verdict};

use super::exposition::{Exposition, Family, Form, MetricType};
use super::fleet::{Led, Shared, Sums, View};
use super::sample::ByReason;
use super::scrape::Scrape;
use super::snapshot::{Service, Snapshot};
use crate::kernel::interface::Attachment;
use crate::observe::Distinct;
use crate::policy::text;

/// The modes that `limiter_mode` tells apart.
const MODES: [&str; 2] = ["observe", "enforce"];

/// The text of a scrape.
pub fn text(scrape: &Scrape, form: Form) -> String {
    let mut to = Exposition::new(form);
    to.family(MetricType::Info, "limiter_build", "", "Version of the command that was asked.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], true);
    to.family(
        MetricType::Gauge,
        "limiter_loaded",
        "",
        "Whether limiter is loaded into the kernel (1) or nothing is limited (0).",
    )
    .sample(&[], scrape.loaded);
    to.family(
        MetricType::Gauge,
        "limiter_snapshot_success",
        "",
        "Whether limiter's state could be read.",
    )
    .sample(&[], scrape.error.is_none());
    to.family(
        MetricType::Gauge,
        "limiter_snapshot_duration_seconds",
        "seconds",
        "Time that reading limiter's state took.",
    )
    .sample(&[], scrape.took_seconds);
    interfaces(&mut to, scrape);
    fleet(&mut to, scrape.fleet.as_ref());
    if let Some(snapshot) = &scrape.snapshot {
        decisions(&mut to, scrape.at, snapshot);
        budgets(&mut to, snapshot);
        shares(&mut to, snapshot);
        lines(&mut to, snapshot);
        open(&mut to, snapshot);
        shadow(&mut to, snapshot);
        counters(&mut to, snapshot);
        packets(&mut to, snapshot);
        challenge(&mut to, snapshot);
        debts(&mut to, &snapshot.services);
        table(&mut to, snapshot);
        distinct(&mut to, &snapshot.distinct);
    }
    to.finish()
}

fn interfaces(to: &mut Exposition, scrape: &Scrape) {
    let all = scrape.snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.interfaces);
    let attached = || all.iter().filter_map(|one| Some((one.name.as_deref()?, one.attachment?)));
    let help = "Whether limiter is attached to an interface that it is or should be attached to.";
    let mut family = to.family(MetricType::Gauge, "limiter_interface_attached", "", help);
    for name in scrape.wanted.iter().filter(|name| attached().all(|(other, _)| other != *name)) {
        family.sample(&[("interface", name)], false);
    }
    for (name, _) in attached() {
        family.sample(&[("interface", name)], true);
    }
    let mut family = to.family(
        MetricType::Info,
        "limiter_interface",
        "",
        "Where the program of an interface runs.",
    );
    for (name, attachment) in attached() {
        let place = match attachment {
            Attachment::Native => "native",
            Attachment::Generic => "generic",
            Attachment::Offloaded => "offloaded",
        };
        family.sample(&[("interface", name), ("attachment", place)], true);
    }
    let help = "Interfaces that limiter was attached to and that are gone, or in another network namespace.";
    to.family(MetricType::Gauge, "limiter_interfaces_gone", "", help)
        .sample(&[], all.len() - attached().count());
}

/// What a node knows of its fleet; what concerns all nodes the leader alone tells.
fn fleet(to: &mut Exposition, view: Option<&View>) {
    let help = "When this node's last report was committed to its fleet, since 1970; 0: none was since the daemon began.";
    let name = "limiter_fleet_reported_timestamp_seconds";
    let mut family = to.family(MetricType::Gauge, name, "seconds", help);
    if let Some(view) = view {
        family.sample(&[], view.reported);
    }
    let help =
        "Entries of the fleet that this node refuses, by what they are; the daemon's log says why.";
    let mut family = to.family(MetricType::Gauge, "limiter_fleet_refused_entries", "", help);
    for kind in Shared::KINDS {
        if let Some(view) = view {
            let count = view.refused.values().filter(|(one, _)| *one == kind).count();
            family.sample(&[("kind", kind)], count);
        }
    }
    let led = view.and_then(|view| view.led.as_ref());
    let help = "Nodes of the fleet, by whether they report; only the leader tells.";
    let mut family = to.family(MetricType::Gauge, "limiter_fleet_nodes", "", help);
    if let Some(Led { reporting, silent, .. }) = led {
        family.sample(&[("state", "reporting")], *reporting);
        family.sample(&[("state", "silent")], *silent);
    }
    let mut sums = |name: &'static str, help: &'static str, of: fn(&Sums) -> f64| {
        let mut family = to.family(MetricType::Gauge, name, "", help);
        for (budget, sums) in led.iter().flat_map(|led| &led.budgets) {
            family.sample(&[("budget", budget)], of(sums));
        }
    };
    sums("limiter_fleet_budget", "A budget of the fleet; only the leader tells.", |of| of.budget);
    let help = "What all nodes want of it; only the leader tells.";
    sums("limiter_fleet_demand", help, |of| of.demand);
    let help = "The most of it that may be in force on all nodes together; only the leader tells.";
    sums("limiter_fleet_held", help, |of| of.held);
}

/// What decides, and until when. `now`: in seconds since 1970.
fn decisions(to: &mut Exposition, now: f64, snapshot: &Snapshot) {
    let mut family = to.family(
        MetricType::States,
        "limiter_mode",
        "",
        "The mode: observe counts what exceeds the limits, enforce drops it.",
    );
    for mode in MODES {
        family.sample(&[("limiter_mode", mode)], snapshot.mode == mode);
    }
    let profile = snapshot.profile.as_deref().unwrap_or_default();
    to.family(
        MetricType::Info,
        "limiter_policy",
        "",
        "The profile that the policy was made with; empty without one.",
    )
    .sample(&[("profile", profile)], true);
    let help = "Number of the policy in force among those since limiter was loaded.";
    to.family(MetricType::Gauge, "limiter_policy_generation", "", help)
        .sample(&[], snapshot.generation);
    let help = "When the policy or only the mode goes back by itself, since 1970; no sample when nothing does.";
    let mut family =
        to.family(MetricType::Gauge, "limiter_revert_timestamp_seconds", "seconds", help);
    if let Some(revert) = &snapshot.reverts {
        let scope = if revert.policy { "policy" } else { "mode" };
        // Whole seconds: the same moment in every scrape.
        family.sample(&[("scope", scope)], (now + revert.in_seconds).round());
    }
    let mut family = to.family(
        MetricType::Gauge,
        "limiter_list_entries",
        "",
        "Entries of the allow list and the ban list.",
    );
    family.sample(&[("list", "allow")], snapshot.allowed);
    family.sample(&[("list", "ban")], snapshot.banned);
}

fn budgets(to: &mut Exposition, snapshot: &Snapshot) {
    let help = "Share of the host's budget that is used now; no sample without a budget.";
    let mut family = to.family(MetricType::Gauge, "limiter_host_budget_used_ratio", "ratio", help);
    if let Some(percent) = snapshot.budget_used_percent {
        family.sample(&[], percent / 100.0);
    }
    let help = "Share of a service's budget that is used now; no sample without a budget.";
    let mut family = to.family(MetricType::Gauge, "limiter_budget_used_ratio", "ratio", help);
    for service in &snapshot.services {
        if let Some(percent) = service.admission.budget_used_percent {
            family.sample(&[("service", &service.name)], percent / 100.0);
        }
    }
}

/// Shares of a fleet's budgets.
fn shares(to: &mut Exposition, snapshot: &Snapshot) {
    let help = "Share of a fleet's budget that is in force, in connections per second; no sample without one.";
    let mut family = to.family(MetricType::Gauge, "limiter_share_per_second", "", help);
    for share in &snapshot.shares {
        if let Some(rate) = share.per_second {
            family.sample(&[("budget", &share.budget)], rate);
        }
    }
    let help = "Places of a fleet's users or open connections that are in force; no sample without a share.";
    let mut family = to.family(MetricType::Gauge, "limiter_share_places", "", help);
    for share in &snapshot.shares {
        if let Some(places) = share.places {
            family.sample(&[("budget", &share.budget)], places);
        }
    }
    let help =
        "When that share ends unless it is renewed: 6 or more while the fleet can be reached.";
    let mut family = to.family(MetricType::Gauge, "limiter_share_ends_in_seconds", "seconds", help);
    for share in &snapshot.shares {
        family.sample(&[("budget", &share.budget)], share.ends_in_seconds);
    }
}

/// Open connections, where the policy bounds any.
fn open(to: &mut Exposition, snapshot: &Snapshot) {
    let Some(open) = &snapshot.open else { return };
    let help =
        "Whether open connections are counted; while they are not, none is refused for them.";
    to.family(MetricType::Gauge, "limiter_open_counted", "", help).sample(&[], open.counted);
    let help = "Connections that are open to a service, as they are counted.";
    let mut family = to.family(MetricType::Gauge, "limiter_open_connections", "", help);
    let services = || {
        let services = snapshot.services.iter();
        services.filter_map(|service| Some((&service.name, service.admission.open?)))
    };
    for (name, open) in services() {
        family.sample(&[("service", name)], open.connections);
    }
    let help = "How many connections may be open to a service; no sample for any number.";
    let mut family = to.family(MetricType::Gauge, "limiter_open_limit", "", help);
    for (name, open) in services() {
        open.budget.into_iter().for_each(|most| family.sample(&[("service", name)], most));
    }
    let help = "How many connections may be open to all services; no sample for any number.";
    let mut family = to.family(MetricType::Gauge, "limiter_host_open_limit", "", help);
    open.budget.into_iter().for_each(|most| family.sample(&[], most));
}

/// Limits in the shadow, where a service tries any.
fn shadow(to: &mut Exposition, snapshot: &Snapshot) {
    let services = || {
        let services = snapshot.services.iter();
        services.filter_map(|service| Some((&service.name, service.admission.shadow.as_ref()?)))
    };
    if services().next().is_none() {
        return;
    }
    let help = "Attempts that the limits in force let in and that were judged by limits in the shadow; begins again with other limits.";
    let mut family = to.family(MetricType::Counter, "limiter_shadow_judged", "", help);
    for (name, shadow) in services() {
        family.sample(&[("service", name)], shadow.judged);
    }
    let help = "Of these, those that a limit in the shadow would have refused.";
    let mut family = to.family(MetricType::Counter, "limiter_shadow_refused", "", help);
    for (name, shadow) in services() {
        for (limit, refused) in [("source", shadow.refused_source), ("open", shadow.refused_open)] {
            family.sample(&[("service", name), ("limit", limit)], refused);
        }
    }
}

fn lines(to: &mut Exposition, snapshot: &Snapshot) {
    let help = "The least that a source has waited which a line lets in as there is room; no sample without a line.";
    let mut family = to.family(MetricType::Gauge, "limiter_line_wait_seconds", "seconds", help);
    for service in &snapshot.services {
        if let Some(line) = service.admission.line {
            family.sample(&[("service", &service.name)], line.wait_seconds);
        }
    }
    let lines = || {
        let services = snapshot.services.iter();
        services.filter_map(|service| Some((&service.name, service.admission.line?)))
    };
    let help = "Sources that are present, where the policy says how many users may be.";
    let mut family = to.family(MetricType::Gauge, "limiter_present_sources", "", help);
    for (name, line) in lines() {
        line.present.into_iter().for_each(|present| family.sample(&[("service", name)], present));
    }
    waiting(to, snapshot);
    let help = "How many sources may be present; no sample where any number may.";
    let mut family = to.family(MetricType::Gauge, "limiter_users_limit", "", help);
    for (name, line) in lines() {
        line.users.into_iter().for_each(|users| family.sample(&[("service", name)], users));
    }
}

/// Who waits, at all services together, and whether a room takes them.
fn waiting(to: &mut Exposition, snapshot: &Snapshot) {
    let Some(waiting) = snapshot.waiting else { return };
    let help = "Sources that wait in line, of all services; in a large table an estimate.";
    to.family(MetricType::Gauge, "limiter_waiting_sources", "", help).sample(&[], waiting.sources);
    let help =
        "How long sources in line have waited: half of them, and a tenth, so long or longer.";
    let mut family = to.family(MetricType::Gauge, "limiter_waiting_seconds", "seconds", help);
    for (part, seconds) in [("0.5", waiting.half_seconds), ("0.1", waiting.tenth_seconds)] {
        family.sample(&[("part", part)], seconds);
    }
    let help = "Sources that waited in line and did not come again, in the last two minutes.";
    to.family(MetricType::Gauge, "limiter_waiting_gave_up", "", help).sample(&[], waiting.gone);
    let help = "Whether a waiting room listens for a port of a service that has one.";
    let mut family = to.family(MetricType::Gauge, "limiter_room_open", "", help);
    let Some(room) = &snapshot.room else { return };
    for (ports, is_open) in [(&room.open, true), (&room.closed, false)] {
        for port in ports {
            family.sample(&[("port", &port.to_string())], is_open);
        }
    }
}

fn counters(to: &mut Exposition, snapshot: &Snapshot) {
    let mut each = |name, help, value: fn(&Service) -> u64| {
        let mut family = to.family(MetricType::Counter, name, "", help);
        for service in &snapshot.services {
            family.sample(&[("service", &service.name)], value(service));
        }
    };
    each("limiter_attempts", "Attempts to open a connection that a limit judged.", |one| {
        one.attempts
    });
    each("limiter_admitted", "Connections that were let in, each once.", |one| one.admitted);
    each("limiter_challenge_activations", "How often `auto` turned the challenge on.", |one| {
        one.admission.challenge_turns
    });
    each("limiter_visits", "Visits that a line let in.", |one| {
        one.admission.line.map_or(0, |line| line.visits)
    });
    each("limiter_pages", "Pages that a line let in, the first ones of visits too.", |one| {
        one.admission.line.map_or(0, |line| line.pages)
    });
    each("limiter_resets_sent", "Refusals that were answered with a reset.", |one| {
        one.admission.resets_sent
    });
}

fn packets(to: &mut Exposition, snapshot: &Snapshot) {
    let help = "Packets to a service by the reason of their verdict and its outcome; in observe mode excess only would be dropped.";
    let mut family = to.family(MetricType::Counter, "limiter_packets", "", help);
    for service in &snapshot.services {
        let labels = &[("service", service.name.as_str())];
        by_reason(&mut family, labels, &service.decided, false, is_of_services);
        by_reason(&mut family, labels, &service.observed, true, |reason| {
            reason.verdict() != Verdict::Pass
        });
    }
    let help = "Packets that are about no service, by the reason of their verdict and its outcome.";
    let mut family = to.family(MetricType::Counter, "limiter_other_packets", "", help);
    by_reason(&mut family, &[], &snapshot.other, false, |reason| !is_of_services(reason));
}

/// Whether packets to services may have this reason at any time.
fn is_of_services(reason: Reason) -> bool {
    reason.packet() != Packet::Other || reason.verdict() != Verdict::Pass
}

/// A sample for each reason that was counted, and for those that are always told: a rate begins with a zero.
fn by_reason(
    family: &mut Family<'_>,
    labels: &[(&str, &str)],
    counts: &ByReason,
    observed: bool,
    always: fn(Reason) -> bool,
) {
    for reason in Reason::ALL {
        let count = counts.get(reason.name()).copied();
        if count.is_none() && !always(*reason) {
            continue;
        }
        let outcome = match (reason.verdict(), observed) {
            (Verdict::Pass, _) => "passed",
            (Verdict::Answer, false) => "answered",
            (Verdict::Drop, false) => "dropped",
            (Verdict::Answer, true) => "would_be_answered",
            (Verdict::Drop, true) => "would_be_dropped",
        };
        let own = [("reason", reason.name()), ("outcome", outcome)];
        family.sample(&[labels, &own].concat(), count.unwrap_or(0));
    }
}

fn challenge(to: &mut Exposition, snapshot: &Snapshot) {
    let mut family = to.family(
        MetricType::Info,
        "limiter_service",
        "",
        "The challenge of a service: off, auto or always.",
    );
    for Service { name, settings, .. } in &snapshot.services {
        let challenge = text::show_challenge(settings.admission.challenge);
        family.sample(&[("service", name), ("challenge", challenge)], true);
    }
    let help = "Whether sources are challenged now.";
    let mut family = to.family(MetricType::Gauge, "limiter_challenge_active", "", help);
    for service in &snapshot.services {
        family.sample(&[("service", &service.name)], service.admission.challenging);
    }
    let help = "Whether the kernel makes cookies for a challenge: net.ipv4.tcp_syncookies is 2.";
    to.family(MetricType::Gauge, "limiter_cookies_available", "", help)
        .sample(&[], snapshot.cookies.works());
}

/// Attempts by the debt of their source, where that is counted: none, equal parts of its limit, over it.
fn debts(to: &mut Exposition, services: &[Service]) {
    let help = "Attempts by the debt of their source when they came, as a share of its limit; above 1 it was over it.";
    let mut family = to.family(MetricType::Histogram, "limiter_source_debt_ratio", "ratio", help);
    for service in services {
        // Those between none and over it.
        let Some(parts) = service.debts.len().checked_sub(2).filter(|parts| *parts > 0) else {
            continue;
        };
        let bounds = service.debts.iter().enumerate();
        let buckets = bounds.map(|(index, count)| (index as f64 / parts as f64, *count));
        family.buckets(&[("service", &service.name)], buckets);
    }
}

fn table(to: &mut Exposition, snapshot: &Snapshot) {
    let table = &snapshot.table;
    to.family(MetricType::Gauge, "limiter_table_ways", "", "Sources that the table has room for.")
        .sample(&[], table.ways);
    to.family(MetricType::Gauge, "limiter_table_ways_in_use", "", "Sources in debt now.")
        .sample(&[], table.live);
    let help = "Debts that were forgotten because too many sources in debt shared a set.";
    to.family(MetricType::Counter, "limiter_table_steals", "", help).sample(&[], table.steals);
}

fn distinct(to: &mut Exposition, distinct: &Distinct) {
    let help = "Estimate of the source addresses (of IPv6: /64 prefixes) that made attempts in the window.";
    to.family(MetricType::Gauge, "limiter_distinct_sources", "", help)
        .sample(&[], distinct.sources);
    let help = "Estimate of the prefixes that made attempts in the window.";
    let mut family = to.family(MetricType::Gauge, "limiter_distinct_prefixes", "", help);
    family.sample(&[("family", "ipv4"), ("length", "24")], distinct.prefixes_24);
    family.sample(&[("family", "ipv6"), ("length", "48")], distinct.prefixes_48);
    let help = "The time, up to now, that the estimates of distinct sources are of.";
    to.family(MetricType::Gauge, "limiter_distinct_window_seconds", "seconds", help)
        .sample(&[], distinct.seconds);
    let help = "Share of the distinct sources that had been seen in the ten minutes before; no sample before there are any.";
    let mut family =
        to.family(MetricType::Gauge, "limiter_distinct_returning_ratio", "ratio", help);
    if let Some(percent) = distinct.returning_percent {
        family.sample(&[], percent / 100.0);
    }
    let help = "Standard error of the estimates of distinct sources, as a share of each.";
    to.family(MetricType::Gauge, "limiter_distinct_standard_error_ratio", "ratio", help)
        .sample(&[], distinct.standard_error_percent / 100.0);
}

#[cfg(test)]
mod tests;
