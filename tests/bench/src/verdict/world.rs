//! Clients, a server and its kernel in simulated time, before them limiter. TCP is the part of it
//! that counts here: SYNs that are sent again, handshakes that are finished, a full accept queue.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;
use limiter_common::address::Address;
use limiter_common::reason::Reason;

use super::door::Door;

pub const SECOND: u64 = 1_000_000_000;
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

struct Client {
    address: Address,
    habit: usize,
    page: u32,
    /// Connections of its page that are not served yet.
    open: u32,
    waits: &'static [f64],
    until: u64,
    /// Ends at these, for pulses: seconds on, seconds off.
    pulse: Option<[f64; 2]>,
    began: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Syn,
    Acked,
    Queued,
    Over,
}

struct Conn {
    client: u32,
    page: u32,
    born: u64,
    tries: u8,
    /// Whether its ACK brings a cookie.
    cookie: bool,
    stage: Stage,
}

/// SYNs that no client stands behind.
#[derive(Clone, Debug)]
pub struct Flood {
    pub rate: f64,
    /// The addresses that it bears; none: any.
    pub from: Vec<u32>,
    pub began: u64,
    pub until: u64,
    pub pulse: Option<[f64; 2]>,
}

enum Do {
    Begin(u32),
    Syn(u32),
    Ack(u32),
    Done(u32),
    Deadline(u32, u32),
    Flood(u32),
    Capacity(f64),
}

/// What the kernel counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel {
    pub opened: u64,
    pub overflows: u64,
    pub drops: u64,
    pub sent_again: u64,
    pub segments: u64,
    pub established: u64,
    pub cookies: [u64; 2],
}

/// Everything.
pub struct World {
    pub now: u64,
    pub door: Door,
    pub kernel: Kernel,
    pub rng: Rng,
    habits: Vec<Habit>,
    clients: Vec<Client>,
    conns: Vec<Conn>,
    floods: Vec<Flood>,
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    acts: Vec<Do>,
    /// Places of `acts` that are free, and acts so far.
    free: Vec<usize>,
    order: u64,
    queue: VecDeque<u32>,
    backlog: usize,
    capacity: f64,
    workers: usize,
    busy: usize,
    round_trip: [f64; 2],
}

impl World {
    pub fn new(door: Door, capacity: f64, workers: usize, backlog: usize, rng: Rng) -> Self {
        Self {
            now: 1000 * SECOND,
            door,
            kernel: Kernel::default(),
            rng,
            habits: Vec::new(),
            clients: Vec::new(),
            conns: Vec::new(),
            floods: Vec::new(),
            heap: BinaryHeap::new(),
            acts: Vec::new(),
            free: Vec::new(),
            order: 0,
            queue: VecDeque::new(),
            backlog,
            capacity,
            workers,
            busy: 0,
            round_trip: [0.005, 0.08],
        }
    }

    pub fn between(&mut self, range: [f64; 2]) -> f64 {
        range[0] + (range[1] - range[0]) * self.rng.f64()
    }

    /// From `at` on the server takes so many connections per second.
    pub fn capacity_from(&mut self, at: u64, capacity: f64) {
        self.at(at, Do::Capacity(capacity));
    }

    /// Connections in the accept queue, and how many may be.
    pub fn queue(&self) -> [u32; 2] {
        [self.queue.len() as u32, self.backlog as u32]
    }

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

    pub fn flood(&mut self, flood: Flood, at: u64) {
        self.floods.push(flood);
        self.at(at, Do::Flood(self.floods.len() as u32 - 1));
    }

    fn at(&mut self, time: u64, act: Do) {
        self.order += 1;
        let place = match self.free.pop() {
            Some(place) => {
                self.acts[place] = act;
                place
            }
            None => {
                self.acts.push(act);
                self.acts.len() - 1
            }
        };
        self.heap.push(Reverse((time, self.order, place)));
    }

    fn later(&mut self, seconds: f64, act: Do) {
        self.at(self.now + (seconds * SECOND as f64) as u64, act);
    }

    /// Runs until `time`.
    pub fn run(&mut self, time: u64) {
        while let Some(Reverse((when, _, act))) = self.heap.peek().copied() {
            if when > time {
                break;
            }
            self.heap.pop();
            self.now = when;
            self.free.push(act);
            match std::mem::replace(&mut self.acts[act], Do::Flood(u32::MAX)) {
                Do::Begin(client) => self.begin(client),
                Do::Syn(conn) => self.syn(conn),
                Do::Ack(conn) => self.ack(conn),
                Do::Done(conn) => self.done(conn),
                Do::Deadline(client, page) => self.deadline(client, page),
                Do::Flood(flood) => self.flooded(flood),
                Do::Capacity(capacity) => self.capacity = capacity,
            }
        }
        self.now = time;
    }

