//! What a situation is made of: a calm front end, what comes in a second, and how its sources come;
//! and how it is held to the cause that must be named and the lines that must say so.

use limiter_common::reason::Reason;

use super::super::{Cause, Facts, Last, Service, Sources, assess, text};
use crate::observe::waiting::Waiting;
use crate::observe::{Distinct, Lately, Manners};
use crate::report::{Counts, Rates};

/// What came in a second: by reason, and what the kernel opened and turned away.
pub(super) fn second(enforces: bool, by: &[(Reason, u64)], server: [u64; 2]) -> Option<Rates> {
    let mut counts = Counts::default();
    for (reason, count) in by {
        counts.by[*reason as usize] = *count;
        if reason.admits() || reason.drops() && reason.is_attempt() && !enforces {
            counts.through += count;
        }
    }
    counts.server = Some(server);
    counts.by[Reason::NotAttempt as usize] = 14 * server[0];
    Some(Rates { counts, seconds: 1.0 })
}

/// A front end with a web server, in enforce mode: 65 attempts/s as on any day.
pub(super) fn calm() -> Facts {
    Facts {
        enforces: true,
        attached: 1,
        services: vec![Service {
            name: "web".to_owned(),
            listens: true,
            has_source_limit: true,
            is_bounded: true,
            ..Service::default()
        }],
        now: second(true, &[(Reason::Admitted, 65)], [65, 0]),
        distinct: sources(319, 280, Some(40.0)),
        sources: people(),
        usual: Some(60.0),
        ..Facts::default()
    }
}

pub(super) fn sources(sources: u64, prefixes_24: u64, returning_percent: Option<f64>) -> Distinct {
    Distinct { seconds: 44.0, sources, prefixes_24, returning_percent, ..Distinct::default() }
}

/// What counters and the sample say: the share of the ten heaviest, and how sources come.
pub(super) fn come(of_ten: f64, manners: Manners) -> Sources {
    let heaviest = vec!["185.20.31.7".to_owned()];
    let heavy = Lately { sources: 300, of_ten: Some(of_ten), heaviest, ..Lately::default() };
    let manners = Manners { sources: 60, connections: 400, repeats: 100, ..manners };
    Sources { heavy: [Lately::default(), Lately::default(), heavy], manners: [manners; 2] }
}

/// People open several connections at once, and come again when they have read.
pub(super) fn people() -> Sources {
    come(0.1, Manners { each: 8.0, together: 0.7, once: 0.3, ..Manners::default() })
}

/// Machines come by a clock.
pub(super) fn machines(again: f64, let_in: u64) -> Sources {
    let manners = Manners { each: 20.0, together: 0.02, programs: 0.97, gap: 2.5, ..come_once() };
    come(0.1, Manners { again, let_in, once: 0.05, ..manners })
}

/// Each source comes once.
pub(super) fn come_once() -> Manners {
    Manners { each: 1.0, once: 0.98, ..Manners::default() }
}

/// What the runbook has a row for.
fn rows() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks/on-fire.md");
    let page = std::fs::read_to_string(page).expect("the runbook");
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.trim_end_matches('`').split("`, `")).map(str::to_owned).collect()
}

pub(super) fn changed(seconds_ago: f64) -> Option<Last> {
    Some(Last {
        seconds_ago,
        who: "root".to_owned(),
        what: "service web budget: 500/s, burst 1000 -> 5/s, burst 10".to_owned(),
        of_limits: true,
        before: None,
    })
}

/// The lines of a situation, of which each of `words` must be one or a part of one.
#[track_caller]
pub(super) fn says(facts: &Facts, cause: Cause, words: &[&str]) -> String {
    let found = assess(facts);
    let text = text(&found);
    assert_eq!(found.cause, cause, "{text}");
    let has_row = rows().iter().any(|row| found.likely.starts_with(row));
    assert!(has_row || cause == Cause::NotMeasured, "no row of the runbook: {text}");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(flat.contains(word), "{word}: {text}");
    }
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("likely: ") && text.contains("\nnext:   "), "{text}");
    // A command that is longer than a line is the only reason for a longer line.
    let long = lines.iter().filter(|line| line.chars().count() > 80);
    assert!(long.clone().all(|line| line.contains('`')), "{text}");
    text
}

/// So many in line, half of them for 22 s.
pub(super) fn waiting(sources: usize) -> Waiting {
    Waiting { sources, half_seconds: 22.0, tenth_seconds: 37.0, gone: 0 }
}
