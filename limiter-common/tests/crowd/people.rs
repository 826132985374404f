//! Who comes: people with visits, regulars, the lab's open loops, and machines.

use limiter_common::hash::Place;

use super::case::{CROWD, Case};
use super::figures::Figures;
use super::time::{SECOND, seconds};
use super::world::{START, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Crowd,
    Regular,
    Calm,
    Heavy,
    Bot,
}

impl Role {
    /// Connections of a page.
    pub fn connections(self, case: &Case) -> u32 {
        match self {
            Self::Crowd => case.connections,
            Self::Calm => 2,
            Self::Regular | Self::Heavy | Self::Bot => 1,
        }
    }
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Do {
    Page(u32),
    Syn(u32),
    Ack(u32),
    Done(u32),
    Deadline(u32, u32),
    End(u32, bool),
    Spoof,
    Relief,
}

pub struct User {
    pub role: Role,
    pub place: Place,
    pub is_shared: bool,
    pub page: u32,
    /// Connections of it that were answered; far more than it has once it is whole.
    pub done: u32,
    /// Since when this page is wanted.
    pub wanted: Option<u64>,
    pub pages_left: i32,
    pub pages: u32,
    pub gives_up: u64,
    /// Since when the browser shows nothing new.
    pub hangs: Option<u64>,
    /// When the patience with this page ends.
    pub patience: u64,
    pub waits: bool,
    /// Whether he waits in line again for this page, after others.
    pub is_back: bool,
    /// Whether his place is kept, was given to another, and could not be kept.
    pub has_place: bool,
    pub lost_place: bool,
    pub found_none: bool,
}

const WHOLE: u32 = u32::MAX / 2;
/// A browser opens connections within so many seconds.
const SPREAD: f64 = 0.05;

/// Runs a case.
pub fn run(case: Case) -> Figures {
    let mut world = World::new(case);
    world.gather();
    world.run();
    world.finish()
}

impl World {
    fn user(&mut self, role: Role, source: u32, is_shared: bool) -> u32 {
        let place = self.place(source);
        self.users.push(User {
            role,
            place,
            is_shared,
            page: 0,
            done: 0,
            wanted: None,
            pages_left: 0,
            pages: 0,
            gives_up: u64::MAX,
            hangs: None,
            patience: 0,
            waits: false,
            is_back: false,
            has_place: false,
            lost_place: false,
            found_none: false,
        });
        self.users.len() as u32 - 1
    }

    fn someone(&mut self, role: Role, time: f64) {
        let source = self.source();
        let user = self.user(role, source, false);
        self.at(START + seconds(time), Do::Page(user));
    }

    fn gather(&mut self) {
        let case = self.case;
        for index in 0..case.regulars {
            self.someone(Role::Regular, 4.0 * index as f64 / case.regulars as f64);
        }
        if case.staged {
            (0..300).for_each(|index| self.someone(Role::Calm, f64::from(index) / 30.0));
            let users = (1500.0 * case.load) as u32;
            let time = |index| CROWD + 12.5 * f64::from(index) / f64::from(users);
            (0..users).for_each(|index| self.someone(Role::Crowd, time(index)));
        } else {
            self.shared_source = self.source();
            let users = match case.people {
                0 => (case.load * case.capacity / 6.0 * case.think).round() as usize,
                people => people,
            };
            self.people = users;
            let mut times: Vec<u64> = (0..users)
                .map(|_| match case.peak {
                    0.0 => self.random.between(0.0, case.arrive),
                    peak => self.random.ramp(peak, case.arrive),
                })
                .collect();
            times.sort_unstable();
            // Those behind the shared address are every so many.
            for (index, time) in times.into_iter().enumerate() {
                let is_shared =
                    case.shared > 0.0 && (index as f64 * case.shared).fract() + case.shared >= 1.0;
                self.visitor(START + seconds(CROWD) + time, is_shared);
            }
        }
        (0..case.heavy).for_each(|_| self.someone(Role::Heavy, CROWD));
        for _ in 0..case.bots {
            let time = CROWD + 0.4 * self.random.unit();
            self.someone(Role::Bot, time);
        }
        if case.spoofed > 0.0 {
            self.at(START + seconds(CROWD), Do::Spoof);
        }
        if case.relief {
            self.at(self.until, Do::Relief);
        }
    }

    /// Somebody comes for a visit.
    fn visitor(&mut self, time: u64, is_shared: bool) {
        let source = if is_shared { self.shared_source } else { self.source() };
        let user = self.user(Role::Crowd, source, is_shared);
        let pages = self.case.pages;
        self.users[user as usize].pages_left =
            (0.6 * pages + (0.8 * pages + 1.0) * self.random.unit()) as i32;
        self.at(time, Do::Page(user));
    }

