//! The whole of admission in simulated time: newcomers and ticket holders, the challenge, and fair shares.

mod crowd;
mod turns;
mod world;

use fastrand::Rng;
use limiter_common::admission::{Stage, Verdict};
use limiter_common::budget::{BudgetLimit, Lease, Take};
use limiter_common::challenge::{self, Challenge};
use limiter_common::pressure::{self, Pressure};
use limiter_common::purse::{self, Purse};
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::source_table::{SourceLimit, TICK_SHIFT, Ticks};

use crowd::crowd;
use world::{SECOND, START, World, gap, is};

#[test]
fn newcomers_leave_the_reserve_to_those_with_tickets() {
    let world = World::new(100, 100, Challenge::Off, false);
    // The first half of the budget is anybody's; being admitted gives a ticket where nothing has to be proven.
    for source in 0..50 {
        assert_eq!(world.syn(source, START), is(Reason::Admitted));
    }
    assert_eq!(world.syn(1000, START), is(Reason::Newcomer));
    for source in 0..50 {
        assert_eq!(world.syn(source, START), is(Reason::Admitted), "a ticket goes to the bottom");
    }
    assert_eq!(world.syn(0, START), is(Reason::ServiceBudget));
    // Tickets end.
    let later = START + 902 * SECOND;
    for source in 0..50 {
        assert_eq!(world.syn(source, later), is(Reason::Admitted));
    }
    assert_eq!(world.syn(50, later), is(Reason::Newcomer));
}

#[test]
fn proofs_pay_and_nothing_else() {
    for challenge in [Challenge::Always, Challenge::Auto, Challenge::Off] {
        let world = World::new(100, 100, challenge, false);
        for source in 0..100_000 {
            let verdict = match (challenge, source) {
                (Challenge::Always, _) => Verdict::Challenge,
                (_, 0..100) => is(Reason::Asked),
                (Challenge::Auto, _) => Verdict::Challenge,
                (Challenge::Off, _) => is(Reason::Unanswerable),
            };
            assert_eq!(world.peek(source, START), verdict, "{challenge:?} {source}");
        }
        for source in 0..50 {
            assert_eq!(world.proof(source, START), is(Reason::Proven));
        }
        assert_eq!(
            world.proof(50, START),
            is(Reason::Waiting),
            "no budget: the client's next segment asks again"
        );
        assert_eq!(
            world.peek(50, START),
            is(Reason::Newcomer),
            "and an attempt would be for nothing"
        );
        assert_eq!(world.proof(50, START + SECOND / 50), is(Reason::Proven));
        assert_eq!(world.peek(7, START), is(Reason::Asked), "a ticket is not challenged");
    }
}

/// Whoever bears somebody's address, and however often: what he may have is what he has proven.
#[test]
fn attempts_in_the_name_of_another_cost_him_nothing() {
    let mut world = World::new(100, 100, Challenge::Auto, true);
    world.service.source =
        Limit { rate: Rate::per_second(1), burst: 3 }.to_source().expect("keepable");
    world.host.horizon = world.host.horizon.max(world.service.source.horizon());
    assert_eq!(world.proof(7, START), is(Reason::Proven));
    for attempt in 0..100_000 {
        let verdict = if attempt < 100 { is(Reason::Asked) } else { Verdict::Challenge };
        assert_eq!(world.peek(7, START + 1), verdict, "{attempt}");
    }
    for proof in [Reason::Proven, Reason::Proven, Reason::Waiting] {
        assert_eq!(world.proof(7, START + 1), is(proof));
    }
    assert_eq!(world.peek(7, START + 1), is(Reason::SourceLimit));
}

