//! What an attempt costs while a share of its budget is in force, beside the same one with the
//! budget that the policy states.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::Frame;
use limiter::kernel::clock;
use limiter::report::Sample;
use limiter_common::reason::Reason;
use limiter_common::share::Share;

use super::challenge::Row;
use super::measure::{Bench, Figure, policy, program};

/// Longer than it is measured for.
const TERM: Duration = Duration::from_secs(3600);

impl Bench {
    /// 65,536 sources while a budget is not spent, and random ones while it is. With the share and
    /// without it in turns, because what is between them is less than a machine changes meanwhile.
    pub fn share(&mut self) -> Result<Vec<Row>> {
        let (spent, ample) = ((100, 200), (10_000_000, 20_000_000));
        let mut rows = Vec::new();
        let of_ample = ["ample_65536_sources", "ample_with_a_share", "ample: a share costs"];
        let of_spent = ["spent_random_sources", "spent_with_a_share", "spent: a share costs"];
        for (names, budget, sources, reason) in [
            (of_ample, ample, "_many", Reason::Admitted),
            (of_spent, spent, "_random", Reason::GlobalBudget),
        ] {
            eprintln!("measuring {} ...", names[1]);
            self.enforce(&policy((15_000, 1 << 20), budget)?)?;
            // The same rate, so that nothing differs but where it is read.
            let (index, stated) = self.maps.budgets()?["host"];
            let share = Share::new(stated.interval, clock::after(TERM)).context("a share")?;
            let frame = Frame::syn("11.0.0.1:40000".parse()?, "10.77.0.1:80".parse()?).build();
            let [mine, empty] = ["table", "empty"].map(|kind| format!("{kind}{sources}"));
            let (mine, empty) = (program(&self.compare, &mine)?, program(&self.compare, &empty)?);
            let mut times = [const { Vec::new() }; 3];
            let before = Sample::take(&self.maps)?.total();
            for round in 0..=self.rounds {
                let mut pair = [0.0; 2];
                for (time, word) in pair.iter_mut().zip([Share::NONE, share]) {
                    self.maps.set_share(index, word)?;
                    let base = self.run(empty, &frame)?;
                    *time = self.run(mine, &frame)? - base;
                }
                // The first round warms caches and tables.
                if round > 0 {
                    let all = [pair[0], pair[1], pair[1] - pair[0]];
                    times.iter_mut().zip(all).for_each(|(times, time)| times.push(time));
                }
            }
            self.met(&before, reason)?;
            self.maps.set_share(index, Share::NONE)?;
            for (name, times) in names.into_iter().zip(times) {
                let ns = Figure::of(times);
                rows.push(Row { name, ns: ns.median, ns_spread: ns.spread });
            }
        }
        Ok(rows)
    }
}
