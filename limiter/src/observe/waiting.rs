//! Who waits in line, from what the lines keep of sources. The table is one for all services, and
//! does not say which.

use anyhow::Result;
use limiter_common::line::Rules;
use limiter_common::line::visit::{PLACE_SHIFT, SEEN_SHIFT, Visit};
use limiter_common::source_table::WAYS;
use serde::Serialize;

use crate::kernel::words::Access;
use crate::kernel::{Maps, clock};

/// Sets of the table that are looked at: reading all of it, again and again, would take the cache
/// away from the packets.
const LOOKED_AT: usize = 8192;
/// A source that came within so many seconds and comes no more has gone away.
const LATELY: u64 = 120;

/// The sources that wait in line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Waiting {
    /// How many; in a table of more than 65,536 entries an estimate.
    pub sources: usize,
    /// Half of them have waited so long or longer.
    pub half_seconds: f64,
    /// A tenth of them have waited so long or longer.
    pub tenth_seconds: f64,
    /// Sources that gave up: they waited, and have not come for the time that a place is kept, but
    /// did within two minutes.
    pub gone: usize,
}

/// How long each source has waited that waits.
#[derive(Clone, Debug, Default)]
pub struct Ages {
    /// In units of a place, the shortest first.
    waits: Vec<i64>,
    /// For so many sources each of them stands.
    each: usize,
    gone: usize,
}

/// Looks who waits.
///
/// # Errors
/// When the table cannot be read.
pub fn read(maps: &Maps) -> Result<Waiting> {
    Ok(ages(maps)?.summed())
}

/// Looks how long who waits has waited.
///
/// # Errors
/// When the table cannot be read.
pub fn ages(maps: &Maps) -> Result<Ages> {
    let (words, now) = (maps.visits.words(Access::Read)?, clock::now());
    let sets = words.len() / WAYS;
    let step = sets.div_ceil(LOOKED_AT).max(1);
    let looked_at = (0..sets).step_by(step).flat_map(|set| set * WAYS..(set + 1) * WAYS);
    Ok(of(looked_at.filter_map(|index| words.get(index)), step, now))
}

/// What these entries say, each of which stands for `each` entries.
fn of(words: impl Iterator<Item = u64>, each: usize, now: u64) -> Ages {
    let kept = (Rules::FORGET_SECONDS * 1_000_000_000) >> SEEN_SHIFT;
    let lately = (LATELY * 1_000_000_000) >> SEEN_SHIFT;
    let (mut waits, mut gone) = (Vec::new(), 0);
    for word in words.filter(|word| *word != 0) {
        let visit = Visit::read(word, now);
        if visit.present {
            continue;
        }
        match visit.quiet {
            quiet if quiet <= kept => waits.push(visit.place.max(0)),
            quiet if quiet <= lately => gone += each,
            _ => {}
        }
    }
    waits.sort_unstable();
    Ages { waits, each, gone }
}

impl Ages {
    fn summed(&self) -> Waiting {
        let after = |part: usize| {
            let index = self.waits.len().saturating_sub(1) * part / 10;
            let place = self.waits.get(index);
            place.map_or(0.0, |place| ((*place as u64) << PLACE_SHIFT) as f64 / 1e9)
        };
        Waiting {
            sources: self.waits.len() * self.each,
            half_seconds: after(5),
            tenth_seconds: after(9),
            gone: self.gone,
        }
    }

    /// How many sources are before one that has waited for `place` units of a place; of those that
    /// have waited for as long, half.
    pub fn before(&self, place: i64) -> usize {
        let shorter = self.waits.partition_point(|other| *other < place);
        let as_long = self.waits[shorter..].partition_point(|other| *other == place);
        let longer = self.waits.len() - shorter - as_long;
        (longer + as_long / 2) * self.each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 5_000_000_000_000;

    #[test]
    fn who_waits_who_is_in_and_who_has_gone() {
        let second = (1_000_000_000 >> PLACE_SHIFT) + 1;
        let waits = |seconds: i64, quiet: u64| Visit {
            present: false,
            place: seconds * second as i64,
            quiet: quiet * 2,
            ..Visit::NONE
        };
        let mut visits: Vec<_> = (1..=10).map(|seconds| waits(seconds * 6, 1)).collect();
        visits.push(Visit { present: true, ..waits(500, 1) });
        visits.push(waits(100, 60));
        visits.push(waits(100, 600));
        let words = visits.iter().zip(1..).map(|(visit, source)| visit.word(source, NOW));
        let ages = of(words.chain([0, 0]), 4, NOW);
        let waiting = ages.summed();
        assert_eq!((waiting.sources, waiting.gone), (40, 4));
        assert!((29.0..32.0).contains(&waiting.half_seconds), "{waiting:?}");
        assert!((54.0..57.0).contains(&waiting.tenth_seconds), "{waiting:?}");
        assert_eq!(of([0].into_iter(), 1, NOW).summed(), Waiting::default());
        assert_eq!([0, 10_000].map(|place| ages.before(place)), [40, 0]);
        assert_eq!(ages.before(ages.waits[4]), 5 * 4, "five have waited for longer");
    }
}
