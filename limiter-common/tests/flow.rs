//! Flows that brought a cookie back: what is known of which packet, how long, and who loses his
//! note.

use std::cell::Cell;

use limiter_common::flow::{
    Flow, Known, LIFE, SETS, State, arrive, ask, follow, may_wait, note, note_waiting, reset, waits,
};
use limiter_common::hash::Place;
use limiter_common::source_table::WAYS;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1 << 55;
/// A sequence number that wraps within reach.
const FIRST: u16 = 0xffff;
const JUST_PAID: Known = Known::Paid { first: true, fresh: true, ahead: true };

fn set() -> [Cell<u64>; WAYS] {
    Default::default()
}

#[test]
fn a_flow_is_known_as_long_as_its_cookie_may_be_good() {
    for (state, known) in [
        (State::Waiting, Known::Pays { late: true }),
        (State::Reset, Known::Reset { on_its_way: false }),
        (State::Paid, Known::Paid { first: true, fresh: false, ahead: false }),
        (State::PaidAhead, Known::Paid { first: true, fresh: false, ahead: true }),
        (State::Admitted, Known::Pays { late: true }),
    ] {
        let set = set();
        assert_eq!(ask(&set, 7, FIRST, START), Known::No);
        assert!(note(&set, 7, FIRST, state, START));
        assert_eq!(ask(&set, 7, FIRST, START + 120 * SECOND), known);
        assert_eq!(ask(&set, 7, FIRST, START + ((LIFE + 1) << 24)), Known::No);
        assert_eq!(ask(&set, 8, FIRST, START), Known::No, "another flow");
        assert_eq!(ask(&set, 7, FIRST.wrapping_add(4), START), Known::Another, "from its port");
        assert_eq!(ask(&set, 7, FIRST.wrapping_sub(4), START), Known::Another);
    }
}

/// Whatever cookie fits a packet that is not the first, it is none of a flow that waits.
#[test]
fn who_waits_comes_in_with_his_first_byte() {
    let set = set();
    assert!(note(&set, 7, FIRST, State::Waiting, START));
    for off in [1, 2, 3] {
        assert_eq!(ask(&set, 7, FIRST.wrapping_add(off), START), Known::Shifted);
        assert_eq!(ask(&set, 7, FIRST.wrapping_sub(off), START), Known::Shifted);
    }
    assert_eq!(ask(&set, 7, FIRST, START), Known::Pays { late: false });
    // A reset ends his waiting as little: what he sends after it is judged by its number all the
    // same.
    reset(&set, 7, START);
    assert_eq!(ask(&set, 7, FIRST.wrapping_add(1), START), Known::Shifted);
}

#[test]
fn one_packet_may_follow_who_paid_without_data() {
    let set = set();
    assert!(note(&set, 7, FIRST, State::PaidAhead, START));
    assert_eq!(ask(&set, 7, FIRST, START), JUST_PAID);
    assert!(follow(&set, 7) && !follow(&set, 7));
    assert_eq!(ask(&set, 7, FIRST, START), Known::Paid { first: true, fresh: true, ahead: false });
    assert_eq!(ask(&set, 7, 1, START), Known::Paid { first: false, fresh: true, ahead: false });
    assert!(
        matches!(ask(&set, 7, FIRST, START + SECOND / 20), Known::Paid { fresh: false, .. }),
        "50 ms later"
    );
    reset(&set, 7, START);
    assert_eq!(
        (ask(&set, 7, FIRST, START), follow(&set, 7)),
        (Known::Reset { on_its_way: true }, false)
    );
}

/// The cookie of an attempt that has paid is free until its connection was there, or its client
/// sent a reset.
#[test]
fn who_was_admitted_comes_in_once() {
    let set = set();
    assert!(note(&set, 7, FIRST, State::Admitted, START));
    let later = START + 8 * SECOND;
    assert_eq!(ask(&set, 7, FIRST, later), Known::Admitted);
    assert_eq!(ask(&set, 7, FIRST, later + SECOND), Known::Pays { late: true });
    assert!(!follow(&set, 7), "what follows him is as free as he");
    assert_eq!(ask(&set, 7, FIRST.wrapping_add(1), later), Known::Shifted);
    let reset_too = set.clone();
    reset(&reset_too, 7, later);
    assert!(matches!(ask(&reset_too, 7, FIRST, later), Known::Reset { .. }));
    arrive(&set, 7);
    assert!(matches!(ask(&set, 7, FIRST, later), Known::Paid { first: true, ahead: false, .. }));
}

/// A reset that anybody may send in a client's name counts for a moment, where its connection is
/// there after it.
#[test]
fn a_reset_is_on_its_way_for_a_moment() {
    let set = set();
    assert!(note(&set, 7, FIRST, State::Paid, START));
    let later = START + 100 * SECOND;
    reset(&set, 7, later);
    reset(&set, 8, later);
    for (after, on_its_way) in
        [(0, true), (SECOND / 5, true), (SECOND / 3, false), (100 * SECOND, false)]
    {
        assert_eq!(ask(&set, 7, FIRST, later + after), Known::Reset { on_its_way });
    }
    // Of a flow without a note nothing else is known, whatever number it comes with.
    assert_eq!(ask(&set, 8, FIRST, later), Known::Reset { on_its_way: true });
    assert_eq!(ask(&set, 8, 1234, later + SECOND), Known::Reset { on_its_way: false });
    reset(&set, 8, later + SECOND);
    assert_eq!(ask(&set, 8, 1234, later + SECOND), Known::Reset { on_its_way: true });
}

