//! A snapshot as both texts: every family that there is, whatever is counted, and only labels from bounded sets.

use std::collections::{BTreeMap, BTreeSet};

use limiter_common::challenge::Challenge;

use super::*;
use crate::kernel::cookies::{Charged, Cookies};
use crate::kernel::share::InForce;
use crate::observe::waiting::Waiting;
use crate::policy::{self, Prefixes};
use crate::report::Shadow;
use crate::report::fleet::{Led, Sums, View};
use crate::report::snapshot::{
    Admission, Class, Interface, Line, Open, OpenOfService, Revert, Room, Table,
};

fn service(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        listeners: vec!["*:80".to_owned()],
        source_limit: "20/s, burst 40".to_owned(),
        budget: "1000/s, burst 2000".to_owned(),
        attempts: 127,
        admitted: 100,
        refused: 27,
        attempts_per_second: 0.0,
        refused_per_second: 0.0,
        decided: ByReason::from([("admitted", 100), ("source_limit", 20), ("allowed", 3)]),
        observed: ByReason::from([("source_limit", 7)]),
        debts: [vec![90], vec![1; 16], vec![21]].concat(),
        settings: policy::Service {
            admission: policy::Admission {
                challenge: Challenge::Auto,
                ..policy::Admission::default()
            },
            ..policy::Service::bare(name.parse().expect("a name"))
        },
        admission: Admission {
            challenging: true,
            challenge_turns: 2,
            line: Some(Line {
                wait_seconds: 12.5,
                visits: 21,
                pages: 34,
                connections_per_page: 6.0,
                present: Some(143),
                users: Some(200),
            }),
            resets_sent: 0,
            budget_used_percent: Some(25.0),
            open: Some(OpenOfService { connections: 41, budget: Some(3000), source: None }),
            shadow: Some(Shadow {
                source_limit: Some("10/s, burst 20".to_owned()),
                open: Some(30),
                judged: 100,
                refused_source: 13,
                refused_open: 4,
            }),
        },
    }
}

fn snapshot() -> Snapshot {
    let source = Class {
        name: "schools".to_owned(),
        prefixes: 1,
        source_limit: "400/s".to_owned(),
        network_limit: None,
        open: None,
    };
    Snapshot {
        version: 5,
        mode: "enforce",
        reverts: Some(Revert { in_seconds: 60.4, mode: "observe", policy: true }),
        profile: Some("siege".to_owned()),
        generation: 3,
        classes: vec![source],
        interfaces: vec![
            Interface {
                name: Some("web0".to_owned()),
                index: 2,
                attachment: Some(Attachment::Generic),
                in_dispatcher: false,
            },
            Interface { name: None, index: 3, attachment: None, in_dispatcher: false },
        ],
        budget: "none".to_owned(),
        budget_used_percent: Some(50.0),
        shares: vec![
            InForce {
                budget: "web".to_owned(),
                per_second: Some(1912.5),
                places: None,
                ends_in_seconds: 9.5,
            },
            InForce {
                budget: "web.users".to_owned(),
                per_second: None,
                places: Some(1200),
                ends_in_seconds: 9.5,
            },
        ],
        source_limit: "20/s, burst 40".to_owned(),
        prefixes: Prefixes::default(),
        services: vec![service("web"), service("ssh")],
        other: ByReason::from([("not_attempt", 465)]),
        decided: ByReason::new(),
        observed: ByReason::new(),
        measured_seconds: 0.0,
        table: Table { ways: 524_288, live: 1, steals: 5 },
        waiting: Some(Waiting { sources: 412, half_seconds: 12.0, tenth_seconds: 40.5, gone: 31 }),
        room: Some(Room { open: vec![80], closed: vec![443] }),
        open: Some(Open {
            counted: true,
            connections: 41,
            budget: Some(20_000),
            uncounted: 0,
            older: 0,
        }),
        cookies: Cookies {
            syncookies: 2,
            syncookies_before: Some(1),
            may_set: true,
            keeps_options: true,
            charged: Charged::Proofs,
        },
        allowed: 1,
        banned: 2,
        distinct: Distinct {
            seconds: 40.0,
            sources: 12,
            returning_percent: Some(75.0),
            ..Distinct::default()
        },
        refused_most: Vec::new(),
        concentrated: Vec::new(),
        common: Vec::new(),
        sources: Default::default(),
        counts: Default::default(),
        now: None,
    }
}

