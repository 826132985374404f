//! What the XDP program notes of each attempt, on one CPU: sketches, counters of sources, and the
//! sample, as `limiter-ebpf/src/observe.rs` has them.

use std::cell::Cell;

use limiter_common::address::Address;
use limiter_common::distinct::{self, HEAD, Hashes, INTERVALS, REGISTERS, SKETCHES, WORDS};
use limiter_common::hash::mix;
use limiter_common::heavy::{self, Set, Tallied, Weighed};
use limiter_common::reason::{Reason, bits};
use limiter_common::record::Observer;
use limiter_common::sighting::{self, Sighting, What};

/// Sketches of an interval.
struct Interval {
    number: u64,
    registers: [[Cell<u8>; REGISTERS]; SKETCHES],
}

/// The maps that it writes.
pub struct Notes {
    key: [u64; 2],
    observer: Observer,
    intervals: Vec<Box<Interval>>,
    kept: Cell<u64>,
    halvings: Cell<u64>,
    interval: u64,
    pub sets: Vec<Set>,
    /// The sample, oldest first.
    pub sample: Vec<Sighting>,
}

impl Notes {
    pub fn new(seed: u64) -> Self {
        let mut observer = Observer { random: mix(seed), ..Observer::default() };
        observer.left = observer.gap();
        let interval = || Interval {
            number: 0,
            registers: [const { [const { Cell::new(0) }; REGISTERS] }; SKETCHES],
        };
        Self {
            key: [mix(seed + 1), mix(seed + 2)],
            observer,
            intervals: (0..INTERVALS).map(|_| Box::new(interval())).collect(),
            kept: Cell::new(0),
            halvings: Cell::new(0),
            interval: 0,
            sets: vec![Set::default(); (heavy::KINDS * heavy::SETS) as usize],
            sample: Vec::new(),
        }
    }

    fn begin(&mut self, now: u64) {
        let interval = distinct::interval(now);
        if self.interval == interval {
            return;
        }
        self.halvings.set(sighting::next_halvings(self.kept.get(), self.halvings.get()));
        self.kept.set(0);
        self.interval = interval;
        let sketches = &mut self.intervals[interval as usize % INTERVALS as usize];
        sketches.number = interval;
        sketches.registers.iter().flatten().for_each(|register| register.set(0));
    }

    /// Notes an attempt and what was decided.
    pub fn attempt(
        &mut self,
        client: Address,
        now: u64,
        service: u32,
        reason: Reason,
        enforced: bool,
        stole: bool,
    ) {
        self.begin(now);
        let Hashes { source, network, sketch } = Hashes::of(&self.key, client);
        if bits::has(bits::OWN, reason as u64) {
            let weight = self.observer.weigh_refusal(now);
            if weight == 0 {
                return;
            }
            self.keep(client, now, service, reason, enforced, stole, source);
            self.count(Tallied::Refused, client, now, service, source, weight);
            return;
        }
        let sketches = &self.intervals[self.interval as usize % INTERVALS as usize];
        distinct::see(&sketches.registers[0], source);
        distinct::see(&sketches.registers[sketch], network);
        self.observer.left = self.observer.left.wrapping_sub(1);
        if self.observer.left == 0 {
            self.observer.left = self.observer.gap();
            self.count(Tallied::Others, client, now, service, source, heavy::ONE_IN.into());
            if bits::has(bits::BUDGET, reason as u64) {
                self.count(Tallied::Budget, client, now, service, source, heavy::ONE_IN.into());
            }
        }
        self.keep(client, now, service, reason, enforced, stole, source);
    }

    #[expect(clippy::too_many_arguments, reason = "what stands in an entry of the ring")]
    fn keep(
        &mut self,
        client: Address,
        now: u64,
        service: u32,
        reason: Reason,
        enforced: bool,
        stole: bool,
        source: u64,
    ) {
        let halvings = self.halvings.get();
        if !sighting::is_sampled(halvings, source)
            || sighting::keep(&self.kept, &self.halvings).is_none()
        {
            return;
        }
        let what = What::new(service, reason as u8, enforced, stole, halvings).0;
        self.sample.push(Sighting { time: now, high: client.high, low: client.low, what });
        let most = sighting::ATTEMPTS as usize;
        if self.sample.len() > 2 * most {
            self.sample.drain(..most);
        }
    }

    fn count(
        &mut self,
        kind: Tallied,
        address: Address,
        now: u64,
        service: u32,
        source: u64,
        weight: u64,
    ) {
        let random = self.observer.random();
        let hash = heavy::hash(source >> 2, service.into());
        let index = kind as u32 * heavy::SETS + heavy::set(hash);
        let seen = Weighed { address, service: service.into(), now, hash, weight };
        heavy::count(&mut self.sets[index as usize], &seen, random);
    }

    /// The counters of these kinds.
    pub fn counters<'a>(&'a self, kinds: &'a [Tallied]) -> impl Iterator<Item = &'a Set> {
        kinds.iter().flat_map(|kind| {
            let first = *kind as usize * heavy::SETS as usize;
            &self.sets[first..first + heavy::SETS as usize]
        })
    }

    /// A word of the map of sketches.
    pub fn word(&self, index: usize) -> Option<u64> {
        let interval = self.intervals.get(index / WORDS)?;
        let Some(at) = (index % WORDS).checked_sub(HEAD) else {
            return Some(if index.is_multiple_of(WORDS) { interval.number } else { 0 });
        };
        let registers = &interval.registers[at * 8 / REGISTERS];
        let first = at * 8 % REGISTERS;
        Some(u64::from_ne_bytes(std::array::from_fn(|byte| registers[first + byte].get())))
    }
}
