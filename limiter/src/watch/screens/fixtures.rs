//! What is drawn: readings as limiter makes them, a second apart, of nights that did not happen.

use std::collections::BTreeMap;

use limiter_common::reason::{Reason, Verdict};

use super::super::model::Model;
use super::super::reading::{Back, Budget, ChangeMark, Reading, Service};
use super::super::source::NOT_LOADED;
use crate::assess::{self, Facts, Last};
use crate::observe::{Distinct, Heavy, Lately, Manners, Sources};
use crate::report::Counts;

/// Seconds that every fixture is watched for.
const WATCHED: u32 = 240;

/// A reading of an idle limiter, at the beginning of the watch.
pub fn bare() -> Reading {
    Reading {
        at: 0.0,
        life: 1,
        enforces: false,
        back: None,
        profile: None,
        generation: 1,
        interfaces: vec!["web0 native".to_owned()],
        shares: Vec::new(),
        host: budget("none", None),
        services: Vec::new(),
        counts: Counts::default(),
        table_percent: 0.0,
        steals: 0,
        allowed: 0,
        banned: 0,
        distinct: Distinct::default(),
        refused_most: Vec::new(),
        warnings: Vec::new(),
        changes: Vec::new(),
        facts: Facts::default(),
    }
}

/// What a snapshot would tell the assessment beside the rates: nine of ten clients are served.
fn facts(reading: &Reading) -> Facts {
    let services = reading.services.iter().map(|service| assess::Service {
        name: service.name.clone(),
        listens: true,
        has_source_limit: true,
        is_bounded: true,
        may_challenge: service.challenge != "off",
        challenges: service.challenging,
        refused: service.counts.refused(),
        ..assess::Service::default()
    });
    let heaviest: Vec<_> = reading.refused_most.iter().map(|most| most.source.clone()).collect();
    let share = if heaviest.is_empty() { 0.07 } else { 0.97 };
    let each = if heaviest.is_empty() { 8.0 } else { 1.0 };
    let heavy = Lately { sources: 300, of_ten: Some(share), heaviest, ..Lately::default() };
    let manners =
        Manners { sources: 60, connections: 400, each, together: 0.7, ..Manners::default() };
    let heavy = [Lately::default(), Lately::default(), heavy];
    let sources = Sources { heavy, manners: [manners; 2] };
    Facts {
        enforces: reading.enforces,
        attached: reading.interfaces.len(),
        services: services.collect(),
        cookies: true,
        distinct: reading.distinct.clone(),
        sources,
        usual: Some(50.0),
        last: reading.changes.last().map(|change| Last {
            seconds_ago: reading.at - change.at,
            who: change.who.clone(),
            what: change.what.clone(),
            of_limits: change.what.contains("limit:"),
            before: None,
        }),
        ..Facts::default()
    }
}

fn budget(stated: &str, used_percent: Option<f64>) -> Budget {
    Budget { stated: stated.to_owned(), used_percent }
}

fn service(name: &str, listeners: &str, stated: &str, used_percent: Option<f64>) -> Service {
    Service {
        name: name.to_owned(),
        listeners: listeners.to_owned(),
        source_limit: "20/s, burst 40 (default)".to_owned(),
        budget: budget(stated, used_percent),
        challenge: "off".to_owned(),
        challenging: false,
        waited: Some(0.0),
        shadow: None,
        counts: Counts::default(),
    }
}

/// A front end with web and mail.
fn front() -> Reading {
    Reading {
        enforces: true,
        generation: 7,
        interfaces: vec!["web0 native".to_owned(), "web1 native".to_owned()],
        host: budget("5000/s, burst 10000", Some(1.0)),
        services: vec![
            service("web", "*:80 *:443", "2000/s, burst 4000", Some(2.0)),
            service("mail", "192.0.2.1:25", "none", None),
        ],
        table_percent: 0.4,
        allowed: 1,
        banned: 3,
        changes: vec![change(-3600.0, "01:14:52", "root", "attached to web0 (+1 more)")],
        ..bare()
    }
}

fn change(at: f64, clock: &str, who: &str, what: &str) -> ChangeMark {
    ChangeMark { at, clock: clock.to_owned(), who: who.to_owned(), what: what.to_owned() }
}

/// Per second of each service and reason at a time of the watch.
type Traffic = fn(f64) -> Vec<(usize, Reason, f64)>;

/// Watches a front end whose readings `of` makes of the time, with `traffic`.
fn watched(of: impl Fn(f64) -> Reading, traffic: Traffic) -> Model {
    watched_for(WATCHED, of, traffic)
}

