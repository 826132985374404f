//! Real threads: nobody is counted twice, a page is begun once, and budgets hold.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use limiter_common::budget::{BudgetLimit, Lease, Look, Take};
use limiter_common::hash;
use limiter_common::line::seats::Seats;
use limiter_common::line::visit::Visit;
use limiter_common::line::{Coming, Habits, Rules, Said, Service, WORDS, judge};
use limiter_common::source_table::WAYS;

use super::{SECOND, START};

const THREADS: u64 = 4;
const SETS: usize = 512;
const ROUNDS: u64 = 40;
const STEPS: u64 = 2500;

struct Shared {
    line: [AtomicU64; WORDS],
    sets: Vec<[AtomicU64; WAYS]>,
    seats: Seats<AtomicU64>,
    budget: AtomicU64,
}

/// Threads judge attempts of 2,000 sources, in rounds so that no clock is older than another by
/// more than a round of 30 ms: with 300 seats, never more; those who are present are those who are
/// counted; and what is let in keeps within the budget.
#[test]
fn nobody_is_counted_twice_and_the_budget_holds() {
    let interval = SECOND / 20_000;
    let limit = BudgetLimit { interval, capacity: 2000 * interval, lease: 8 };
    let rules = Rules::of(&limit, &Habits { users: 300, allowance: 60_000, ..Habits::default() });
    let shared = Shared {
        line: Default::default(),
        sets: (0..SETS).map(|_| Default::default()).collect(),
        seats: Seats::default(),
        budget: AtomicU64::new(0),
    };
    let barrier = std::sync::Barrier::new(THREADS as usize);
    let admitted: u64 = std::thread::scope(|scope| {
        let run = |thread: u64| {
            let (shared, rules, limit, barrier) = (&shared, &rules, &limit, &barrier);
            move || {
                let (mut lease, mut admitted) = (Lease::default(), 0);
                for step in 0..ROUNDS * STEPS {
                    if step % STEPS == 0 {
                        barrier.wait();
                    }
                    let now = START + step * 12_000;
                    let random = hash::mix(step * THREADS + thread);
                    let source = random % 2000;
                    let look = lease.look(&shared.budget, limit, now, || now);
                    let coming = Coming {
                        interval: 0,
                        fingerprint: source as u32 + 1,
                        part: &rules.part,
                        now,
                        dice: (random >> 32) as u32,
                        has_token: look != Look::SPENT,
                        others: 0,
                    };
                    let service = Service { line: &shared.line, rules };
                    let set = &shared.sets[source as usize % SETS];
                    let said = judge(&service, set, Some(&shared.seats), &coming).said;
                    assert!(shared.seats.taken.load(SeqCst) <= rules.users);
                    if said.admits() && look != Look::SPENT {
                        let take = lease.take(look, &shared.budget, limit, || now);
                        admitted += u64::from(take == Take::Taken);
                    }
                }
                admitted
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
    });
    let now = START + ROUNDS * STEPS * 12_000;
    let words =
        shared.sets.iter().flatten().map(|word| word.load(SeqCst)).filter(|word| *word != 0);
    let present = words.filter(|word| Visit::read(*word, now).present).count() as u64;
    let sits: u64 = shared.seats.seen.iter().flatten().map(|word| word.load(SeqCst)).sum();
    assert_eq!((sits, present), (shared.seats.taken.load(SeqCst), shared.seats.taken.load(SeqCst)));
    assert!(present > 100, "{present} are present");
    let most = (now - START) / interval + 2000 + THREADS * 8;
    assert!(admitted <= most && admitted > most / 4, "{admitted} of {most}");
}

/// Connections of one page that come on several CPUs at once begin one page.
#[test]
fn a_page_is_begun_once() {
    let limit = BudgetLimit { interval: SECOND / 1_000_000, capacity: SECOND, lease: 8 };
    let rules = Rules::of(&limit, &Habits::default());
    for round in 0..100 {
        let line: [AtomicU64; WORDS] = Default::default();
        let set: [AtomicU64; WAYS] = Default::default();
        let barrier = std::sync::Barrier::new(2);
        let run = || {
            barrier.wait();
            let now = START + round * SECOND;
            let part = &rules.part;
            let coming = Coming {
                interval: 0,
                fingerprint: 5,
                part,
                now,
                dice: hash::mix(round) as u32,
                has_token: true,
                others: 0,
            };
            let service = Service { line: &line, rules: &rules };
            (0..3)
                .map(|_| judge(&service, &set, None, &coming).said)
                .filter(|said| *said == Said::Newcomer)
                .count()
        };
        let begun = std::thread::scope(|scope| {
            let other = scope.spawn(run);
            run() + other.join().expect("a thread")
        });
        assert_eq!(begun, 1);
        let visit = Visit::read(
            set.iter().map(|word| word.load(SeqCst)).find(|word| *word != 0).expect("a way"),
            START,
        );
        assert_eq!(visit.connections, 6);
    }
}
