//! Counts over time: second by second for the last minutes, in buckets of ten seconds for the hours before, and nothing beyond.

use std::collections::VecDeque;
use std::rc::Rc;

use super::reading::Reading;
use crate::report::{Counts, Rates};

/// How far back the fine buckets go, in seconds: a little more than the windows that are drawn from them.
const FINE: f64 = 330.0;
/// Length of the coarse buckets, and how far back they go, in seconds.
const COARSE: f64 = 10.0;
const LONGEST: f64 = 7300.0;

/// What came between two moments.
#[derive(Clone, Debug)]
struct Bucket {
    from: f64,
    to: f64,
    /// Everything together.
    total: Counts,
    /// By service.
    services: Vec<(Rc<str>, Counts)>,
}

/// Counts over time.
#[derive(Clone, Debug, Default)]
pub struct Series {
    fine: VecDeque<Bucket>,
    coarse: VecDeque<Bucket>,
}

impl Bucket {
    /// What belongs to a service; `None` when it did not exist.
    fn counts(&self, service: Option<&str>) -> Option<&Counts> {
        let Some(name) = service else { return Some(&self.total) };
        self.services.iter().find(|(one, _)| &**one == name).map(|(_, counts)| counts)
    }

    fn add(&mut self, more: &Bucket) {
        self.to = more.to;
        self.total.add(&more.total);
        for (name, counts) in &more.services {
            match self.services.iter_mut().find(|(one, _)| one == name) {
                Some((_, sum)) => sum.add(counts),
                None => self.services.push((Rc::clone(name), *counts)),
            }
        }
    }
}

impl Series {
    /// Takes what came between two readings. Nothing, when the counters began anew in between.
    pub fn push(&mut self, before: &Reading, after: &Reading) {
        let Some(total) = after.counts.since(&before.counts) else { return };
        if before.life != after.life || after.at <= before.at {
            return;
        }
        let services = after.services.iter().filter_map(|service| {
            let grown = service.counts.since(&before.service(&service.name)?.counts)?;
            Some((self.name(&service.name), grown))
        });
        let bucket = Bucket { from: before.at, to: after.at, total, services: services.collect() };
        self.remember(bucket);
    }

    fn remember(&mut self, bucket: Bucket) {
        let now = bucket.to;
        match self.coarse.back_mut() {
            // A gap stays a gap.
            Some(last) if bucket.from - last.to < 0.001 && last.to - last.from < COARSE - 0.001 => {
                last.add(&bucket)
            }
            _ => self.coarse.push_back(bucket.clone()),
        }
        self.fine.push_back(bucket);
        for (ring, longest) in [(&mut self.fine, FINE), (&mut self.coarse, LONGEST)] {
            while ring.front().is_some_and(|oldest| oldest.to < now - longest) {
                ring.pop_front();
            }
        }
    }

    /// The name, shared with the bucket before.
    fn name(&self, name: &str) -> Rc<str> {
        let known = self
            .fine
            .back()
            .and_then(|bucket| bucket.services.iter().find(|(one, _)| &**one == name));
        known.map_or_else(|| Rc::from(name), |(name, _)| Rc::clone(name))
    }

    /// The finest buckets that reach back over `seconds`.
    fn reaching(&self, seconds: f64) -> &VecDeque<Bucket> {
        if seconds <= FINE { &self.fine } else { &self.coarse }
    }

    /// Packets per second, by reason, in the buckets that lie between two moments; `None` when none does.
    pub fn between(&self, service: Option<&str>, from: f64, to: f64) -> Option<Rates> {
        let newest = self.fine.back()?.to;
        let slack = 0.001;
        let inside = self
            .reaching(newest - from)
            .iter()
            .filter(|one| one.from >= from - slack && one.to <= to + slack);
        let (mut sum, mut seconds) = (Counts::default(), 0.0);
        for bucket in inside {
            let Some(counts) = bucket.counts(service) else { continue };
            sum.add(counts);
            seconds += bucket.to - bucket.from;
        }
        (seconds > 0.0).then_some(Rates { counts: sum, seconds })
    }

