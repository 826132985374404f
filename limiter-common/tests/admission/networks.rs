//! Limits of networks: charged beside the source's, in every order of admission.

use limiter_common::challenge::Challenge;
use limiter_common::line::{Habits, Rules};
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::{Class, NAME, Refuse, Service};
use limiter_common::source_table::SourceLimit;
use proptest::prelude::*;

use super::world::{SECOND, START, World, is};

/// Two networks of a /24 each.
const ONE: u32 = 0x0a00_0000;
const OTHER: u32 = 0x0a00_0100;

fn source_limit(world: &mut World, per_second: u64, burst: u64) {
    let limit = Limit { rate: Rate::per_second(per_second), burst }.to_source().expect("keepable");
    world.service.source = limit;
    world.host.horizon = world.host.horizon.max(limit.horizon());
}

fn with_line(mut world: World) -> World {
    world.service.line = Rules::of(&world.service.budget, &Habits::default());
    world
}

/// A service with ten a second and as many at once for a network, without a line and with one.
fn worlds(budget: u64) -> [World; 2] {
    [false, true].map(|line| {
        let world = World::new(budget, budget, Challenge::Off);
        let mut world = if line { with_line(world) } else { world };
        world.limit_networks(0, 10, 10);
        world
    })
}

#[test]
fn a_network_is_held_as_one_however_many_sources_it_has() {
    for world in worlds(1000) {
        let verdicts: Vec<_> = (0..200).map(|source| world.syn(ONE + source, START)).collect();
        assert!(verdicts[..10].iter().all(|verdict| *verdict == is(Reason::Admitted)));
        assert!(verdicts[10..].iter().all(|verdict| *verdict == is(Reason::NetworkLimit)));
        assert_eq!(world.syn(OTHER, START), is(Reason::Admitted), "others are not touched");
        assert_eq!(
            world.syn(ONE, START + SECOND / 10),
            is(Reason::Admitted),
            "one more a tenth on"
        );
        assert_eq!(world.syn(ONE + 1, START + SECOND / 10), is(Reason::NetworkLimit));
    }
}

/// What its network refuses costs a source nothing, and what its own limit or a budget refuses
/// costs its network nothing.
#[test]
fn neither_pays_for_what_the_other_refuses() {
    for mut world in worlds(1000) {
        source_limit(&mut world, 1, 3);
        for attempt in 0..100 {
            let verdict = if attempt < 3 { Reason::Admitted } else { Reason::SourceLimit };
            assert_eq!(world.syn(ONE, START), is(verdict), "{attempt}");
        }
        for source in 1..8 {
            assert_eq!(world.syn(ONE + source, START), is(Reason::Admitted), "seven were left");
        }
        for _ in 0..100 {
            assert_eq!(world.syn(ONE + 9, START), is(Reason::NetworkLimit));
        }
        // In half a second the network has five more, and this source its whole burst.
        let later = START + SECOND / 2;
        for attempt in 0..4 {
            let verdict = if attempt < 3 { Reason::Admitted } else { Reason::SourceLimit };
            assert_eq!(world.syn(ONE + 9, later), is(verdict), "{attempt}");
        }
    }
}

#[test]
fn a_spent_budget_costs_a_network_nothing() {
    for (world, line) in worlds(20).into_iter().zip([false, true]) {
        for source in 0..10_000 {
            // Of as many networks.
            world.syn(0x0b00_0000 + source * 256, START);
        }
        for attempt in 0..100 {
            let verdict = world.syn(ONE + attempt, START);
            assert!(verdict == is(Reason::ServiceBudget) || verdict == is(Reason::InLine));
        }
        // Who waited has gone.
        let later = START + 3600 * SECOND;
        for source in 0..10 {
            let verdict = world.syn(ONE + source, later);
            // In line a page leaves room for what follows its first connection.
            let in_line = line && verdict == is(Reason::InLine);
            assert!(in_line || verdict == is(Reason::Admitted), "{source}: its whole burst");
        }
    }
}

/// A network that holds as many connections as it may is refused in every order, before and at its
/// proof, and that costs neither the network nor the source anything.
#[test]
fn a_network_that_holds_too_many_connections_is_refused_at_no_charge() {
    for mut world in worlds(1000) {
        source_limit(&mut world, 1, 3);
        world.memory.networks[0].open = 50;
        world.memory.open.set(50);
        for attempt in 0..100 {
            assert_eq!(world.syn(ONE + attempt, START), is(Reason::OpenNetwork));
            assert_eq!(world.peek(ONE, START), is(Reason::OpenNetwork));
            assert_eq!(world.proof(ONE, START), is(Reason::Waiting));
        }
        world.memory.open.set(49);
        for attempt in 0..4 {
            let verdict = if attempt < 3 { Reason::Admitted } else { Reason::SourceLimit };
            assert_eq!(world.syn(ONE, START), is(verdict), "{attempt}: its whole burst");
        }
        for source in 1..8 {
            assert_eq!(world.syn(ONE + source, START), is(Reason::Admitted), "seven were left");
        }
        // Without a rate of networks it is the same.
        world.memory.networks[0].limit = SourceLimit::default();
        world.memory.open.set(50);
        assert_eq!(world.syn(OTHER, START), is(Reason::OpenNetwork));
        world.memory.networks[0].open = 0;
        assert_eq!(world.syn(OTHER, START), is(Reason::Admitted));
    }
}

