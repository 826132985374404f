//! What happened, as far as it was watched.

use super::marks::Marks;
use super::reading::Reading;
use super::series::Series;
use crate::assess::{Assessment, Facts, assess};
use crate::observe::Distinct;
use crate::report::{Counts, Rates};

/// Seconds that a rate of now is the average of: enough to be read, short enough to be now.
const NOW: f64 = 3.0;
/// The longest time between two readings, in seconds.
const LONGEST_INTERVAL: f64 = 60.0;
/// Most seconds on either side of a change that are compared.
const COMPARED: f64 = 10.0;
/// How long most connections meet the waiting room before that says more than a moment, in seconds.
const LONG: f64 = 600.0;

/// How long a change is held to be a cause, in seconds.
const RECENT: f64 = 600.0;
/// How many attempts become of one that is refused and sent again.
const REPEATED: f64 = 3.0;

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
    fn long_rates(&self, service: Option<&str>) -> Option<Rates> {
        let at = self.reading.as_ref().filter(|_| self.trouble.is_none())?.at;
        let earliest = |to| self.series.between(service, at - LONG - LONGEST_INTERVAL, to);
        earliest(at - LONG + LONGEST_INTERVAL)?;
        self.series.between(service, at - LONG, at)
    }

    /// Whether the waiting room answered more connections than were let in for ten minutes.
    fn long_wait(&self) -> bool {
        let [diverted, admitted] = [Counts::diverted, Counts::admitted]
            .map(|pick| self.long_rates(None).map_or(0.0, |rates| rates.of(pick)));
        diverted > 0.0 && diverted > admitted
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

    /// What is likely wrong, on the whole host; what happens is said of a service, if one is meant.
    /// `None` before there are rates.
    pub fn assessment(&self, service: Option<&str>) -> Option<Assessment> {
        let (reading, rates) = (self.reading.as_ref()?, self.rates(None)?);
        let facts = Facts {
            now: Some(rates),
            began_with_change: self.began_with_change(),
            long_wait: self.long_wait(),
            ..reading.facts.clone()
        };
        let whole = assess(&facts);
        // Sources are counted for the whole host.
        let one = |now| Facts { now: Some(now), distinct: Distinct::default(), ..facts.clone() };
        Some(match service.and_then(|_| self.rates(service)) {
            Some(rates) => Assessment { what: assess(&one(rates)).what, ..whole },
            None => whole,
        })
    }

    /// Whether the last change began it: of the attempts before it hardly any were over a limit,
    /// and since then there are no more than those and their repetitions.
    fn began_with_change(&self) -> bool {
        let Some(Effect { before: Some(before), since: Some(since) }) = self.effect(None) else {
            return false;
        };
        let attempts = [before, since].map(|rates| rates.of(Counts::attempts));
        let refused = [before, since].map(|rates| rates.of(Counts::refused));
        let recent = self.marks.last().is_some_and(|mark| self.now - mark.at < RECENT);
        recent
            && attempts[1] < REPEATED * attempts[0]
            && refused[0] < attempts[0] / 100.0
            && refused[1] > attempts[1] / 20.0
    }
}
