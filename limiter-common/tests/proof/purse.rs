//! What sources may spend, and what they have paid.

use super::kernel::SECOND;
use super::packet::{Flow, SOURCES, source};

/// A connection in so long, and so many at once.
const INTERVAL: u64 = 10 * SECOND;
const BURST: u64 = 2;

#[derive(Debug, Default)]
pub struct Purse {
    /// When the debt of each source is paid.
    debts: [u64; SOURCES],
    paid: [u64; SOURCES],
}

impl Purse {
    /// Whether the source of a flow has to wait.
    pub fn is_over(&self, flow: Flow, now: u64) -> bool {
        self.debts[source(flow)] > now + (BURST - 1) * INTERVAL
    }

    /// Charges a connection to the source of a flow, and says whether it could.
    pub fn charge(&mut self, flow: Flow, now: u64) -> bool {
        if self.is_over(flow, now) {
            return false;
        }
        let source = source(flow);
        self.debts[source] = self.debts[source].max(now) + INTERVAL;
        self.paid[source] += 1;
        true
    }

    /// Connections that a source has paid for.
    pub fn paid(&self, source: usize) -> u64 {
        self.paid[source]
    }
}
