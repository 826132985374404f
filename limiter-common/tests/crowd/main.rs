//! A crowd at the door, simulated over the code that the kernel side runs: what issue it is to
//! solve, and that it does.
//!
//! `CASE="load=4 cookies=1" cargo test --release -p limiter-common --test crowd same -- --nocapture`
//! prints any other case; [`case::Case`] says what there is.

mod case;
mod door;
mod few;
mod figures;
mod morning;
mod people;
mod queue;
mod room;
mod shown;
mod time;
mod world;

use case::Case;
use std::collections::BTreeSet;

use door::{Door, Family};
use figures::{Figures, quantile};
use limiter_common::line::Habits;
use people::run;
use time::SECOND;
use world::START;

/// Connections of a page, and pages of a visit on average.
const PAGE: f64 = 6.0;
const PAGES: f64 = 5.0;

fn show(name: &str, figures: &Figures) {
    println!(
        "{name:24} good {:5.1} machines {:5.1} regulars {:5.1} locked {} gap {:5.1} first {:5.1} {:5.1} later {:4.2} {:5.1} fair {:5.1} \
         overtaken {:.2} visits {:4.1} gave up {:4.1} admitted {:5.0} overflows {:5.0} wait {:5.1} page {:.2} steals {} machine visits {:.2} cleared {:.1}",
        100.0 * figures.good,
        100.0 * figures.machines,
        100.0 * figures.regulars,
        figures.locked,
        figures.gap,
        quantile(&figures.first, 0.5),
        quantile(&figures.first, 0.99),
        quantile(&figures.later, 0.5),
        quantile(&figures.later, 0.99),
        figures.fair,
        figures.overtaken,
        figures.visits,
        figures.gave_up,
        figures.admitted,
        figures.overflows,
        figures.wait,
        figures.page,
        figures.steals,
        figures.machine_visits,
        figures.cleared,
    );
}

/// Regular visitors, finished visits and whole pages at every load, in the order in which people
/// came, with and without cookies.
#[test]
fn the_crowd_is_served() {
    let cases = [
        (1.0, false, 1),
        (2.0, false, 2),
        (2.0, true, 3),
        (4.0, false, 4),
        (10.0, false, 5),
        (10.0, true, 6),
    ];
    for (load, cookies, seed) in cases {
        let case = Case { cookies, seed, ..Case::new(Family::Line, load) };
        let figures = run(case);
        let name = format!("{load}x, cookies {cookies}, seed {seed}");
        show(&name, &figures);
        let possible = case.budget.min(load * case.capacity) / case.capacity;
        assert!(figures.good >= 0.9 * possible, "{name}: whole pages");
        assert!(figures.regulars >= if load > 1.0 { 0.97 } else { 0.99 }, "{name}: regulars");
        assert!(figures.gap <= 15.0 && figures.locked == 0, "{name}: nobody is locked out");
        if load > 1.0 {
            let visits = figures.visits / (case.budget / PAGE / PAGES);
            assert!((0.9..=1.1).contains(&visits), "{name}: finished visits");
            assert!(figures.overtaken <= 0.15, "{name}: overtaken");
        }
        if load == 2.0 {
            assert!(
                quantile(&figures.first, 0.99) <= 2.0 * figures.fair,
                "{name}: the slowest first pages"
            );
        }
    }
}

/// What it is measured against: the same crowd of twice the capacity with nothing before the
/// server, and with a budget alone.
#[test]
fn nothing_else_serves_it() {
    for (family, most) in [(Family::Nothing, 0.3), (Family::Budget, 0.2)] {
        let figures = run(Case { measure: 90.0, ..Case::new(family, 2.0) });
        show(&format!("{family:?}"), &figures);
        assert!(figures.good <= most, "{family:?}");
    }
}

#[test]
fn long_visits_are_served() {
    let figures = run(Case { pages: 20.0, measure: 120.0, ..Case::new(Family::Line, 2.0) });
    show("20 pages a visit", &figures);
    assert!(figures.good >= 0.8 * 560.0 / 590.0 && figures.regulars >= 0.97);
}

/// The lab's crowd, armed 20 s after it began to come, by an operator whose limiter observed.
/// `after`: seconds since it was armed.
fn armed(family: Family, after: f64, measure: f64, bots: u32) -> f64 {
    let seeds = [1, 2, 3];
    let load = if bots == 0 { 1.0 } else { 0.001 };
    let case = Case { staged: true, observes: true, bots, measure, ..Case::new(family, load) };
    let regulars = seeds.map(|seed| {
        let figures = run(Case { seed, armed: 40.0, settle: 20.0 + after, ..case });
        show(&format!("{family:?}, {bots} bots, {after} s after arming"), &figures);
        figures.regulars
    });
    regulars.iter().sum::<f64>() / seeds.len() as f64
}

/// Arming never makes it worse: without limits half of the regulars' pages come.
#[test]
fn arming_amid_the_crowd_helps_at_once() {
    let nothing = armed(Family::Nothing, 0.0, 20.0, 0);
    let (at_once, later) = (armed(Family::Line, 0.0, 20.0, 0), armed(Family::Line, 30.0, 40.0, 0));
    assert!(at_once >= 0.70 && at_once > nothing, "{at_once} where nothing gives {nothing}");
    assert!(later >= 0.90, "{later} later");
}

/// A thousand addresses at 2.5/s beside the regulars.
#[test]
fn a_botnet_at_a_human_pace_is_held() {
    let (at_once, later) =
        (armed(Family::Line, 0.0, 20.0, 1000), armed(Family::Line, 30.0, 40.0, 1000));
    assert!(at_once >= 55.0 / 75.0 && later >= 74.0 / 75.0, "{at_once}, later {later}");
}