    fn count_waiting(&mut self, user: u32, number: i32) {
        let from = self.waiting_at.max(self.from);
        let to = self.now.min(self.until);
        if to > from {
            if self.do_many_wait() {
                self.many_waited += to - from;
            }
            self.waiting_area += f64::from(self.waiting_now) * (to - from) as f64 / SECOND as f64;
        }
        self.waiting_at = self.now;
        self.waiting_now += number;
        self.figures.waiting = self.figures.waiting.max(self.waiting_now);
        self.waiting.add(user as usize, number);
    }

    /// Whether more than a tenth of all people wait.
    pub fn do_many_wait(&self) -> bool {
        self.waiting_now > 0 && self.waiting_now as usize * 10 >= self.people
    }

    /// A page is asked for.
    pub fn begin(&mut self, id: u32) {
        let (now, staged, stays) = (self.now, self.case.staged, self.case.stays);
        let role = self.users[id as usize].role;
        let patience = match role {
            Role::Crowd if !staged => {
                let [least, most] = self.case.patience;
                self.random.between(least, most)
            }
            Role::Heavy => SECOND,
            Role::Bot => 5 * SECOND / 2,
            _ => 2 * SECOND,
        };
        let gives_up = now + self.random.between(stays, 2.5 * stays);
        let user = &mut self.users[id as usize];
        user.page += 1;
        user.done = 0;
        user.patience = now + patience;
        user.hangs.get_or_insert(now);
        if user.wanted.is_none() {
            (user.wanted, user.gives_up) = (Some(now), gives_up);
        }
        let page = user.page;
        if role == Role::Crowd && user.pages == 0 && !user.waits {
            user.waits = true;
            self.count_waiting(id, 1);
        }
        let spread = if role == Role::Crowd { SPREAD } else { 0.0 };
        let is_led = role == Role::Crowd && self.case.leads;
        for _ in 0..if is_led { 1 } else { role.connections(&self.case) } {
            let born = now + self.random.between(0.0, spread);
            let conn = self.connection(id, page, born);
            if staged || role != Role::Crowd {
                self.at(now + patience, Do::End(conn, staged && role == Role::Crowd));
            }
        }
        // Who may be shown the room has no patience to lose until he is not.
        if role != Role::Crowd || !self.case.room {
            self.expect(id);
        }
        // Open loops come again whatever happens.
        let again = match role {
            Role::Regular => self.random.between(3.6, 4.4),
            Role::Calm => self.random.between(9.0, 11.0),
            Role::Crowd if staged => self.random.between(12.0, 13.0),
            Role::Heavy => self.random.gap(640.0),
            Role::Bot => self.random.gap(2.5),
            Role::Crowd => return,
        };
        self.at(now + again, Do::Page(id));
    }

    /// From now on the patience with a page runs out.
    pub fn expect(&mut self, id: u32) {
        let User { page, patience, .. } = self.users[id as usize];
        self.at(patience, Do::Deadline(id, page));
    }

    /// The first connection of a page was answered, and says what else it needs.
    pub fn rest(&mut self, id: u32, page: u32) {
        for _ in 1..Role::Crowd.connections(&self.case) {
            let born = self.now + self.random.between(0.0, SPREAD);
            self.connection(id, page, born);
        }
    }

    /// All connections of a page were answered.
    pub fn whole(&mut self, id: u32) {
        let (now, measured, staged) = (self.now, self.is_measured(), self.case.staged);
        let user = &mut self.users[id as usize];
        let (role, is_first, is_shared, waited) =
            (user.role, user.pages == 0, user.is_shared, user.waits);
        let wanted = user.wanted.take().unwrap_or(now);
        let wait = (now - wanted) as f64 / SECOND as f64;
        let hang = (now - user.hangs.take().unwrap_or(now)) as f64 / SECOND as f64;
        user.pages += 1;
        user.done = WHOLE;
        user.pages_left -= 1;
        (user.waits, user.is_back) = (false, false);
        let left = user.pages_left;
        if measured && matches!(role, Role::Crowd | Role::Regular | Role::Calm) {
            self.whole_conns += u64::from(role.connections(&self.case));
        }
        if role == Role::Regular {
            self.regular(id as usize, true);
        }
        if role != Role::Crowd {
            return;
        }
        if measured {
            let waits = match (is_shared, is_first) {
                (true, _) => &mut self.figures.shared,
                (false, true) => &mut self.figures.first,
                (false, false) => &mut self.figures.later,
            };
            waits.push(wait);
            if is_first {
                let user = &self.users[id as usize];
                self.figures.hangs.push(hang);
                self.figures.people.push((id, wait, user.lost_place || user.found_none));
                self.figures.last = (now - START) as f64 / SECOND as f64 - CROWD;
                self.conns_by_last = self.whole_conns;
            }
        }
        if waited {
            self.count_waiting(id, -1);
            if wanted < self.until && now >= self.until {
                self.figures.cleared = (now - self.until) as f64 / SECOND as f64;
            }
            if measured {
                self.firsts += 1;
                let earlier = self.waiting.below(id as usize);
                self.figures.overtaken += f64::from(earlier) / f64::from(self.waiting_now.max(1));
            }
        }
        if !staged && left <= 0 {
            self.leave(id, true);
        } else if !staged {
            let think = self.random.between(0.5 * self.case.think, 1.5 * self.case.think);
            self.at(now + think, Do::Page(id));
        }
    }

