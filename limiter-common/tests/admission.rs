//! The whole of admission in simulated time: newcomers and ticket holders, the challenge, and fair shares.

use std::cell::{Cell, RefCell};

use limiter_common::address::{Address, SourceMask};
use limiter_common::admission::{self, Attempt, Case, Outcome, Purse, Seen, Stage, State, Verdict};
use limiter_common::budget::{BudgetLimit, Lease, Look, Take};
use limiter_common::challenge::{self, Challenge};
use limiter_common::hash::{Place, place};
use limiter_common::pressure::{self, Pressure};
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::{self, BUDGET_LINES, Host, LEASES, Service, Stated};
use limiter_common::source_table::{self, Charge, SourceLimit, Ticks, WAYS};
use limiter_common::ticket::{self, Change};

const SECOND: u64 = 1_000_000_000;
const SETS: u32 = 65_536;

/// The state of one service on one CPU, in vectors instead of maps.
struct Memory {
    leases: RefCell<Vec<Lease>>,
    lines: Vec<Cell<u64>>,
    sources: Vec<[Cell<u64>; WAYS]>,
    tickets: Vec<[Cell<u64>; WAYS]>,
    challenge: [Cell<u64>; challenge::WORDS],
}

impl Memory {
    fn new() -> Self {
        let sets = || (0..SETS).map(|_| Default::default()).collect();
        Self {
            leases: RefCell::new(vec![Lease::default(); LEASES as usize]),
            lines: vec![Cell::new(0); BUDGET_LINES as usize],
            sources: sets(),
            tickets: sets(),
            challenge: Default::default(),
        }
    }
}

impl State for Memory {
    fn look(&self, case: &Case<'_>, purse: Purse) -> Option<Seen> {
        let lease = &mut self.leases.borrow_mut()[purse.lease(case.id) as usize];
        let line = &self.lines[purse.line(case.id) as usize];
        Some(admission::look(lease, line, purse.limit(case.service, case.host), case.now, || case.now))
    }

    fn take(&self, case: &Case<'_>, purse: Purse, look: Look) -> Option<Take> {
        let lease = &mut self.leases.borrow_mut()[purse.lease(case.id) as usize];
        let line = &self.lines[purse.line(case.id) as usize];
        Some(admission::take(lease, line, purse.limit(case.service, case.host), look))
    }

    fn give_back(&self, case: &Case<'_>, purse: Purse) {
        self.leases.borrow_mut()[purse.lease(case.id) as usize].give_back();
    }

    fn place(&self, service: u32, class: u32, source: Address) -> Option<Place> {
        Some(place(&[3, 4], service, class, source))
    }

    fn charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charge> {
        let set = &self.sources[place.set(SETS) as usize];
        let now = Ticks::at(attempt.now);
        Some(source_table::charge(set, place.fingerprint(), now, attempt.limit, attempt.horizon))
    }

    fn ticket(&self, change: Change, place: &Place, now: u64, life: u64) -> Option<bool> {
        Some(ticket::change(&self.tickets[place.set(SETS) as usize], place.wide(), change, now, life))
    }

    fn challenge(&self, _: u32, ask: challenge::Ask, now: u64) -> Option<bool> {
        Some(challenge::ask(&self.challenge, ask, now))
    }
}

/// A service with a budget, tickets of 15 minutes, and half of the budget kept for them.
struct World {
    memory: Memory,
    service: Service,
    host: Host,
}

impl World {
    fn new(budget: u64, burst: u64, challenge: Challenge, fair: bool) -> Self {
        let budget = Limit { rate: Rate::per_second(budget), burst }.to_budget(1).expect("keepable");
        let budget = BudgetLimit { lease: 1, ..budget };
        let none = BudgetLimit { lease: 1, ..BudgetLimit::default() };
        let admission = record::Admission {
            challenge: challenge as u32,
            ticket_life: 839,
            floor: budget.capacity / 2,
            pressure: if fair { Pressure::of(&budget) } else { Pressure::default() },
            ..record::Admission::default()
        };
        let source = SourceLimit { interval: 0, window: 0 };
        let (stated, name) = (Stated::default(), [0; record::NAME]);
        Self {
            memory: Memory::new(),
            service: Service { source, mask: SourceMask::new(32, 64), budget, admission, stated, name },
            host: Host { budget: none, horizon: pressure::HORIZON, resets: none, stated },
        }
    }

    fn judge(&self, source: u32, now: u64, stage: Stage) -> Outcome {
        let (service, host, client) = (&self.service, &self.host, Address::v4(source));
        let case = Case { slot: 0, id: 0, service, host, client, now, stage, may_challenge: true };
        admission::judge(&self.memory, &case)
    }

    fn syn(&self, source: u32, now: u64) -> Verdict {
        self.judge(source, now, Stage::Syn).verdict
    }

    fn proof(&self, source: u32, now: u64) -> Verdict {
        self.judge(source, now, Stage::Proof).verdict
    }
}

fn is(reason: Reason) -> Verdict {
    Verdict::Decided(reason)
}

/// xorshift64*, for gaps that nobody chose.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Time to the next of events that come at `rate` per second, as they please (Poisson).
    fn gap(&mut self, rate: f64) -> u64 {
        let uniform = ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        (-uniform.ln() / rate * SECOND as f64) as u64 + 1
    }
}

