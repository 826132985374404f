//! The allow and ban lists: how full they are, and entries that cost without counting.

use limiter_common::record::{LIST_HOSTS, LIST_PREFIXES};

use super::Findings;
use crate::report::numbers::count;

/// What is on the lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists {
    /// Single addresses, of both lists, expired ones too.
    pub hosts: usize,
    /// Prefixes, likewise.
    pub prefixes: usize,
    /// Bans in force.
    pub bans: usize,
    /// Bans that have expired and are still there.
    pub expired: usize,
}

/// The lists.
pub fn check(lists: Lists, to: &mut Findings) {
    to.area("lists");
    let mut fine = true;
    for (what, now, most) in
        [("addresses", lists.hosts, LIST_HOSTS), ("prefixes", lists.prefixes, LIST_PREFIXES)]
    {
        if now as u64 * 10 > u64::from(most) * 9 {
            fine = false;
            to.warning(
                format!("hold {} of at most {} {what}", count(now as u64), count(u64::from(most))),
                "replace many addresses by prefixes, or remove entries that you do not need: \
                 `limiter ban list`, `limiter ban del`",
            );
        }
    }
    if lists.bans == 0 && lists.expired > 0 {
        to.warning(
            format!(
                "{} bans have expired, but are still looked up for every packet to a service",
                count(lists.expired as u64)
            ),
            "the next change of the list removes them: `limiter ban add 192.0.2.1 --for 1s`, an \
             address that no host has, and then `limiter ban del 192.0.2.1`",
        );
    } else if fine {
        let all = lists.hosts + lists.prefixes;
        to.ok(format!("{} entries, {} bans in force", count(all as u64), count(lists.bans as u64)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn full_and_expired() {
        let found = |lists| {
            let mut findings = Findings::default();
            check(lists, &mut findings);
            findings
        };
        assert_eq!(
            found(Lists { hosts: 3, bans: 2, expired: 1, ..Lists::default() }).worst(),
            Level::Ok
        );
        assert_eq!(
            found(Lists { hosts: 1, expired: 1, ..Lists::default() }).one("expired").level,
            Level::Warning
        );
        assert_eq!(
            found(Lists { hosts: 1_000_000, bans: 1, ..Lists::default() }).one("1,000,000").level,
            Level::Warning
        );
        assert_eq!(
            found(Lists { prefixes: 65_000, bans: 1, ..Lists::default() }).one("prefixes").level,
            Level::Warning
        );
    }
}
