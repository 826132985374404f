//! Sums over a span of points.

use limiter_common::reason::{Limit, Reason, Verdict};
use limiter_common::record::REASONS;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::super::points::{Counted, Point, Tcp, sum};

/// What was counted over a span.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// Its length in seconds.
    pub seconds: f64,
    /// Seconds of which limiter's counters are known.
    pub counted_seconds: f64,
    /// Seconds of which the kernel's are.
    pub kernel_seconds: f64,
    /// Packets by reason.
    #[serde(serialize_with = "by_name")]
    pub counted: Counted,
    /// The kernel's counters; of `established` the most.
    #[serde(skip)]
    pub tcp: Tcp,
    /// Most attempts in a second; of a step that was shorter, those of the step.
    pub peak: f64,
    /// The most of the CPU that was busy, and in soft interrupts, in percent.
    pub cpu: [f64; 2],
    /// Packets that interfaces received, bytes, and packets that they dropped.
    pub nic: [f64; 3],
    /// Seconds in which limiter enforced.
    pub enforced_seconds: f64,
    /// Fullest budgets in percent: the host's, a service's.
    pub budgets: [Option<f64>; 2],
}

impl Totals {
    /// The sums.
    pub fn of(points: &[&Point]) -> Self {
        let mut sum = Self {
            seconds: 0.0,
            counted_seconds: 0.0,
            kernel_seconds: 0.0,
            counted: Counted { decided: [0.0; REASONS], observed: [0.0; REASONS] },
            tcp: Tcp::default(),
            peak: 0.0,
            cpu: [0.0; 2],
            nic: [0.0; 3],
            enforced_seconds: 0.0,
            budgets: [None; 2],
        };
        points.iter().for_each(|point| sum.add(point));
        sum
    }

    fn add(&mut self, point: &Point) {
        let seconds = point.seconds;
        self.seconds += seconds;
        if point.enforces == Some(true) {
            self.enforced_seconds += seconds;
        }
        if let Some(counted) = &point.counted {
            self.counted_seconds += seconds;
            let sums = self.counted.decided.iter_mut().chain(&mut self.counted.observed);
            sums.zip(counted.decided.iter().chain(&counted.observed))
                .for_each(|(sum, rate)| *sum += rate * seconds);
            self.peak = self.peak.max(counted.attempts() * seconds.min(1.0));
        }
        if let Some(tcp) = &point.tcp {
            self.kernel_seconds += seconds;
            let pairs = [
                (&mut self.tcp.opened, tcp.opened),
                (&mut self.tcp.overflows, tcp.overflows),
                (&mut self.tcp.drops, tcp.drops),
                (&mut self.tcp.retransmitted, tcp.retransmitted),
                (&mut self.tcp.starved, tcp.starved),
            ];
            pairs.into_iter().for_each(|(sum, rate)| *sum += rate * seconds);
            self.tcp
                .cookies
                .iter_mut()
                .zip(tcp.cookies)
                .for_each(|(sum, rate)| *sum += rate * seconds);
            self.tcp.established = self.tcp.established.max(tcp.established);
        }
        let cpu = point.cpu.unwrap_or_default();
        self.cpu = [self.cpu[0].max(cpu[0]), self.cpu[1].max(cpu[1])];
        self.nic
            .iter_mut()
            .zip(point.nic.unwrap_or_default())
            .for_each(|(sum, rate)| *sum += rate * seconds);
        for (most, now) in self.budgets.iter_mut().zip(point.budgets) {
            *most = [*most, now].into_iter().flatten().max_by(f64::total_cmp);
        }
    }

    /// `count` a second, of what limiter counts.
    pub fn rate(&self, count: f64) -> f64 {
        count / self.counted_seconds.max(1e-9)
    }

    /// `count` a second, of what the kernel counts.
    pub fn kernel_rate(&self, count: f64) -> f64 {
        count / self.kernel_seconds.max(1e-9)
    }

    /// Packets with a reason, dropped or only counted.
    pub fn of_reason(&self, reason: Reason) -> f64 {
        self.counted.decided[reason as usize] + self.counted.observed[reason as usize]
    }

    /// SYNs that went on to the kernel: let in, or over a limit in observe mode.
    pub fn passed(&self) -> f64 {
        let let_in = sum(&self.counted.decided, |reason| {
            reason.is_attempt() && reason.verdict() == Verdict::Pass
        });
        let_in + sum(&self.counted.observed, Reason::is_attempt)
    }

    /// Attempts over their source's own limit, dropped or only counted.
    pub fn over_own_limit(&self) -> f64 {
        self.counted.sum(|reason| reason.limit() == Some(Limit::Own))
    }
}

/// By the names of the reasons, without the zeros.
fn by_name<S: Serializer>(counted: &Counted, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    for reason in Reason::ALL {
        let count = counted.decided[*reason as usize] + counted.observed[*reason as usize];
        if count > 0.0 {
            map.serialize_entry(reason.name(), &count.round())?;
        }
    }
    map.end()
}
