//! Floods: SYNs at a rate, from a few addresses or from any, of which none is sent again.

use limiter_common::address::Address;

use super::{Do, World};

/// SYNs that no client stands behind.
#[derive(Clone, Debug)]
pub struct Flood {
    pub rate: f64,
    /// The addresses that it bears; none: any.
    pub from: Vec<u32>,
    pub began: u64,
    pub until: u64,
    pub pulse: Option<[f64; 2]>,
}

impl World {
    pub fn flood(&mut self, flood: Flood, at: u64) {
        self.floods.push(flood);
        self.at(at, Do::Flood(self.floods.len() as u32 - 1));
    }

    pub(super) fn flooded(&mut self, id: u32) {
        let Some(flood) = self.floods.get(id as usize).cloned() else { return };
        if self.now >= flood.until {
            return;
        }
        let is_on = flood
            .pulse
            .is_none_or(|[on, off]| (self.now - flood.began) as f64 / 1e9 % (on + off) <= on);
        if is_on {
            let address = match flood.from.len() {
                0 => 0x0100_0000 + self.rng.u32(..0xde00_0000),
                count => flood.from[self.rng.usize(..count)],
            };
            let reason = self.door.syn(Address::v4(address), self.now);
            if !self.door.ends(reason) && self.kernel_takes() {
                self.kernel.sent_again += u64::from(self.rng.f32() < 0.5);
                if self.rng.f32() < 0.05 {
                    // Its owner answers with a reset.
                    self.segment();
                }
            }
        }
        let gap = -(1.0 - self.rng.f64()).ln() / flood.rate;
        self.later(gap, Do::Flood(id));
    }
}