/// A flood of resets drives out nobody's note, and gives way to everybody's.
#[test]
fn a_flood_of_resets_drives_out_nothing() {
    let set = set();
    assert!((1..=3).all(|flow| note(&set, flow, FIRST, State::Waiting, START)));
    assert!((11..=13).all(|flow| note(&set, flow, FIRST, State::Paid, START)));
    (100..200).for_each(|flow| reset(&set, flow, START));
    for flow in 1..=3 {
        assert_eq!(ask(&set, flow, FIRST, START), Known::Pays { late: false });
        assert!(matches!(ask(&set, 10 + flow, FIRST, START), Known::Paid { .. }));
    }
    assert!((14..=15).all(|flow| note(&set, flow, FIRST, State::Paid, START)));
    assert!((11..=15).all(|flow| matches!(ask(&set, flow, FIRST, START), Known::Paid { .. })));
}

/// Only while some flow waits are other packets worth a look, and a flood of those that wait does
/// not write.
#[test]
fn a_word_says_whether_any_flow_waits() {
    let (set, until) = (set(), Cell::new(0));
    assert!(!may_wait(&until, || unreachable!("nobody ever waited")));
    note_waiting(&until, START);
    let written = until.get();
    note_waiting(&until, START + SECOND / 2);
    assert_eq!(until.get(), written);
    assert!(note(&set, 7, FIRST, State::Waiting, START + SECOND / 2));
    let last = START + SECOND / 2 + (LIFE << 24);
    assert!(waits(&set, 7, last) && may_wait(&until, || last) && !waits(&set, 8, START));
    assert!(!waits(&set, 7, last + (2 << 24)) && !may_wait(&until, || last + 2 * SECOND));
}

/// Nobody who waits loses his note to anybody: who finds no room does not wait. Of those that paid
/// one loses his.
#[test]
fn a_full_set_keeps_those_who_wait() {
    let set = set();
    let at = |flow: u32| START + u64::from(flow) * SECOND / 10;
    for flow in 1..=20 {
        assert_eq!(note(&set, flow, FIRST, State::Waiting, at(flow)), flow <= 4, "{flow}");
    }
    for flow in 21..=100 {
        assert!(note(&set, flow, FIRST, State::Paid, at(flow)));
        assert!(matches!(ask(&set, flow, FIRST, at(flow)), Known::Paid { .. }));
        assert!((1..=4).all(|flow| ask(&set, flow, FIRST, at(100)) == Known::Pays { late: true }));
    }
    assert!(!note(&set, 101, FIRST, State::Waiting, at(101)));
    // Who waits and pays makes room for another.
    assert!(
        note(&set, 1, FIRST, State::Paid, at(101))
            && note(&set, 101, FIRST, State::Waiting, at(101))
    );
    // After two minutes nobody waits any more.
    let later = at(101) + ((LIFE + 2) << 24);
    assert!((201..=204).all(|flow| note(&set, flow, FIRST, State::Waiting, later)));
    assert!(!note(&set, 205, FIRST, State::Waiting, later));
}

/// Every way of a table that was never used is free at any time of a machine's life.
#[test]
fn an_unused_way_is_free() {
    for now in [0, 1, START, LIFE << 24, (1 << 45) + 5, u64::MAX / 2] {
        let set = set();
        for flow in 1..=8 {
            assert!(note(&set, flow, FIRST, State::Paid, now));
        }
        assert!((1..=8).all(|flow| ask(&set, flow, FIRST, now) != Known::No), "{now}");
    }
}

#[test]
fn a_flow_has_one_place_whatever_stands_beside_it() {
    let flow = Flow::at(Place(0x0123_4567_89ab_cdef));
    let other = Flow(flow.0 & !0xff | 5);
    assert_eq!((flow.set(), flow.fingerprint()), (other.set(), other.fingerprint()));
    assert!(flow.set() < SETS);
    assert_ne!(Flow(0).fingerprint(), 0);
}

/// A flow waits since its first refusal, however often it is refused after that.
#[test]
fn who_waits_for_long_is_late() {
    let set = set();
    let at = |tenths: u64| START + tenths * SECOND / 10;
    for tenths in [0, 2, 6, 14, 30, 62] {
        assert!(note(&set, 7, FIRST, State::Waiting, at(tenths)));
        assert_eq!(ask(&set, 7, FIRST, at(tenths)), Known::Pays { late: false }, "{tenths}");
    }
    assert_eq!(ask(&set, 7, FIRST, at(126)), Known::Pays { late: true });
    // Another connection from the same port waits anew; and so does one whose note was paid off.
    assert!(note(&set, 7, FIRST.wrapping_add(100), State::Waiting, at(127)));
    assert_eq!(ask(&set, 7, FIRST.wrapping_add(100), at(127)), Known::Pays { late: false });
}
