//! What other limits would have done to the attempts that were seen.
//!
//! The kernel side keeps every attempt of a sample of the sources (`limiter_common::sighting`). They are judged here again, one source after the other,
//! by the arithmetic that judges in the kernel. A source that is in the sample stands for 2^halvings sources like it; how far the estimate may be
//! off follows from how different the sources are, since sources, not attempts, were drawn (cluster sampling, ratio estimator; Cochran, "Sampling
//! Techniques", 1977, sections 6 and 9A). A source so large that it hardly has its like is not left to the draw: the counters of `heavy` know it.

use std::collections::{BTreeMap, HashMap, HashSet};

use limiter_common::address::{Address, SourceMask};
use limiter_common::hash::mix;
use limiter_common::heavy::ONE_IN;
use limiter_common::rate::Limit;
use limiter_common::sighting::{Sighting, What};
use limiter_common::source_table::{SourceLimit, Ticks};

/// Deviations of the stated range, so that about 95 of 100 hold the truth: `limiter/tests/suggested.rs` counts. (2 would be the number for what is
/// spread normally; sizes of sources are not.)
const DEVIATIONS: f64 = 2.2;
/// With nothing refused among n sources, fewer than 3/n of such sources would be, in 95 of 100 cases.
const RULE_OF_THREE: f64 = 3.0;
/// A source is large if so many of the counts that decide it are there.
const DECIDING: u64 = 2;
/// With so many counts in all there is no question.
const CERTAIN: u64 = 64;

/// The attempts of one service.
#[derive(Debug, Default)]
pub struct Observed {
    /// By source: time and weight.
    sources: HashMap<Address, Vec<(u64, f64)>>,
    /// Times of the first and the last attempt, in nanoseconds.
    first: u64,
    last: u64,
    /// The largest weight.
    most: f64,
    /// Sources are pooled: an attempt of the sample stands for attempts to the same limit.
    is_pooled: bool,
}

/// A source that was counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// The source.
    pub source: Address,
    /// Its attempts in the time that was seen, as its counter says.
    pub attempts: f64,
}

/// A source that is known by its count.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    source: Address,
    attempts: f64,
    /// Standard deviation of these.
    deviation: f64,
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

impl Observed {
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

