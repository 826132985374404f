//! How sources come: people open several connections at once, read, and come back when they like; a
//! tool comes by its clock, served or not. Told of the sample of attempts, of which the kernel side
//! keeps every one of a source that is in it.
//!
//! A SYN that TCP sends again is no other connection. It is known by its distance from one that was
//! not answered: 1, 2, 4, 8, 16 s, which are the waits of every system that sends SYNs.

use std::collections::HashMap;

use limiter_common::address::{Address, SourceMask};
use limiter_common::reason::{Group, Reason};
use limiter_common::sighting::{Sighting, What};
use serde::{Deserialize, Serialize};

/// How long back is looked, in nanoseconds.
pub const LOOKED_AT: u64 = 60_000_000_000;
/// Connections of one source that are no farther apart are one page, and those that are opened at
/// once, in nanoseconds.
const PAGE: u64 = 1_000_000_000;
const AT_ONCE: u64 = 350_000_000;
/// How long a page that was let in is waited for another, in nanoseconds.
const SOON: u64 = 10_000_000_000;
/// Waits after which TCP sends a SYN again, in seconds, and how far a clock may be off.
const WAITS: [f64; 5] = [1.0, 2.0, 4.0, 8.0, 16.0];
const EARLY: f64 = 0.03;
const LATE: f64 = 0.25;

/// A source is a program if it comes for so many pages, in gaps of at most so many seconds, and
/// opens not more than this share of its connections at once with another. Or if it opens so many.
const PAGES: usize = 3;
const GAP: f64 = 10.0;
const TOGETHER: f64 = 0.2;
const AUTOMATIC: u64 = 40;

/// How the sources of the sample came within the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manners {
    /// Sources in the sample.
    pub sources: u64,
    /// Their connections: SYNs that were sent again are not counted.
    pub connections: u64,
    /// SYNs that TCP sent again.
    pub repeats: u64,
    /// Attempts of each source, without the twentieth of the sources that came most.
    pub each: f64,
    /// The share of the connections that came at once with another of their source.
    pub together: f64,
    /// The share of the sources that asked for one page only.
    pub once: f64,
    /// The share of the connections that programs opened, which come by a clock and one by one.
    pub programs: f64,
    /// Seconds between two pages of such a source: the median of their medians.
    pub gap: f64,
    /// Pages of such sources that were let in ten seconds ago or earlier.
    pub let_in: u64,
    /// The share of these that their source followed with another within that time.
    pub again: f64,
}

/// What came of one source.
#[derive(Default)]
struct Came {
    /// Time, whether the SYN was left without an answer, and whether it was let in.
    attempts: Vec<(u64, bool, bool)>,
    weight: f64,
}

struct Page {
    first: u64,
    last: u64,
    connections: u64,
    /// Those of them that came at once with the one before.
    together: u64,
    /// Whether all of them were let in.
    is_let_in: bool,
}

impl Manners {
    /// Of the sample, up to `now`. `full`: a full accept queue turns clients away, so that a SYN
    /// that was let in may be sent again too.
    pub fn of<'a>(sightings: impl Iterator<Item = &'a Sighting>, now: u64, full: bool) -> Self {
        let (cut, since) = (SourceMask::new(32, 64), now.saturating_sub(LOOKED_AT));
        let (mut sources, mut most): (HashMap<Address, Came>, f64) = (HashMap::new(), 1.0);
        for seen in sightings.filter(|seen| seen.time >= since) {
            let what = What(seen.what);
            let weight = f64::from(what.halvings()).exp2();
            let reason = Reason::from_number(what.reason());
            let drops = what.is_enforced() && reason.is_some_and(Reason::drops);
            // One that was asked for a proof may wait behind it.
            let asks = matches!(reason.and_then(Reason::group), Some(Group::Challenged));
            let came = sources.entry(cut.apply(Address { high: seen.high, low: seen.low }));
            let came = came.or_default();
            came.attempts.push((seen.time, drops || full, !drops && !full && !asks));
            came.weight = came.weight.max(weight);
            most = most.max(weight);
        }
        // Others left the sample when it was halved: of them not all is known.
        let stayed = sources.into_values().filter(|came| came.weight >= most);
        Self::sum(stayed.map(|came| pages(came.attempts)), now)
    }

    fn sum(sources: impl Iterator<Item = (Vec<Page>, u64)>, now: u64) -> Self {
        let mut sum = Self::default();
        let (mut once, mut programs, mut at_once, mut again) = (0, 0, 0, 0);
        let (mut gaps, mut each) = (Vec::new(), Vec::new());
        for (pages, repeats) in sources {
            let connections = pages.iter().map(|page| page.connections).sum::<u64>();
            let together = pages.iter().map(|page| page.together).sum::<u64>();
            sum.sources += 1;
            sum.repeats += repeats;
            sum.connections += connections;
            each.push((connections + repeats) as f64);
            at_once += together;
            once += u64::from(pages.len() == 1);
            let starts = pages.windows(2).map(|pair| (pair[1].first - pair[0].first) as f64 / 1e9);
            let gap = median(starts.collect());
            let is_one_by_one = (together as f64) < TOGETHER * connections as f64;
            let is_paced = pages.len() >= PAGES && gap <= GAP && is_one_by_one;
            if !is_paced && connections < AUTOMATIC {
                continue;
            }
            programs += connections;
            gaps.push(gap);
            let is_early = |page: &Page| page.is_let_in && page.last + SOON <= now;
            for (at, page) in pages.iter().enumerate().filter(|(_, page)| is_early(page)) {
                let next = pages.get(at + 1);
                sum.let_in += 1;
                again += u64::from(next.is_some_and(|next| next.first - page.last < SOON));
            }
        }
        let share = |part: u64, of: u64| part as f64 / of.max(1) as f64;
        sum.once = share(once, sum.sources);
        sum.together = share(at_once, sum.connections);
        sum.programs = share(programs, sum.connections);
        sum.again = share(again, sum.let_in);
        each.sort_by(f64::total_cmp);
        each.truncate(each.len() - each.len().div_ceil(20).min(each.len() / 5));
        sum.each = each.iter().sum::<f64>() / each.len().max(1) as f64;
        sum.gap = median(gaps);
        sum
    }
}

