//! What an attempt costs that is asked who is present: the open connections of its source and of
//! its network, and its network's rate, each beside the same attempt with a source limit alone.

use anyhow::Result;
use lab::Frame;
use limiter::policy::Policy;
use limiter_common::reason::Reason;

use super::challenge::Row;
use super::measure::{Bench, limit, policy, program};

/// So much that none of it refuses.
const AMPLE: u64 = 1 << 20;

/// Sets what a row asks.
type Asks = fn(&mut Policy);

impl Bench {
    /// 65,536 sources of 256 networks, all of them admitted, first come.
    pub fn present(&mut self) -> Result<Vec<Row>> {
        let rows: [(&str, Asks); 6] = [
            ("source limit alone", |_| {}),
            ("and open", |policy| policy.services[0].admission.open = AMPLE),
            ("and open_budget", |policy| policy.open_budget = AMPLE),
            ("and network_open", |policy| policy.services[0].networks.open = AMPLE),
            ("and network_rate", |policy| {
                policy.services[0].networks.limit = limit((15_000, AMPLE));
            }),
            ("and open, network_open and network_rate", |policy| {
                let web = &mut policy.services[0];
                (web.admission.open, web.networks.open) = (AMPLE, AMPLE);
                web.networks.limit = limit((15_000, AMPLE));
            }),
        ];
        let frame = Frame::syn("11.0.0.1:40000".parse()?, "10.77.0.1:80".parse()?).build();
        let mut measured = Vec::new();
        for (name, asks) in rows {
            eprintln!("measuring {name} ...");
            let mut policy = policy((15_000, AMPLE), (0, 0))?;
            asks(&mut policy);
            self.enforce(&policy)?;
            let (mine, empty) =
                (program(&self.compare, "table_many")?, program(&self.compare, "empty_many")?);
            let [ns] = self.above([mine], empty, &frame, Reason::Admitted)?;
            measured.push(Row { name, ns: ns.median, ns_spread: ns.spread });
        }
        Ok(measured)
    }
}
