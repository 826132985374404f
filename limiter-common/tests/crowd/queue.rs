//! What is still to happen, in order of time and, at one time, of when that was settled.
//!
//! Three hundred thousand people who wait are as many events, and a heap of all of them takes most
//! of a run. So what comes within the next half minute lies in a ring of buckets, and only one
//! bucket of it is sorted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::people::Do;

/// Nanoseconds in a bucket, as a power of two: 2 ms.
const BUCKET_SHIFT: u32 = 21;
/// Buckets of the ring: 34 s.
const BUCKETS: u64 = 1 << 14;

type Event = (u64, u64, Do);

pub struct Queue {
    serial: u64,
    /// The bucket that is sorted.
    bucket: u64,
    sorted: BinaryHeap<Reverse<Event>>,
    ring: Vec<Vec<Event>>,
    /// Events in the ring.
    soon: usize,
    /// What is further off than the ring was when it was settled.
    later: BinaryHeap<Reverse<Event>>,
}

impl Queue {
    /// One that begins at `now`.
    pub fn new(now: u64) -> Self {
        Self {
            serial: 0,
            bucket: now >> BUCKET_SHIFT,
            sorted: BinaryHeap::new(),
            ring: (0..BUCKETS).map(|_| Vec::new()).collect(),
            soon: 0,
            later: BinaryHeap::new(),
        }
    }

    pub fn push(&mut self, time: u64, what: Do) {
        self.serial += 1;
        let event = (time, self.serial, what);
        match (time >> BUCKET_SHIFT).saturating_sub(self.bucket) {
            0 => self.sorted.push(Reverse(event)),
            1..BUCKETS => {
                self.ring[Self::index(time >> BUCKET_SHIFT)].push(event);
                self.soon += 1;
            }
            _ => self.later.push(Reverse(event)),
        }
    }

    pub fn pop(&mut self) -> Option<(u64, Do)> {
        loop {
            if let Some(Reverse((time, _, what))) = self.sorted.pop() {
                return Some((time, what));
            }
            let first = self.later.peek().map(|Reverse((time, _, _))| time >> BUCKET_SHIFT);
            self.bucket = match (self.soon, first) {
                (0, None) => return None,
                (0, Some(first)) => first,
                _ => self.bucket + 1,
            };
            let due = &mut self.ring[Self::index(self.bucket)];
            self.soon -= due.len();
            self.sorted.extend(due.drain(..).map(Reverse));
            while let Some(Reverse((time, _, _))) = self.later.peek()
                && time >> BUCKET_SHIFT <= self.bucket
            {
                self.sorted.extend(self.later.pop());
            }
        }
    }

    fn index(bucket: u64) -> usize {
        (bucket % BUCKETS) as usize
    }
}
