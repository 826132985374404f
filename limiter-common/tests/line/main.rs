//! The line, exactly: beside a slow model, at the wraps of its clocks, with real threads, and
//! seats.

mod seats;
mod table;
mod threads;

use std::cell::Cell;

use limiter_common::budget::BudgetLimit;
use limiter_common::line::visit::Visit;
use limiter_common::line::{self, Coming, Habits, Judged, Part, Peeked, Rules, Said, Service};
use limiter_common::source_table::WAYS;

/// Nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// Any time of the kernel's clock.
pub const START: u64 = 1 << 50;

/// One service's line and one set of its table.
pub struct Door {
    /// How it lets in.
    pub rules: Rules,
    /// Its words.
    pub line: [Cell<u64>; line::WORDS],
    /// Ways of sources.
    pub set: [Cell<u64>; WAYS],
    /// Who is present.
    pub seats: line::seats::Seats<Cell<u64>>,
}

impl Door {
    /// A budget of so many connections a second, and as many at once.
    pub fn new(rate: u64, habits: &Habits) -> Self {
        let interval = SECOND / rate;
        let rules =
            Rules::of(&BudgetLimit { interval, capacity: interval * rate, lease: 1 }, habits);
        Self { rules, line: Default::default(), set: Default::default(), seats: Default::default() }
    }

    /// The service as the algorithms take it.
    pub fn service(&self) -> Service<'_, Cell<u64>> {
        Service { line: &self.line, rules: &self.rules }
    }

    /// An attempt while there is budget.
    pub fn coming(&self, source: u32, now: u64) -> Coming<'_> {
        Coming {
            interval: 0,
            fingerprint: source,
            part: &self.rules.part,
            now,
            dice: 0x80_0000,
            has_token: true,
            others: 0,
        }
    }

    /// What becomes of it.
    pub fn judge(&self, coming: &Coming<'_>) -> Judged {
        line::judge(&self.service(), &self.set, Some(&self.seats), coming)
    }

    /// What is said to an attempt.
    pub fn says(&self, source: u32, now: u64) -> Said {
        self.judge(&self.coming(source, now)).said
    }

    /// What is known of a source.
    pub fn visit(&self, source: u32, now: u64) -> Option<Visit> {
        line::visit::own(&self.set, source).map(|word| Visit::read(word, now))
    }

    /// Fills the gate, so that no newcomer has room, and stops the head.
    pub fn crowd(&self, now: u64) {
        self.service().fill(now, self.rules.gate);
        self.service().charge_newcomers(now, 10 * SECOND, self.rules.interval);
    }
}

#[test]
fn in_calm_everybody_is_let_in_at_once() {
    let door = Door::new(100, &Habits::default());
    for source in 1..=8 {
        let now = START + u64::from(source) * SECOND;
        assert_eq!(door.says(source, now), Said::Newcomer);
        assert!((1..6).all(|_| door.says(source, now + SECOND / 20) == Said::Page));
        assert_eq!(door.says(source, now + 10 * SECOND), Said::Visit);
    }
}

/// Who was refused first is let in first, whoever comes when there is room.
#[test]
fn the_line_is_kept() {
    let door = Door::new(100, &Habits::default());
    assert_eq!(door.says(9, START), Said::Newcomer);
    // One comes every four seconds, and each once a second.
    let mut now = START;
    for second in 1..=28 {
        now += SECOND;
        door.crowd(now);
        for source in (1..=(second + 3) / 4).rev() {
            assert_eq!(door.says(source as u32, now), Said::InLine, "{source} after {second} s");
        }
    }
    // All come a hundred times a second, the last first, and the gate empties.
    let mut order = Vec::new();
    while order.len() < 7 {
        now += SECOND / 100;
        assert!(now < START + 60 * SECOND, "only {order:?} were let in");
        for source in (1..=7).rev() {
            match door.says(source, now) {
                Said::Newcomer => order.push(source),
                said => assert!(
                    matches!(
                        said,
                        Said::Page | Said::InLine | Said::NoRoom | Said::Visit | Said::SentBack
                    ),
                    "{said:?}"
                ),
            }
        }
    }
    assert_eq!(order, [1, 2, 3, 4, 5, 6, 7]);
}