    /// `columns` averages per second of what `pick` picks over the `window` seconds up to `now`; `None` where nobody looked.
    pub fn columns(
        &self,
        service: Option<&str>,
        axis: Axis,
        pick: impl Fn(&Counts) -> u64,
    ) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0.0); axis.columns];
        for bucket in self.reaching(axis.window) {
            let (Some(counts), length) = (bucket.counts(service), bucket.to - bucket.from) else {
                continue;
            };
            let rate = pick(counts) as f64 / length;
            let first = axis.position(bucket.from).floor().max(0.0) as usize;
            let last = (axis.position(bucket.to).ceil().max(0.0) as usize).min(axis.columns);
            for (column, (sum, seconds)) in sums.iter_mut().enumerate().take(last).skip(first) {
                let begin = axis.time(column as f64);
                let overlap = bucket.to.min(begin + axis.step()) - bucket.from.max(begin);
                if overlap > 0.0 {
                    *sum += rate * overlap;
                    *seconds += overlap;
                }
            }
        }
        sums.into_iter().map(|(sum, seconds)| (seconds > 0.0).then(|| sum / seconds)).collect()
    }
}

/// A span of time over columns. Its end is a multiple of the columns' length, so that what is drawn moves on in whole columns.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// Its length in seconds.
    pub window: f64,
    /// How many columns it has.
    pub columns: usize,
    end: f64,
}

impl Axis {
    /// The axis whose last column holds `now`.
    pub fn new(window: f64, columns: usize, now: f64) -> Self {
        let step = window / columns.max(1) as f64;
        Self { window, columns, end: (now / step).ceil() * step }
    }

    fn step(&self) -> f64 {
        self.window / self.columns.max(1) as f64
    }

    /// The time at which a column begins.
    fn time(&self, column: f64) -> f64 {
        self.end - self.window + column * self.step()
    }

    /// Where a moment lies, in columns from the left; negative before the axis begins.
    pub fn position(&self, time: f64) -> f64 {
        (time - self.time(0.0)) / self.step()
    }
}

#[cfg(test)]
mod tests {
    use limiter_common::reason::Reason;

    use super::super::screens::bare;
    use super::*;

    fn admitted(count: u64) -> Counts {
        let mut counts = Counts::default();
        counts.by[Reason::Admitted as usize] = count;
        counts
    }

    /// A reading a second, with `per_second` admitted in each.
    fn fed(seconds: u32, per_second: u64) -> Series {
        let mut series = Series::default();
        let reading = |at: u32| Reading {
            at: f64::from(at),
            counts: admitted(u64::from(at) * per_second),
            ..bare()
        };
        for at in 1..=seconds {
            series.push(&reading(at - 1), &reading(at));
        }
        series
    }

    #[test]
    fn a_steady_rate_is_steady_in_every_window() {
        let series = fed(8000, 50);
        for window in [60.0, 300.0, 1800.0, 7200.0] {
            for columns in [7, 34, 100, 150] {
                let drawn =
                    series.columns(None, Axis::new(window, columns, 8000.0), Counts::admitted);
                assert!(
                    drawn.iter().all(|rate| rate.is_some_and(|rate| (rate - 50.0).abs() < 0.01)),
                    "{window} {columns}"
                );
            }
        }
        assert!(
            series.fine.len() < 340 && series.coarse.len() < 740,
            "{} {}",
            series.fine.len(),
            series.coarse.len()
        );
    }

    #[test]
    fn what_nobody_saw_is_no_zero() {
        let series = fed(30, 50);
        let drawn = series.columns(None, Axis::new(60.0, 60, 30.0), Counts::admitted);
        assert_eq!(drawn.iter().filter(|rate| rate.is_none()).count(), 30);
        assert!(drawn[29].is_none() && drawn[30].is_some());
        assert!(
            series
                .columns(Some("web"), Axis::new(60.0, 60, 30.0), Counts::admitted)
                .iter()
                .all(Option::is_none)
        );
    }

    #[test]
    fn counters_that_began_anew_make_no_rate() {
        let mut series = Series::default();
        let reading =
            |at: f64, life, count| Reading { at, life, counts: admitted(count), ..bare() };
        series.push(&reading(0.0, 1, 100), &reading(1.0, 1, 90));
        series.push(&reading(1.0, 1, 90), &reading(2.0, 2, 900));
        assert!(series.between(None, 0.0, 9.0).is_none());
        series.push(&reading(2.0, 2, 900), &reading(3.0, 2, 910));
        let rates = series.between(None, 0.0, 9.0).expect("rates");
        assert!((rates.of(Counts::admitted) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn before_and_after_a_moment_are_kept_apart() {
        let mut series = fed(10, 50);
        let reading = |at: u32| Reading {
            at: f64::from(at),
            counts: admitted(500 + (u64::from(at) - 10) * 7),
            ..bare()
        };
        for at in 11..=20 {
            series.push(&reading(at - 1), &reading(at));
        }
        let rate =
            |from, to| series.between(None, from, to).expect("rates").of(Counts::admitted).round();
        assert_eq!((rate(0.0, 10.4), rate(10.4, 20.0)), (50.0, 7.0));
    }
}