fn scrape(snapshot: Option<Snapshot>) -> Scrape {
    let wanted = ["web0", "web1"].map(str::to_owned).into();
    Scrape {
        at: 1000.0,
        took_seconds: 0.25,
        loaded: snapshot.is_some(),
        error: None,
        wanted,
        fleet: Some(fleet()),
        snapshot,
    }
}

fn fleet() -> View {
    let refused = ("k".to_owned(), ("ban", "it is wider than /16".to_owned()));
    let sums = Sums { budget: 3000.0, demand: 4200.5, held: 2999.5 };
    let budgets = [("web".to_owned(), sums)].into();
    let led = Led { reporting: 2, silent: 1, budgets };
    View { reported: 998, refused: [refused].into(), led: Some(led) }
}

/// A sample: the name, what stands between its braces, the value.
type Sample<'a> = (&'a str, &'a str, f64);

/// Samples of a text, of which every line must be a good one. No label here holds a space or a quote.
fn parse(text: &str) -> Vec<Sample<'_>> {
    let mut families = BTreeMap::new();
    let mut samples = Vec::new();
    let mut family = "";
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "HELP", name, ..] => {
                assert_eq!(families.insert(name, ()), None, "{name} comes once")
            }
            ["#", "TYPE", name, _] => family = name,
            ["#", "UNIT", name, unit] => assert!(name == family && name.ends_with(unit), "{line}"),
            ["#", "EOF"] => assert_eq!(text.lines().last(), Some(line)),
            [series, value] => {
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                assert!(name.starts_with(family), "{line} stands under {family}");
                let labels = labels.strip_suffix('}').expect("a brace");
                samples.push((name, labels, value.parse().expect("a number")));
            }
            _ => panic!("{line}"),
        }
    }
    samples
}

