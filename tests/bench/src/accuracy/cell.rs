//! The cells: what is limited, how fast, from how many CPUs and sources; and what came of it.

use serde::Serialize;

use super::simulation::Skew;

/// What is limited.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// All attempts together.
    Budget,
    /// Those of one source.
    Source,
    /// Those of each of many sources.
    Sources,
    /// All attempts of many sources together, beside their own limits.
    BudgetOfSources,
}

/// How it was found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The real program in the kernel, under a real flood.
    Kernel,
    /// The same algorithm with an injected clock.
    Simulation,
}

/// Which CPUs the attempts come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Load {
    /// CPUs that limiter counts on.
    pub cpus: usize,
    /// Their shares.
    pub skew: Skew,
}

/// One cell.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who limits.
    pub peer: &'static str,
    /// What.
    pub limited: Kind,
    /// Kernel or simulation.
    pub how: How,
    /// Per second.
    pub rate: u64,
    /// At once.
    pub burst: u64,
    /// CPUs of the machine.
    pub cpus: usize,
    /// `one`, `even` or `90/10`.
    pub skew: &'static str,
    /// Sources.
    pub sources: u32,
    /// Places in the table.
    pub places: u32,
    /// Length in seconds.
    pub seconds: f64,
    /// Attempts that came.
    pub attempts: u64,
    /// Those let in; none if the tool refused to be set to this.
    pub admitted: Option<u64>,
    /// rate x t + burst, times the sources.
    pub allowed: f64,
    /// What the bound of the design grants.
    pub bound: f64,
    /// Whether it holds.
    pub holds: Option<bool>,
    /// Live debts forgotten for others, where it is known.
    pub steals: Option<u64>,
    /// Sources that got more than their own bound, where it is known.
    pub sources_over: Option<u32>,
    /// The tool's words, if it refused.
    pub note: Option<String>,
}

impl Load {
    /// The name of its skew.
    pub const fn skew_name(self) -> &'static str {
        match self.skew {
            Skew::One => "one",
            Skew::Even => "even",
            Skew::Ninety => "90/10",
        }
    }
}

impl Row {
    /// Admitted as a share of what is allowed; none where there is nothing to say: refused by the tool, or too few came.
    pub fn ratio(&self) -> Option<f64> {
        let admitted = self.admitted? as f64;
        (!self.is_weak()).then_some(admitted / self.allowed)
    }

    /// Whether fewer came than are allowed: then everything may pass and shows nothing.
    pub fn is_weak(&self) -> bool {
        (self.attempts as f64) < 1.05 * self.allowed
    }
}

/// The smallest burst that limiter takes, 10 ms of the rate, and what it takes by itself, 2 s of it.
pub fn bursts(rate: u64) -> [u64; 2] {
    [rate.div_ceil(100), (2 * rate).max(10)]
}

/// Places of the table that many sources come to, small enough that a second's flood asks all of them for more than their limit.
pub const PLACES: u32 = 2048;
/// Rate and burst of each of many sources.
pub const EACH: (u64, u64) = (20, 40);
/// Sources for each place, in eighths.
pub const EIGHTHS: [u32; 6] = [1, 2, 4, 8, 16, 32];
