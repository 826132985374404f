//! The server and its kernel: who comes into the accept queue, how fast it is emptied, and what the
//! kernel counts.

use limiter_common::address::Address;
use limiter_common::reason::Reason;

use super::client::Stage;
use super::{Do, World};

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

impl World {
    /// From `at` on the server takes so many connections per second.
    pub fn capacity_from(&mut self, at: u64, capacity: f64) {
        self.at(at, Do::Capacity(capacity));
    }

    /// Connections in the accept queue, and how many may be.
    pub fn queue(&self) -> [u32; 2] {
        [self.queue.len() as u32, self.backlog as u32]
    }

    /// `tcp_conn_request`: with a full accept queue the SYN is dropped.
    pub(super) fn kernel_takes(&mut self) -> bool {
        let is_full = self.queue.len() > self.backlog;
        self.kernel.overflows += u64::from(is_full);
        self.kernel.drops += u64::from(is_full);
        !is_full
    }

    pub(super) fn ack(&mut self, id: u32) {
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

    pub(super) fn segment(&mut self) {
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

    pub(super) fn done(&mut self, id: u32) {
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
}