#[test]
fn auto_turns_on_when_more_come_than_may_pass_unproven_and_off_when_the_flood_ends() {
    let world = World::new(100, 100, Challenge::Auto, false);
    let mut now = START;
    for source in 0..100 {
        assert_eq!(world.peek(source, now), is(Reason::Asked));
    }
    assert_eq!(world.peek(100, now), Verdict::Challenge);
    // A flood of 1,000/s for a minute: on all the time, and nothing is charged.
    for source in 0..60_000 {
        now += SECOND / 1000;
        assert_eq!(world.peek(1000 + source, now), Verdict::Challenge);
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
    let world = World::new(100, 2000, Challenge::Auto, false);
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
    for budgets in [[&none, &fast, &slow], [&fast, &none, &slow], [&slow, &fast, &none]] {
        let limit = purse::unproven(budgets);
        assert_eq!((limit.interval, limit.capacity), (slow.interval, challenge::HOLD / 2));
        assert_eq!(purse::unanswerable(budgets).interval, 16 * slow.interval);
    }
    let rare = BudgetLimit { interval: 60 * SECOND, capacity: 600 * SECOND, lease: 1 };
    assert_eq!(
        purse::unproven([&none, &rare, &none]).capacity,
        rare.interval,
        "there is always one token"
    );
    assert_eq!(purse::unproven([&none; 3]).interval, 0);
}

/// What nobody asks for a proof has a purse of its own, and debts of its own: who proves himself
/// pays as if it had not come.
#[test]
fn what_cannot_be_asked_has_its_source_limit_apart() {
    for has_budget in [true, false] {
        let mut world = World::new(100, 200, Challenge::Always, false);
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

/// 10 greedy sources at 20/s and 1,000 modest ones at 0.5/s, for ten minutes; shares of what each asked for after two.
fn shares(budget: u64, fair: bool) -> (f64, Vec<f64>) {
    let world = World::new(budget, 2 * budget, Challenge::Off, fair);
    let mut random = Rng::with_seed(0x5eed);
    let (greedy, modest) = (10, 1000);
    let rate = |source| if source < greedy { 20.0 } else { 0.5 };
    let mut queue: std::collections::BTreeSet<(u64, u32)> = (0..greedy + modest)
        .map(|source| (START + gap(&mut random, rate(source)), source))
        .collect();
    let mut asked = vec![0.0; (greedy + modest) as usize];
    let mut got = asked.clone();
    while let Some((now, source)) = queue.pop_first() {
        if now > START + 600 * SECOND {
            break;
        }
        let admitted = world.syn(source, now) == is(Reason::Admitted);
        if now > START + 120 * SECOND {
            asked[source as usize] += 1.0;
            got[source as usize] += f64::from(u8::from(admitted));
        }
        queue.insert((now + gap(&mut random, rate(source)), source));
    }
    let modest = got[10..].iter().sum::<f64>() / asked[10..].iter().sum::<f64>();
    (modest, got[..10].iter().map(|count| count / 480.0).collect())
}

/// The modest ask for 500/s together. A budget of 600 leaves 100 to the greedy, 10/s each.
#[test]
fn greedy_sources_share_what_modest_ones_leave() {
    let (modest, greedy) = shares(600, true);
    println!("fair: modest {:.2}%, greedy {greedy:.2?} per second", 100.0 * modest);
    let (plain_modest, plain_greedy) = shares(600, false);
    println!("not fair: modest {:.2}%, greedy {plain_greedy:.2?} per second", 100.0 * plain_modest);
    assert!(modest >= 0.99, "{modest}");
    let mean = greedy.iter().sum::<f64>() / 10.0;
    assert!(greedy.iter().all(|rate| (rate / mean - 1.0).abs() <= 0.1), "{greedy:?}");
    assert!(mean * 10.0 > 85.0, "what is left is used: {mean}");
    assert!(
        plain_modest < 0.9,
        "without fair shares the greedy push out the modest: {plain_modest}"
    );
}

/// A budget of 400/s is less than the modest alone ask for, and an equal share would be 400/1010 = 0.4/s. The modest are refused in
/// proportion, and the greedy fall from 20/s to below 1/s.
#[test]
fn when_even_the_modest_do_not_fit_the_greedy_fall_first() {
    let (modest, greedy) = shares(400, true);
    println!("modest {:.2}%, greedy {greedy:.2?} per second", 100.0 * modest);
    assert!(modest > 0.7, "{modest}");
    assert!(greedy.iter().all(|rate| *rate < 1.0), "{greedy:?}");
}

/// One step of pressure, however full the budget is: a share of one attempt in so many seconds.
fn one_in(seconds: u64) -> Pressure {
    Pressure { low: 0, unit: u64::MAX, interval: (seconds * SECOND) >> 10 }
}

/// When the pressure falls, a share's interval gets shorter, and who owes more than any share of that interval owes it still.
#[test]
fn falling_pressure_forgives_nobody() {
    let mut world = World::new(100, 1000, Challenge::Off, true);
    world.service.admission.pressure = one_in(10);
    // The budget is in use from the second attempt on, and each is charged ten seconds.
    for (source, now) in [(1, START), (1, START + 1), (1, START + 1)] {
        assert_eq!(world.syn(source, now), is(Reason::Admitted));
    }
    assert_eq!(world.syn(1, START + 1), is(Reason::FairShare));
    world.service.admission.pressure = one_in(2);
    assert_eq!(world.syn(1, START + 1), is(Reason::FairShare), "20 s of debt");
}

/// However short the budget was when a source was charged, a window later its share is there again.
#[test]
fn a_share_locks_nobody_out_longer_than_its_window() {
    let mut world = World::new(100, 1000, Challenge::Off, true);
    let window = pressure::WINDOW << TICK_SHIFT;
    for seconds in [1, 10, 60, 120, 100_000] {
        world.service.admission.pressure = one_in(seconds);
        let start = START + seconds * 3600 * SECOND;
        let mut now = start;
        while world.syn(1, now) == is(Reason::Admitted) {
            now += 1;
            assert!(now < start + 1000, "admitted {} times", now - start);
        }
        // The pressure falls to a share of two a second, which is refused until the debt is within the window, and not longer.
        world.service.admission.pressure =
            Pressure { low: 0, unit: u64::MAX, interval: (SECOND / 2) >> 10 };
        world.syn(2, now + window);
        assert_eq!(world.syn(1, now + window), is(Reason::Admitted), "one in {seconds} s");
    }
}

/// Where the kernel makes no cookies nobody is asked for a proof, whatever the service says of
/// challenges, and who is admitted holds a ticket: what is kept is kept for somebody.
#[test]
fn where_nothing_is_proven_admission_gives_the_ticket() {
    for challenge in [Challenge::Off, Challenge::Auto, Challenge::Always] {
        let world = World::new(100, 100, challenge, false);
        let admitted =
            (0..200).filter(|&source| world.syn(source, START) == is(Reason::Admitted)).count();
        let again =
            (0..200).filter(|&source| world.syn(source, START) == is(Reason::Admitted)).count();
        assert_eq!((admitted, again), (50, 50), "{challenge:?}");
    }
}

/// Each service keeps a part of its own of the host's budget: one that finds nothing left above its floor does not speak for the others.
#[test]
fn services_with_different_reserves_share_the_hosts_budget() {
    let mut world = World::new(100, 100, Challenge::Off, false);
    world.host.budget = std::mem::take(&mut world.service.budget);
    let service = |percent: u64| {
        let mut service = world.service;
        (service.admission.floor, service.admission.host_floor) =
            (0, world.host.budget.capacity / 100 * percent);
        service
    };
    let (mail, web) = (service(50), service(10));
    let syn =
        |id, service, source| world.judge_for(id, service, source, START, Stage::Pays).verdict;
    for source in 0..50 {
        assert_eq!(syn(1, &mail, source), is(Reason::Admitted));
    }
    assert_eq!(syn(1, &mail, 50), is(Reason::Newcomer));
    for source in 51..91 {
        assert_eq!(syn(2, &web, source), is(Reason::Admitted), "newcomer {source} of web");
        assert_eq!(syn(1, &mail, 50), is(Reason::Newcomer));
    }
    assert_eq!(syn(2, &web, 91), is(Reason::Newcomer));
}

/// What a share refuses has not used up the source's limit.
#[test]
fn a_refused_share_is_not_charged_to_the_source() {
    let mut world = World::new(100, 1000, Challenge::Off, true);
    let interval = Ticks::count((600 * SECOND) >> 10).0;
    world.service.source = SourceLimit { interval, window: 4 * interval };
    world.host.horizon = world.service.source.horizon();
    world.service.admission.pressure = one_in(10);
    for now in [START, START + 1, START + 1] {
        assert_eq!(world.syn(1, now), is(Reason::Admitted));
    }
    for _ in 0..100 {
        assert_eq!(world.syn(1, START + 1), is(Reason::FairShare));
    }
    world.service.admission.pressure = Pressure::default();
    for _ in 0..2 {
        assert_eq!(world.syn(1, START + 1), is(Reason::Admitted));
    }
    assert_eq!(world.syn(1, START + 1), is(Reason::SourceLimit), "five at once");
}

/// When another CPU took the host's last token meanwhile, a token goes back where one was taken, and only there.
#[test]
fn nothing_is_given_back_that_was_not_taken() {
    let mut world = World::new(100, 100, Challenge::Off, false);
    world.host.budget = world.service.budget;
    world.service.admission.newcomers = world.service.budget;
    let (service, hosts) = (Purse::ServiceAboveFloor, Purse::HostAboveFloor);
    let contended: [&[(Purse, Take)]; 3] = [
        &[(Purse::HostAboveFloor, Take::Gone)],
        &[(Purse::ServiceAboveFloor, Take::Contended), (Purse::HostAboveFloor, Take::Gone)],
        &[(Purse::Newcomers, Take::Contended), (Purse::HostAboveFloor, Take::Gone)],
    ];
    let tokens = |purse: Purse| world.memory.leases.borrow()[purse.lease(0) as usize].tokens;
    for (races, expected) in contended.into_iter().zip([(1, 1), (0, 1), (1, 0)]) {
        world.memory.leases.borrow_mut().fill(Lease::default());
        world.memory.races.set(races);
        assert_eq!(world.syn(1, START), is(Reason::GlobalBudget));
        assert_eq!((tokens(service), tokens(Purse::Newcomers)), expected, "{races:?}");
        assert_eq!(tokens(hosts), 0);
    }
}

/// A rate of newcomers holds whatever the budget would give, and does not concern who has a ticket.
#[test]
fn newcomers_have_a_rate() {
    let mut world = World::new(1000, 2000, Challenge::Off, false);
    world.service.admission.newcomers = BudgetLimit {
        lease: 1,
        ..Limit { rate: Rate::per_second(50), burst: 100 }.to_budget(1).expect("keepable")
    };
    let (mut admitted, mut refused) = (0, 0);
    for source in 0..20_000 {
        match world.syn(source, START + u64::from(source) * SECOND / 1000) {
            Verdict::Decided(Reason::Admitted) => admitted += 1,
            Verdict::Decided(Reason::NewcomerRate) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        (1099..=1101).contains(&admitted) && admitted + refused == 20_000,
        "{admitted} newcomers in 20 s"
    );
    let now = START + 20 * SECOND;
    (0..100)
        .for_each(|source| assert_eq!(world.syn(source, now), is(Reason::Admitted), "a ticket"));
}

/// A reserve wastes nothing: when nobody has a ticket, newcomers get the whole rate of the budget.
#[test]
fn a_reserve_that_nobody_wants_is_not_wasted() {
    let world = World::new(100, 200, Challenge::Off, false);
    let seconds = 600;
    let admitted = (0..seconds * 1000)
        .filter(|index| {
            world.syn(*index as u32, START + index * SECOND / 1000) == is(Reason::Admitted)
        })
        .count() as u64;
    // Half of the burst, and the rate.
    let expected = 100 + 100 * seconds;
    assert!(admitted.abs_diff(expected) <= expected / 100, "{admitted} for {expected}");
}

/// A plain budget gives everybody a part of a page; tickets give some the whole of it.
#[test]
fn tickets_give_whole_pages() {
    for users in [2_000, 100_000] {
        let (plain, tickets) = (crowd(users, false), crowd(users, true));
        println!(
            "{users} users: plain budget {} whole pages (median wait {:.1} s), tickets {} ({:.1} s)",
            plain.whole_pages, plain.median_wait, tickets.whole_pages, tickets.median_wait
        );
        assert!(
            tickets.whole_pages >= 3 * plain.whole_pages,
            "{} against {}",
            tickets.whole_pages,
            plain.whole_pages
        );
    }
}
