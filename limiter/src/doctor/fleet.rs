//! The fleet that the policy file names: whether its engine answers and has room, and whether this
//! node has its shares.

use super::Findings;
use crate::fleet::etcd::Health;

/// A store of so many bytes is grown for want of compaction; etcd takes no more at 2 GiB.
const LARGE: u64 = 1 << 30;

/// What is asked of a fleet.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// What the engine says of itself.
    pub health: Result<Health, String>,
    /// Budgets of the policy in force, and shares that are in force; `None`: limiter is not loaded.
    pub shares: Option<(usize, usize)>,
}

/// The fleet.
pub fn check(facts: &Facts, to: &mut Findings) {
    to.area(format!("fleet {}", facts.name));
    match &facts.health {
        Err(error) => to.problem(
            format!("{error}: each node admits what its own policy states"),
            "is etcd up, and do the certificates in [fleet] fit and last? `systemctl reload limiter` \
             reads new ones",
        ),
        Ok(health) if !health.alarms.is_empty() => to.problem(
            format!("etcd raises {}, and takes no writes", health.alarms.join(", ")),
            "compact and defragment it (`etcdctl compact`, `etcdctl defrag`), then `etcdctl alarm \
             disarm`, and see that it compacts by itself",
        ),
        Ok(health) if health.bytes > LARGE => to.warning(
            format!("etcd's store has {} MiB, and takes no more at 2 GiB", health.bytes >> 20),
            "let it compact: ETCD_AUTO_COMPACTION_MODE=periodic, ETCD_AUTO_COMPACTION_RETENTION=5m, \
             and `etcdctl defrag` once",
        ),
        Ok(health) => to.ok(format!("etcd {} answers", health.version)),
    }
    match facts.shares {
        Some((0, _)) => to.warning(
            "the policy in force has no budget, so there is nothing to share",
            "give a service a budget: what this node may use alone",
        ),
        Some((_, 0)) => to.problem(
            "no share of the fleet's budgets is in force: this node admits what its policy states",
            "is `limiter run` up, has the fleet these budgets, and is there room for this node? \
             `limiter fleet status` and the daemon's log say so",
        ),
        Some((_, shares)) => to.ok(format!(
            "{} in force",
            crate::report::human::plural(shares as u64, ["share is", "shares are"])
        )),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_fleet_of_all_kinds() {
        let good = Health { version: "3.4.23".to_owned(), bytes: 1 << 20, alarms: Vec::new() };
        let of = |health, shares| {
            let mut findings = Findings::default();
            check(&Facts { name: "school".to_owned(), health, shares }, &mut findings);
            findings
        };
        assert_eq!(of(Ok(good.clone()), Some((1, 1))).worst(), Level::Ok);
        let gone = of(Err("no etcd can be reached".to_owned()), None);
        assert_eq!(gone.one("no etcd can be reached").level, Level::Problem);
        let full = Health { alarms: vec!["NOSPACE".to_owned()], ..good.clone() };
        assert_eq!(of(Ok(full), None).one("NOSPACE").level, Level::Problem);
        let large = Health { bytes: 3 << 29, ..good.clone() };
        assert_eq!(of(Ok(large), None).one("1536 MiB").level, Level::Warning);
        assert_eq!(of(Ok(good.clone()), Some((1, 0))).one("no share").level, Level::Problem);
        assert_eq!(of(Ok(good), Some((0, 0))).one("nothing to share").level, Level::Warning);
    }
}