/// Machines beside a crowd of twice the capacity get as many visits as so many people, and the
/// regulars all theirs.
#[test]
fn machines_get_their_equal_part() {
    let people = 2.0 * 590.0 / PAGE * 10.0;
    for (bots, heavy, seeds) in [(1000, 0, 1), (0, 5, 12)] {
        let mut visits = 0.0;
        for seed in 1..=seeds {
            let case = Case { bots, heavy, seed, measure: 90.0, ..Case::new(Family::Line, 2.0) };
            let figures = run(case);
            show(&format!("{bots} bots, {heavy} heavy"), &figures);
            visits += figures.machine_visits / seeds as f64;
            assert!(figures.regulars >= 0.97);
        }
        let machines = f64::from(bots + heavy);
        // Of the people a few are between two visits. A heavy source is there the moment that it may
        // come in, and its visit is over in a second, where a person's takes as long as the wait.
        let equal = machines / (machines + people) * if heavy > 0 { 2.5 } else { 1.15 };
        assert!(visits <= equal, "{visits} where {equal} is equal");
    }
}

/// Random spoofed attempts without cookies never come to the head of the line.
#[test]
fn a_spoofed_flood_changes_nothing() {
    let case = Case { measure: 60.0, ..Case::new(Family::Line, 2.0) };
    let (alone, beside) = (run(case), run(Case { spoofed: 25_000.0, ..case }));
    show("alone", &alone);
    show("beside 25,000 spoofed a second", &beside);
    assert!(
        (alone.good - beside.good).abs() <= 0.03
            && (alone.regulars - beside.regulars).abs() <= 0.03
    );
}

/// When there is room, all who wait are in within ten seconds and what they let pass between two
/// tries.
#[test]
fn the_line_ends_with_the_need() {
    for load in [2.0, 2.5] {
        let figures = run(Case { relief: true, measure: 60.0, ..Case::new(Family::Line, load) });
        show(&format!("{load}x, then four times the capacity"), &figures);
        assert!(figures.cleared <= 10.0 + 15.0, "{load}x: {} s", figures.cleared);
    }
}

/// Behind ten times the budget ten times as many wait as long. So twelve million people behind 400
/// front ends of 5,600/s wait as these 30,000 do, three times as many as can be served.
#[test]
fn a_crowd_of_any_size_waits_alike() {
    let small = Case { measure: 60.0, settle: 60.0, ..Case::new(Family::Line, 3.05) };
    let large = Case {
        capacity: 5900.0,
        workers: 120,
        backlog: 1280,
        budget: 5600.0,
        burst: 1000,
        ..small
    };
    let [small, large] = [small, large].map(|case| {
        let figures = run(case);
        show(&format!("{} people", case.load * case.capacity / PAGE * 10.0), &figures);
        figures
    });
    for part in [0.5, 0.9, 0.99] {
        let [few, many] = [&small, &large].map(|figures| quantile(&figures.first, part));
        assert!((many / few - 1.0).abs() <= 0.1, "{part}: {few} s and {many} s");
    }
    assert!(large.good >= small.good - 0.02 && large.regulars >= 0.97);
}

/// Nothing of it depends on the machine: so other cases can be compared, by `CASE`.
#[test]
fn a_case_gives_the_same_each_time() {
    let text = std::env::var("CASE").unwrap_or_else(|_| "settle=20 measure=20".to_owned());
    let case = Case::new(Family::Line, 2.0).with(&text);
    let [once, again] = [run(case), run(case)];
    show(&text, &once);
    assert_eq!((once.good, once.admitted, once.first), (again.good, again.admitted, again.first));
}

/// Sources that come for one connection and never again, twice as many as a budget has, with the
/// SYNs that TCP sends again: the line lets in as many as the budget alone.
#[test]
fn who_comes_once_is_let_in_as_by_the_budget_alone() {
    const RATE: u64 = 1000;
    let let_in = |family| {
        let mut door = Door::new(family, RATE as f64, 2 * RATE, &Habits::default(), 1, 7);
        let mut queue: BTreeSet<(u64, u32, usize)> = (0..2 * RATE as u32 * 60)
            .map(|source| (START + u64::from(source) * SECOND / (2 * RATE), source, 0))
            .collect();
        let mut let_in = 0;
        while let Some((now, source, tried)) = queue.pop_first() {
            let place = door.place(source);
            if door.judge(place, false, now) {
                let_in += u64::from(now < START + 60 * SECOND);
            } else if let Some(after) = [1, 2, 4, 8].get(tried) {
                queue.insert((now + after * SECOND, source, tried + 1));
            }
        }
        let_in
    };
    let [budget, line] = [Family::Budget, Family::Line].map(let_in);
    println!("once: {line} in line, {budget} by the budget alone, of {} possible", RATE * 62);
    assert!(line * 100 >= budget * 95, "{line} in line, {budget} without");
}

/// A tenth of what the budget has, a million attempts a second by a coarse clock, and pauses: the
/// head moves by steps, and nobody is refused for that.
#[test]
fn nobody_waits_while_there_is_room() {
    let mut door = Door::new(Family::Line, 10_000_000.0, 20_000_000, &Habits::default(), 1, 7);
    let mut now = START;
    for round in 0..6 {
        for attempt in 0..400_000 {
            now += SECOND / 1_000_000;
            let place = door.place(attempt % 65_536);
            let coarse = now / 4_000_000 * 4_000_000;
            assert!(door.judge(place, false, coarse), "{attempt} of round {round}");
        }
        // No page has more than eight connections, in whatever step they come.
        assert!(door.page(now) <= 8.0, "{}", door.page(now));
        now += SECOND * 3 / 10;
    }
}
