//! Eight bytes a source: what is read is what was written, over every wrap, and who loses its way.

use std::cell::Cell;

use limiter_common::line::visit::{
    AHEAD, CLOSED, FREE, LONGEST_WAIT, ONCE, PLACE_SHIFT, SEEN_SHIFT, Visit, find,
};
use limiter_common::source_table::WAYS;
use proptest::prelude::*;

use super::{SECOND, START};

const IDLE: u64 = 55;
const FORGET: u64 = 37;

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(
        now in any::<u64>(),
        present in any::<bool>(),
        place in 1 - AHEAD as i64..=LONGEST_WAIT as i64,
        (quiet, page) in (0_u64..4000, 0_u64..14),
        connections in 0..=CLOSED,
        fingerprint in 1_u32..1 << 24,
        later in 0_u64..2 * SECOND,
    ) {
        let visit = Visit { present, place, quiet, page, connections };
        let word = visit.word(fingerprint, now);
        prop_assert_eq!(word as u32 & 0xff_ffff, fingerprint);
        prop_assert_eq!(Visit::read(word, now), visit);
        // Later all of it is longer ago by as much, and an older clock of another CPU finds it now.
        let now = now.min(u64::MAX - later);
        let word = visit.word(fingerprint, now);
        let read = Visit::read(word, now + later);
        let passed = |shift: u32| ((now + later) >> shift) - (now >> shift);
        prop_assert_eq!(read.place, (place + passed(PLACE_SHIFT) as i64).min(LONGEST_WAIT as i64));
        prop_assert_eq!(read.quiet, quiet + passed(SEEN_SHIFT));
        let older = Visit::read(Visit { quiet: 0, page: 0, ..visit }.word(fingerprint, now), now - SECOND / 100);
        prop_assert_eq!((older.quiet, older.page), (0, 0));
    }
}

fn set(words: [u64; WAYS]) -> [Cell<u64>; WAYS] {
    words.map(Cell::new)
}

fn way(present: bool, quiet: u64, place: i64, fingerprint: u32, now: u64) -> u64 {
    Visit { present, place, quiet, page: 0, connections: CLOSED }.word(fingerprint, now)
}

/// First what is not kept any more, then who waits and came once, then who waits and came again,
/// then who is in; of each the one that was not seen for longest. At any time of the clocks.
#[test]
fn who_is_missed_least_goes_first() {
    for turn in 0..5000_u64 {
        let now = START + turn * 7 * SECOND;
        let units = |seconds: u64| ((seconds * SECOND) >> PLACE_SHIFT) as i64;
        let mut words = [
            way(true, 20, units(50), 1, now),
            way(true, 50, units(50), 2, now),
            way(false, 2, units(30), 3, now),
            way(false, 30, units(60), 4, now),
            0,
            0,
            0,
            0,
        ];
        // Those who came once: their place is when they were seen.
        for (index, ago) in [(4, 18), (5, 18), (6, 4), (7, 0)] {
            let then = now - ago * SECOND;
            words[index] = way(false, 0, 0, index as u32 + 1, then);
        }
        let mut order = Vec::new();
        for source in 100..108 {
            let found = find(&set(words), source, now, (IDLE, FORGET));
            assert!(
                !found.is_own && found.kind == ONCE && [4, 5].contains(&found.way),
                "{found:?} at {turn}"
            );
            order.push(found.way);
        }
        assert!(order.contains(&4) && order.contains(&5), "among equals any");
        let expected = [(4, ONCE), (5, ONCE), (6, ONCE), (7, ONCE), (3, 2), (2, 2), (1, 3), (0, 3)];
        for (step, (gone, kind)) in expected.into_iter().enumerate() {
            let found = find(&set(words), 100, now, (IDLE, FORGET));
            let gone = if step < 2 { found.way } else { gone };
            assert_eq!((found.way, found.kind), (gone, kind), "at {turn}");
            // Somebody takes it who is in, and whom the next do not displace.
            words[found.way] = way(true, 0, 0, 50 + step as u32, now);
        }
        let later = now + 31 * SECOND;
        assert_eq!(find(&set(words), 100, later, (IDLE, FORGET)).kind, FREE, "all have gone");
    }
}

#[test]
fn its_own_way_is_found_and_an_unused_one_is_free() {
    let words = [0, 0, 0, way(false, 0, 0, 7, START), 0, 0, 0, 0];
    let found = find(&set(words), 7, START, (IDLE, FORGET));
    assert!(found.is_own && found.way == 3);
    let found = find(&set(words), 8, START, (IDLE, FORGET));
    assert!(!found.is_own && found.kind == FREE && found.way != 3);
}