/// A visit may make its allowance of connections while a line of full length waits; then it goes
/// back to the end of it.
#[test]
fn an_allowance_sends_back() {
    let door = Door::new(1000, &Habits { idle_seconds: 300, ..Habits::default() });
    assert_eq!(door.says(1, START), Said::Newcomer);
    // The head stands still for a minute.
    let mut now = START;
    for _ in 0..6000 {
        now += SECOND / 100;
        door.crowd(now);
        door.says(2, now);
    }
    let wait = now - door.service().head();
    assert!(wait > 59 * SECOND, "{wait}");
    // Six connections each ten seconds, from now on with an empty gate but a line that does not get
    // shorter.
    let mut connections = 0;
    let said = loop {
        door.line[0].set(0);
        door.line[1].set(now - 60 * SECOND);
        door.line[2].set(now);
        let said = door.says(1, now);
        if !said.admits() {
            break said;
        }
        connections += 1;
        now += if connections % 6 == 0 { SECOND * 6 } else { SECOND / 100 };
    };
    assert_eq!(said, Said::SentBack);
    // 36, and 0.6 a second that it was allowed meanwhile.
    assert!((60..=96).contains(&connections), "{connections} connections");
    assert!(door.visit(1, now).is_some_and(|visit| !visit.present && visit.place <= 0));
}

/// One that uses less than its allowance is never sent back.
#[test]
fn a_light_source_stays_in() {
    let door = Door::new(1000, &Habits::default());
    let mut now = START;
    for _ in 0..600 {
        door.line[0].set(0);
        door.line[1].set(now - 120 * SECOND);
        door.line[2].set(now);
        let said = door.says(1, now);
        assert!(
            said.admits() || now < START + 121 * SECOND,
            "{said:?} after {} s",
            (now - START) / SECOND
        );
        now += 4 * SECOND;
    }
}

/// A thousand connections at once have room for 150 pages at the gate where nobody waits; while
/// others wait, newcomers have a third of that.
#[test]
fn who_comes_first_may_fill_the_gate() {
    for (waits, most) in [(0, 150), (SECOND, 45)] {
        let door = Door::new(1000, &Habits::default());
        door.line[1].set(START - waits);
        door.line[2].set(START);
        // What they have by right is used up.
        door.service().charge_newcomers(START, 10 * SECOND, door.rules.interval);
        let let_in = (1..=300).filter(|source| {
            // A place before the head, for who has waited.
            let place = Visit { place: 100, quiet: 0, ..Visit::NONE };
            door.set[0].set(place.word(*source, START));
            door.says(*source, START) == Said::Newcomer
        });
        assert_eq!(let_in.count(), most, "{waits} ns");
    }
}

/// Also while a share makes each connection dearer than the policy states, as it does where a full
/// accept queue is drained.
#[test]
fn newcomers_come_in_by_right_where_those_who_are_in_fill_the_gate() {
    for (rate, part, least, most) in [(1000, 1, 450, 550), (54, 4, 4, 12)] {
        let door = Door::new(rate, &Habits::default());
        let interval = part * door.rules.interval;
        let mut let_in = 0;
        for step in 0..6000 {
            let now = START + step * SECOND / 100;
            door.service().fill(now, 2 * SECOND);
            // The head does not move by itself then.
            door.line[1].set(now);
            door.line[2].set(now);
            let coming = Coming { interval, ..door.coming(1 + step as u32, now) };
            let_in += u64::from(door.judge(&coming).said == Said::Newcomer);
            for _ in 1..6 {
                door.judge(&coming);
            }
        }
        // A twentieth of it, in pages of six, for 60 s.
        assert!((least..=most).contains(&let_in), "{let_in} newcomers at {rate}/s, 1 of {part}");
    }
}