/// The pages of one source, and how many of its SYNs were sent again.
fn pages(mut attempts: Vec<(u64, bool, bool)>) -> (Vec<Page>, u64) {
    // Claims of two CPUs may stand in another order than their times.
    attempts.sort_unstable_by_key(|(time, ..)| *time);
    let (mut pages, mut repeats): (Vec<Page>, u64) = (Vec::new(), 0);
    // SYNs without an answer that may come again, oldest first.
    let mut waiting: Vec<u64> = Vec::new();
    for (time, is_unanswered, is_let_in) in attempts {
        let again = waiting.iter().position(|sent| {
            let waited = (time - sent) as f64 / 1e9;
            WAITS.iter().any(|wait| (wait - EARLY..wait + LATE).contains(&waited))
        });
        if let Some(place) = again {
            waiting.remove(place);
            repeats += 1;
        } else {
            match pages.last_mut() {
                Some(page) if time - page.last < PAGE => {
                    page.together += u64::from(time - page.last < AT_ONCE);
                    page.last = time;
                    page.connections += 1;
                    page.is_let_in &= is_let_in;
                }
                _ => pages.push(Page {
                    first: time,
                    last: time,
                    connections: 1,
                    together: 0,
                    is_let_in,
                }),
            }
        }
        if is_unanswered {
            waiting.push(time);
        }
    }
    (pages, repeats)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn seen(source: u64, tenths: u64, reason: Reason) -> Sighting {
        let address = Address::v4(source as u32);
        let what = What::new(1, reason as u8, true, false, 0).0;
        Sighting {
            time: 100 * SECOND + tenths * SECOND / 10,
            high: address.high,
            low: address.low,
            what,
        }
    }

    fn of(seen: &[Sighting]) -> Manners {
        Manners::of(seen.iter(), 160 * SECOND, false)
    }

    /// Six connections at once, of which four are refused and sent again by TCP: one page.
    #[test]
    fn a_syn_that_is_sent_again_is_one_attempt() {
        let mut all: Vec<_> = (0..6)
            .map(|at| seen(1, 0, if at < 2 { Reason::Admitted } else { Reason::InLine }))
            .collect();
        for after in [10, 30, 70] {
            all.extend((0..4).map(|_| seen(1, after, Reason::InLine)));
        }
        let manners = of(&all);
        assert_eq!((manners.sources, manners.connections, manners.repeats), (1, 6, 12));
        assert_eq!((manners.together, manners.once), (5.0 / 6.0, 1.0));
        assert_eq!(manners.programs, 0.0, "a browser: {manners:?}");
    }

    /// What is answered is not sent again: one connection a second is a tool.
    #[test]
    fn a_clock_is_told_from_tcp() {
        let all: Vec<_> = (0..30).map(|at| seen(1, 10 * at, Reason::Admitted)).collect();
        let manners = of(&all);
        assert_eq!((manners.connections, manners.repeats, manners.programs), (30, 0, 1.0));
        assert!((manners.gap - 1.0).abs() < 1e-6, "{manners:?}");
        assert!(manners.again > 0.9, "{manners:?}");
    }

    #[test]
    fn sources_that_left_the_sample_do_not_count() {
        let mut all = vec![seen(1, 0, Reason::Admitted), seen(2, 0, Reason::Admitted)];
        let what = What::new(1, Reason::Admitted as u8, true, false, 3).0;
        all.push(Sighting { what, ..seen(2, 100, Reason::Admitted) });
        assert_eq!((of(&all).sources, of(&all).connections), (1, 2));
        assert_eq!(of(&[]), Manners::default());
    }
}
