//! People, machines and a server in simulated time.
//!
//! People come, load pages of six connections that are whole if all are answered within their
//! patience, try again, give up, and after their visit others come. Clients send a SYN again after
//! 1, 3, 7 and 15 s; a proof that was dropped is brought again by data. The server is Linux: a full
//! accept queue drops SYNs and proofs; workers take so long for each connection, whether its client
//! still waits or not. 20 regulars were there before the crowd: a page of one connection every 4 s,
//! with 2 s of patience.

use std::collections::VecDeque;

use limiter_common::flow::PATIENCE;
use limiter_common::hash::Place;

use super::case::{CROWD, Case};
use super::door::Door;
use super::figures::{Figures, Tree};
use super::people::{Do, Role, User};
use super::queue::Queue;
use super::room::Look;
use super::time::{Random, SECOND, seconds};

/// When the simulation begins on the kernel's clock: any time.
pub const START: u64 = 1 << 50;
const RETRANSMIT: [f64; 5] = [1.0, 3.0, 7.0, 15.0, 31.0];
/// How often a kernel sends again what a closed socket has left.
const ORPHAN_RETRIES: u8 = 8;
const ROUND_TRIP: u64 = SECOND / 50;

#[derive(Clone, Copy, PartialEq)]
pub enum State {
    Syn,
    Acked,
    Queued,
    Served,
    Over,
}

#[derive(Clone, Copy)]
pub struct Conn {
    pub user: u32,
    pub page: u32,
    pub state: State,
    pub tries: u8,
    pub again: u8,
    pub is_charged: bool,
    pub born: u64,
}

pub struct World {
    pub case: Case,
    pub random: Random,
    pub now: u64,
    events: Queue,
    pub users: Vec<User>,
    pub conns: Vec<Conn>,
    /// Connections that nothing will happen to any more.
    over: Vec<u32>,
    pub sources: u32,
    pub door: Door,
    queue: VecDeque<u32>,
    free_workers: u32,
    pub from: u64,
    pub until: u64,
    pub shared_source: u32,
    pub figures: Figures,
    pub waiting: Tree,
    pub waiting_now: i32,
    pub waiting_area: f64,
    pub waiting_at: u64,
    /// People of the crowd at the beginning; how long more than a tenth of them waited, and how
    /// many connections were let in meanwhile.
    pub people: usize,
    pub many_waited: u64,
    pub admitted_to_many: u64,
    pub firsts: u64,
    pub whole_conns: u64,
    pub served_machines: u64,
    pub regular: [u64; 2],
    pub regular_by: Vec<[u64; 2]>,
    pub regular_last: Vec<u64>,
    pub asked: u64,
    /// People who went.
    pub left: usize,
    pub conns_by_last: u64,
    /// The second of the clock, and what was asked and shown in it.
    second: [u64; 3],
    pub admitted: u64,
    pub overflows: u64,
    /// Visits that began, of people and of machines.
    pub began: [u64; 2],
    /// Connections that the waiting room took, and that it had no room for.
    pub shown: u64,
    pub unshown: u64,
    /// Of those it took, connections of pages that were let in; and pages of people who were in.
    pub holes: u64,
    pub back: u64,
    /// People whose place was given to another source, and whose place could not be kept.
    pub evicted: u64,
    pub placeless: u64,
    /// What the room saw of the line lately.
    pub looks: VecDeque<Look>,
}

impl World {
    pub fn new(case: Case) -> Self {
        let from = START + seconds(CROWD + case.settle);
        let door =
            Door::new(case.family, case.budget, case.burst, &case.habits, case.weight, case.seed)
                .with_sets(case.sets)
                .with_room(case.diverts);
        Self {
            random: Random(case.seed * 7919),
            now: START,
            events: Queue::new(START),
            users: Vec::new(),
            conns: Vec::new(),
            over: Vec::new(),
            sources: 0,
            door,
            queue: VecDeque::new(),
            free_workers: case.workers,
            from,
            until: from + seconds(case.measure),
            shared_source: 0,
            figures: Figures::default(),
            waiting: Tree::new(1 << 19),
            waiting_now: 0,
            waiting_area: 0.0,
            waiting_at: 0,
            people: 0,
            many_waited: 0,
            admitted_to_many: 0,
            firsts: 0,
            whole_conns: 0,
            served_machines: 0,
            regular: [0; 2],
            regular_by: vec![[0; 2]; case.regulars],
            regular_last: vec![0; case.regulars],
            asked: 0,
            left: 0,
            conns_by_last: 0,
            second: [0; 3],
            admitted: 0,
            overflows: 0,
            began: [0; 2],
            shown: 0,
            unshown: 0,
            holes: 0,
            back: 0,
            evicted: 0,
            placeless: 0,
            looks: VecDeque::new(),
            case,
        }
    }