    fn begin(&mut self, id: u32) {
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

    fn is_live(&self, id: u32) -> bool {
        let conn = &self.conns[id as usize];
        let client = &self.clients[conn.client as usize];
        let is_clock = self.habits[client.habit].clock.is_some();
        conn.stage != Stage::Over && (is_clock || client.page == conn.page)
    }

    fn syn(&mut self, id: u32) {
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

    /// `tcp_conn_request`: with a full accept queue the SYN is dropped.
    fn kernel_takes(&mut self) -> bool {
        let is_full = self.queue.len() > self.backlog;
        self.kernel.overflows += u64::from(is_full);
        self.kernel.drops += u64::from(is_full);
        !is_full
    }

    fn ack(&mut self, id: u32) {
        if self.conns[id as usize].stage != Stage::Acked || !self.is_live(id) {
            return;
        }
        self.segment();
        let address = self.clients[self.conns[id as usize].client as usize].address;
        let is_full = self.queue.len() > self.backlog;
        self.kernel.overflows += u64::from(is_full);
        self.kernel.drops += u64::from(is_full);
        let has_cookie = self.conns[id as usize].cookie;
        let is_in = !is_full && (!has_cookie || self.proves(address));
        if !is_in {
            let conn = &mut self.conns[id as usize];
            conn.tries += 1;
            let wait = 0.2 * f64::from(1_u32 << conn.tries.min(7));
            let wait = wait + self.rng.f64() * 0.01;
            return self.later(wait, Do::Ack(id));
        }
        self.kernel.opened += 1;
        self.kernel.established += 1;
        self.kernel.cookies[1] += u64::from(self.conns[id as usize].cookie);
        self.conns[id as usize].stage = Stage::Queued;
        self.queue.push_back(id);
        self.work();
    }

    fn proves(&mut self, address: Address) -> bool {
        let reason = self.door.proof(address, self.now);
        !self.door.ends(reason)
    }

    fn segment(&mut self) {
        self.door.count(Reason::NotAttempt);
        self.kernel.segments += 1;
    }

    fn work(&mut self) {
        while self.busy < self.workers && self.capacity > 0.0 {
            let Some(id) = self.queue.pop_front() else { return };
            let holds = {
                let client = &self.clients[self.conns[id as usize].client as usize];
                self.habits[client.habit].holds
            };
            self.busy += 1;
            let needs = self.workers as f64 / self.capacity;
            let takes = needs.max(holds) * (0.5 + self.rng.f64());
            self.later(takes, Do::Done(id));
        }
    }

    fn done(&mut self, id: u32) {
        self.busy -= 1;
        self.kernel.established -= 1;
        let client = self.conns[id as usize].client as usize;
        let habit = self.habits[self.clients[client].habit].clone();
        let segments = if habit.asks { self.rng.u32(4..24) } else { 2 };
        (0..segments).for_each(|_| self.segment());
        let is_live = self.is_live(id);
        self.conns[id as usize].stage = Stage::Over;
        let page = self.conns[id as usize].page;
        let client_id = client as u32;
        let client = &mut self.clients[client];
        if is_live && client.page == page && client.open > 0 {
            client.open -= 1;
            if client.open == 0 && habit.clock.is_none() {
                let pause = self.between(habit.served);
                self.later(pause, Do::Begin(client_id));
            }
        }
        self.work();
    }

    fn deadline(&mut self, id: u32, page: u32) {
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

    fn flooded(&mut self, id: u32) {
        let Some(flood) = self.floods.get(id as usize).cloned() else { return };
        if self.now >= flood.until {
            return;
        }
        let is_on = flood
            .pulse
            .is_none_or(|[on, off]| (self.now - flood.began) as f64 / 1e9 % (on + off) <= on);
        if is_on {
            let address = match flood.from.len() {
                0 => 0x0100_0000 + self.rng.u32(..0xde00_0000),
                count => flood.from[self.rng.usize(..count)],
            };
            let reason = self.door.syn(Address::v4(address), self.now);
            if !self.door.ends(reason) && self.kernel_takes() {
                self.kernel.sent_again += u64::from(self.rng.f32() < 0.5);
                if self.rng.f32() < 0.05 {
                    // Its owner answers with a reset.
                    self.segment();
                }
            }
        }
        let gap = -(1.0 - self.rng.f64()).ln() / flood.rate;
        self.later(gap, Do::Flood(id));
    }
}
