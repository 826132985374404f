//! The waiting room: a person whose page is not let in sees where he stands at once, instead of a
//! browser that sends its SYN again and again, and the page comes again by itself. While that goes
//! on nobody's patience runs out; when he has waited for as long as he wants to, he goes.
//!
//! The browser asks for a page with one connection, and opens the others once that was answered. Of
//! a page that was let in a connection that finds no token is sent again by TCP, because that is no
//! matter of the line; one that comes so late that its page is closed may be answered by the room,
//! and leaves a hole in the page.

use super::people::{Do, Role};
use super::time::SECOND;
use super::world::World;

/// After how many seconds a page of the room comes again: whole ones, any of them alike.
const AGAIN: std::ops::RangeInclusive<u64> = 6..=15;
/// How long it takes to fetch that page: three round trips of 20 ms.
const FETCH: u64 = 3 * SECOND / 50;

/// So many looks say how fast the head moves.
const LOOKS: usize = 20;

/// What the room saw of the line: when, where its head was, in seconds, and how many newcomers it
/// had let in.
#[derive(Clone, Copy)]
pub struct Look {
    at: u64,
    head: f64,
    visits: u64,
}

impl World {
    /// Whether the room takes a connection that was refused just now, and shows its page.
    pub fn shows_room(&mut self, id: u32) -> bool {
        if !self.case.room || !self.door.is_in_line {
            return false;
        }
        if !self.door.diverts(self.now) {
            self.unshown += u64::from(self.is_measured());
            return false;
        }
        self.shown += u64::from(self.is_measured());
        self.count_second(0, 1);
        let (now, conn) = (self.now, self.conns[id as usize]);
        self.end_of(id);
        let user = &mut self.users[conn.user as usize];
        if user.role != Role::Crowd {
            return true;
        }
        if user.done > 0 {
            self.holes += u64::from(self.is_measured());
            return true;
        }
        if user.pages > 0 && !std::mem::replace(&mut user.is_back, true) {
            self.back += u64::from(self.is_measured());
        }
        let user = &mut self.users[conn.user as usize];
        user.page += 1;
        user.hangs = None;
        if now > user.gives_up {
            self.leave(conn.user, false);
        } else {
            let again = self.again(conn.user);
            self.at(now + FETCH + again, Do::Page(conn.user));
        }
        true
    }

    /// When the room's page comes again: as `limiter room` says it.
    fn again(&mut self, id: u32) -> u64 {
        let (soon, place) = (self.case.soon, self.users[id as usize].place);
        let mut times = AGAIN;
        if soon > 0.0 {
            let behind = self.door.behind(place, self.now).unwrap_or(0.0);
            let least = if behind <= soon { 0.0 } else { self.least(id, behind) };
            let from = (least / 2.0).clamp(1.0, *AGAIN.start() as f64) as u64;
            times = from..=least.clamp(soon, *AGAIN.end() as f64).ceil() as u64;
        }
        (times.start() + self.random.next() % (times.end() - times.start() + 1)) * SECOND
    }

    /// Seconds until the head has passed somebody who is so many behind it, by how it moved in the
    /// last twenty; or until all before him are in, by how many came in. The lesser of both.
    fn least(&mut self, id: u32, behind: f64) -> f64 {
        let now = self.now;
        if self.looks.back().is_none_or(|look| now - look.at > SECOND) {
            let head = now as f64 / SECOND as f64 - self.door.wait(now);
            self.looks.push_back(Look { at: now, head, visits: self.door.visits(now) });
            if self.looks.len() > LOOKS {
                self.looks.pop_front();
            }
        }
        let (first, last) = (self.looks[0], self.looks[self.looks.len() - 1]);
        let time = (last.at - first.at) as f64 / SECOND as f64;
        let head = if last.head > first.head {
            behind * time / (last.head - first.head)
        } else {
            f64::INFINITY
        };
        let rate = match (last.visits - first.visits) as f64 {
            visits if time >= 3.0 && visits > 0.0 => visits / time,
            _ => self.case.budget / self.door.page(now).max(1.0),
        };
        head.min(f64::from(self.waiting.below(id as usize)) / rate)
    }

    /// Follows the place of somebody who was judged: whether it is kept, and who lost his.
    pub fn follow_place(&mut self, id: u32, had: bool) {
        let has = self.door.has_place(self.users[id as usize].place);
        let user = &mut self.users[id as usize];
        if user.has_place && !had && !std::mem::replace(&mut user.lost_place, true) {
            self.evicted += 1;
        }
        if self.door.is_in_line && !has && !std::mem::replace(&mut user.found_none, true) {
            self.placeless += 1;
        }
        user.has_place = has;
    }
}
