//! Clocks at their ends: tickets where their 21 bits of time wrap (26 days), switches that go back in the far future, challenges late in
//! a machine's life. The source table's wrap (13 days) is in `source_table`'s own test.

use std::cell::Cell;
use std::collections::HashMap;

use limiter_common::challenge::{self, CHECK, HOLD};
use limiter_common::source_table::WAYS;
use limiter_common::switch::{Lists, Mode, Selection, Switch};
use limiter_common::ticket::{Change, LONGEST_LIFE, UNIT_SHIFT, change};
use proptest::prelude::*;

/// Nanoseconds after which the time of a ticket begins anew.
const WRAP: u64 = 1 << (21 + UNIT_SHIFT);
const SECOND: u64 = 1_000_000_000;

/// Tickets in whole units of unbounded width.
#[derive(Default)]
struct Reference(HashMap<u32, (u64, bool)>);

impl Reference {
    fn change(&mut self, source: u32, what: Change, now: u64, life: u64) -> bool {
        let now = now >> UNIT_SHIFT;
        let kept = self.0.get(&source).copied().filter(|(end, ..)| *end >= now);
        let (end, proven) = kept.unwrap_or((now, false));
        let (left, valid) = (end - now, proven && end > now);
        match what {
            Change::Nothing => valid,
            Change::Grant => {
                if !valid || left + life / 8 < life {
                    self.0.insert(source, (now + life, true));
                }
                !valid
            }
            // What is prepaid has a clock of its own.
            Change::Prepay | Change::Redeem => unreachable!("not drawn"),
        }
    }
}

fn start() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(WRAP - 30 * SECOND),
        Just(WRAP - 1),
        Just(7 * WRAP - 400 * SECOND),
        any::<u64>().prop_map(|t| t >> 3)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// With room for all, tickets are those of the reference, through the wrap, as long as nobody stays away for thirteen days.
    #[test]
    fn tickets_through_the_wrap(
        start in start(), life in prop_oneof![Just(2_u64), Just(839), Just(LONGEST_LIFE), 2..LONGEST_LIFE],
        steps in prop::collection::vec((0_u32..2, 0_u32..WAYS as u32, prop_oneof![0..SECOND, 0..100 * SECOND, 0..86_400 * SECOND]), 1..80),
    ) {
        let set: [Cell<u64>; WAYS] = Default::default();
        let (mut reference, mut now) = (Reference::default(), start);
        let mut since = 0;
        for (what, source, gap) in steps {
            since += gap;
            if since > WRAP / 4 {
                break;
            }
            now += gap;
            let what = Change::from_number(what);
            let expected = reference.change(source, what, now, life);
            prop_assert_eq!(change(&set, source + 1, what, now, life), expected, "{:?} of {} at {}", what, source, now);
        }
    }

    /// At every time the one selection or the other, by the revert rounded up to the next 1.05 ms; the far end is for ever.
    #[test]
    fn a_switch_goes_back_at_its_time(revert in prop_oneof![1_u64..1 << 50, any::<u64>(), Just(u64::MAX)], now in any::<u64>()) {
        let (enforce, observe) = (Selection { slot: 1, mode: Mode::Enforce }, Selection { slot: 0, mode: Mode::Observe });
        let lists = Lists { ban_hosts: true, ..Lists::default() };
        let revert = revert.max(1);
        let switch = Switch::new(enforce, lists).until(revert, observe);
        let at = switch.revert().expect("a time");
        prop_assert!(at >= revert.min(!0xf_ffff), "never before");
        prop_assert!(at - revert.min(at) < 1 << 20);
        for time in [now, at - 1, at, at.saturating_add(1), 0, u64::MAX] {
            prop_assert_eq!(switch.at(time), if time >= at { observe } else { enforce }, "at {}", time);
        }
        prop_assert_eq!((switch.lists(), switch.fallback()), (lists, observe));
    }

    /// A challenge holds and ends at any time of a machine that lives for centuries.
    #[test]
    fn a_challenge_holds_and_ends(now in HOLD..u64::MAX / 2) {
        let line: [Cell<u64>; WAYS] = Default::default();
        challenge::turn_on(&line, now);
        challenge::issue(&line, now);
        prop_assert!(challenge::is_on(&line, now + HOLD - 1) && !challenge::is_on(&line, now + HOLD));
        prop_assert!(challenge::is_checking(&line, now + CHECK - 1) && !challenge::is_checking(&line, now + CHECK));
        challenge::settle(&line, now + CHECK);
        prop_assert!(!challenge::may_be_checking(&line));
    }
}

/// What the ticket's own file says: one that lapsed long ago is past for thirteen days, and may look valid after that.
#[test]
fn a_ticket_that_lapsed_is_past_for_thirteen_days() {
    let set: [Cell<u64>; WAYS] = Default::default();
    assert!(change(&set, 5, Change::Grant, SECOND, 60));
    let ended = SECOND + (61 << UNIT_SHIFT);
    for days in 0..13 {
        assert!(!change(&set, 5, Change::Nothing, ended + days * 86_400 * SECOND, 60), "after {days} days");
    }
}
