//! Limits in the shadow: they refuse nothing, and count what they would have refused.

use limiter_common::challenge::Challenge;
use limiter_common::line::{Habits, Rules};
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::{Class, NAME};
use limiter_common::source_table::{SourceLimit, Ticks};
use proptest::prelude::*;

use super::world::{SECOND, START, World, is};

const CLIENT: u32 = 0x0a00_0001;

fn source_limit(world: &mut World, per_second: u64, burst: u64) {
    let limit = Limit { rate: Rate::per_second(per_second), burst }.to_source().expect("keepable");
    world.service.source = limit;
    world.host.horizon = world.host.horizon.max(limit.horizon());
}

/// Without a line and with one.
fn worlds() -> [World; 2] {
    [false, true].map(|line| {
        let mut world = World::new(1000, 1000, Challenge::Off);
        if line {
            world.service.line = Rules::of(&world.service.budget, &Habits::default());
        }
        world
    })
}

#[test]
fn it_refuses_nothing_and_counts_what_it_would_have_refused() {
    for mut world in worlds() {
        world.tries(10, 3, 0);
        for _ in 0..20 {
            assert_eq!(world.syn(CLIENT, START), is(Reason::Admitted));
        }
        assert_eq!(world.counted(), [3, 17, 0], "its burst");
        // What was refused did not pay: a tenth of a second is worth one.
        for _ in 0..5 {
            world.syn(CLIENT, START + SECOND / 10);
        }
        assert_eq!(world.counted(), [4, 21, 0]);
        world.syn(CLIENT + 1, START);
        assert_eq!(world.counted(), [5, 21, 0], "another source has its own");
    }
}

#[test]
fn what_the_limits_in_force_refuse_is_none_of_its_own() {
    for mut world in worlds() {
        source_limit(&mut world, 10, 5);
        world.tries(10, 3, 0);
        for _ in 0..100 {
            world.syn(CLIENT, START);
        }
        assert_eq!(world.counted(), [3, 2, 0], "five were let in");
        // A looser one than that in force refuses nothing.
        world.tries(100, 300, 0);
        for now in 0..100 {
            world.syn(CLIENT, START + now * SECOND / 20);
        }
        let [within, source, open] = world.counted();
        assert!(within > 40 && (source, open) == (0, 0), "{within}, {source}, {open}");
    }
}

#[test]
fn a_spent_budget_is_none_of_its_own() {
    let mut world = World::new(10, 10, Challenge::Off);
    world.tries(1, 1, 0);
    for source in 0..100 {
        world.syn(CLIENT + source, START);
    }
    assert_eq!(world.counted(), [10, 0, 0]);
}

/// An attempt that is asked for a proof is not judged, its proof is; one that waits is not.
#[test]
fn a_proof_is_judged_and_its_attempt_is_not() {
    for mut world in worlds() {
        source_limit(&mut world, 10, 6);
        world.tries(10, 4, 0);
        for _ in 0..100 {
            world.peek(CLIENT, START);
        }
        assert_eq!(world.counted(), [0, 0, 0]);
        for proof in 0..10 {
            let verdict = if proof < 6 { Reason::Proven } else { Reason::Waiting };
            assert_eq!(world.proof(CLIENT, START), is(verdict));
        }
        assert_eq!(world.counted(), [4, 2, 0]);
    }
}

/// What is open refuses first, as in force, and charges no limit.
#[test]
fn open_connections_are_tried_first() {
    for mut world in worlds() {
        world.tries(10, 3, 30);
        world.memory.open.set(30);
        for _ in 0..7 {
            assert_eq!(world.syn(CLIENT, START), is(Reason::Admitted));
        }
        assert_eq!(world.counted(), [0, 0, 7]);
        world.memory.open.set(29);
        for _ in 0..7 {
            world.syn(CLIENT, START);
        }
        assert_eq!(world.counted(), [3, 4, 7]);
    }
}

/// A class has a limit of its own, so none is tried; what may be open only where it has none.
#[test]
fn of_a_class_only_what_it_has_of_the_service_is_tried() {
    for mut world in worlds() {
        let class = Class {
            source: SourceLimit { interval: 0, window: 0 },
            mask: world.service.mask,
            own_mask: 0,
            unlimited: 1,
            stated: Limit::default(),
            prefix_v4: 0,
            prefix_v6: 0,
            reserved: [0; 6],
            name: [0; NAME],
            open: 0,
            own_open: 0,
        };
        world.memory.classes = vec![(CLIENT, CLIENT, class)];
        world.host.class_prefixes = 1;
        world.tries(10, 3, 0);
        for _ in 0..10 {
            world.syn(CLIENT, START);
        }
        assert_eq!(world.counted(), [0, 0, 0], "nothing is tried of it");
        world.tries(10, 3, 30);
        world.syn(CLIENT, START);
        world.memory.open.set(30);
        world.syn(CLIENT, START);
        assert_eq!(world.counted(), [1, 0, 1]);
        world.memory.classes[0].2.own_open = 1;
        world.syn(CLIENT, START);
        assert_eq!(world.counted(), [1, 0, 1], "any number of its own");
    }
}

/// Another try begins at zero, also where only one of two numbers differs; the same one goes on.
#[test]
fn each_try_is_counted_from_its_beginning() {
    let mut world = World::new(1000, 1000, Challenge::Off);
    for (per_second, burst, open) in [(10, 3, 0), (10, 4, 0), (20, 4, 0), (20, 4, 9), (0, 0, 9)] {
        world.tries(per_second, burst, open);
        for client in 0..5 {
            world.tries(per_second, burst, open);
            world.syn(0x0b00_0000 + client, START + per_second * 100 * SECOND);
        }
        assert_eq!(world.counted(), [5, 0, 0]);
    }
    world.tries(0, 0, 0);
    world.syn(CLIENT, START);
    assert_eq!(world.counted(), [5, 0, 0], "without one nothing is counted");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    /// However attempts come: every verdict is what it is without the shadow, and what is counted
    /// is what a limit with these numbers refuses of those that were let in.
    #[test]
    fn it_changes_no_verdict_and_counts_exactly(
        per_second in 1_u64..100,
        burst in 1_u64..20,
        tried in 1_u64..100,
        tried_burst in 1_u64..20,
        line: bool,
        proofs: bool,
        steps in proptest::collection::vec((0_u64..SECOND / 20, 0_u32..4), 1..600),
    ) {
        let [without, with] = [false, true].map(|tries| {
            let mut world = World::new(100, 50, Challenge::Off);
            if line {
                world.service.line = Rules::of(&world.service.budget, &Habits::default());
            }
            source_limit(&mut world, per_second, burst);
            if tries {
                world.tries(tried, tried_burst, 0);
            }
            world
        });
        let SourceLimit { interval, window } = with.memory.networks[0].shadow.limit;
        let (mut arrivals, mut expected, mut now) = ([0_u64; 4], [0, 0, 0], START);
        for (pause, source) in steps {
            now += pause;
            let judge = |world: &World| match proofs {
                true => world.proof(CLIENT + source, now),
                false => world.syn(CLIENT + source, now),
            };
            let verdict = judge(&with);
            prop_assert_eq!(verdict, judge(&without));
            if verdict == is(Reason::Admitted) || verdict == is(Reason::Proven) {
                let ticks = Ticks::at(now - START).0;
                let debt = arrivals[source as usize].saturating_sub(ticks);
                if debt > window {
                    expected[1] += 1;
                } else {
                    expected[0] += 1;
                    arrivals[source as usize] = ticks + debt + interval;
                }
            }
            prop_assert_eq!(with.counted(), expected);
        }
    }
}
