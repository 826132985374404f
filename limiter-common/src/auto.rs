//! A budget that follows the server: how many attempts a second it should be, from one look a
//! second.
//!
//! Down from what was admitted, and at once, unless what waits is getting less already; up only
//! while the budget binds: by a twentieth a second up to nine tenths of what the server took when it
//! could not keep up, and slowly beyond. So a budget does not climb in calm, where it would be useless at the first wave; and refusals, of
//! which an attacker makes as many as he likes, are no signal. Its bounds are the policy's. Without
//! any signal it is the stated budget.
//!
//! This runs in user space, once a second for each service; nothing of it runs in the kernel.

/// The bounds of a budget, in attempts per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What the policy says, and where it begins.
    pub stated: u64,
    /// Least; at most `stated`.
    pub least: u64,
    /// Most; at least `stated`.
    pub most: u64,
}

/// How much of a signal is all of it: an accept queue that is full, a probe that takes too long.
pub const WHOLE: u64 = 256;
/// From here on the server cannot keep up.
const HIGH: u64 = WHOLE / 2;
/// Below this it can.
const LOW: u64 = WHOLE / 4;
/// What waits gets less if it is less by so much than a second ago.
const DRAINS: u64 = WHOLE / 32;
/// Seconds of calm before the budget rises.
const CALM: u32 = 3;
/// Seconds of calm after which a budget that does not bind goes back to what is stated.
const LONG_CALM: u32 = 3600;
/// Seconds between two falls.
const BETWEEN: u32 = 3;
/// Seconds between two falls because connections were lost.
const BETWEEN_ALARMS: u32 = 5;

/// What was seen in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// Attempts admitted.
    pub admitted: u64,
    /// The worst of the signals, of [`WHOLE`]; `None`: there is none.
    pub load: Option<u64>,
    /// Whether the server lost connections because its queue was full.
    pub lost: bool,
}

/// A budget and what it remembers of the last seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auto {
    bounds: Bounds,
    rate: u64,
    /// Whether the load was high, a bit for each of the last three seconds.
    high: u8,
    calm: u32,
    since_fall: u32,
    /// The load a second ago.
    load: u64,
    /// The mean load and the mean of what was admitted, of some four seconds.
    mean: [u64; 2],
    /// What the server took when it could not keep up last; 0: it always could.
    knee: u64,
}

impl Auto {
    /// A budget as it is stated.
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            rate: bounds.stated,
            high: 0,
            calm: 0,
            since_fall: BETWEEN_ALARMS,
            load: 0,
            mean: [0; 2],
            knee: 0,
        }
    }

    /// The bounds that it was made with.
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The budget now, in attempts per second.
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// The budget after one more second.
    pub fn second(&mut self, seen: Second) -> u64 {
        let Bounds { stated, least, most } = self.bounds;
        self.since_fall = self.since_fall.saturating_add(1);
        let Some(load) = seen.load else {
            *self = Self::new(self.bounds);
            return self.rate;
        };
        self.high = ((self.high << 1) | u8::from(load > HIGH)) & 7;
        // TCP's own retries make the seconds of a crowd uneven.
        for (mean, now) in self.mean.iter_mut().zip([load, seen.admitted]) {
            *mean = *mean - *mean / 4 + now / 4;
        }
        self.calm = if self.mean[0] < LOW && !seen.lost { self.calm.saturating_add(1) } else { 0 };
        // What it could take is no more than what it was given.
        let taken = seen.admitted.max(self.mean[1]).min(self.rate);
        let binds = self.mean[1] >= self.rate / 20 * 17;
        let drains = load + DRAINS <= self.load;
        let step = (stated.min(self.rate) / 50).max(1);
        let is_far = self.knee == 0 || self.rate < self.knee / 10 * 9;
        let rise = if is_far { (self.rate / 20).max(1) } else { (self.rate / 100).max(1) };
        self.load = load;
        if seen.lost && self.high == 7 && self.since_fall > BETWEEN_ALARMS {
            self.fall(taken, 50);
        } else if self.high.count_ones() >= 2 && self.since_fall > BETWEEN && !drains {
            self.fall(taken, 85);
        } else if self.calm >= CALM && binds {
            self.rate = (self.rate + rise).min(most);
        } else if self.calm >= LONG_CALM {
            let (up, down) =
                ((self.rate + step).min(stated), self.rate.saturating_sub(step).max(stated));
            self.rate = if self.rate < stated { up } else { down };
        }
        self.rate = self.rate.clamp(least, most);
        self.rate
    }

    /// To a part in a hundred of what the server took.
    fn fall(&mut self, taken: u64, percent: u64) {
        (self.rate, self.since_fall, self.knee) = (taken * percent / 100, 0, taken);
    }
}
