//! Rates from absolute counters, one point for each two lines of a series. Counters may begin again, seconds be missing, clocks be set: no
//! difference is ever taken over such a place, and each is kept as a break.

use std::collections::{BTreeMap, BTreeSet};

use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::REASONS;

use super::series::{Counts, Distinct, Limiter, Tick};
use crate::observe::Sources;

/// Seconds between two lines from which on something is missing.
const GAP: f64 = 2.5;
/// Two lines that are closer are no two looks, seconds: what lies between them is no rate.
const CLOSEST: f64 = 0.001;
/// Seconds that are believed to lie between two lines: a day more than the longest recording.
const FARTHEST: f64 = 172_800.0;
/// Breaks and names that are kept.
const MOST: usize = 1000;

/// What a recording counted.
#[derive(Debug, Default)]
pub struct Series {
    /// Oldest first.
    pub points: Vec<Point>,
    /// Where something is missing.
    pub breaks: Vec<Break>,
    /// Attempts, admitted and refused of each service, over the whole time.
    pub services: BTreeMap<String, [f64; 3]>,
    /// Attempts that limits in the shadow judged, and would have refused, by service and by what
    /// was tried.
    pub shadows: BTreeMap<(String, String), [u64; 2]>,
    /// Wall time of the first line, in milliseconds since 1970.
    pub began: u64,
    /// Lines.
    pub lines: u64,
    last: Option<Tick>,
    unknown: BTreeSet<String>,
}

/// A place over which no difference is taken.
#[derive(Clone, Debug)]
pub struct Break {
    /// Seconds from the beginning of the series.
    pub at: f64,
    /// What is there.
    pub what: String,
}

/// A second. Rates are per second.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its end, in seconds from the beginning of the series.
    pub at: f64,
    /// How long it is.
    pub seconds: f64,
    /// What limiter counted, by the number of the reason; `None` where that is not known.
    pub counted: Option<Box<Counted>>,
    /// What the kernel counted.
    pub tcp: Option<Tcp>,
    /// `true` while what is over a limit is dropped; `None` while limiter is not loaded.
    pub enforces: Option<bool>,
    /// Number of the policy.
    pub generation: u64,
    /// Whether sources of some service are challenged.
    pub challenging: bool,
    /// Percent of the host's budget, and of the fullest one of a service.
    pub budgets: [Option<f64>; 2],
    /// Sources in debt.
    pub live: f64,
    /// Debts forgotten.
    pub steals: f64,
    /// How many sources there are.
    pub distinct: Option<Distinct>,
    /// Which of them come most, and how they come.
    pub sources: Option<Sources>,
    /// Percent of all CPU time that is busy, and in soft interrupts.
    pub cpu: Option<[f64; 2]>,
    /// Packets received, bytes received, and packets dropped by the interfaces.
    pub nic: Option<[f64; 3]>,
}

/// Packets a second, by the number of their reason.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Whose verdict was carried out.
    pub decided: [f64; REASONS],
    /// That passed, and that enforcing would have dropped or answered.
    pub observed: [f64; REASONS],
}

/// What the kernel counted a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tcp {
    /// Connections that clients opened.
    pub opened: f64,
    /// Turned away because the accept queue was full.
    pub overflows: f64,
    /// Turned away by listeners for any reason.
    pub drops: f64,
    /// Cookies that the kernel sent by itself, got back, and found wrong.
    pub cookies: [f64; 3],
    /// Segments sent again.
    pub retransmitted: f64,
    /// Dropped for want of memory or of room in a socket's queues.
    pub starved: f64,
    /// Connections that are open.
    pub established: f64,
}

/// The sum over the reasons that `counts` picks.
pub fn sum(by_reason: &[f64; REASONS], counts: impl Fn(Reason) -> bool) -> f64 {
    Reason::ALL
        .iter()
        .filter(|reason| counts(**reason))
        .map(|reason| by_reason[*reason as usize])
        .sum()
}

impl Counted {
    /// Both together for the reasons that `counts` picks.
    pub fn sum(&self, counts: impl Fn(Reason) -> bool) -> f64 {
        sum(&self.decided, &counts) + sum(&self.observed, &counts)
    }

    /// Attempts that a limit judged.
    pub fn attempts(&self) -> f64 {
        self.sum(Reason::is_attempt)
    }

    /// Connections that were let in.
    pub fn admitted(&self) -> f64 {
        sum(&self.decided, Reason::admits)
    }

