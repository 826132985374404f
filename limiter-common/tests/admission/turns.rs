//! Who comes to a service with a line: the order of limits, line and budgets.

use limiter_common::address::Address;
use limiter_common::admission::{Case, Outcome, Stage};
use limiter_common::challenge::Challenge;
use limiter_common::line::{ALLOWANCE, Arrival, Habits, Rules};
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::{Class, NAME, Refuse};
use limiter_common::source_table::SourceLimit;
use limiter_common::turn;

use super::world::{SECOND, START, World, is};

/// A hundred connections a second and as many at once, and a line.
fn world(challenge: Challenge) -> World {
    let mut world = World::new(100, 100, challenge);
    world.service.line = Rules::of(&world.service.budget, &Habits::default());
    world
}

fn source_limit(per_second: u64, burst: u64) -> SourceLimit {
    Limit { rate: Rate::per_second(per_second), burst }.to_source().expect("keepable")
}

/// Sources that come until the line holds some back; who came is let in or waits.
fn crowd(world: &World, now: u64) -> u32 {
    (1000..1500).find(|source| world.syn(*source, now) != is(Reason::Admitted)).expect("a line")
}

#[test]
fn a_page_is_whole_and_others_wait() {
    let world = world(Challenge::Off);
    assert_eq!(world.syn(1, START), is(Reason::Admitted));
    // Later ones find the gate full, and a line.
    crowd(&world, START + SECOND / 100);
    let waiting = [is(Reason::InLine), is(Reason::ServiceBudget)];
    let waits = (2000..2100).filter(|source| waiting.contains(&world.syn(*source, START + SECOND)));
    assert!(waits.count() > 50, "most wait");
    for connection in 2..=6 {
        assert_eq!(world.syn(1, START + SECOND), is(Reason::Admitted), "{connection} of a page");
    }
}

/// Whom the line refuses has not used up what its limit allows.
#[test]
fn who_waits_is_not_charged() {
    let mut world = world(Challenge::Off);
    world.service.source = source_limit(1, 3);
    world.host.horizon = world.host.horizon.max(world.service.source.horizon());
    let waits = crowd(&world, START);
    for attempt in 0..100 {
        let verdict = world.syn(waits, START + attempt);
        assert_ne!(verdict, is(Reason::SourceLimit), "attempt {attempt} was charged");
        assert_ne!(verdict, is(Reason::Admitted), "attempt {attempt}");
    }
}

/// Who is in is told which budget is spent; who is not waits in line for it.
#[test]
fn a_spent_budget_says_which() {
    let mut world = world(Challenge::Off);
    world.host.budget = Limit { rate: Rate::per_second(1), burst: 2 }.to_budget(1).expect("kept");
    world.host.budget.lease = 1;
    assert_eq!([1, 1].map(|source| world.syn(source, START)), [is(Reason::Admitted); 2]);
    assert_eq!(world.syn(1, START), is(Reason::GlobalBudget));
    for source in 2..20 {
        assert_eq!(world.syn(source, START), is(Reason::InLine), "{source}");
    }
}

/// What the waiting room may have: who waits, and without a line whomever a spent budget refuses;
/// never who is over his own limit, nor who is in and may try again at once.
#[test]
fn the_room_is_for_who_waits() {
    for line in [true, false] {
        let mut world =
            if line { world(Challenge::Off) } else { World::new(60, 60, Challenge::Off) };
        world.service.admission.refuse = Refuse::Room as u32;
        world.service.source = source_limit(1, 3);
        world.host.horizon = world.host.horizon.max(world.service.source.horizon());
        world.host.budget =
            Limit { rate: Rate::per_second(1), burst: 4 }.to_budget(1).expect("kept");
        world.host.budget.lease = 1;
        let proof = |source| world.judge(source, START, Stage::Proof);
        for _ in 0..3 {
            assert_eq!(proof(1).verdict, is(Reason::Proven));
        }
        assert_eq!(proof(2).verdict, is(Reason::Proven));
        let refused = |source| {
            let Outcome { verdict, may_divert, .. } = proof(source);
            assert_eq!(verdict, is(Reason::Waiting), "{source} in line {line}");
            may_divert
        };
        assert!(!refused(1), "over its own limit, though the budget is spent too");
        assert_eq!(refused(2), !line, "it is in");
        assert!([3, 3, 3].into_iter().all(refused), "it waits");
        assert!(!refused(3), "it has had three connections of the room");
        assert!(!proof(1).may_divert && world.syn(1, START) == is(Reason::SourceLimit));
    }
}

/// A class as wide as ten people has ten people's part; one without a limit does not wait.
#[test]
fn a_class_stands_for_many() {
    let mut world = world(Challenge::Off);
    world.service.source = source_limit(20, 40);
    let class = |source, unlimited| Class {
        source,
        mask: world.service.mask,
        own_mask: 0,
        unlimited,
        stated: Limit::default(),
        prefix_v4: 0,
        prefix_v6: 0,
        reserved: [0; 6],
        name: [0; NAME],
        open: 0,
        own_open: 0,
    };
    let (wide, free) =
        (class(source_limit(200, 400), 0), class(SourceLimit { interval: 0, window: 0 }, 1));
    world.memory.classes = vec![(10, 19, wide), (20, 29, free)];
    world.host.class_prefixes = 2;
    world.host.horizon = u64::MAX / 4;
    let weight = |source| {
        let (service, host, client) = (&world.service, &world.host, Address::v4(source));
        let (id, slot, now, stage) = (0, 0, START, Stage::Peeks);
        let case = Case { slot, id, service, host, client, now, stage };
        let arrival = turn::arrive(&world.memory, &case);
        arrival.expect("every map").expect("it may come").weight
    };
    assert_eq!([5, 10, 20].map(weight), [1, 10, 0]);
    let arrival = Arrival { weight: 10, ..Arrival::default() };
    assert_eq!(arrival.part(&world.service.line).allowance, 10 * ALLOWANCE);
    crowd(&world, START);
    for attempt in 0..4 {
        assert_eq!(world.syn(20, START + attempt), is(Reason::Admitted), "it does not wait");
        assert_ne!(world.syn(10, START + attempt), is(Reason::Admitted), "it waits");
    }
}

/// Where proofs pay an attempt writes nothing: the place is the proof's. Who is in may ask from what
/// strangers cannot spend.
#[test]
fn a_proof_takes_the_place() {
    let world = world(Challenge::Off);
    for attempt in 0..1000 {
        let verdict = world.peek(7, START + attempt);
        let asks = verdict == is(Reason::Asked) || verdict == is(Reason::Unanswerable);
        assert!(asks, "{verdict:?} at attempt {attempt}");
    }
    assert_eq!(world.peek(8, START + 1000), is(Reason::Unanswerable), "strangers spent theirs");
    assert_eq!(world.proof(7, START + 1000), is(Reason::Proven));
    assert_eq!(world.peek(7, START + 1000), is(Reason::Asked), "who is in has his own");
    for source in 100..300 {
        world.proof(source, START + 2000);
    }
    let later = START + 60 * SECOND / 1000;
    for source in 500..700 {
        world.proof(source, later);
    }
    assert_eq!(world.proof(400, later), is(Reason::Waiting));
    let soon = START + SECOND / 4;
    assert_eq!(world.peek(400, soon), is(Reason::InLine), "and it need not ask");
}
