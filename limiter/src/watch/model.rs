//! What happened, as far as it was watched.

use super::marks::Marks;
use super::reading::Reading;
use super::series::{Rates, Series};

/// Seconds that a rate of now is the average of: enough to be read, short enough to be now.
const NOW: f64 = 3.0;
/// The longest time between two readings, in seconds.
const LONGEST_INTERVAL: f64 = 60.0;
/// Most seconds on either side of a change that are compared.
const COMPARED: f64 = 10.0;
/// How long most connections meet the waiting room before that says more than a moment, in seconds.
const LONG: f64 = 600.0;

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Seconds since the watch began.
    pub now: f64,
    /// The same as people say it.
    pub clock: String,
    /// The latest reading; of limiter as it is unless there is trouble.
    pub reading: Option<Reading>,
    /// Why there is no reading of now.
    pub trouble: Option<String>,
    pub series: Series,
    pub marks: Marks,
}

/// What a change did: rates before it and since.
#[derive(Clone, Copy, Debug)]
pub struct Effect {
    /// `None`: the watch began later.
    pub before: Option<Rates>,
    /// `None`: it is too early to say.
    pub since: Option<Rates>,
}

impl Model {
    /// Takes a reading, or why there is none.
    pub fn take(&mut self, now: f64, clock: String, reading: Result<Reading, String>) {
        self.now = now;
        self.clock = clock;
        match reading {
            Ok(reading) => {
                if let Some(before) = &self.reading {
                    self.series.push(before, &reading);
                }
                self.marks.take(self.reading.as_ref(), &reading);
                self.trouble = None;
                self.reading = Some(reading);
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// Names of the services that there are.
    pub fn services(&self) -> Vec<&str> {
        self.reading
            .iter()
            .flat_map(|reading| &reading.services)
            .map(|service| service.name.as_str())
            .collect()
    }

    /// The rates of now.
    pub fn rates(&self, service: Option<&str>) -> Option<Rates> {
        let at = self.reading.as_ref().filter(|_| self.trouble.is_none())?.at;
        // A long interval has no bucket within that time: then the last one is now.
        self.series
            .between(service, at - NOW, at)
            .or_else(|| self.series.between(service, at - 2.0 * LONGEST_INTERVAL, at))
    }

    /// The rates of the last ten minutes, if it watched that long.
    pub fn long_rates(&self, service: Option<&str>) -> Option<Rates> {
        let at = self.reading.as_ref().filter(|_| self.trouble.is_none())?.at;
        let earliest = |to| self.series.between(service, at - LONG - LONGEST_INTERVAL, to);
        earliest(at - LONG + LONGEST_INTERVAL)?;
        self.series.between(service, at - LONG, at)
    }

    /// What the last change did; nothing when it was made before the watch began.
    pub fn effect(&self, service: Option<&str>) -> Option<Effect> {
        let (at, now) = (self.marks.last()?.at, self.reading.as_ref()?.at);
        let within = |from, to| self.series.between(service, from, to);
        (at > 0.0).then(|| Effect {
            before: within(at - COMPARED, at),
            since: within(at.max(now - COMPARED), now),
        })
    }
}