    /// What went on to the server: let in, and in observe mode what is over a limit too.
    pub fn let_through(&self) -> f64 {
        self.admitted() + sum(&self.observed, Reason::is_attempt)
    }

    /// Attempts that ended at limiter: dropped, or answered with a cookie.
    pub fn held_back(&self) -> f64 {
        sum(&self.decided, |reason| reason.is_attempt() && reason.verdict() != Verdict::Pass)
    }

    /// Attempts that are kept from the service, whether the mode let that be or not.
    pub fn refused(&self) -> f64 {
        self.sum(|reason| reason.is_attempt() && reason.refuses())
    }
}

impl Series {
    /// Takes the next line.
    pub fn push(&mut self, tick: Tick) {
        self.lines += 1;
        let Some(last) = self.last.replace(tick.clone()) else {
            self.began = tick.time.map_or(0, |time| time.millis());
            return;
        };
        let passed = tick.monotonic - last.monotonic;
        let so_far = self.points.last().map_or(0.0, |point| point.at);
        if !(CLOSEST..FARTHEST).contains(&passed) {
            let wall =
                [&tick, &last].map(|tick| tick.time.map_or(0.0, |time| time.millis() as f64 / 1e3));
            let at = so_far + (wall[0] - wall[1]).clamp(1.0, FARTHEST);
            self.mark(
                at,
                "the machine was started again, or the record was put together from two".to_owned(),
            );
            self.points.push(Point::bare(&tick, at, at - so_far));
            return;
        }
        let at = so_far + passed;
        if passed > GAP {
            self.mark(
                at,
                format!("{:.0} seconds are missing, the averages over them are not", passed - 1.0),
            );
        }
        let mut point = Point::bare(&tick, at, passed);
        point.tcp = tcp(&last.tcp, &tick.tcp, passed);
        point.cpu = share(
            last.cpu.total,
            tick.cpu.total,
            [(last.cpu.busy, tick.cpu.busy), (last.cpu.softirq, tick.cpu.softirq)],
        );
        point.nic = nics(&last, &tick, passed);
        self.count(&mut point, last.limiter.as_ref(), tick.limiter.as_ref());
        self.points.push(point);
    }

    fn count(&mut self, point: &mut Point, before: Option<&Limiter>, after: Option<&Limiter>) {
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            (None, None) => return,
            (was, _) => {
                let what =
                    if was.is_some() { "limiter was unloaded" } else { "limiter was loaded" };
                return self.mark(point.at, what.to_owned());
            }
        };
        match self.differences(before, after, point.seconds) {
            Some(counted) => point.counted = Some(Box::new(counted)),
            None => {
                self.mark(point.at, "limiter's counters began again: it was loaded anew".to_owned())
            }
        }
        point.steals = after.steals.saturating_sub(before.steals) as f64 / point.seconds;
    }

    /// `None` when a counter went backwards.
    fn differences(&mut self, before: &Limiter, after: &Limiter, seconds: f64) -> Option<Counted> {
        let mut sum = Counted { decided: [0.0; REASONS], observed: [0.0; REASONS] };
        for service in &after.services {
            let nothing = super::series::Service::default();
            let old =
                before.services.iter().find(|old| old.name == service.name).unwrap_or(&nothing);
            let decided = self.by_reason(&old.decided, &service.decided)?;
            let observed = self.by_reason(&old.observed, &service.observed)?;
            let own = Counted { decided, observed };
            self.shadow(old, service);
            if self.services.len() < MOST || self.services.contains_key(&service.name) {
                let totals = self.services.entry(service.name.clone()).or_default();
                for (total, more) in
                    totals.iter_mut().zip([own.attempts(), own.admitted(), own.refused()])
                {
                    *total += more;
                }
            }
            for (sum, more) in sum
                .decided
                .iter_mut()
                .chain(&mut sum.observed)
                .zip(own.decided.iter().chain(&own.observed))
            {
                *sum += more / seconds;
            }
        }
        Some(sum)
    }

    /// What limits in the shadow would have done meanwhile; others begin to count anew.
    fn shadow(&mut self, before: &super::series::Service, after: &super::series::Service) {
        let Some(now) = &after.shadow else { return };
        let key = (after.name.clone(), now.tried.clone());
        if self.shadows.len() >= MOST && !self.shadows.contains_key(&key) {
            return;
        }
        let old = before.shadow.as_ref().filter(|old| old.tried == now.tried);
        let old = old.map_or([0, 0], |old| [old.judged, old.refused]);
        let sums = self.shadows.entry(key).or_default();
        for (sum, (now, old)) in sums.iter_mut().zip([now.judged, now.refused].into_iter().zip(old))
        {
            let more = now.checked_sub(old).unwrap_or(now);
            *sum = sum.saturating_add(more);
        }
    }

    fn by_reason(&mut self, before: &Counts, after: &Counts) -> Option<[f64; REASONS]> {
        let mut differences = [0.0; REASONS];
        for (name, count) in after {
            let Some(reason) = Reason::ALL.iter().find(|reason| reason.name() == name) else {
                if self.unknown.len() < 10 {
                    self.unknown.insert(name.chars().take(40).collect());
                }
                continue;
            };
            differences[*reason as usize] =
                count.checked_sub(before.get(name).copied().unwrap_or(0))? as f64;
        }
        // A counter that is gone has begun again.
        before.keys().all(|name| after.contains_key(name)).then_some(differences)
    }

    fn mark(&mut self, at: f64, what: String) {
        if self.breaks.len() < MOST {
            self.breaks.push(Break { at, what });
        }
    }

    /// Seconds from the beginning to the end.
    pub fn length(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.at)
    }

    /// The reasons that this limiter does not know.
    pub fn unknown(&self) -> impl Iterator<Item = &String> {
        self.unknown.iter()
    }
}

