//! The fleet that the policy file names: whether its engine answers and has room, and whether this
//! node has its shares.

use super::Findings;
use crate::fleet::GONE;
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
    /// The files of certificates, and in how many seconds each expires.
    pub certificates: Vec<(String, Result<i64, String>)>,
    /// The machine's net.ipv4.fib_multipath_hash_policy.
    pub multipath: Option<u64>,
}

/// A certificate that lasts for less is to be made anew: two weeks, in seconds.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 86_400;
/// Wall clocks that differ by more seconds end bans at other times.
const APART: u64 = 5;

/// The fleet.
pub fn check(facts: &Facts, to: &mut Findings) {
    to.area(format!("fleet {}", facts.name));
    match &facts.health {
        Err(error) => to.problem(
            format!("{error}: each node admits what its own policy states"),
            format!(
                "{GONE}. Do the certificates in [fleet] fit and last? `systemctl reload limiter` \
                 reads new ones"
            ),
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
    if let Ok(health) = &facts.health {
        engine(health, to);
    }
    for (file, left) in &facts.certificates {
        certificate(file, left, to);
    }
    let policy =
        facts.multipath.map_or_else(String::new, |policy| format!("; here it is {policy}"));
    to.ok(format!(
        "each node applies source and network limits on its own: behind a router that chooses \
         nodes by ports, a source gets the limits of all nodes (on Linux \
         net.ipv4.fib_multipath_hash_policy=1){policy}"
    ));
    match facts.shares {
        Some((0, _)) => to.warning(
            "the policy in force has no budget, so there is nothing to share",
            "give a service a budget: what this node may use alone",
        ),
        Some((_, 0)) => to.problem(
            "no share of the fleet's budgets is in force: this node admits what its policy states",
            "is `limiter run` up, does the fleet have these budgets, and do they have room for \
             this node? See `limiter fleet status` and the daemon's log",
        ),
        Some((_, shares)) => to.ok(format!(
            "{} in force",
            crate::report::numbers::plural(shares as u64, ["share is", "shares are"])
        )),
        None => {}
    }
}

/// What will hinder it later.
fn engine(health: &Health, to: &mut Findings) {
    if health.keeps_all {
        to.warning(
            "etcd still keeps what it held a million changes ago, so its store grows until it is \
             full",
            "let it compact: ETCD_AUTO_COMPACTION_MODE=periodic, ETCD_AUTO_COMPACTION_RETENTION=5m",
        );
    }
    match health.ahead {
        Some(ahead) if ahead.unsigned_abs() > APART => to.warning(
            format!("the clock of etcd's machine differs from this one's by {} s", ahead.abs()),
            "let both follow NTP: bans and profiles of the fleet end by the wall clock; budgets do not",
        ),
        Some(_) => to.ok("the clock of etcd's machine and this one's agree"),
        None => {}
    }
}

fn certificate(file: &str, left: &Result<i64, String>, to: &mut Findings) {
    let remedy = "make a new one (fleet.md of the documentation), and `systemctl reload limiter`";
    match left {
        Err(error) => to.problem(error.clone(), remedy),
        Ok(left) if *left <= 0 => to.problem(format!("the certificate {file} has expired"), remedy),
        Ok(left) if *left < SOON => {
            let days = (left / DAY).unsigned_abs();
            let days = crate::report::numbers::plural(days, ["day", "days"]);
            to.warning(format!("the certificate {file} expires in {days}"), remedy);
        }
        Ok(left) => to.ok(format!("the certificate {file} lasts for {} days", left / DAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_fleet_of_all_kinds() {
        let good = Health {
            version: "3.4.23".to_owned(),
            bytes: 1 << 20,
            alarms: Vec::new(),
            keeps_all: false,
            ahead: Some(1),
        };
        let with = |health, shares, certificates| {
            let mut findings = Findings::default();
            let name = "school".to_owned();
            let facts = Facts { name, health, shares, certificates, multipath: Some(1) };
            check(&facts, &mut findings);
            findings
        };
        let of = |health, shares| with(health, shares, Vec::new());
        assert_eq!(of(Ok(good.clone()), Some((1, 1))).worst(), Level::Ok);
        let gone = of(Err("no etcd can be reached".to_owned()), None);
        assert_eq!(gone.one("no etcd can be reached").level, Level::Problem);
        let full = Health { alarms: vec!["NOSPACE".to_owned()], ..good.clone() };
        assert_eq!(of(Ok(full), None).one("NOSPACE").level, Level::Problem);
        let large = Health { bytes: 3 << 29, ..good.clone() };
        assert_eq!(of(Ok(large), None).one("1536 MiB").level, Level::Warning);
        let grows = Health { keeps_all: true, ..good.clone() };
        assert_eq!(of(Ok(grows), None).one("a million changes").level, Level::Warning);
        let apart = Health { ahead: Some(-90), ..good.clone() };
        assert_eq!(of(Ok(apart), None).one("by 90 s").level, Level::Warning);
        for (left, said, level) in [
            (Ok(400 * DAY), "lasts for 400 days", Level::Ok),
            (Ok(3 * DAY + 7), "expires in 3 days", Level::Warning),
            (Ok(-1), "has expired", Level::Problem),
            (Err("it is no PEM file".to_owned()), "no PEM file", Level::Problem),
        ] {
            let certificates = vec![("node.pem".to_owned(), left)];
            assert_eq!(with(Ok(good.clone()), None, certificates).one(said).level, level, "{said}");
        }
        assert_eq!(of(Ok(good.clone()), Some((1, 0))).one("no share").level, Level::Problem);
        assert_eq!(of(Ok(good), Some((0, 0))).one("nothing to share").level, Level::Warning);
    }
}
