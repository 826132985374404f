//! What an attempt costs where sources wait in line, beside the same one where the budget is for
//! those who come first.

use anyhow::Result;
use lab::Frame;
use limiter::policy::Admission;
use limiter_common::reason::Reason;

use super::challenge::Row;
use super::measure::{Bench, policy, program};

impl Bench {
    /// 65,536 sources while a budget is not spent, and random ones while it is: each first come, and
    /// in line.
    pub fn line(&mut self) -> Result<Vec<Row>> {
        let (spent, ample) = ((100, 200), (10_000_000, 20_000_000));
        let mut rows = Vec::new();
        for (name, budget, line, sources, reason) in [
            ("ample_65536_sources", ample, false, "_many", Reason::Admitted),
            ("ample_65536_sources_in_line", ample, true, "_many", Reason::Admitted),
            ("spent_random_sources", spent, false, "_random", Reason::GlobalBudget),
            ("spent_random_sources_in_line", spent, true, "_random", Reason::InLine),
        ] {
            eprintln!("measuring {name} ...");
            let mut policy = policy((15_000, 1 << 20), budget)?;
            policy.services[0].admission = Admission { line, ..Admission::default() };
            self.enforce(&policy)?;
            let frame = Frame::syn("11.0.0.1:40000".parse()?, "10.77.0.1:80".parse()?).build();
            let [mine, empty] = ["table", "empty"].map(|kind| format!("{kind}{sources}"));
            let (mine, empty) = (program(&self.compare, &mine)?, program(&self.compare, &empty)?);
            // A line that there was none of begins to wait after a tenth of a second.
            self.run(mine, &frame)?;
            let [ns] = self.above([mine], empty, &frame, reason)?;
            rows.push(Row { name, ns: ns.median, ns_spread: ns.spread });
        }
        Ok(rows)
    }
}
