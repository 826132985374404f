//! Clients, a server and its kernel in simulated time, before them limiter. TCP is the part of it
//! that counts here: SYNs that are sent again, handshakes that are finished, a full accept queue.
//!
//! Time is here: what is to happen, in its order. What happens is in `client`, `server` and
//! `flood`.

mod client;
mod flood;
mod server;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;

use super::door::Door;
use client::{Client, Conn};

pub use client::Habit;
pub use flood::Flood;
pub use server::Kernel;

pub const SECOND: u64 = 1_000_000_000;

enum Do {
    Begin(u32),
    Syn(u32),
    Ack(u32),
    Done(u32),
    Deadline(u32, u32),
    Flood(u32),
    Capacity(f64),
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
}
