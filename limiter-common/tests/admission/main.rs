//! The whole of admission in simulated time: budgets, source limits, the challenge and the line.

mod networks;
mod shadow;
mod turns;
mod world;

use limiter_common::admission::{Ruling, Stage};
use limiter_common::budget::{BudgetLimit, Lease, Take};
use limiter_common::challenge::{self, Challenge};
use limiter_common::purse::{self, Purse};
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;

use world::{SECOND, START, World, is};

#[test]
fn proofs_pay_and_nothing_else() {
    for challenge in [Challenge::Always, Challenge::Auto, Challenge::Off] {
        let world = World::new(100, 100, challenge);
        for source in 0..100_000 {
            let verdict = match (challenge, source) {
                (Challenge::Always, _) => Ruling::Challenge,
                (_, 0..100) => is(Reason::Asked),
                (Challenge::Auto, _) => Ruling::Challenge,
                (Challenge::Off, _) => is(Reason::Unanswerable),
            };
            assert_eq!(world.peek(source, START), verdict, "{challenge:?} {source}");
        }
        for source in 0..100 {
            assert_eq!(world.proof(source, START), is(Reason::Proven));
        }
        assert_eq!(
            world.proof(100, START),
            is(Reason::Waiting),
            "no budget: the client's next segment asks again"
        );
        assert_eq!(
            world.peek(100, START),
            is(Reason::ServiceBudget),
            "and an attempt would be for nothing"
        );
        assert_eq!(world.proof(100, START + SECOND / 50), is(Reason::Proven));
    }
}

/// Whoever bears somebody's address, and however often: what he may have is what he has proven.
#[test]
fn attempts_in_the_name_of_another_cost_him_nothing() {
    let mut world = World::new(100, 100, Challenge::Auto);
    world.service.source =
        Limit { rate: Rate::per_second(1), burst: 3 }.to_source().expect("keepable");
    world.host.horizon = world.host.horizon.max(world.service.source.horizon());
    assert_eq!(world.proof(7, START), is(Reason::Proven));
    for attempt in 0..100_000 {
        let verdict = if attempt < 100 { is(Reason::Asked) } else { Ruling::Challenge };
        assert_eq!(world.peek(7, START + 1), verdict, "{attempt}");
    }
    for proof in [Reason::Proven, Reason::Proven, Reason::Waiting] {
        assert_eq!(world.proof(7, START + 1), is(proof));
    }
    assert_eq!(world.peek(7, START + 1), is(Reason::SourceLimit));
}

#[test]
fn auto_turns_on_when_more_come_than_may_pass_unproven_and_off_when_the_flood_ends() {
    let world = World::new(100, 100, Challenge::Auto);
    let mut now = START;
    for source in 0..100 {
        assert_eq!(world.peek(source, now), is(Reason::Asked));
    }
    assert_eq!(world.peek(100, now), Ruling::Challenge);
    // A flood of 1,000/s for a minute: on all the time, and nothing is charged.
    for source in 0..60_000 {
        now += SECOND / 1000;
        assert_eq!(world.peek(1000 + source, now), Ruling::Challenge);
    }
    // Then 50/s, which fits: off within the hold and the time that the purse takes to recover.
    let mut asked_after = None;
    for source in 0..3000 {
        now += SECOND / 50;
        if world.peek(200_000 + source, now) == is(Reason::Asked) && asked_after.is_none() {
            asked_after = Some(source / 50);
        }
    }
    let seconds = asked_after.expect("it turned off");
    assert!((9..=13).contains(&seconds), "off after {seconds} s");
    assert_eq!(
        challenge::State::read(&std::array::from_fn(|word| world.memory.challenge[word].get()))
            .turns,
        1
    );
}