/// The same for so many seconds.
fn watched_for(seconds: u32, of: impl Fn(f64) -> Reading, traffic: Traffic) -> Model {
    let mut model = Model::default();
    let mut sums: BTreeMap<(usize, usize, bool), f64> = BTreeMap::new();
    for second in 0..=seconds {
        let at = f64::from(second);
        let mut reading = Reading { at, ..of(at) };
        if second > 0 {
            for (service, reason, rate) in traffic(at) {
                *sums.entry((service, reason as usize, reading.enforces)).or_default() += rate;
            }
        }
        for (index, service) in reading.services.iter_mut().enumerate() {
            let mine = sums.iter().filter(|((service, ..), _)| *service == index);
            service.counts =
                counted(mine.map(|((_, reason, enforces), sum)| (*reason, *enforces, *sum as u64)));
            reading.counts.add(&service.counts);
        }
        reading.counts.server = Some([reading.counts.through / 10 * 9, 0]);
        reading.facts = facts(&reading);
        model.take(at, "02:14:52".to_owned(), Ok(reading));
    }
    model
}

/// Counts as a snapshot has them.
fn counted(sums: impl Iterator<Item = (usize, bool, u64)>) -> Counts {
    let (mut decided, mut observed) = (BTreeMap::new(), BTreeMap::new());
    for (number, enforces, count) in sums {
        let reason = Reason::from_number(number as u8).expect("a reason");
        let of = if enforces || reason.verdict() == Verdict::Pass {
            &mut decided
        } else {
            &mut observed
        };
        *of.entry(reason.name()).or_default() += count;
    }
    Counts::of(&decided, &observed)
}

/// Up and down around 1, the same every time.
fn wave(at: f64) -> f64 {
    1.0 + 0.3 * (at / 17.0).sin() + 0.1 * (at / 3.0).cos()
}

pub fn calm() -> Model {
    let shares = || vec!["web 1912/s for 9 s".to_owned()];
    watched(
        |_| Reading { shares: shares(), ..front() },
        |at| vec![(0, Reason::Admitted, 34.0 * wave(at)), (1, Reason::Admitted, 0.4)],
    )
}

/// Many people at once, of whom each is modest.
pub fn crowd() -> Model {
    let of = |at: f64| {
        let mut reading = front();
        if at > 60.0 {
            reading.host.used_percent = Some(41.0);
            reading.services[0].budget.used_percent = Some(100.0);
            reading.services[0].waited = Some(23.0);
            reading.distinct = Distinct {
                seconds: 45.0,
                sources: 5613,
                prefixes_24: 4120,
                prefixes_48: 310,
                returning_percent: Some(71.0),
                standard_error_percent: 2.3,
            };
        }
        reading
    };
    watched(of, |at| {
        let rise = ((at - 60.0) / 30.0).clamp(0.0, 1.0);
        let come = 40.0 + 5200.0 * rise * wave(at);
        let admitted = come.min(2000.0);
        let over = come - admitted;
        vec![
            (0, Reason::Admitted, admitted),
            (0, Reason::InLine, over * 0.8),
            (0, Reason::ServiceBudget, over * 0.2),
            (1, Reason::Admitted, 0.4),
        ]
    })
}

/// More people than the server has room for, who see the waiting room's page.
pub fn waiting_room(seconds: u32) -> Model {
    watched_for(
        seconds,
        |_| front(),
        |at| vec![(0, Reason::Admitted, 200.0), (0, Reason::Diverted, 900.0 * wave(at))],
    )
}

fn heavy(source: &str, class: Option<&str>, count: u64) -> Heavy {
    Heavy {
        source: source.to_owned(),
        address: source.split('/').next().unwrap_or_default().to_owned(),
        service: "web".to_owned(),
        class: class.map(str::to_owned),
        count,
        sources: 1,
        uncertain: 0,
        first_seconds_ago: 180.0,
        last_seconds_ago: 0.2,
    }
}

fn attacked(at: f64) -> Reading {
    let mut reading = front();
    if at > 60.0 {
        reading.host.used_percent = Some(22.0);
        reading.services[0].budget.used_percent = Some(97.0);
        reading.distinct = Distinct {
            seconds: 45.0,
            sources: 11_987,
            prefixes_24: 11_730,
            prefixes_48: 0,
            returning_percent: Some(2.0),
            standard_error_percent: 2.3,
        };
        reading.refused_most = vec![
            heavy("203.0.113.77", None, 1_431_201),
            heavy("2001:db8:17:3::/64", None, 980_114),
            heavy("198.18.4.0/24", Some("schools"), 4211),
        ];
    }
    reading
}

fn storm(at: f64) -> Vec<(usize, Reason, f64)> {
    let storm = if at > 60.0 { 38_000.0 * wave(at) } else { 0.0 };
    vec![
        (0, Reason::Admitted, 34.0 * wave(at) + storm * 0.026),
        (0, Reason::SourceLimit, storm * 0.6),
        (0, Reason::ServiceBudget, storm * 0.37),
        (0, Reason::Banned, storm * 0.01),
        (1, Reason::Admitted, 0.4),
    ]
}

