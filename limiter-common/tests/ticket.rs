//! Tickets: how long they count, and who loses one.

use std::cell::Cell;

use limiter_common::source_table::WAYS;
use limiter_common::ticket::{LONGEST_LIFE, UNIT_SHIFT, grant, holds, left};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
const START: u64 = 1 << 55;
/// 15 minutes, in units.
const LIFE: u64 = 839;

fn set() -> [Cell<u64>; WAYS] {
    Default::default()
}

/// A ticket that ended stays past, for as long as a machine may run.
#[test]
fn tickets_that_ended_are_past() {
    let set = set();
    for source in 1..=8 {
        assert!(!holds(&set, source, START));
        assert!(grant(&set, source, START, LIFE) && holds(&set, source, START));
        assert!(!grant(&set, source, START + SECOND, LIFE), "it had one");
    }
    let end = ((START >> UNIT_SHIFT) + LIFE) << UNIT_SHIFT;
    for now in [end, end + 14 * DAY, end + 20_000 * DAY] {
        assert!(
            (1..=8).all(|source| !holds(&set, source, now)),
            "after {} days",
            (now - START) / DAY
        );
    }
    assert!(grant(&set, 100, end, LIFE) && grant(&set, 101, end, LIFE));
    assert!(
        holds(&set, 100, end) && holds(&set, 101, end),
        "the second did not take the place of the first"
    );
}

#[test]
fn the_longest_life_counts_to_its_end() {
    let set = set();
    assert!(grant(&set, 1, START, LONGEST_LIFE));
    let end = ((START >> UNIT_SHIFT) + LONGEST_LIFE) << UNIT_SHIFT;
    assert!(holds(&set, 1, START) && holds(&set, 1, end - 1) && !holds(&set, 1, end));
}

/// The place of a stranger's ticket is that of the one which ends first.
#[test]
fn a_full_set_loses_what_ends_first() {
    let set = set();
    for source in 1..=8 {
        grant(&set, source, START + u64::from(source) * 5 * SECOND, LIFE);
    }
    let now = START + 60 * SECOND;
    assert!(grant(&set, 9, now, LIFE));
    assert!(!holds(&set, 1, now));
    assert!((2..=9).all(|source| holds(&set, source, now)));
    assert!(set.iter().all(|word| left(word.get(), now) > 0));
}

/// Who comes again and again writes his ticket eight times in its life, and keeps it.
#[test]
fn a_ticket_is_renewed_when_it_is_no_longer_young() {
    let set = set();
    let mut writes = 0;
    for second in 0..3 * 900 {
        let now = START + second * SECOND;
        let before = set[0].get();
        grant(&set, 1, now, LIFE);
        writes += u64::from(set[0].get() != before);
        assert!(holds(&set, 1, now + 700 * SECOND));
    }
    assert!((20..=26).contains(&writes), "{writes} times in three lives");
}
