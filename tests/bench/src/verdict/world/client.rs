//! Clients: what each does again and again, the connections of its page, and the SYNs of a
//! connection, which it sends again until one is answered.

use limiter_common::address::Address;
use limiter_common::reason::Reason;

use super::{Do, World};

/// Seconds after its first SYN at which a client sends it again: Linux, Linux since 6.5, Apple's
/// and Windows' systems.
const WAITS: [&[f64]; 4] = [
    &[1.0, 3.0, 7.0, 15.0, 31.0],
    &[1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0],
    &[1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0],
    &[1.0, 3.0, 7.0],
];

/// What a client does, again and again.
#[derive(Clone, Debug)]
pub struct Habit {
    /// Connections that it opens at once, from and to.
    pub page: [u32; 2],
    /// How long it waits for them, seconds.
    pub patience: f64,
    /// Seconds until it comes again: after it was served, and after it was not.
    pub served: [f64; 2],
    pub failed: [f64; 2],
    /// Seconds between two pages, and how far they scatter, whether it was served or not: a clock.
    pub clock: Option<[f64; 2]>,
    /// Pages until it leaves.
    pub pages: u32,
    /// Whether it sends a request on its connection.
    pub asks: bool,
    /// Whether it finishes a handshake.
    pub finishes: bool,
    /// How long it keeps the server at a connection, seconds; 0: as long as the server needs.
    pub holds: f64,
}

impl Habit {
    /// A browser that leaves after some pages.
    pub fn people(page: [u32; 2], served: [f64; 2], failed: [f64; 2], pages: u32) -> Self {
        Self {
            page,
            patience: 12.0,
            served,
            failed,
            clock: None,
            pages,
            asks: true,
            finishes: true,
            holds: 0.0,
        }
    }

    /// A program that opens a connection every `gap` seconds.
    pub fn tool(gap: f64, scatter: f64, asks: bool) -> Self {
        Self {
            patience: (gap * 4.0).clamp(0.5, 20.0),
            clock: Some([gap, scatter]),
            pages: u32::MAX,
            asks,
            ..Self::people([1, 1], [gap, gap], [gap, gap], 1)
        }
    }
}

pub(super) struct Client {
    pub(super) address: Address,
    pub(super) habit: usize,
    pub(super) page: u32,
    /// Connections of its page that are not served yet.
    pub(super) open: u32,
    waits: &'static [f64],
    until: u64,
    /// Ends at these, for pulses: seconds on, seconds off.
    pulse: Option<[f64; 2]>,
    began: u64,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Stage {
    Syn,
    Acked,
    Queued,
    Over,
}

pub(super) struct Conn {
    pub(super) client: u32,
    pub(super) page: u32,
    born: u64,
    pub(super) tries: u8,
    /// Whether its ACK brings a cookie.
    pub(super) cookie: bool,
    pub(super) stage: Stage,
}

impl World {
    /// The clock of a habit.
    pub fn clock_of(&self, habit: usize) -> Option<[f64; 2]> {
        self.habits[habit].clock
    }

    pub fn habit(&mut self, habit: Habit) -> usize {
        self.habits.push(habit);
        self.habits.len() - 1
    }

    /// A client at `address` that comes first at `at` and not after `until`.
    pub fn client(
        &mut self,
        address: Address,
        habit: usize,
        at: u64,
        until: u64,
        pulse: Option<[f64; 2]>,
    ) {
        let waits = WAITS[self.rng.usize(..WAITS.len())];
        let id = self.clients.len() as u32;
        self.clients.push(Client {
            address,
            habit,
            page: 0,
            open: 0,
            waits,
            until,
            pulse,
            began: at,
        });
        self.at(at, Do::Begin(id));
    }

    pub(super) fn begin(&mut self, id: u32) {
        let client = &mut self.clients[id as usize];
        if self.now >= client.until {
            return;
        }
        let habit = self.habits[client.habit].clone();
        if client.page >= habit.pages {
            return;
        }
        if let Some([on, off]) = client.pulse {
            let phase = (self.now.saturating_sub(client.began) as f64 / 1e9) % (on + off);
            if phase > on {
                let wait = on + off - phase + 0.001;
                return self.later(wait, Do::Begin(id));
            }
        }
        client.page += 1;
        let page = client.page;
        let [least, most] = habit.page;
        let connections = self.rng.u32(least..=most);
        self.clients[id as usize].open = connections;
        for _ in 0..connections {
            self.conns.push(Conn {
                client: id,
                page,
                born: self.now,
                tries: 0,
                cookie: false,
                stage: Stage::Syn,
            });
            // A browser opens them as it reads the page.
            let wait = if connections > 1 { self.rng.f64() * 0.3 } else { 0.0 };
            let conn = self.conns.len() as u32 - 1;
            self.conns[conn as usize].born += (wait * 1e9) as u64;
            self.later(wait, Do::Syn(conn));
        }
        self.later(habit.patience, Do::Deadline(id, page));
        if let Some([gap, scatter]) = habit.clock {
            let next = gap * (1.0 + scatter * (2.0 * self.rng.f64() - 1.0));
            self.later(next.max(0.001), Do::Begin(id));
        }
    }

    pub(super) fn is_live(&self, id: u32) -> bool {
        let conn = &self.conns[id as usize];
        let client = &self.clients[conn.client as usize];
        let is_clock = self.habits[client.habit].clock.is_some();
        conn.stage != Stage::Over && (is_clock || client.page == conn.page)
    }

    pub(super) fn syn(&mut self, id: u32) {
        if self.conns[id as usize].stage != Stage::Syn || !self.is_live(id) {
            return;
        }
        let client = &self.clients[self.conns[id as usize].client as usize];
        let (address, waits, habit) = (client.address, client.waits, client.habit);
        let conn = &mut self.conns[id as usize];
        let again =
            waits.get(usize::from(conn.tries)).map(|after| conn.born + (after * 1e9) as u64);
        conn.tries += 1;
        let reason = self.door.syn(address, self.now);
        let answered = if self.door.ends(reason) {
            reason == Reason::Challenged
        } else if reason == Reason::Asked {
            self.kernel.cookies[0] += 1;
            true
        } else {
            self.kernel_takes()
        };
        let is_cookie =
            answered && self.door.asks && matches!(reason, Reason::Asked | Reason::Challenged);
        if answered && self.habits[habit].finishes {
            let conn = &mut self.conns[id as usize];
            (conn.stage, conn.cookie, conn.tries) = (Stage::Acked, is_cookie, 0);
            let wait = self.between(self.round_trip);
            self.later(wait, Do::Ack(id));
        } else if let Some(time) = again.filter(|_| !answered && self.habits[habit].finishes) {
            let time = time + self.rng.u64(..4_000_000);
            self.at(time.max(self.now + 1), Do::Syn(id));
        }
    }

    pub(super) fn deadline(&mut self, id: u32, page: u32) {
        let client = &mut self.clients[id as usize];
        if client.page != page || client.open == 0 {
            return;
        }
        let habit = self.habits[client.habit].clone();
        if habit.clock.is_some() {
            return;
        }
        client.open = 0;
        // What is under way is given up with the page.
        let pause = self.between(habit.failed);
        self.later(pause, Do::Begin(id));
    }
}
