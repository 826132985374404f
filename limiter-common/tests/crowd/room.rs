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

    /// When the room's page comes again.
    fn again(&mut self, id: u32) -> u64 {
        let (soon, place) = (self.case.soon, self.users[id as usize].place);
        if soon > 0.0 && self.door.behind(place, self.now).is_some_and(|behind| behind <= soon) {
            return self.random.between(soon / 3.0, soon);
        }
        (AGAIN.start() + self.random.next() % (AGAIN.end() - AGAIN.start() + 1)) * SECOND
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