impl Point {
    /// A point without rates.
    fn bare(tick: &Tick, at: f64, seconds: f64) -> Self {
        let limiter = tick.limiter.as_ref();
        let services = || limiter.iter().flat_map(|limiter| &limiter.services);
        let fullest = services().filter_map(|service| service.budget_used).max_by(f64::total_cmp);
        Self {
            at,
            seconds,
            counted: None,
            tcp: None,
            enforces: limiter.map(|limiter| limiter.mode == "enforce"),
            generation: limiter.map_or(0, |limiter| limiter.generation),
            challenging: services().any(|service| service.challenging),
            budgets: [limiter.and_then(|limiter| limiter.budget_used), fullest],
            live: limiter.map_or(0.0, |limiter| limiter.live as f64),
            steals: 0.0,
            distinct: limiter.and_then(|limiter| limiter.distinct),
            sources: limiter.and_then(|limiter| limiter.sources.clone()),
            cpu: None,
            nic: None,
        }
    }
}

/// The rate of one counter; 0 where it is missing or began again.
fn rate(before: &Counts, after: &Counts, name: &str, seconds: f64) -> f64 {
    let (Some(before), Some(after)) = (before.get(name), after.get(name)) else { return 0.0 };
    after.saturating_sub(*before) as f64 / seconds
}

fn tcp(before: &Counts, after: &Counts, seconds: f64) -> Option<Tcp> {
    if before.is_empty() || after.is_empty() {
        return None;
    }
    let rate = |name| rate(before, after, name, seconds);
    Some(Tcp {
        opened: rate("PassiveOpens"),
        overflows: rate("ListenOverflows"),
        drops: rate("ListenDrops"),
        cookies: [rate("SyncookiesSent"), rate("SyncookiesRecv"), rate("SyncookiesFailed")],
        retransmitted: rate("RetransSegs"),
        starved: ["TCPReqQFullDrop", "TCPBacklogDrop", "TCPRcvQDrop", "TCPAbortOnMemory"]
            .map(rate)
            .iter()
            .sum(),
        established: after.get("CurrEstab").map_or(0.0, |count| *count as f64),
    })
}

/// Percent that parts grew by of what the whole grew by.
fn share(before: u64, after: u64, parts: [(u64, u64); 2]) -> Option<[f64; 2]> {
    let whole = after.checked_sub(before).filter(|whole| *whole > 0)? as f64;
    // Idle time is known to go backwards a little on some kernels.
    Some(
        parts.map(|(before, after)| {
            (after.saturating_sub(before) as f64 / whole * 100.0).min(100.0)
        }),
    )
}

fn nics(before: &Tick, after: &Tick, seconds: f64) -> Option<[f64; 3]> {
    let pairs = after.nics.iter().filter_map(|nic| {
        let old = before.nics.iter().find(|old| old.name == nic.name)?;
        Some(
            ["rx_packets", "rx_bytes", "rx_dropped"]
                .map(|name| rate(&old.counts, &nic.counts, name, seconds)),
        )
    });
    pairs.reduce(|sum, more| [sum[0] + more[0], sum[1] + more[1], sum[2] + more[2]])
}
