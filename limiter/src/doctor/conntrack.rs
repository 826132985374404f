//! Connection tracking: a table that fills up behind limiter, and rules that drop the ACK of a challenged connection.

use super::{Findings, Tree};
use crate::report::human::count;

const DIRECTORY: &str = "proc/sys/net/netfilter/nf_conntrack_";

/// What is tracked. `challenges`: whether the loaded policy may challenge.
pub fn check(tree: &Tree, challenges: bool, to: &mut Findings) {
    to.area("firewall");
    let read = |name: &str| tree.number(&format!("{DIRECTORY}{name}"));
    let Some(most) = read("max") else {
        return to.ok("connections are not tracked (no nf_conntrack)");
    };
    let now = read("count").unwrap_or(0);
    if now * 10 >= most * 8 {
        to.problem(
            format!(
                "conntrack holds {} of {} connections; when it is full, everybody is refused",
                count(now),
                count(most)
            ),
            format!(
                "`sysctl -w net.netfilter.nf_conntrack_max={}`, or do not track the services' ports (notrack)",
                most * 4
            ),
        );
    } else {
        to.ok(format!("conntrack holds {} of {} connections", count(now), count(most)));
    }
    if challenges {
        rules(read("tcp_loose"), to);
    }
}

/// The SYN of a challenged connection never reaches the firewall: its ACK is the first packet that it sees.
fn rules(loose: Option<u64>, to: &mut Findings) {
    const LOOK: &str = "look for such rules with `nft list ruleset` and `iptables-save`, and take the services' ports out of them";
    if loose == Some(0) {
        to.problem(
            "nf_conntrack_tcp_loose is 0: the ACK of a challenged connection is `invalid`, and a rule that drops those cuts it off",
            format!("`sysctl -w net.netfilter.nf_conntrack_tcp_loose=1`; and {LOOK}"),
        );
    } else {
        to.warning(
            "a rule that drops what is `new` and no SYN would cut off every challenged connection; doctor does not read rules",
            LOOK,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const MAX: &str = "proc/sys/net/netfilter/nf_conntrack_max";
    const COUNT: &str = "proc/sys/net/netfilter/nf_conntrack_count";
    const LOOSE: &str = "proc/sys/net/netfilter/nf_conntrack_tcp_loose";

    fn with(files: &[(&str, &str)], challenges: bool) -> Findings {
        let (tree, _directory) = Tree::of(files);
        let mut findings = Findings::default();
        check(&tree, challenges, &mut findings);
        findings
    }

    #[test]
    fn tables() {
        assert_eq!(with(&[], true).worst(), Level::Ok);
        assert_eq!(with(&[(MAX, "1000"), (COUNT, "799")], false).worst(), Level::Ok);
        let findings = with(&[(MAX, "1000"), (COUNT, "800")], false);
        let full = findings.one("800 of 1,000");
        assert!(
            full.level == Level::Problem
                && full.advice.as_ref().is_some_and(|advice| advice.contains("max=4000"))
        );
    }

    #[test]
    fn a_challenge_behind_a_firewall() {
        assert_eq!(with(&[(MAX, "1000"), (LOOSE, "1")], true).one("no SYN").level, Level::Warning);
        assert_eq!(
            with(&[(MAX, "1000"), (LOOSE, "0")], true).one("tcp_loose").level,
            Level::Problem
        );
        assert_eq!(with(&[(MAX, "1000"), (LOOSE, "0")], false).worst(), Level::Ok);
    }
}