#[test]
fn a_page_is_let_in_whole_and_no_more_than_that() {
    let door = Door::new(1000, &Habits::default());
    let said = |count: usize, part: &Part| {
        let now = START + SECOND;
        let coming = Coming { part, ..door.coming(count as u32, now) };
        (0..count).map(|_| door.judge(&coming).said).collect::<Vec<_>>()
    };
    let mut expected = vec![Said::Page; 9];
    (expected[0], expected[8]) = (Said::Newcomer, Said::Visit);
    assert_eq!(said(9, &door.rules.part), expected);
    // A class of many people goes on while the gate has room.
    expected[8] = Said::Page;
    assert_eq!(said(20, &Part::of(36, 10))[..9], expected);
    let coming = Coming { has_token: false, ..door.coming(9, START + 2 * SECOND) };
    assert_eq!(door.judge(&coming).said, Said::NoToken);
}

#[test]
fn a_peek_writes_nothing_and_spares_only_who_waits() {
    let door = Door::new(100, &Habits::default());
    let peek = |source, now| line::peek(&door.service(), &door.set, &door.coming(source, now));
    assert_eq!(door.says(1, START), Said::Newcomer);
    door.crowd(START + SECOND);
    assert_eq!(door.says(2, START + SECOND), Said::InLine);
    let words = || (door.line.clone(), door.set.clone());
    let before = words();
    let soon = START + 3 * SECOND;
    assert_eq!(
        [1, 2, 3].map(|source| peek(source, soon)),
        [Peeked::IsIn, Peeked::Waits, Peeked::MayProve]
    );
    assert_eq!(peek(2, START + 13 * SECOND), Peeked::MayProve, "else its place would be forgotten");
    assert_eq!(words(), before);
}

/// A shared budget that is nearly full stops newcomers first, then those who are in, and the head.
#[test]
fn a_budget_that_is_shared_counts() {
    let door = Door::new(1000, &Habits::default());
    assert_eq!(door.says(1, START), Said::Newcomer);
    let with =
        |source, others, now| door.judge(&Coming { others, ..door.coming(source, now) }).said;
    let later = START + 10 * SECOND;
    door.crowd(later - 9 * SECOND);
    assert_eq!(with(1, 2000, later), Said::Visit);
    assert_eq!(with(1, 4000, later + 10 * SECOND), Said::NoRoom);
    for step in 0..100 {
        with(3, line::service::FULL, later + step * SECOND / 10);
    }
    let now = later + 10 * SECOND;
    assert!(now - door.service().head() > 9 * SECOND, "the head stood");
}

/// What newcomers may fill of the gate while others wait, in connections: three tenths, or of a
/// small budget all but what those who are present need within a second.
#[test]
fn newcomers_may_fill_more_of_a_small_budget() {
    for (rate, burst, gate, ceiling) in [
        (560, 100, 90, 27),
        (200, 400, 360, 160),
        (20, 40, 36, 16),
        (10, 20, 30, 14),
        (3, 10, 30, 7),
        (3, 60, 54, 38),
        (1, 1, 30, 0),
    ] {
        let interval = SECOND / rate;
        let budget = BudgetLimit { interval, capacity: interval * burst, lease: 1 };
        let rules = Rules::of(&budget, &Habits::default());
        let connections = |time| (time + interval / 100) / interval;
        let seen = (connections(rules.gate), connections(rules.ceiling));
        assert_eq!(seen, (gate, ceiling), "{rate}/s, burst {burst}");
    }
}

/// What pages have paid at the gate becomes what they were, a second later: pages of one connection
/// give back the room of the others, and pages of eight take the rest.
#[test]
fn pages_pay_what_they_were() {
    for (connections, paid) in [(1, 5), (6, 30), (8, 40)] {
        let door = Door::new(10, &Habits::default());
        for source in 1..=5 {
            assert_eq!(door.says(source, START), Said::Newcomer);
            for _ in 1..connections {
                assert_eq!(door.says(source, START), Said::Page);
            }
        }
        let interval = door.rules.interval;
        assert_eq!(door.service().gate(START), 30 * interval, "each has paid for six");
        let later = START + 2 * SECOND;
        door.service().advance(later, interval, 0);
        let left = (paid * interval).saturating_sub(if connections > 5 { 2 * SECOND } else { 0 });
        let left = if connections == 1 { 0 } else { left };
        assert_eq!(door.service().gate(later), left, "pages of {connections}");
    }
}
