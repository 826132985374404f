//! What other limits would have done to the attempts that were seen.
//!
//! The kernel side keeps every attempt of a sample of the sources (`limiter_common::sighting`). They are judged here again, one source after the other,
//! by the arithmetic that judges in the kernel. A source that is in the sample stands for 2^halvings sources like it; how far the estimate may be
//! off follows from how different the sources are, since sources, not attempts, were drawn (cluster sampling, ratio estimator; Cochran, "Sampling
//! Techniques", 1977, sections 6 and 9A). A source so large that it hardly has its like is not left to the draw: the counters of `heavy` know it.

use std::collections::HashMap;

use limiter_common::address::{Address, SourceMask};
use limiter_common::heavy::ONE_IN;
use limiter_common::rate::Limit;
use limiter_common::sighting::{Sighting, What};
use limiter_common::source_table::{SourceLimit, Ticks};

/// Deviations of the stated range: 95 of 100 such ranges hold the truth.
const DEVIATIONS: f64 = 2.0;
/// With nothing refused among n sources, fewer than 3/n of such sources would be, in 95 of 100 cases.
const RULE_OF_THREE: f64 = 3.0;

/// The attempts of one service.
#[derive(Debug, Default)]
pub struct Seen {
    /// By source: time and weight.
    sources: HashMap<Address, Vec<(u64, f64)>>,
    /// Times of the first and the last attempt, in nanoseconds.
    first: u64,
    last: u64,
    /// The largest weight.
    most: f64,
}

/// A source that is known by its count.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The source.
    pub source: Address,
    /// Its attempts in the time that was seen.
    pub attempts: f64,
}

/// What a limit would have done.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Percent of the attempts that it would have refused.
    pub refused_percent: f64,
    /// It would hardly have been more than this.
    pub at_most_percent: f64,
    /// Nor less than this.
    pub at_least_percent: f64,
    /// Sources of which it would have refused some, in the sample, and known ones.
    pub sources: Vec<Address>,
    /// How many such sources there are by this, in all.
    pub estimated_sources: f64,
}

impl Seen {
    /// The attempts to service number `service`, of sources as `mask` cuts them.
    pub fn of(sightings: &[Sighting], service: u32, mask: &SourceMask) -> Self {
        let mut seen = Self { first: u64::MAX, ..Self::default() };
        for sighting in sightings {
            let what = What(sighting.what);
            if what.service() != service {
                continue;
            }
            let source = mask.apply(Address { high: sighting.high, low: sighting.low });
            let weight = f64::from(what.halvings()).exp2();
            seen.most = seen.most.max(weight);
            seen.sources.entry(source).or_default().push((sighting.time, weight));
            seen.first = seen.first.min(sighting.time);
            seen.last = seen.last.max(sighting.time);
        }
        // Claims of two CPUs may stand in another order than their times.
        seen.sources.values_mut().for_each(|attempts| attempts.sort_by_key(|(time, _)| *time));
        seen
    }

    /// Sources in the sample.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Attempts in the sample.
    pub fn attempts(&self) -> usize {
        self.sources.values().map(Vec::len).sum()
    }

    /// How many attempts these stand for.
    pub fn estimated_attempts(&self) -> f64 {
        self.sources.values().flatten().map(|(_, weight)| weight).sum()
    }

    /// From the first attempt to the last, in seconds.
    pub fn seconds(&self) -> f64 {
        self.last.saturating_sub(self.first) as f64 / 1e9
    }

    /// Whether no source was left out.
    pub fn is_complete(&self) -> bool {
        self.sources.values().flatten().all(|(_, weight)| *weight <= 1.0)
    }

    /// Whether the source of these attempts is in the sample however often that was halved.
    fn stayed(&self, attempts: &[(u64, f64)]) -> bool {
        attempts.iter().any(|(_, weight)| *weight >= self.most)
    }

