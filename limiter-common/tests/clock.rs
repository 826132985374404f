//! Clocks at their ends: switches that go back in the far future, challenges late in a machine's
//! life. The source table's wrap (13 days) is in `source_table`'s own test.

use std::cell::Cell;

use limiter_common::challenge::{self, HOLD};
use limiter_common::source_table::WAYS;
use limiter_common::switch::{Lists, Mode, Selection, Switch};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

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
        prop_assert!(challenge::has_issued(&line, now + HOLD - 1) && !challenge::has_issued(&line, now + HOLD));
        prop_assert!(challenge::is_on(&line, now + HOLD - 1) && !challenge::is_on(&line, now + HOLD));
    }
}
