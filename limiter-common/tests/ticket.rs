//! Tickets: how long they and their marks count, and who loses one.

use std::cell::Cell;

use limiter_common::source_table::WAYS;
use limiter_common::ticket::{Change, LONGEST_LIFE, Ticket, UNIT_SHIFT, change};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
const START: u64 = 1 << 55;
/// 15 minutes, in units.
const LIFE: u64 = 839;

fn set() -> [Cell<u64>; WAYS] {
    Default::default()
}

fn has(set: &[Cell<u64>; WAYS], source: u32, now: u64) -> bool {
    change(set, source, Change::Nothing, now, LIFE)
}

fn grant(set: &[Cell<u64>; WAYS], source: u32, now: u64) -> bool {
    change(set, source, Change::Grant, now, LIFE)
}

/// Half a turn of their clock after they ended, tickets look far ahead of it. They are past all the same, and make room.
#[test]
fn tickets_that_ended_weeks_ago_are_past() {
    let set = set();
    for source in 1..=8 {
        assert!(grant(&set, source, START));
    }
    for now in [START + 14 * DAY, START + 16 * DAY, START + 18 * DAY] {
        for source in 1..=8 {
            assert!(!has(&set, source, now), "source {source} after {} days", (now - START) / DAY);
        }
    }
    let now = START + 14 * DAY;
    assert!(grant(&set, 100, now) && grant(&set, 101, now));
    assert!(has(&set, 100, now) && has(&set, 101, now), "the second did not take the place of the first");
}

#[test]
fn the_longest_life_counts_to_its_end() {
    let set = set();
    assert!(change(&set, 1, Change::Grant, START, LONGEST_LIFE));
    let end = ((START >> UNIT_SHIFT) + LONGEST_LIFE) << UNIT_SHIFT;
    assert!(has(&set, 1, START) && has(&set, 1, end - 1) && !has(&set, 1, end));
}

/// The place of a stranger's ticket is that of the one which ends first.
#[test]
fn a_full_set_loses_what_ends_first() {
    let set = set();
    for source in 1..=8 {
        grant(&set, source, START + u64::from(source) * 5 * SECOND);
    }
    let now = START + 60 * SECOND;
    assert!(grant(&set, 9, now));
    assert!(!has(&set, 1, now));
    assert!((2..=9).all(|source| has(&set, source, now)));
    assert!(set.iter().all(|word| Ticket::read(word.get(), now).is_valid()));
}

/// A spoofer's attempts in the name of a source that was there once do not make its ticket last.
#[test]
fn attempts_prolong_no_ticket() {
    const SHORT: u64 = 28;
    let set = set();
    change(&set, 1, Change::Grant, START, SHORT);
    let end = ((START >> UNIT_SHIFT) + SHORT) << UNIT_SHIFT;
    for now in [START, START + 10 * SECOND, end - 1, end, end + SECOND] {
        assert_eq!(has(&set, 1, now), now < end);
        change(&set, 1, Change::Prepay, now, SHORT);
        assert_eq!(has(&set, 1, now), now < end);
    }
}

#[test]
fn marks_are_taken_one_by_one_and_end() {
    let set = set();
    grant(&set, 1, START);
    let mark = |now| assert!(change(&set, 1, Change::Prepay, now, LIFE));
    let take = |now| change(&set, 1, Change::Redeem, now, LIFE);
    assert!(!take(START));
    (0..3).for_each(|_| mark(START));
    assert_eq!([take(START), take(START), take(START), take(START)], [true, true, true, false]);
    // They count as long as a cookie may come back, and end although others are made.
    mark(START);
    assert!(take(START + 120 * SECOND));
    for second in 0..280 {
        mark(START + second * SECOND);
    }
    assert!(has(&set, 1, START + 280 * SECOND));
    let left = (0..1000).filter(|_| take(START + 280 * SECOND)).count();
    assert!(left < 140, "{left} marks");
    mark(START + 280 * SECOND);
    assert!(!take(START + 700 * SECOND), "seven minutes later");
}
