//! Time and chance.

pub const SECOND: u64 = 1_000_000_000;

/// Seconds as nanoseconds.
pub fn seconds(seconds: f64) -> u64 {
    (seconds * SECOND as f64) as u64
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        limiter_common::hash::mix(self.0)
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between two numbers of seconds.
    pub fn between(&mut self, from: f64, to: f64) -> u64 {
        seconds(from + (to - from) * self.unit())
    }

    /// Between nothing and a number of seconds: ever more likely up to a peak, and then ever less.
    pub fn ramp(&mut self, peak: f64, to: f64) -> u64 {
        let part = self.unit();
        seconds(if part * to < peak {
            (part * peak * to).sqrt()
        } else {
            to - ((1.0 - part) * (to - peak) * to).sqrt()
        })
    }

    /// Time to the next of events that come at `rate` per second, as they please (Poisson).
    pub fn gap(&mut self, rate: f64) -> u64 {
        seconds(-(1.0 - self.unit()).ln() / rate) + 1
    }
}
