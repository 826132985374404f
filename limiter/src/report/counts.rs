//! Packets by reason as one value, to be added and subtracted.

use limiter_common::reason::Reason;
use limiter_common::record::REASONS;

use super::ByReason;

/// Packets by reason, whether the verdict was carried out or only counted, and what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// By the number of the reason.
    pub by: [u64; REASONS],
    /// Connections that the server was asked for: in observe mode also those over a limit.
    pub through: u64,
    /// Packets that were dropped indeed.
    pub dropped: u64,
    /// Connections that the server's kernel opened, and that a full accept queue turned away;
    /// `None`: not known.
    pub server: Option<[u64; 2]>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { by: [0; REASONS], through: 0, dropped: 0, server: None }
    }
}

impl Counts {
    /// Both kinds together.
    pub fn of(decided: &ByReason, observed: &ByReason) -> Self {
        let mut counts = Self::default();
        for reason in Reason::ALL {
            let [done, only_counted] = [decided, observed].map(|map| map.get(reason.name()).copied().unwrap_or(0));
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
            server: self.server.zip(before.server).map(|(now, was)| [0, 1].map(|at| now[at].saturating_sub(was[at]))),
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
        if let Some(more) = more.server {
            let sum = self.server.unwrap_or_default();
            self.server = Some([sum[0].wrapping_add(more[0]), sum[1].wrapping_add(more[1])]);
        }
    }

    /// Those of a reason.
    pub fn one(&self, reason: Reason) -> u64 {
        self.by[reason as usize]
    }

    fn total(&self, counts: impl Fn(Reason) -> bool) -> u64 {
        Reason::ALL.iter().filter(|reason| counts(**reason)).map(|reason| self.one(*reason)).sum()
    }

    /// Attempts that a limit judged.
    pub fn attempts(&self) -> u64 {
        self.total(Reason::is_attempt)
    }

    /// Cookies that came back.
    pub fn proofs(&self) -> u64 {
        self.total(Reason::is_proof)
    }

    /// Connections that were let in.
    pub fn admitted(&self) -> u64 {
        self.total(Reason::admits)
    }

    /// Packets over a limit or on the ban list, in either mode.
    pub fn refused(&self) -> u64 {
        self.total(Reason::drops)
    }
}
