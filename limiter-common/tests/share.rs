//! Budgets and lines with a share: its rate until it ends, and then the stated one, exactly.

use std::cell::Cell;

use limiter_common::budget::{BudgetLimit, Lease, Look, Take};
use limiter_common::line::seats::Seats;
use limiter_common::line::{self, Coming, Habits, Part, Rules, Said};
use limiter_common::share::{Share, in_force};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1000 * SECOND;
const STATED: BudgetLimit = BudgetLimit { interval: SECOND / 100, capacity: 2 * SECOND, lease: 1 };

/// Asks every 0.1 ms from one time to another, and counts what is admitted.
fn admitted(lease: &mut Lease, word: &Cell<u64>, share: Share, from: u64, to: u64) -> u64 {
    let mut count = 0;
    for now in (from..to).step_by(100_000) {
        let limit = in_force(&STATED, share, now);
        let look = lease.look(word, &limit, now, || now);
        if look != Look::SPENT && lease.take(look, word, &limit, || now) == Take::Taken {
            count += 1;
        }
    }
    count
}

#[test]
fn its_rate_counts_until_it_ends_and_the_stated_one_after() {
    let (mut lease, word) = (Lease::default(), Cell::new(0));
    let share = Share::new(SECOND / 1000, START + 10 * SECOND).expect("it fits");
    let ends = share.ends();
    // Its burst is as much time: two seconds of 1,000/s.
    let first = admitted(&mut lease, &word, share, START, START + SECOND);
    assert!((2990..=3001).contains(&first), "{first}");
    let during = admitted(&mut lease, &word, share, START + SECOND, START + 5 * SECOND);
    assert!((3990..=4001).contains(&during), "{during}");
    let rest = admitted(&mut lease, &word, share, START + 5 * SECOND, ends);
    let due = (ends - START - 5 * SECOND) / 1_000_000;
    assert!((due - 10..=due + 1).contains(&rest), "{rest} of {due}");
    // It was spent, and stays so: no burst again.
    let after = admitted(&mut lease, &word, share, ends, ends + 10 * SECOND);
    assert!((990..=1001).contains(&after), "{after}");
}

#[test]
fn a_spent_budget_that_gets_a_share_has_no_burst() {
    let (mut lease, word) = (Lease::default(), Cell::new(0));
    let before = admitted(&mut lease, &word, Share::NONE, START, START + SECOND);
    assert!((299..=301).contains(&before), "{before}");
    let share = Share::new(SECOND / 1000, START + 20 * SECOND).expect("it fits");
    let after = admitted(&mut lease, &word, share, START + SECOND, START + 2 * SECOND);
    // And what is left of less than one connection by the stated rate.
    assert!((980..=1011).contains(&after), "{after}");
}

/// Pages that the line lets in of newcomers who come one after the other, in ten seconds.
fn pages(interval: u64) -> u64 {
    let rules = Rules::of(&STATED, &Habits::default());
    let words: [Cell<u64>; line::WORDS] = Default::default();
    let service = line::Service { line: &words, rules: &rules };
    let part: Part = rules.part;
    let mut let_in = 0;
    for number in 0..10_000_u64 {
        let set = Default::default();
        let coming = Coming {
            interval,
            fingerprint: number as u32 + 1,
            part: &part,
            now: START + number * SECOND / 1000,
            dice: 0,
            has_token: true,
            others: 0,
        };
        let said = line::judge(&service, &set, None::<&Seats<Cell<u64>>>, &coming).said;
        let_in += u64::from(said == Said::Newcomer);
    }
    let_in
}

#[test]
fn a_line_lets_in_by_the_share() {
    let (stated, same, five) = (pages(0), pages(STATED.interval), pages(STATED.interval / 5));
    println!("pages let in: {stated} by the stated rate, {five} by five times that");
    assert_eq!(stated, same);
    // Ten seconds, and two at once.
    assert!(stated <= 1200 && five > 2400 && five <= 6000, "{stated} and {five}");
}