    /// The same, with `mask` that of networks. The sample is of sources, and others of the same
    /// network are charged to its limit too: so each attempt is charged as often as it stands for.
    pub fn of_networks(sightings: &[Sighting], service: u32, mask: &SourceMask) -> Self {
        Self { is_pooled: true, ..Self::of(sightings, service, mask) }
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

    /// Sources that the sample should not guess at, because their counters know them: while the sample leaves sources out.
    pub fn known(&self, counted: impl IntoIterator<Item = Counted>) -> Vec<Known> {
        if self.is_complete() {
            return Vec::new();
        }
        // Addresses that the service takes for one source have counters of their own.
        let mut sources: BTreeMap<Address, f64> = BTreeMap::new();
        for Counted { source, attempts } in counted {
            *sources.entry(source).or_default() += attempts;
        }
        sources
            .into_iter()
            .filter_map(|(source, attempts)| Counted { source, attempts }.known(self.first))
            .collect()
    }

    /// Judges all of it by `limit`. `None`: the limit cannot be kept, or nothing was seen.
    pub fn judge(&self, limit: Limit, known: &[Known]) -> Option<Judged> {
        let rule = limit.to_source().ok()?;
        let is_known: HashSet<Address> = known.iter().map(|known| known.source).collect();
        // One that is known has none like it, so it stands for itself alone: by its attempts, if it stayed in the sample, else by its count.
        let rows: Vec<Row> = (self.sources.iter())
            .filter(|(source, attempts)| !is_known.contains(source) || self.stayed(attempts))
            .map(|(source, attempts)| {
                let is_alone = is_known.contains(source);
                Row::judge(*source, attempts, is_alone, self.is_pooled, self.first, rule)
            })
            .collect();
        let sum = |cell: fn(&Row) -> f64| rows.iter().map(cell).sum::<f64>();
        let (mut attempts, mut refused) = (sum(|row| row.attempts), sum(|row| row.refused));
        let mut sources: Vec<Address> =
            rows.iter().filter(|row| row.refused > 0.0).map(|row| row.source).collect();
        let mut estimated_sources =
            rows.iter().filter(|row| row.refused > 0.0).map(|row| row.weight).sum::<f64>();
        let passes = limit.burst as f64
            + self.seconds() * limit.rate.count as f64 * 1e9 / limit.rate.period as f64;
        let (mut more, mut less) = (0.0, 0.0);
        let counts = known
            .iter()
            .filter(|known| !self.sources.get(&known.source).is_some_and(|seen| self.stayed(seen)));
        for known in counts.clone() {
            let over = |deviations| known.over(passes, deviations);
            attempts += known.attempts;
            // A count that is off by chance is refused more when it is too high than less when it is too low.
            refused += 2.0 * over(0.0) - (over(1.0) + over(-1.0)) / 2.0;
            if over(0.0) > 0.0 {
                sources.push(known.source);
                estimated_sources += 1.0;
            }
        }
        refused = refused.max(0.0);
        let ratio = if attempts > 0.0 { refused / attempts } else { 0.0 };
        for known in counts {
            let over = |deviations| known.over(passes, deviations);
            // More attempts of it than thought are more refused, and more in all.
            let all = ratio * DEVIATIONS * known.deviation;
            let (up, down) =
                (over(DEVIATIONS) - over(0.0) - all, over(0.0) - over(-DEVIATIONS) - all);
            more += up.max(-down).max(0.0).powi(2);
            less += down.max(-up).max(0.0).powi(2);
        }
        // Of each source: how far it is from the ratio, squared, times what was left out for it.
        let squares = rows
            .iter()
            .map(|row| (row.refused - ratio * row.attempts).powi(2) * (1.0 - 1.0 / row.weight));
        let sampled = student(&rows).powi(2) * squares.sum::<f64>();
        let mut doubts = [less + sampled, more + sampled].map(f64::sqrt);
        if refused == 0.0 && !rows.is_empty() && !self.is_complete() {
            doubts[1] = doubts[1].max(RULE_OF_THREE / rows.len() as f64 * attempts);
        }
        let percent = |part: f64| if attempts > 0.0 { part / attempts * 100.0 } else { 0.0 };
        (attempts > 0.0).then(|| Judged {
            refused_percent: percent(refused),
            at_most_percent: percent(refused + doubts[1]).min(100.0),
            at_least_percent: percent(refused - doubts[0]).max(0.0),
            sources,
            estimated_sources,
        })
    }
}

/// Deviations that hold 95 of 100 cases, by the number of sources that the sample amounts to: a few large ones say as much as a few.
fn student(rows: &[Row]) -> f64 {
    let (sum, squares) =
        rows.iter().filter(|row| row.weight > 1.0).fold((0.0, 0.0), |(sum, squares), row| {
            (sum + row.attempts, squares + row.attempts * row.attempts)
        });
    if squares == 0.0 {
        return DEVIATIONS;
    }
    let sources: f64 = sum * sum / squares;
    DEVIATIONS * (1.0 + 3.0 / sources)
}

impl Known {
    /// Its attempts beyond so many, if its count is off by so many deviations.
    fn over(&self, passes: f64, deviations: f64) -> f64 {
        (self.attempts + deviations * self.deviation - passes).max(0.0)
    }
}

impl Counted {
    /// If it is large enough. What decides that must not be what counts it, or those that are counted too high by chance would be chosen: so half
    /// of its counts, at random, decide, and the others count.
    fn known(self, seed: u64) -> Option<Known> {
        let each = f64::from(ONE_IN);
        let counts = (self.attempts / each) as u64;
        let is_deciding = |number: &u64| {
            mix(mix(self.source.high ^ seed) ^ self.source.low ^ number.rotate_left(32)) & 1 == 0
        };
        let (deciding, counting, worth) = if counts < CERTAIN {
            let deciding = (0..counts).filter(is_deciding).count() as u64;
            (deciding, counts - deciding, 2.0 * each)
        } else {
            (counts, counts, each)
        };
        (deciding >= DECIDING).then(|| Known {
            source: self.source,
            attempts: counting as f64 * worth,
            deviation: (counting as f64 + 1.0).sqrt() * worth,
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
    fn judge(
        source: Address,
        seen: &[(u64, f64)],
        is_alone: bool,
        is_pooled: bool,
        start: u64,
        rule: SourceLimit,
    ) -> Self {
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
                let times = if is_pooled { weight as u64 } else { 1 };
                arrival = now + debt + rule.interval * times;
            }
        }
        Self { source, attempts, refused, weight: most }
    }
}