    pub fn at(&mut self, time: u64, what: Do) {
        self.events.push(time, what);
    }

    pub fn is_measured(&self) -> bool {
        self.now >= self.from && self.now < self.until
    }

    /// Runs to the end.
    pub fn run(&mut self) {
        while let Some((time, what)) = self.events.pop() {
            if time > self.until && !self.case.relief || time > self.until + 60 * SECOND {
                break;
            }
            self.now = time;
            if self.case.once && self.left == self.case.people {
                break;
            }
            match what {
                Do::Page(user) => self.begin(user),
                Do::Syn(conn) => self.syn(conn),
                Do::Ack(conn) => self.ack(conn),
                Do::Done(conn) => self.done(conn),
                Do::Deadline(user, page) => self.deadline(user, page),
                Do::End(conn, again) => self.end(conn, again),
                Do::Spoof => self.spoof(),
                Do::Relief => self.relieve(),
            }
        }
        self.now = self.now.max(self.until);
    }

    fn let_in(&mut self, conn: u32) -> bool {
        let Conn { user, is_charged, .. } = self.conns[conn as usize];
        if is_charged {
            return true;
        }
        let User { place, is_shared, .. } = self.users[user as usize];
        let before = self.now < START + seconds(self.case.armed);
        let is_asked = !before || self.case.observes;
        self.asked += u64::from(self.is_measured());
        self.count_second(1, 0);
        let had_place = self.door.has_place(place);
        let let_in = is_asked
            && self.door.judge(place, is_shared && self.case.weight > 1, self.now)
            || before;
        let role = self.users[user as usize].role;
        if role == Role::Crowd && is_asked {
            self.follow_place(user, had_place);
        }
        if self.is_measured() && self.door.is_visit && is_asked {
            self.began[usize::from(matches!(role, Role::Heavy | Role::Bot))] += 1;
        }
        if let_in {
            self.admitted_to_many += u64::from(self.is_measured() && self.do_many_wait());
            self.admitted += u64::from(self.is_measured());
        }
        let_in
    }

    /// Counts what was asked and shown in this second.
    pub fn count_second(&mut self, asked: u64, shown: u64) {
        let now = self.now / SECOND;
        if self.second[0] != now {
            self.second = [now, 0, 0];
        }
        self.second[1] += asked;
        self.second[2] += shown;
        self.figures.asked_most = self.figures.asked_most.max(self.second[1]);
        self.figures.shown_most = self.figures.shown_most.max(self.second[2]);
    }

    fn syn(&mut self, id: u32) {
        let conn = self.conns[id as usize];
        if conn.state != State::Syn || !self.is_live(&conn) {
            self.forget(id);
            return;
        }
        self.conns[id as usize].tries += 1;
        let again = RETRANSMIT
            .get(usize::from(conn.tries))
            .map(|after| conn.born + seconds(*after) + self.random.between(0.0, 0.004));
        let is_answered = self.answer(id);
        if !is_answered && self.shows_room(id) {
            return;
        }
        if self.case.room && conn.tries == 0 && self.users[conn.user as usize].done == 0 {
            self.expect(conn.user);
        }
        if is_answered {
            self.conns[id as usize].state = State::Acked;
            self.at(self.now + ROUND_TRIP, Do::Ack(id));
        } else if let Some(time) = again {
            self.at(time, Do::Syn(id));
        } else {
            self.forget(id);
        }
    }

    /// Whether a SYN is answered.
    fn answer(&mut self, id: u32) -> bool {
        if self.case.cookies {
            // Who waits and is to be shown the room has to prove himself first.
            if self.case.room {
                return true;
            }
            let is_armed = self.now >= START + seconds(self.case.armed);
            let place = self.users[self.conns[id as usize].user as usize].place;
            return !is_armed || self.door.answers(place, self.now);
        }
        if !self.let_in(id) {
            return false;
        }
        // tcp_conn_request(): with a full accept queue the SYN is dropped.
        let is_full = self.queue.len() > self.case.backlog;
        self.overflows += u64::from(is_full);
        self.conns[id as usize].is_charged = !is_full;
        !is_full
    }