/// A budget with a burst of twenty seconds, and a flood of twice its rate for two minutes: the challenge stays on, although what the flood
/// would have drawn holds longer than a challenge does without a sign of need.
#[test]
fn auto_stays_on_through_a_flood_that_a_burst_could_hold() {
    let world = World::new(100, 2000, Challenge::Auto);
    let mut strangers = 0;
    for source in 0..24_000 {
        let now = START + u64::from(source) * SECOND / 200;
        strangers += u32::from(world.peek(source, now) == is(Reason::Asked));
    }
    // Five seconds of the rate, and what came in until that was spent.
    assert!((500..=1010).contains(&strangers), "{strangers} passed unproven");
    assert_eq!(
        challenge::State::read(&std::array::from_fn(|word| world.memory.challenge[word].get()))
            .turns,
        1
    );
}

/// The tightest budget is the one with the lowest rate, whoever it belongs to.
#[test]
fn the_tightest_budget_is_the_slowest() {
    let [slow, fast] = [10, 1000].map(|rate| BudgetLimit {
        interval: SECOND / rate,
        capacity: 20 * SECOND,
        lease: 1,
    });
    let none = BudgetLimit::default();
    for budgets in [[&fast, &slow], [&slow, &fast], [&none, &slow]] {
        let limit = purse::unproven(budgets);
        assert_eq!((limit.interval, limit.capacity), (slow.interval, challenge::HOLD / 2));
        assert_eq!(purse::unanswerable(budgets).interval, 16 * slow.interval);
    }
    let rare = BudgetLimit { interval: 60 * SECOND, capacity: 600 * SECOND, lease: 1 };
    assert_eq!(
        purse::unproven([&none, &rare]).capacity,
        rare.interval,
        "there is always one token"
    );
    assert_eq!(purse::unproven([&none; 2]).interval, 0);
}

/// What nobody asks for a proof has a purse of its own, and debts of its own: who proves himself
/// pays as if it had not come.
#[test]
fn what_cannot_be_asked_has_its_source_limit_apart() {
    for has_budget in [true, false] {
        let mut world = World::new(100, 200, Challenge::Always);
        if !has_budget {
            world.service.budget = BudgetLimit { lease: 1, ..BudgetLimit::default() };
            world.service.admission.unanswerable = BudgetLimit::default();
        }
        world.service.source =
            Limit { rate: Rate::per_second(1), burst: 3 }.to_source().expect("keepable");
        let judge = |source| world.judge(source, START, Stage::Unanswerable).verdict;
        let (passed, refused) = (is(Reason::Unanswered), is(Reason::SourceLimit));
        assert_eq!(
            [7, 7, 7, 7, 7, 8].map(judge),
            [passed, passed, passed, refused, refused, passed]
        );
        let left = (9..1000).filter(|source| judge(*source) == passed).count();
        assert_eq!(left, if has_budget { 200 / 16 - 4 } else { 991 });
        assert_eq!(
            [0; 4].map(|_| world.proof(7, START)),
            [Reason::Proven, Reason::Proven, Reason::Proven, Reason::Waiting].map(is)
        );
    }
}

/// When another CPU took the host's last token meanwhile, the service's token goes back if one was
/// taken, and only then.
#[test]
fn nothing_is_given_back_that_was_not_taken() {
    let mut world = World::new(100, 100, Challenge::Off);
    world.host.budget = world.service.budget;
    let contended: [&[(Purse, Take)]; 2] = [
        &[(Purse::Host, Take::Gone)],
        &[(Purse::Service, Take::Contended), (Purse::Host, Take::Gone)],
    ];
    let tokens = |purse: Purse| world.memory.leases.borrow()[purse.index(0) as usize].tokens;
    for (races, expected) in contended.into_iter().zip([1, 0]) {
        world.memory.leases.borrow_mut().fill(Lease::default());
        world.memory.races.set(races);
        assert_eq!(world.syn(1, START), is(Reason::GlobalBudget));
        assert_eq!((tokens(Purse::Service), tokens(Purse::Host)), (expected, 0), "{races:?}");
    }
}