    /// Sources that the sample should not guess at: of those counted most, the ones with more attempts than one in fifty of all, while the
    /// sample leaves sources out.
    pub fn known(&self, counted: impl IntoIterator<Item = Known>) -> Vec<Known> {
        if self.is_complete() {
            return Vec::new();
        }
        let enough = self.estimated_attempts() / 50.0;
        counted.into_iter().filter(|known| known.attempts > enough).collect()
    }

    /// Judges all of it by `limit`. `None`: the limit cannot be kept, or nothing was seen.
    pub fn judge(&self, limit: Limit, known: &[Known]) -> Option<Judged> {
        let rule = limit.to_source().ok()?;
        let is_known = |source: &Address| known.iter().any(|known| known.source == *source);
        // One that is known has none like it, so it stands for itself alone: by its attempts, if it stayed in the sample, else by its count.
        let rows: Vec<Row> = (self.sources.iter())
            .filter(|(source, attempts)| !is_known(source) || self.stayed(attempts))
            .map(|(source, attempts)| Row::judge(*source, attempts, is_known(source), self.first, rule))
            .collect();
        let sum = |cell: fn(&Row) -> f64| rows.iter().map(cell).sum::<f64>();
        let (mut attempts, mut refused) = (sum(|row| row.attempts), sum(|row| row.refused));
        let ratio = if attempts > 0.0 { refused / attempts } else { 0.0 };
        // Of each source: how far it is from the ratio, squared, times what was left out for it.
        let mut variance: f64 =
            rows.iter().map(|row| (row.refused - ratio * row.attempts).powi(2) * (1.0 - 1.0 / row.weight)).sum();
        let mut sources: Vec<Address> = rows.iter().filter(|row| row.refused > 0.0).map(|row| row.source).collect();
        let mut estimated_sources = rows.iter().filter(|row| row.refused > 0.0).map(|row| row.weight).sum::<f64>();
        for known in known.iter().filter(|known| !self.sources.get(&known.source).is_some_and(|seen| self.stayed(seen)))
        {
            let passes = limit.burst as f64 + self.seconds() * limit.rate.count as f64 * 1e9 / limit.rate.period as f64;
            let over = (known.attempts - passes).max(0.0);
            attempts += known.attempts;
            refused += over;
            if over > 0.0 {
                sources.push(known.source);
                estimated_sources += 1.0;
                // It was counted one attempt in so many, at random.
                variance += f64::from(ONE_IN) * known.attempts;
            }
        }
        let mut doubt = DEVIATIONS * variance.sqrt();
        if refused == 0.0 && !rows.is_empty() && !self.is_complete() {
            doubt = RULE_OF_THREE / rows.len() as f64 * attempts;
        }
        let percent = |part: f64| if attempts > 0.0 { part / attempts * 100.0 } else { 0.0 };
        (attempts > 0.0).then(|| Judged {
            refused_percent: percent(refused),
            at_most_percent: percent(refused + doubt).min(100.0),
            at_least_percent: percent(refused - doubt).max(0.0),
            sources,
            estimated_sources,
        })
    }
}

/// One source under a limit. Numbers are of the attempts that it stands for.
struct Row {
    source: Address,
    attempts: f64,
    refused: f64,
    weight: f64,
}

impl Row {
    /// The algorithm of the source table (GCRA), with one source.
    fn judge(source: Address, seen: &[(u64, f64)], is_alone: bool, start: u64, rule: SourceLimit) -> Self {
        let (mut arrival, mut attempts, mut refused, mut most) = (0_u64, 0.0, 0.0, 1.0_f64);
        for (time, weight) in seen {
            let weight = if is_alone { 1.0 } else { *weight };
            let now = Ticks::at(time.saturating_sub(start)).0;
            let debt = arrival.saturating_sub(now);
            attempts += weight;
            most = most.max(weight);
            if debt > rule.window {
                refused += weight;
            } else {
                arrival = now + debt + rule.interval;
            }
        }
        Self { source, attempts, refused, weight: most }
    }
}
