//! What is counted, by reason, and how rates and shares are written.

use std::collections::BTreeMap;

use limiter_common::reason::Reason;
use limiter_common::record::REASONS;

use super::{ByReason, numbers};

/// Packets by reason, whether the verdict was carried out or only counted, and what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// By the number of the reason.
    pub by: [u64; REASONS],
    /// Connections that the server was asked for: in observe mode also those over a limit.
    pub through: u64,
    /// Packets that were dropped indeed.
    pub dropped: u64,
    /// Connections that this kernel opened for clients, and those that a full accept queue turned
    /// away, at all ports; `None`: not known.
    pub server: Option<[u64; 2]>,
    /// Resets that this kernel sent, at all ports; 0 where that is not known.
    pub resets: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { by: [0; REASONS], through: 0, dropped: 0, server: None, resets: 0 }
    }
}

impl Counts {
    /// Both kinds together.
    pub fn of(decided: &ByReason, observed: &ByReason) -> Self {
        Self::sum(|reason| {
            [decided, observed].map(|map| map.get(reason.name()).copied().unwrap_or(0))
        })
    }

    /// Both kinds together, by the numbers of their reasons.
    pub fn of_numbers(decided: &[u64; REASONS], observed: &[u64; REASONS]) -> Self {
        Self::sum(|reason| [decided, observed].map(|by| by[reason as usize]))
    }

    /// With what the kernel counts, by name.
    pub fn with_kernel(self, tcp: &BTreeMap<String, u64>) -> Self {
        let server = ["PassiveOpens", "ListenOverflows"].map(|name| tcp.get(name).copied());
        let resets = tcp.get("OutRsts").copied().unwrap_or(0);
        Self { server: server[0].zip(server[1]).map(<[u64; 2]>::from), resets, ..self }
    }

    fn sum(of: impl Fn(Reason) -> [u64; 2]) -> Self {
        let mut counts = Self::default();
        for reason in Reason::ALL {
            let [done, only_counted] = of(*reason);
            counts.by[*reason as usize] = done.wrapping_add(only_counted);
            if reason.drops() {
                counts.dropped = counts.dropped.wrapping_add(done);
            }
            let passed = if reason.admits() { done } else { 0 };
            let spared = if reason.is_attempt() { only_counted } else { 0 };
            counts.through = counts.through.wrapping_add(passed).wrapping_add(spared);
        }
        counts
    }

    /// What came since `before`; `None` when the counters began anew in between.
    pub fn since(&self, before: &Self) -> Option<Self> {
        let mut grown = Self {
            through: self.through.checked_sub(before.through)?,
            dropped: self.dropped.checked_sub(before.dropped)?,
            server: (self.server.zip(before.server))
                .map(|(now, was)| [0, 1].map(|at| now[at].saturating_sub(was[at]))),
            resets: self.resets.saturating_sub(before.resets),
            ..Self::default()
        };
        for (index, grown) in grown.by.iter_mut().enumerate() {
            *grown = self.by[index].checked_sub(before.by[index])?;
        }
        Some(grown)
    }

    /// Adds more of them.
    pub fn add(&mut self, more: &Self) {
        self.by.iter_mut().zip(more.by).for_each(|(sum, more)| *sum = sum.wrapping_add(more));
        self.through = self.through.wrapping_add(more.through);
        self.dropped = self.dropped.wrapping_add(more.dropped);
        self.resets = self.resets.wrapping_add(more.resets);
        if let Some(more) = more.server {
            let sum = self.server.get_or_insert_default();
            *sum = [0, 1].map(|at| sum[at].wrapping_add(more[at]));
        }
    }

    /// Those with a reason.
    pub fn one(&self, reason: Reason) -> u64 {
        self.by[reason as usize]
    }

    /// Those whose reason counts.
    pub fn total(&self, counts: impl Fn(Reason) -> bool) -> u64 {
        Reason::ALL.iter().filter(|reason| counts(**reason)).map(|reason| self.one(*reason)).sum()
    }

    /// Attempts that a limit or a challenge judged.
    pub fn attempts(&self) -> u64 {
        self.total(Reason::is_attempt)
    }

    /// Cookies that came back, let in or not.
    pub fn proofs(&self) -> u64 {
        self.total(Reason::is_proof)
    }

    /// Connections that were let in.
    pub fn admitted(&self) -> u64 {
        self.total(Reason::admits)
    }

    /// Connections that the waiting room was handed.
    pub fn diverted(&self) -> u64 {
        self.total(Reason::is_diverted)
    }

    /// Packets with a dropping reason, in either mode.
    pub fn refused(&self) -> u64 {
        self.total(Reason::drops)
    }
}

/// What came in some seconds.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// What came.
    pub counts: Counts,
    /// In so many seconds.
    pub seconds: f64,
}

impl Rates {
    /// What `pick` picks, per second.
    pub fn of(&self, pick: impl Fn(&Counts) -> u64) -> f64 {
        pick(&self.counts) as f64 / self.seconds
    }
}

/// A rate as people read it: `3.4`, `38,120`, `1.23M`.
pub fn rate(rate: f64) -> String {
    match rate {
        _ if rate <= 0.0 => "0".to_owned(),
        _ if rate < 0.05 => "<0.1".to_owned(),
        _ if rate < 9.95 => format!("{rate:.1}"),
        _ if rate < 999_999.5 => numbers::count(rate.round() as u64),
        _ => format!("{:.2}M", rate / 1e6),
    }
}

/// A share of the whole: `0.4%`, `97%`. What is not all is not 100%, and what is not nothing is not
/// 0%.
pub fn percent(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
    match percent {
        _ if percent <= 0.0 => "0%".to_owned(),
        _ if percent < 0.1 => "<0.1%".to_owned(),
        _ if percent < 0.95 => format!("{percent:.1}%"),
        _ if percent > 99.0 && percent < 99.95 => format!("{percent:.1}%"),
        _ if (99.95..100.0).contains(&percent) => ">99.9%".to_owned(),
        _ => format!("{percent:.0}%"),
    }
}

/// Reasons that refuse, with their rates of now, the most frequent first.
pub fn refusals(rates: &Rates) -> Vec<(Reason, f64)> {
    let dropping = Reason::ALL.iter().copied().filter(|reason| reason.drops());
    let mut found: Vec<_> =
        dropping.map(|reason| (reason, rates.of(|counts| counts.one(reason)))).collect();
    found.retain(|(_, rate)| *rate > 0.0);
    found.sort_by(|one, other| other.1.total_cmp(&one.1));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        let shown = [0.0, 0.04, 3.42, 9.96, 999.4, 38_120.0, 999_999.4, 1_234_567.0].map(rate);
        assert_eq!(shown, ["0", "<0.1", "3.4", "10", "999", "38,120", "999,999", "1.23M"]);
    }

    #[test]
    fn not_all_is_never_everything_nor_something_nothing() {
        let shown =
            [0.0, 0.01, 0.4, 1.2, 97.4, 99.2, 99.97, 100.0].map(|part| percent(part, 100.0));
        assert_eq!(shown, ["0%", "<0.1%", "0.4%", "1%", "97%", "99.2%", ">99.9%", "100%"]);
    }
}