    /// The third packet of the handshake, or data that was sent again and brings the same.
    fn ack(&mut self, id: u32) {
        let conn = self.conns[id as usize];
        // A client that has gone has closed its socket, and its kernel sends the request again all
        // the same (tcp_orphan_retries).
        let is_over = conn.state != State::Acked
            || !self.is_live(&conn) && (self.case.room || conn.again > ORPHAN_RETRIES);
        if is_over {
            self.forget(id);
            return;
        }
        let is_full = self.queue.len() > self.case.backlog;
        self.overflows += u64::from(is_full);
        // Its flow waits for longer than people do: it is told so.
        let late = (PATIENCE << 24) + ROUND_TRIP;
        if self.now.saturating_sub(conn.born) > late && self.door.do_wait(self.now) {
            self.conns[id as usize].state = State::Over;
            self.forget(id);
            return;
        }
        // With a full queue a proof is dropped uncharged.
        if is_full || !self.let_in(id) {
            if !is_full && self.shows_room(id) {
                return;
            }
            let wait = seconds(0.2 * f64::from(1_u32 << conn.again.min(8)))
                + self.random.between(0.0, 0.01);
            self.conns[id as usize].again += 1;
            self.at(self.now + wait + ROUND_TRIP, Do::Ack(id));
            return;
        }
        let conn = &mut self.conns[id as usize];
        (conn.state, conn.is_charged) = (State::Queued, true);
        self.queue.push_back(id);
        self.work();
    }

    fn work(&mut self) {
        while self.free_workers > 0 {
            let Some(id) = self.queue.pop_front() else { return };
            let conn = self.conns[id as usize];
            // Who has gone left a reset: the worker reads it and goes on. Where the kernel makes
            // cookies the request is there, and served for no reader.
            let is_read = self.case.cookies && !self.case.room;
            if conn.state != State::Queued || !self.is_live(&conn) && !is_read {
                self.forget(id);
                continue;
            }
            self.free_workers -= 1;
            let service = seconds(f64::from(self.case.workers) / self.case.capacity);
            self.at(self.now + service, Do::Done(id));
        }
    }

    fn done(&mut self, id: u32) {
        self.free_workers += 1;
        let conn = self.conns[id as usize];
        let role = self.users[conn.user as usize].role;
        self.served_machines +=
            u64::from(self.is_measured() && matches!(role, Role::Heavy | Role::Bot));
        if conn.state == State::Queued && self.is_live(&conn) {
            self.conns[id as usize].state = State::Served;
            let user = &mut self.users[conn.user as usize];
            if user.page == conn.page {
                user.done += 1;
                if user.done == role.connections(&self.case) {
                    self.whole(conn.user);
                } else if role == Role::Crowd && user.done == 1 && self.case.leads {
                    self.rest(conn.user, conn.page);
                }
            }
        }
        self.forget(id);
        self.work();
    }

    fn spoof(&mut self) {
        if !self.case.cookies {
            let place = self.door.place(0x8000_0000 | self.random.next() as u32);
            self.door.judge(place, false, self.now);
        }
        let gap = self.random.gap(self.case.spoofed);
        self.at(self.now + gap, Do::Spoof);
    }

    /// There is room for all who come from now on.
    fn relieve(&mut self) {
        self.case.capacity *= 4.0;
        self.free_workers += 3 * self.case.workers;
        self.case.workers *= 4;
        self.door.set(4.0 * self.case.budget, self.case.burst, &self.case.habits);
    }

    /// The end of a connection's patience in an open loop. The staged crowd tries what failed once
    /// more, at once.
    fn end(&mut self, id: u32, again: bool) {
        let conn = self.conns[id as usize];
        if matches!(conn.state, State::Served | State::Over) {
            return;
        }
        self.conns[id as usize].state = State::Over;
        if again {
            let next = self.connection(conn.user, conn.page, self.now);
            self.at(self.now + 2 * SECOND, Do::End(next, false));
        }
    }

    /// A client begins a connection.
    pub fn connection(&mut self, user: u32, page: u32, born: u64) -> u32 {
        let state = State::Syn;
        let conn = Conn { user, page, state, tries: 0, again: 0, is_charged: false, born };
        let id = match self.over.pop() {
            Some(id) => {
                self.conns[id as usize] = conn;
                id
            }
            None => {
                self.conns.push(conn);
                self.conns.len() as u32 - 1
            }
        };
        self.at(born, Do::Syn(id));
        id
    }

    /// A connection ends before it was served.
    pub fn end_of(&mut self, id: u32) {
        self.conns[id as usize].state = State::Over;
        self.forget(id);
    }

    /// Nothing will happen to a connection any more: another one may have its number. Those of open
    /// loops are kept, because their end comes by itself.
    fn forget(&mut self, id: u32) {
        let role = self.users[self.conns[id as usize].user as usize].role;
        if role == Role::Crowd && !self.case.staged {
            self.over.push(id);
        }
    }

    pub fn is_live(&self, conn: &Conn) -> bool {
        let user = &self.users[conn.user as usize];
        // Open loops have several pages under way at once; each ends by its own deadline.
        conn.state != State::Over
            && (user.page == conn.page || self.case.staged || user.role != Role::Crowd)
    }

    /// A new address.
    pub fn source(&mut self) -> u32 {
        self.sources += 1;
        self.sources
    }

    pub fn place(&self, source: u32) -> Place {
        self.door.place(source)
    }
}