#[track_caller]
fn value(samples: &[Sample<'_>], series: &str) -> f64 {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let found =
        samples.iter().filter(|sample| sample.0 == name && format!("{}}}", sample.1) == labels);
    let values: Vec<f64> = found.map(|sample| sample.2).collect();
    assert_eq!(values.len(), 1, "{series}: {samples:#?}");
    values[0]
}

#[test]
fn a_snapshot() {
    let scrape = scrape(Some(snapshot()));
    for form in [Form::Classic, Form::OpenMetrics] {
        let text = text(&scrape, form);
        let samples = parse(&text);
        for (series, expected) in [
            ("limiter_loaded", 1.0),
            ("limiter_snapshot_success", 1.0),
            ("limiter_snapshot_duration_seconds", 0.25),
            ("limiter_interface_attached{interface=\"web0\"}", 1.0),
            ("limiter_interface_attached{interface=\"web1\"}", 0.0),
            ("limiter_interface_info{interface=\"web0\",attachment=\"generic\"}", 1.0),
            ("limiter_interfaces_gone", 1.0),
            ("limiter_mode{limiter_mode=\"observe\"}", 0.0),
            ("limiter_mode{limiter_mode=\"enforce\"}", 1.0),
            ("limiter_policy_info{profile=\"siege\"}", 1.0),
            ("limiter_policy_generation", 3.0),
            ("limiter_revert_timestamp_seconds{scope=\"policy\"}", 1060.0),
            ("limiter_list_entries{list=\"ban\"}", 2.0),
            ("limiter_host_budget_used_ratio", 0.5),
            ("limiter_budget_used_ratio{service=\"web\"}", 0.25),
            ("limiter_share_per_second{budget=\"web\"}", 1912.5),
            ("limiter_share_places{budget=\"web.users\"}", 1200.0),
            ("limiter_share_ends_in_seconds{budget=\"web\"}", 9.5),
            ("limiter_fleet_reported_timestamp_seconds", 998.0),
            ("limiter_fleet_refused_entries{kind=\"ban\"}", 1.0),
            ("limiter_fleet_refused_entries{kind=\"profile\"}", 0.0),
            ("limiter_fleet_nodes{state=\"silent\"}", 1.0),
            ("limiter_fleet_budget{budget=\"web\"}", 3000.0),
            ("limiter_fleet_demand{budget=\"web\"}", 4200.5),
            ("limiter_fleet_held{budget=\"web\"}", 2999.5),
            ("limiter_attempts_total{service=\"ssh\"}", 127.0),
            ("limiter_admitted_total{service=\"web\"}", 100.0),
            (
                "limiter_packets_total{service=\"web\",reason=\"source_limit\",outcome=\"dropped\"}",
                20.0,
            ),
            (
                "limiter_packets_total{service=\"web\",reason=\"source_limit\",outcome=\"would_be_dropped\"}",
                7.0,
            ),
            (
                "limiter_packets_total{service=\"web\",reason=\"service_budget\",outcome=\"dropped\"}",
                0.0,
            ),
            ("limiter_packets_total{service=\"web\",reason=\"allowed\",outcome=\"passed\"}", 3.0),
            (
                "limiter_packets_total{service=\"web\",reason=\"challenged\",outcome=\"answered\"}",
                0.0,
            ),
            ("limiter_other_packets_total{reason=\"not_attempt\",outcome=\"passed\"}", 465.0),
            ("limiter_challenge_active{service=\"web\"}", 1.0),
            ("limiter_challenge_activations_total{service=\"web\"}", 2.0),
            ("limiter_service_info{service=\"web\",challenge=\"auto\"}", 1.0),
            ("limiter_cookies_available", 1.0),
            ("limiter_line_wait_seconds{service=\"web\"}", 12.5),
            ("limiter_present_sources{service=\"web\"}", 143.0),
            ("limiter_users_limit{service=\"web\"}", 200.0),
            ("limiter_waiting_sources", 412.0),
            ("limiter_waiting_seconds{part=\"0.1\"}", 40.5),
            ("limiter_waiting_gave_up", 31.0),
            ("limiter_room_open{port=\"80\"}", 1.0),
            ("limiter_room_open{port=\"443\"}", 0.0),
            ("limiter_shadow_judged_total{service=\"web\"}", 100.0),
            ("limiter_shadow_refused_total{service=\"web\",limit=\"source\"}", 13.0),
            ("limiter_shadow_refused_total{service=\"web\",limit=\"open\"}", 4.0),
            ("limiter_visits_total{service=\"web\"}", 21.0),
            ("limiter_pages_total{service=\"web\"}", 34.0),
            ("limiter_source_debt_ratio_bucket{service=\"web\",le=\"0.0\"}", 90.0),
            ("limiter_source_debt_ratio_bucket{service=\"web\",le=\"0.0625\"}", 91.0),
            ("limiter_source_debt_ratio_bucket{service=\"web\",le=\"1.0\"}", 106.0),
            ("limiter_source_debt_ratio_bucket{service=\"web\",le=\"+Inf\"}", 127.0),
            ("limiter_table_ways", 524_288.0),
            ("limiter_table_steals_total", 5.0),
            ("limiter_distinct_sources", 12.0),
            ("limiter_distinct_returning_ratio", 0.75),
        ] {
            assert_eq!(value(&samples, series), expected, "{series}");
        }
    }
}

#[test]
fn labels_come_from_bounded_sets() {
    let text = text(&scrape(Some(snapshot())), Form::Classic);
    let labels: BTreeSet<&str> = parse(&text)
        .iter()
        .flat_map(|(_, labels, _)| {
            labels.split(',').filter_map(|label| Some(label.split_once('=')?.0))
        })
        .collect();
    let known = [
        "attachment",
        "budget",
        "challenge",
        "family",
        "interface",
        "kind",
        "le",
        "length",
        "limit",
        "limiter_mode",
        "list",
        "outcome",
        "part",
        "port",
        "profile",
        "reason",
        "scope",
        "service",
        "state",
        "version",
    ];
    assert_eq!(labels, BTreeSet::from(known));
}

/// A rate needs the zero before the first packet, so every reason that may refuse is there from the beginning.
#[test]
fn nothing_counted_is_told_too() {
    let quiet = Service {
        decided: ByReason::new(),
        observed: ByReason::new(),
        debts: Vec::new(),
        ..service("web")
    };
    let text =
        text(&scrape(Some(Snapshot { services: vec![quiet], ..snapshot() })), Form::OpenMetrics);
    let samples = parse(&text);
    for reason in Reason::ALL.iter().filter(|reason| reason.drops()) {
        for outcome in ["dropped", "would_be_dropped"] {
            let series = format!(
                "limiter_packets_total{{service=\"web\",reason=\"{}\",outcome=\"{outcome}\"}}",
                reason.name()
            );
            assert_eq!(value(&samples, &series), 0.0);
        }
    }
    assert!(!text.contains("limiter_source_debt_ratio_bucket"), "no buckets, no histogram");
}

#[test]
fn without_limiter() {
    let text = text(&scrape(None), Form::OpenMetrics);
    let samples = parse(&text);
    assert_eq!(value(&samples, "limiter_loaded"), 0.0);
    assert_eq!(value(&samples, "limiter_interface_attached{interface=\"web0\"}"), 0.0);
    assert!(!text.contains("limiter_mode"), "{text}");
}