const START: u64 = 1 << 50;

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
fn a_challenge_charges_proofs_and_nothing_else() {
    let world = World::new(100, 100, Challenge::Always, false);
    for source in 0..100_000 {
        assert_eq!(world.syn(source, START), Verdict::Challenge);
    }
    for source in 0..50 {
        assert_eq!(world.proof(source, START), is(Reason::Proven));
    }
    assert_eq!(world.proof(50, START), is(Reason::Waiting), "no budget: the client's next segment asks again");
    assert_eq!(world.proof(50, START + SECOND / 50), is(Reason::Proven));
    assert_eq!(world.syn(7, START + SECOND / 50), is(Reason::Admitted), "a ticket is not challenged");
}

/// An attempt that was charged when it came is not charged again when its ACK brings the kernel's own cookie.
#[test]
fn a_connection_is_charged_once() {
    let world = World::new(100, 100, Challenge::Auto, false);
    challenge::issue(&world.memory.challenge, START);
    for source in 0..50 {
        assert_eq!(world.syn(source, START), is(Reason::Admitted));
    }
    for source in 0..50 {
        assert_eq!(world.proof(source, START), is(Reason::Proven), "paid already, and nothing is left");
    }
    // A second ACK of the same source was not paid for. It has a ticket now, and so may go below the floor.
    assert_eq!(world.proof(0, START), is(Reason::Proven));
    for source in 1..50 {
        assert_eq!(world.proof(source, START), is(Reason::Proven));
    }
    assert_eq!(world.proof(0, START), is(Reason::Waiting));
}

#[test]
fn auto_turns_on_when_the_reserve_is_reached_and_off_when_the_flood_ends() {
    let world = World::new(100, 100, Challenge::Auto, false);
    let mut now = START;
    for source in 0..50 {
        assert_eq!(world.syn(source, now), is(Reason::Admitted));
    }
    assert_eq!(world.syn(50, now), Verdict::Challenge);
    // A flood of 1,000/s for a minute: on all the time, and nothing is charged.
    for source in 0..60_000 {
        now += SECOND / 1000;
        assert_eq!(world.syn(100 + source, now), Verdict::Challenge);
    }
    // Then 50/s, which fits: off within the hold and the time that the shadow budget takes to recover.
    let mut admitted_after = None;
    for source in 0..3000 {
        now += SECOND / 50;
        if world.syn(200_000 + source, now) == is(Reason::Admitted) && admitted_after.is_none() {
            admitted_after = Some(source / 50);
        }
    }
    let seconds = admitted_after.expect("it turned off");
    assert!((9..=13).contains(&seconds), "off after {seconds} s");
    assert_eq!(challenge::State::read(&std::array::from_fn(|word| world.memory.challenge[word].get())).turns, 1);
}

/// 10 greedy sources at 20/s and 1,000 modest ones at 0.5/s, for ten minutes; shares of what each asked for after two.
fn shares(budget: u64, fair: bool) -> (f64, Vec<f64>) {
    let world = World::new(budget, 2 * budget, Challenge::Off, fair);
    let mut random = Random(0x5eed);
    let (greedy, modest) = (10, 1000);
    let rate = |source| if source < greedy { 20.0 } else { 0.5 };
    let mut queue: std::collections::BTreeSet<(u64, u32)> =
        (0..greedy + modest).map(|source| (START + random.gap(rate(source)), source)).collect();
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
        queue.insert((now + random.gap(rate(source)), source));
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
    assert!(plain_modest < 0.9, "without fair shares the greedy push out the modest: {plain_modest}");
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

/// What became of a crowd.
struct Crowd {
    whole_pages: usize,
    median_wait: f64,
}

/// `users` come within 20 seconds, each with six connections at once, to a server that can take a fifth of them. A SYN that is refused
/// is sent again after 1, 3, 7 and 15 seconds, as TCP does; a page is whole if all six get through.
fn crowd(users: u32, tickets: bool) -> Crowd {
    const CONNECTIONS: u32 = 6;
    const TRIES: [u64; 5] = [0, 1, 3, 7, 15];
    let budget = u64::from(users * CONNECTIONS) / 20 / 5;
    let mut world = World::new(budget, 2 * budget, Challenge::Off, false);
    if !tickets {
        (world.service.admission.ticket_life, world.service.admission.floor) = (0, 0);
    }
    let mut random = Random(0xc0de);
    let mut queue = std::collections::BTreeSet::new();
    let mut came = vec![0; users as usize];
    for user in 0..users {
        came[user as usize] = START + random.next() % (20 * SECOND);
        queue.extend((0..CONNECTIONS).map(|connection| (came[user as usize], user, connection, 0)));
    }
    let mut left = vec![CONNECTIONS; users as usize];
    let mut waits = Vec::new();
    while let Some((now, user, connection, tried)) = queue.pop_first() {
        let index = user as usize;
        if world.syn(user, now) == is(Reason::Admitted) {
            left[index] -= 1;
            if left[index] == 0 {
                waits.push((now - came[index]) as f64 / 1e9);
            }
        } else if let Some(after) = TRIES.get(tried + 1) {
            // A little apart, as timers are.
            let again = came[index] + after * SECOND + random.next() % (SECOND / 20);
            queue.insert((again, user, connection, tried + 1));
        }
    }
    waits.sort_by(f64::total_cmp);
    Crowd { whole_pages: waits.len(), median_wait: waits.get(waits.len() / 2).copied().unwrap_or(f64::NAN) }
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
        assert!(tickets.whole_pages >= 3 * plain.whole_pages, "{} against {}", tickets.whole_pages, plain.whole_pages);
    }
}
