//! Where a series is broken: no rate is made up there, and the report says so. And what is changed meanwhile.

use super::super::series::{HistoryEntry, Line, PolicyLine};
use super::{Second, Told};
use crate::history::{Entry, Who};

const CALM: Second<'_> = Second {
    decided: &[("admitted", 100)],
    observed: &[],
    tcp: &[("PassiveOpens", 100)],
    sources: None,
    returning: 0.0,
};

/// The most attempts of any second.
fn peak(told: &Told) -> f64 {
    let points = told.record().series.points;
    points.iter().filter_map(|point| Some(point.counted.as_ref()?.attempts())).fold(0.0, f64::max)
}

#[track_caller]
fn says(told: &Told, words: &str) {
    let text = told.words();
    assert!(text.contains(words), "{words}: {text}");
}

#[test]
fn missing_seconds_are_averaged_and_told() {
    let mut told = Told::new("observe");
    told.seconds(10, CALM).change(|tick| {
        tick.monotonic += 20.0;
        let limiter = tick.limiter.as_mut().expect("loaded");
        *limiter.services[0].decided.get_mut("admitted").expect("counted") += 2000;
    });
    told.seconds(10, CALM);
    assert_eq!(peak(&told).round(), 100.0);
    says(&told, "08:00:31: 20 seconds are missing");
}

/// A line that comes late, and the next one in time: what came in a tenth of a second is no rate.
#[test]
fn a_short_second_makes_no_peak() {
    let flood = Second { decided: &[("source_limit", 50_000)], ..CALM };
    let mut told = Told::new("enforce");
    told.seconds(30, CALM).seconds(10, flood).change(|tick| tick.monotonic -= 0.9);
    told.seconds(10, flood).seconds(30, CALM);
    assert_eq!(peak(&told).round(), 500_000.0, "of the rates that are drawn");
    assert_eq!(told.story().during.peak.round(), 50_000.0);
}

#[test]
fn counters_that_begin_again_are_no_surge() {
    let mut told = Told::new("observe");
    told.seconds(10, CALM)
        .change(|tick| tick.limiter.as_mut().expect("loaded").services[0].decided.clear());
    told.seconds(10, CALM);
    assert_eq!(peak(&told), 100.0);
    assert_eq!(
        told.record().series.points.iter().filter(|point| point.counted.is_none()).count(),
        1
    );
    says(&told, "counters began again");
    // After a boot everything begins again, the clock too.
    let mut told = Told::new("observe");
    told.seconds(10, CALM).change(|tick| {
        tick.monotonic = 3.0;
        tick.tcp.values_mut().for_each(|count| *count = 0);
        tick.limiter.as_mut().expect("loaded").services[0].decided.clear();
    });
    told.seconds(10, CALM);
    assert_eq!(peak(&told), 100.0);
    says(&told, "the machine was started again");
}

#[test]
fn limiter_comes_and_goes() {
    let mut told = Told::new("observe");
    let mut limiter = None;
    told.seconds(5, CALM).change(|tick| limiter = tick.limiter.take());
    told.seconds(5, CALM).change(|tick| tick.limiter = limiter.clone());
    told.seconds(5, CALM);
    assert_eq!(peak(&told), 100.0);
    says(&told, "08:00:06: limiter was unloaded");
    says(&told, "08:00:11: limiter was loaded");
    let mut never = Told::new("observe");
    never.change(|tick| tick.limiter = None).seconds(5, CALM);
    never.lines.remove(0);
    says(&never, "limiter was not loaded while this was recorded");
}

fn entry(told: &Told, command: &str, changed: &str) -> Line {
    Line::Change(Box::new(HistoryEntry {
        entry: Entry {
            time: told.now(),
            who: Who {
                uid: 0,
                user: Some("root".to_owned()),
                sudo_user: Some("ada".to_owned()),
                ..Who::default()
            },
            command: command.split(' ').map(str::to_owned).collect(),
            changed: vec![changed.to_owned()],
            before: None,
            after: None,
            goes_back_at: None,
            decides: Vec::new(),
            counters: None,
        },
    }))
}

#[test]
fn changes_are_told_once_with_what_differs() {
    let mut told = Told::new("observe");
    let flood = Second { observed: &[("source_limit", 5000)], ..CALM };
    let dropped =
        Second { decided: &[("admitted", 100), ("source_limit", 5000)], observed: &[], ..CALM };
    let policy = |told: &Told, generation, changed: &[&str]| {
        let changed = changed.iter().map(|line| (*line).to_owned()).collect();
        Line::Policy(PolicyLine {
            time: Some(told.now()),
            generation,
            text: "mode = \"observe\"".to_owned(),
            changed,
        })
    };
    let first = policy(&told, 1, &[]);
    told.line(first).seconds(20, CALM).seconds(20, flood);
    let arm = entry(&told, "arm", "mode observe -> enforce");
    told.line(arm)
        .change(|tick| tick.limiter.as_mut().expect("loaded").mode = "enforce".to_owned());
    told.seconds(20, dropped);
    let second = policy(&told, 2, &["host budget: none -> 5/s"]);
    told.line(second).seconds(20, dropped).seconds(20, CALM);
    let changes = told.story().changes;
    assert_eq!(changes.len(), 2, "{changes:#?}");
    assert_eq!(
        (changes[0].who.as_str(), changes[0].typed.as_str()),
        ("ada as root", "limiter arm")
    );
    let differs: Vec<&str> = changes[0].differs().iter().map(|(what, ..)| *what).collect();
    assert_eq!(differs, ["let through", "kept from the server"]);
    let (before, after) = (changes[0].before.expect("known"), changes[0].after.expect("known"));
    assert_eq!((before.held_back, after.held_back, before.let_through), (0.0, 5000.0, 5100.0));
    assert_eq!(
        (changes[1].who.as_str(), changes[1].what.as_str()),
        ("not in the history", "host budget: none -> 5/s")
    );
    assert!(changes[1].differs().is_empty(), "nothing came of it: {:?}", changes[1]);
    says(&told, "Policy number 2, in force at 08:01:00");
}

#[test]
fn a_mode_that_goes_back_by_itself_is_told() {
    let mut told = Told::new("enforce");
    told.seconds(10, CALM)
        .change(|tick| tick.limiter.as_mut().expect("loaded").mode = "observe".to_owned());
    told.seconds(10, CALM);
    let changes = told.story().changes;
    assert_eq!((changes.len(), changes[0].what.as_str()), (1, "mode enforce -> observe"));
}
