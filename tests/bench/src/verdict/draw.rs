//! Random numbers from a seed, the same on every machine.

/// A generator: xorshift64*.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// With this seed.
    pub fn new(seed: u64) -> Self {
        let mut draw = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        draw.word();
        draw
    }

    /// 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to 1.
    pub fn part(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between two numbers, evenly.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.part()
    }

    /// Between two numbers, evenly by their logarithms.
    pub fn scale(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// Whether something of this probability happens.
    pub fn is(&mut self, probability: f64) -> bool {
        self.part() < probability
    }

    /// How many of many rare events happen, of so many on average.
    pub fn count(&mut self, average: f64) -> u64 {
        // The normal distribution, by twelve even ones, is near enough from here on.
        if average > 30.0 {
            let normal = (0..12).map(|_| self.part()).sum::<f64>() - 6.0;
            return (average + normal * average.sqrt()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-average).exp(), self.part(), 0);
        while product > limit {
            product *= self.part();
            count += 1;
        }
        count
    }
}
