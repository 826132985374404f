//! A machine: its kernel side, with those who are present there, and its daemon; and what is in
//! force on all of them together.

use std::time::Duration;

use limiter_fleet::fill::{Want, fill};
use limiter_fleet::record::Amount;
use limiter_fleet::{Member, Terms};

use super::leader::Leader;
use super::{Key, PLACES, RATE, Value, Without, World};

/// What the kernel side has: shares, and when they end, by the clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares {
    rate: Amount,
    places: Amount,
    ends: Duration,
}

pub struct Node {
    pub name: String,
    speed: f64,
    pub is_up: bool,
    pub is_cut: bool,
    /// Its daemon, if it runs; and how often it was started.
    pub daemon: Option<Member>,
    pub life: u64,
    pub leader: Option<Leader>,
    pub shares: Shares,
    /// What its policy states, of both budgets.
    pub fallback: Amount,
    /// And what it wants of both.
    pub demand: Amount,
    /// Places that are taken.
    pub taken: Amount,
}

impl Node {
    pub fn new(index: usize, speed: f64, fallback: Amount, daemon: Member) -> Self {
        Self {
            name: format!("n{index:05}"),
            speed,
            is_up: true,
            is_cut: false,
            daemon: Some(daemon),
            life: 0,
            leader: None,
            shares: Shares::default(),
            fallback,
            demand: 0,
            taken: 0,
        }
    }

    fn in_force(&self, now: u64, of: fn(&Shares) -> Amount) -> Amount {
        match (self.is_up, self.clock(now) < self.shares.ends) {
            (false, _) => 0,
            (true, true) => of(&self.shares),
            (true, false) => self.fallback,
        }
    }

    pub fn clock(&self, now: u64) -> Duration {
        Duration::from_nanos((now as f64 * self.speed) as u64)
    }

    /// Puts into the kernel what the daemon has.
    pub fn enforce(&mut self) {
        if let Some(member) = &self.daemon {
            if let Some(rate) = member.share(RATE) {
                (self.shares.rate, self.shares.ends) = (rate, member.ends());
            }
            self.shares.places = member.share(PLACES).unwrap_or(self.fallback);
        }
    }

    /// Who waits takes what is free at once.
    fn users_come(&mut self, now: u64) {
        let places = self.in_force(now, |shares| shares.places);
        self.taken = self.taken.max(places.min(self.demand));
    }

    /// So many of a thousand leave.
    pub fn users_leave(&mut self, part: u64) {
        self.taken -= self.taken / 1000 * part + u64::from(part != 0 && self.taken != 0);
    }
}

impl World {
    /// Adds up what is in force on all nodes that the fleet has.
    pub(super) fn look(&mut self) {
        let now = self.now;
        self.nodes.iter_mut().for_each(|node| node.users_come(now));
        let (mut rates, mut taken): (Amount, Amount) = (0, 0);
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(entry) = self.store.entries().get(&Key::Grant(index)) else { continue };
            let Value::Grant(grant) = &entry.value else { continue };
            if grant.shares.contains_key(RATE) {
                rates += node.in_force(now, |shares| shares.rate);
            }
            if grant.shares.contains_key(PLACES) {
                taken += node.taken;
            }
        }
        let part = |sum: Amount| sum as f64 / self.budget as f64;
        self.history.most = self.history.most.max(part(rates));
        self.history.most_taken = self.history.most_taken.max(part(taken));
    }

    /// What is admitted now, and the places that are taken, of what would be if every demand were
    /// known and no share were quiet.
    pub(super) fn used(&self) -> (f64, f64) {
        let want =
            |node: &Node| Want { least: node.fallback, wants: node.demand, most: Amount::MAX };
        let wants: Vec<Want> = self.nodes.iter().map(want).collect();
        let best = fill(self.budget, &wants).into_iter().zip(&self.nodes);
        let best: Amount = best.map(|(share, node)| share.min(node.demand)).sum();
        let admits = |node: &Node| node.demand.min(node.in_force(self.now, |shares| shares.rate));
        let admitted: Amount = self.nodes.iter().map(admits).sum();
        let taken: Amount = self.nodes.iter().map(|node| node.demand.min(node.taken)).sum();
        (admitted as f64 / best.max(1) as f64, taken as f64 / best.max(1) as f64)
    }
}

pub fn member(terms: Terms, fallback: Amount, without: Without) -> Member {
    let stated = if without == Without::Fallback { 0 } else { fallback };
    Member::new(terms, [RATE, PLACES].map(|name| (name.to_owned(), (stated, 0))).into())
}
