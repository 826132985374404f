//! What stands before the server: families of admission, each the code that the kernel side runs,
//! over vectors instead of maps.

use std::cell::Cell;

use limiter_common::address::Address;
use limiter_common::budget::{BudgetLimit, Lease, Look, Take};
use limiter_common::hash::{self, Place};
use limiter_common::line::visit::PLACE_SHIFT;
use limiter_common::line::{self, Coming, Habits, Part, Peeked, Rules, Said, Service, Visit};
use limiter_common::source_table::WAYS;

use super::time::SECOND;

/// Sets of a table, as limiter makes them unless it is told otherwise.
pub const SETS: u32 = 65_536;

/// How it is decided who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Everybody is.
    Nothing,
    /// As many connections as the budget has.
    Budget,
    /// The line.
    Line,
}

/// One service's door.
pub struct Door {
    pub family: Family,
    limit: BudgetLimit,
    lease: Lease,
    word: Cell<u64>,
    table: Vec<[Cell<u64>; WAYS]>,
    line: [Cell<u64>; line::WORDS],
    rules: Rules,
    many: Part,
    dice: u64,
    key: hash::Key,
    /// Attempts whose source took the way of one that was kept.
    pub steals: u64,
    /// Whether what was judged last began a visit.
    pub is_visit: bool,
    /// Whether it was refused because others come first, and the waiting room may have it.
    pub is_in_line: bool,
    /// What the waiting room may take; an interval of 0: anything.
    room: BudgetLimit,
    room_lease: Lease,
    room_word: Cell<u64>,
}

impl Door {
    pub fn new(
        family: Family,
        rate: f64,
        burst: u64,
        habits: &Habits,
        weight: u64,
        seed: u64,
    ) -> Self {
        let mut door = Self {
            family,
            limit: BudgetLimit::default(),
            lease: Lease::default(),
            word: Cell::new(0),
            table: (0..SETS).map(|_| Default::default()).collect(),
            line: Default::default(),
            rules: Rules::default(),
            many: Part::of(habits.allowance, weight),
            dice: 0,
            key: [seed, 4],
            steals: 0,
            is_visit: false,
            is_in_line: false,
            room: BudgetLimit::default(),
            room_lease: Lease::default(),
            room_word: Cell::new(0),
        };
        door.set(rate, burst, habits);
        door
    }

    /// The same with so many sets in its table.
    pub fn with_sets(mut self, sets: u32) -> Self {
        self.table = (0..sets).map(|_| Default::default()).collect();
        self
    }

    /// The same with a waiting room that takes so many connections per second, and twice as many at
    /// once; 0: any number.
    pub fn with_room(mut self, rate: f64) -> Self {
        if rate > 0.0 {
            let interval = (SECOND as f64 / rate) as u64;
            self.room = BudgetLimit { interval, capacity: 2 * SECOND, lease: 1 };
        }
        self
    }

    /// Whether the waiting room may take one more.
    pub fn diverts(&mut self, now: u64) -> bool {
        if self.room.interval == 0 {
            return true;
        }
        let look = self.room_lease.look(&self.room_word, &self.room, now, || now);
        look != Look::SPENT
            && self.room_lease.take(look, &self.room_word, &self.room, || now) == Take::Taken
    }

    fn set_of(&self, place: Place) -> &[Cell<u64>; WAYS] {
        &self.table[place.set(self.table.len() as u32) as usize]
    }

    /// Whether something is kept of a source.
    pub fn has_place(&self, place: Place) -> bool {
        line::visit::own(self.set_of(place), place.fingerprint()).is_some()
    }

    /// A new budget, as one that user space writes.
    pub fn set(&mut self, rate: f64, burst: u64, habits: &Habits) {
        let interval = (SECOND as f64 / rate) as u64;
        self.limit = BudgetLimit { interval, capacity: interval * burst, lease: 1 };
        self.rules = Rules::of(&self.limit, habits);
    }

    /// Where a source is in the table.
    pub fn place(&self, source: u32) -> Place {
        hash::place(&self.key, 0, 0, Address::v4(source))
    }

    /// Whether others wait in line.
    pub fn do_wait(&self, now: u64) -> bool {
        self.family == Family::Line && line::service::do_wait(&self.line, now)
    }

    /// How long whoever is let in now has waited, seconds.
    pub fn wait(&self, now: u64) -> f64 {
        line::State::read(&std::array::from_fn(|word| self.line[word].get()), now).wait as f64
            / SECOND as f64
    }

    /// How many seconds a source's place is behind the head; below 0 it is before it. `None`: it
    /// has no place.
    pub fn behind(&self, place: Place, now: u64) -> Option<f64> {
        let word = line::visit::own(self.set_of(place), place.fingerprint())?;
        let ago = (Visit::read(word, now).place << PLACE_SHIFT) as f64 / SECOND as f64;
        Some(self.wait(now) - ago)
    }

    /// Connections of a page, as the line has learned it.
    pub fn page(&self, now: u64) -> f64 {
        line::State::read(&std::array::from_fn(|word| self.line[word].get()), now).page as f64
            / 256.0
    }

    /// Newcomers let in.
    pub fn visits(&self, now: u64) -> u64 {
        line::State::read(&std::array::from_fn(|word| self.line[word].get()), now).visits
    }

    /// Whether an attempt whose proof will be judged is answered.
    pub fn answers(&self, place: Place, now: u64) -> bool {
        if self.family != Family::Line {
            return true;
        }
        let service = Service { line: &self.line, rules: &self.rules };
        let coming = self.coming(place, false, now, true);
        line::peek(&service, self.set_of(place), &coming) != Peeked::Waits
    }

    fn coming(&self, place: Place, is_many: bool, now: u64, has_token: bool) -> Coming<'_> {
        Coming {
            interval: 0,
            fingerprint: place.fingerprint(),
            part: if is_many { &self.many } else { &self.rules.part },
            now,
            dice: (hash::mix(self.dice) >> 20) as u32,
            has_token,
            others: 0,
        }
    }

    /// Whether an attempt where nothing is proven, or a proof, is let in.
    pub fn judge(&mut self, place: Place, is_many: bool, now: u64) -> bool {
        self.dice += 1;
        (self.is_visit, self.is_in_line) = (false, false);
        if self.family == Family::Nothing {
            return true;
        }
        let look = self.lease.look(&self.word, &self.limit, now, || now);
        let is_within = match self.family {
            Family::Nothing | Family::Budget => true,
            Family::Line => {
                let service = Service { line: &self.line, rules: &self.rules };
                let coming = self.coming(place, is_many, now, look != Look::SPENT);
                let judged = line::judge(&service, self.set_of(place), None, &coming);
                self.steals += u64::from(judged.stole);
                self.is_visit = judged.said == Said::Newcomer;
                // As `turn::leave` gives its reason, and `Reason::may_be_diverted` takes it.
                self.is_in_line = matches!(
                    judged.said,
                    Said::InLine | Said::SentBack | Said::Full | Said::NotYet
                );
                judged.said.admits()
            }
        };
        is_within
            && look != Look::SPENT
            && self.lease.take(look, &self.word, &self.limit, || now) == Take::Taken
    }
}