/// A flood that was answered with arming for half an hour.
pub fn flood() -> Model {
    let of = |at: f64| {
        let mut reading = attacked(at);
        reading.enforces = at >= 150.0;
        if at >= 150.0 {
            let in_seconds = 1800.0 - (at - 150.0);
            reading.back = Some(Back { in_seconds, mode: "observe".to_owned(), policy: false });
            reading.changes.push(change(
                149.6,
                "02:13:22",
                "ada as root",
                "mode observe -> enforce",
            ));
        }
        reading
    };
    watched(of, storm)
}

/// The same, and nobody armed.
pub fn observe() -> Model {
    watched(|at| Reading { enforces: false, ..attacked(at) }, storm)
}

/// The same, with a profile on trial.
pub fn trial() -> Model {
    let of = |at: f64| {
        let mut reading = attacked(at);
        if at >= 161.0 {
            let in_seconds = 120.0 - (at - 161.0);
            reading.back = Some(Back { in_seconds, mode: "enforce".to_owned(), policy: true });
            reading.profile = Some("siege".to_owned());
            reading.generation = 8;
            let what = "host source limit: 20/s, burst 40 -> 5/s, burst 10 (+1 more)";
            reading.changes.push(change(160.5, "02:13:33", "ada as root", what));
        }
        reading
    };
    watched(of, |at| {
        let mut traffic = storm(at);
        if at >= 161.0 {
            traffic[0].2 *= 0.4;
        }
        traffic
    })
}

/// A calm, until somebody mistyped a limit.
pub fn tightened() -> Model {
    let of = |at: f64| {
        let mut reading = front();
        if at >= 200.0 {
            reading.generation = 8;
            let what = "host source limit: 20/s, burst 40 -> 2/min, burst 10";
            reading.changes.push(change(199.6, "02:14:12", "bob as root", what));
        }
        reading
    };
    watched(of, |at| {
        let over = if at > 200.0 { 0.7 } else { 0.0 };
        let come = 340.0 * wave(at);
        vec![(0, Reason::Admitted, come * (1.0 - over)), (0, Reason::SourceLimit, come * over)]
    })
}

/// Random spoofed sources, challenged.
pub fn challenge() -> Model {
    let of = |at: f64| {
        let mut reading = front();
        reading.services[0].challenge = "auto".to_owned();
        if at > 60.0 {
            reading.services[0].challenging = true;
            reading.services[0].budget.used_percent = Some(3.0);
        }
        reading
    };
    watched(of, |at| {
        let flood = if at > 60.0 { 1_200_000.0 * wave(at) } else { 0.0 };
        vec![
            (0, Reason::Admitted, 30.0),
            (0, Reason::Challenged, flood),
            (0, Reason::Proven, flood.min(20.0)),
            (0, Reason::BadCookie, flood.min(3.0)),
        ]
    })
}

/// More of everything than there is room for.
pub fn full() -> Model {
    let of = |_| {
        let mut reading = Reading { enforces: true, ..front() };
        for number in 0..30 {
            let name = format!("service-with-a-long-name-{number}");
            let used = Some(f64::from(number) * 3.5);
            reading.services.push(service(
                &name,
                "[2001:db8::1]:8443 192.0.2.1:8443",
                "1000000/min, burst 12345",
                used,
            ));
        }
        reading.refused_most = (0..10)
            .map(|n| heavy(&format!("2001:db8:1234:{n}::/64"), Some("a-carrier"), 9))
            .collect();
        reading.warnings = vec![
            "NOBODY IS CHALLENGED: net.ipv4.tcp_syncookies is 1, not 2".to_owned(),
            "slow path (generic) on web1: see `limiter attach --help`".to_owned(),
        ];
        reading
    };
    watched(of, |at| {
        let dropping = Reason::ALL.iter().filter(|reason| reason.drops());
        let mut traffic: Vec<_> =
            dropping.map(|reason| (3, *reason, 12_345.0 * wave(at))).collect();
        traffic.push((3, Reason::Admitted, 999_999.0));
        traffic
    })
}

pub fn not_loaded() -> Model {
    let mut model = Model::default();
    model.take(3.0, "02:14:52".to_owned(), Err(NOT_LOADED.to_owned()));
    model
}

/// Loaded once, and then no more.
pub fn unloaded() -> Model {
    let mut model = calm();
    model.take(f64::from(WATCHED) + 1.0, "02:14:53".to_owned(), Err(NOT_LOADED.to_owned()));
    model
}
