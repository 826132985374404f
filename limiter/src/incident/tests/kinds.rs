//! Calm, crowd and flood: the same surge in numbers is told apart by what else is counted.

use super::super::story::Pattern;
use super::{Second, Told};
use crate::observe::{Manners, Sources};

const CALM: Second<'_> = Second {
    decided: &[("admitted", 100)],
    observed: &[],
    tcp: &[("PassiveOpens", 100)],
    sources: Some((1500, 400)),
    returning: 70.0,
};

/// A surge of this kind between two calms, in a record of its own.
fn surge(mode: &str, second: Second<'_>) -> Told {
    let mut told = Told::new(mode);
    told.seconds(30, CALM).seconds(60, second).seconds(30, CALM);
    told
}

#[track_caller]
fn tells(told: &Told, words: &[&str]) -> String {
    let text = told.words();
    for words in words {
        assert!(text.contains(words), "{words}: {text}");
    }
    text
}

#[test]
fn calm_is_no_surge() {
    let mut told = Told::new("observe");
    told.seconds(60, CALM);
    let story = told.story();
    assert!(story.surges.is_empty() && story.verdict.kind == Pattern::NoSurge);
    assert_eq!(story.calm_rate, Some(100.0));
    let text =
        tells(&told, &["did not surge: 100/s on average", "The accept queue never was full"]);
    assert!(
        !text.contains("Crowd or flood?") && !text.contains("looks like"),
        "nothing to judge: {text}"
    );
}

#[test]
fn forged_addresses() {
    let second = Second {
        decided: &[("challenged", 50_000), ("proven", 100)],
        tcp: &[("PassiveOpens", 100)],
        sources: Some((900_000, 880_000)),
        returning: 2.0,
        ..Second::default()
    };
    let told = surge("enforce", second);
    let story = told.story();
    assert_eq!(story.verdict.kind, Pattern::SpoofedFlood);
    assert_eq!(story.surges, [[30.0, 90.0]]);
    assert!(
        (1.6..1.7).contains(&story.verdict.per_source.expect("known")),
        "{:?}",
        story.verdict.per_source
    );
    tells(
        &told,
        &[
            "From 08:00:30 to 08:01:30 (1m), attempts to connect rose from about 100/s to 50,000/s at the peak, 500 times as many",
            "This looks like a flood from forged addresses, not like a crowd: 0.2% of the attempts that were challenged proved that somebody is at their address",
            "about 900,000 sources (1.7 attempts each in 30 s, 98% of them not seen before)",
            "answered 3,000,000 with a cookie",
            "100/s connections to clients before and 100/s meanwhile: as many as before",
        ],
    );
}

#[test]
fn a_crowd() {
    let second = Second {
        decided: &[("admitted", 1000), ("service_budget", 9000)],
        tcp: &[("PassiveOpens", 990)],
        sources: Some((60_000, 8000)),
        returning: 45.0,
        ..Second::default()
    };
    let told = surge("enforce", second);
    assert_eq!(told.story().verdict.kind, Pattern::Crowd);
    tells(
        &told,
        &[
            "This looks like a crowd",
            "99% of the additional attempts that were let through became connections",
            "none against",
        ],
    );
}

#[test]
fn an_overload_is_not_taken_for_a_flood() {
    let second = Second {
        decided: &[("admitted", 5000)],
        tcp: &[("PassiveOpens", 300), ("ListenOverflows", 4700), ("ListenDrops", 4700)],
        sources: Some((60_000, 8000)),
        returning: 45.0,
        ..Second::default()
    };
    let told = surge("observe", second);
    let story = told.story();
    assert_eq!(
        (story.verdict.kind, story.verdict.finished),
        (Pattern::Unknown, None),
        "the server let nobody finish"
    );
    tells(
        &told,
        &["the accept queue was full, so nobody could", "282,000 times a client was turned away"],
    );
}

#[test]
fn few_sources() {
    let second = Second {
        decided: &[("admitted", 500), ("source_limit", 20_000)],
        tcp: &[("PassiveOpens", 100)],
        sources: None,
        ..Second::default()
    };
    assert_eq!(surge("enforce", second).story().verdict.kind, Pattern::FloodOfFew);
    let there = Second { tcp: &[("PassiveOpens", 500)], ..second };
    assert_eq!(surge("enforce", there).story().verdict.kind, Pattern::HeavyClients);
    let counted = Second { sources: Some((64, 1)), ..there };
    let told = surge("enforce", counted);
    assert!(told.story().verdict.per_source.is_some_and(|each| each > 5000.0));
    tells(&told, &["few clients that are really there", "over its limit"]);
}

/// No more attempts are finished than in calm, which alone would be a flood of forged addresses; few
/// come again and again, one by one as programs do.
#[test]
fn few_that_finish_nothing() {
    for (sources, kind) in
        [((320, 3), Pattern::FloodOfFew), ((100_000, 90_000), Pattern::SpoofedFlood)]
    {
        let second = Second {
            decided: &[("admitted", 500), ("source_limit", 20_000)],
            tcp: &[("PassiveOpens", 100)],
            sources: Some(sources),
            ..Second::default()
        };
        let mut told = Told::new("enforce");
        told.change(|tick| {
            let limiter = tick.limiter.as_mut().expect("there is one");
            let manners = Manners { sources: 1000, programs: 1.0, ..Manners::default() };
            let sources = Sources { manners: [manners, manners], ..Sources::default() };
            limiter.sources = Some(sources);
        });
        told.seconds(30, CALM).seconds(60, second).seconds(30, CALM);
        assert_eq!(told.story().verdict.kind, kind, "{sources:?}");
    }
}

#[test]
fn both_at_once() {
    let second = Second { decided: &[("challenged", 1000), ("proven", 400)], ..Second::default() };
    assert_eq!(surge("enforce", second).story().verdict.kind, Pattern::Mixed);
}

#[test]
fn too_few_let_through_to_tell() {
    let second =
        Second { decided: &[("admitted", 100), ("global_budget", 9000)], sources: None, ..CALM };
    let told = surge("enforce", second);
    assert_eq!(told.story().verdict.kind, Pattern::Unknown);
    tells(&told, &["the data do not tell", "limiter let too few of them through to see"]);
}

#[test]
fn observe_mode_drops_nothing() {
    let second = Second {
        decided: &[("admitted", 100)],
        observed: &[("source_limit", 30_000)],
        tcp: &[("PassiveOpens", 100), ("SyncookiesSent", 29_000), ("RetransSegs", 800)],
        ..Second::default()
    };
    let told = surge("observe", second);
    let story = told.story();
    assert_eq!(story.verdict.kind, Pattern::FloodOfFew);
    assert_eq!(story.during.passed().round(), 60.0 * 30_100.0, "they went on to the kernel");
    let text = tells(
        &told,
        &[
            "observe mode all the time",
            "let 1,800,000 pass in observe mode that enforcing would have dropped",
        ],
    );
    assert!(!text.contains("it dropped"), "{text}");
}

#[test]
fn a_record_that_began_too_late() {
    let second = Second { decided: &[("challenged", 50_000)], ..Second::default() };
    let mut told = Told::new("enforce");
    told.seconds(60, second).seconds(30, CALM);
    assert!(told.story().before.is_none());
    tells(&told, &["already when the record began", "What was normal before"]);
    let mut told = Told::new("enforce");
    told.seconds(30, CALM).seconds(60, second);
    tells(&told, &["From 08:00:30 to the end of the record"]);
}