    fn regular(&mut self, index: usize, got: bool) {
        let (now, measured) = (self.now, self.is_measured());
        if measured {
            self.regular[usize::from(!got)] += 1;
            self.regular_by[index][usize::from(!got)] += 1;
        }
        if got {
            let gap = now.saturating_sub(self.regular_last[index].max(self.from));
            if measured {
                self.figures.gap = self.figures.gap.max(gap as f64 / SECOND as f64);
            }
            self.regular_last[index] = now;
        }
    }

    /// A visit ends; somebody else comes.
    pub fn leave(&mut self, id: u32, is_content: bool) {
        if self.is_measured() {
            *(if is_content { &mut self.figures.visits } else { &mut self.figures.gave_up }) += 1.0;
        }
        let user = &mut self.users[id as usize];
        let is_shared = user.is_shared;
        if std::mem::take(&mut user.waits) {
            self.count_waiting(id, -1);
        }
        self.left += 1;
        if !self.case.once {
            let time = self.now + self.random.between(0.0, 2.0 * self.case.think);
            self.visitor(time, is_shared);
        }
    }

    /// The patience with a page ends.
    pub fn deadline(&mut self, id: u32, page: u32) {
        let measured = self.is_measured();
        let user = &self.users[id as usize];
        if user.page != page || user.done >= WHOLE {
            return;
        }
        if self.case.staged || user.role != Role::Crowd {
            if user.role == Role::Regular {
                self.regular(id as usize, false);
            }
            return;
        }
        // The page failed: all of its connections are reset.
        self.figures.failed += f64::from(u8::from(measured));
        let gives_up = user.gives_up;
        self.users[id as usize].page += 1;
        if self.now > gives_up {
            self.leave(id, false);
        } else {
            let pause = self.random.between(2.0, 5.0);
            self.at(self.now + pause, Do::Page(id));
        }
    }

    fn finish(mut self) -> Figures {
        self.count_waiting(0, 0);
        let (time, until) = (self.case.measure, self.until);
        let mut figures = std::mem::take(&mut self.figures);
        let waits = self.users.iter().filter(|user| user.waits && !user.is_shared);
        let waits: Vec<f64> = waits
            .filter_map(|user| Some(until.checked_sub(user.wanted?)? as f64 / SECOND as f64))
            .collect();
        if self.case.relief && !waits.is_empty() {
            figures.cleared = f64::INFINITY;
        }
        figures.first.extend(waits);
        for last in &self.regular_last {
            figures.gap = figures
                .gap
                .max(until.saturating_sub((*last).max(self.from)) as f64 / SECOND as f64);
        }
        figures.locked =
            self.regular_by.iter().filter(|[got, lost]| *got == 0 && *lost > 0).count();
        figures.regulars =
            self.regular[0] as f64 / (self.regular[0] + self.regular[1]).max(1) as f64;
        let relief = if self.case.relief { 4.0 } else { 1.0 };
        figures.good = self.whole_conns as f64 / time / self.case.capacity * relief;
        figures.machine_visits =
            self.began[1] as f64 / (self.began[0] + self.began[1]).max(1) as f64;
        figures.machines = self.served_machines as f64 / time / self.case.capacity;
        figures.good_by_last = self.conns_by_last as f64 / figures.last / self.case.budget;
        let many_waited = self.many_waited as f64 / SECOND as f64 * self.case.budget;
        figures.used = self.admitted_to_many as f64 / many_waited;
        figures.unused = many_waited - self.admitted_to_many as f64;
        figures.fair = self.waiting_area / self.firsts.max(1) as f64;
        figures.overtaken /= self.firsts.max(1) as f64;
        figures.visits /= time;
        figures.gave_up /= time;
        figures.failed /= time;
        figures.asked = self.asked as f64 / time;
        figures.admitted = self.admitted as f64 / time;
        figures.overflows = self.overflows as f64 / self.case.until();
        figures.wait = self.door.wait(until);
        figures.page = self.door.page(until);
        figures.steals = self.door.steals;
        (figures.shown, figures.unshown) = (self.shown as f64 / time, self.unshown as f64 / time);
        (figures.holes, figures.back) = (self.holes as f64 / time, self.back as f64 / time);
        (figures.evicted, figures.placeless) = (self.evicted, self.placeless);
        figures
    }
}
