//! The source table against the traffic that it has to remember, and the precision of budgets on this number of CPUs.

use limiter_common::rate::Limit;

use super::Findings;
use crate::policy::Policy;
use crate::report::numbers::count;

/// The table, and what a service adds to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Sources that it can hold.
    pub ways: u64,
    /// Sources in debt now.
    pub live: u64,
    /// Debts forgotten so far, and in the last second.
    pub steals: (u64, u64),
    /// Attempts per second that were charged to their sources, and for how many seconds each holds its place, by service.
    pub load: Vec<(f64, f64)>,
}

/// Seconds that a source holds its place after one attempt: 1/rate.
pub fn interval(limit: Limit) -> f64 {
    if limit.is_none() { 0.0 } else { limit.rate.period as f64 / limit.rate.count as f64 / 1e9 }
}

/// The table.
pub fn check(table: &Table, to: &mut Findings) {
    to.area("source table");
    let percent = 100.0 * table.live as f64 / table.ways.max(1) as f64;
    let needed: f64 = table.load.iter().map(|(rate, interval)| rate * interval).sum();
    let (all, now) = table.steals;
    let what =
        format!("{} of {} entries in use ({percent:.1}%)", count(table.live), count(table.ways));
    // So that the next doubling of the traffic fits too.
    let held = table.live.max(needed as u64).min(1 << 26);
    let wanted = (4 * held).next_power_of_two().clamp(2 * table.ways, 1 << 28);
    let advice = format!(
        "make it larger in calm: `limiter detach --all`, then attach as before with `--sources \
         {wanted}` (8 bytes each); or let sources hold their entries for less time, with higher \
         rates"
    );
    if now > 0 {
        to.problem(
            format!("{what}: {} debts evicted in the last second, the smallest first", count(now)),
            advice,
        );
    } else if needed > table.ways as f64 / 2.0 {
        to.warning(format!("{what}; the current traffic needs {}", count(needed as u64)), advice);
    } else if percent > 50.0 {
        to.warning(format!("{what}: more than half"), advice);
    } else if all > 0 {
        let what = format!("{what}; {} debts evicted so far, none now", count(all));
        // A few are chance: eight sources of one set at once.
        if all > table.ways / 100 {
            to.warning(format!("{what}: it was too small once"), advice)
        } else {
            to.ok(what)
        }
    } else {
        to.ok(format!("{what}, no debt was ever evicted"));
    }
}

/// By how much budgets may be exceeded at most. `leases`: tokens that a CPU draws at once, with the name of the budget.
pub fn budgets(
    policy: &Policy,
    leases: &[(String, u32)],
    possible: u32,
    online: u32,
    to: &mut Findings,
) {
    to.area("budgets");
    if leases.is_empty() {
        let limited = policy.has_limits();
        return to.ok(if limited {
            "none; sources have limits"
        } else {
            "none, and no source limits: everything passes"
        });
    }
    for (name, lease) in leases {
        let most = u64::from(*lease) * u64::from(online);
        to.ok(format!(
            "{name} is kept to within {} attempts ({online} CPUs, {lease} at a time)",
            count(most)
        ));
    }
    if possible >= 4 * online.max(1) {
        to.ok(format!(
            "their leases are for {possible} CPUs, of which {online} are online: that costs a \
             little time, not precision"
        ));
    }
}

#[cfg(test)]
mod tests {
    use limiter_common::rate::Rate;

    use super::super::Level;
    use super::*;

    fn found(live: u64, steals: (u64, u64), load: &[(f64, f64)]) -> super::super::Finding {
        let mut findings = Findings::default();
        check(&Table { ways: 524_288, live, steals, load: load.to_vec() }, &mut findings);
        findings.one("entries in use").clone()
    }

    #[test]
    fn sizes() {
        assert_eq!(found(1000, (0, 0), &[(20_000.0, 0.05)]).level, Level::Ok);
        assert_eq!(found(1000, (5, 0), &[]).level, Level::Ok, "chance");
        assert_eq!(found(1000, (100_000, 0), &[]).level, Level::Warning, "in some flood");
        assert_eq!(found(300_000, (0, 0), &[]).level, Level::Warning);
        let short = found(400_000, (10, 7), &[]);
        assert!(
            short.level == Level::Problem
                && short.advice.is_some_and(|advice| advice.contains("--sources 2097152"))
        );
        // 10,000 new sources a second that hold their places for a minute each.
        let near = found(1000, (0, 0), &[(10_000.0, 60.0)]);
        assert!(
            near.level == Level::Warning && near.what.contains("needs 600,000"),
            "{}",
            near.what
        );
        assert!(near.advice.is_some_and(|advice| advice.contains("--sources 4194304")));
    }

    #[test]
    fn how_long_a_source_holds_its_place() {
        assert_eq!(
            interval(Limit { rate: Rate { count: 30, period: 60_000_000_000 }, burst: 5 }),
            2.0
        );
        assert_eq!(interval(Limit::default()), 0.0);
    }

    #[test]
    fn precision() {
        let mut findings = Findings::default();
        budgets(&Policy::default(), &[("the host's".to_owned(), 4)], 64, 2, &mut findings);
        assert!(findings.one("within 8 attempts").what.starts_with("the host's"));
        assert_eq!(findings.one("64 CPUs").level, Level::Ok);
    }
}