/// An attempt looks and writes nothing; the proof pays for both.
#[test]
fn proofs_pay_for_their_network_and_nothing_else_does() {
    for world in worlds(1000) {
        for attempt in 0..1000 {
            assert_ne!(world.peek(ONE + attempt % 256, START), is(Reason::NetworkLimit));
        }
        for source in 0..10 {
            assert_eq!(world.proof(ONE + source, START), is(Reason::Proven));
        }
        assert_eq!(world.proof(ONE + 10, START), is(Reason::Waiting));
        assert_eq!(world.peek(ONE + 10, START), is(Reason::NetworkLimit));
        assert_ne!(world.peek(OTHER, START), is(Reason::NetworkLimit));
    }
}

/// Sources of a class have the class's networks, or none: an operator who names prefixes knows
/// them.
#[test]
fn a_class_has_networks_of_its_own_or_none() {
    for mut world in worlds(1000) {
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
        world.memory.classes = vec![(ONE, ONE + 127, class)];
        world.host.class_prefixes = 1;
        let admits = |world: &World, first: u32, now: u64| {
            let admitted =
                (0..100).filter(|one| world.syn(first + one, now) == is(Reason::Admitted));
            admitted.count()
        };
        assert_eq!(admits(&world, ONE, START), 100, "it has none");
        assert_eq!(admits(&world, ONE + 128, START), 10, "the rest of the /24 has the service's");
        world.limit_networks(1, 30, 30);
        assert_eq!(admits(&world, ONE, START), 30, "it has its own");
        assert_eq!(admits(&world, ONE + 128, START + SECOND / 10), 1, "each pays for itself");
    }
}

/// Whose network is over its limit does not see the waiting room, and who sees it pays for both.
#[test]
fn a_network_over_its_limit_sees_no_waiting_room() {
    for mut world in worlds(2) {
        world.service.admission.refuse = Refuse::Room as u32;
        source_limit(&mut world, 50, 100);
        for source in 0..1000 {
            world.proof(0x0b00_0000 + source * 256, START);
        }
        let judged: Vec<_> = (0..20)
            .map(|source| world.judge(ONE + source, START, limiter_common::admission::Stage::Proof))
            .map(|outcome| (outcome.verdict, outcome.may_divert))
            .collect();
        assert!(judged[..10].iter().all(|one| *one == (is(Reason::Waiting), true)), "{judged:?}");
        assert!(judged[10..].iter().all(|one| *one == (is(Reason::Waiting), false)), "{judged:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    /// However attempts come: of each network no more is let in than its burst and its rate, and no
    /// attempt is refused for its network that is within both.
    #[test]
    fn a_network_has_its_rate_and_burst_exactly(
        per_second in 1_u64..200,
        burst in 2_u64..50,
        source_burst in 1_u64..20,
        line: bool,
        proofs: bool,
        steps in proptest::collection::vec((0_u64..SECOND / 20, 0_u32..3, 0_u32..256), 1..600),
    ) {
        let world = World::new(1_000_000, 1_000_000, Challenge::Off);
        let mut world = if line { with_line(world) } else { world };
        world.limit_networks(0, per_second, burst);
        source_limit(&mut world, 5, source_burst);
        let SourceLimit { interval, window } = world.memory.networks[0].limit;
        let mut arrivals = [0_u64; 3];
        let mut now = START;
        for (pause, network, source) in steps {
            now += pause;
            let ticks = limiter_common::source_table::Ticks::at(now - START).0;
            let debt = arrivals[network as usize].saturating_sub(ticks);
            let client = ONE + network * 256 + source;
            let looked = world.peek(client, now);
            let verdict = if proofs { world.proof(client, now) } else { world.syn(client, now) };
            let is_in = verdict == is(Reason::Admitted) || verdict == is(Reason::Proven);
            prop_assert_eq!(looked == is(Reason::NetworkLimit), debt > window, "an attempt looks");
            prop_assert!(!is_in || debt <= window);
            if !proofs {
                prop_assert_eq!(verdict == is(Reason::NetworkLimit), debt > window);
            }
            if is_in {
                arrivals[network as usize] = ticks + debt + interval;
            }
        }
    }
}

/// Only a policy that has such limits asks for them.
#[test]
fn without_them_no_network_is_asked() {
    let mut world = World::new(1000, 1000, Challenge::Off);
    world.limit_networks(0, 1, 2);
    world.service.more &= !Service::NETWORKS;
    for source in 0..200 {
        assert_eq!(world.syn(ONE + source, START), is(Reason::Admitted));
    }
}
