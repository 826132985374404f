//! Connection tracking: a table that fills up behind limiter, and rules that drop the ACK of a challenged connection.

use super::{Findings, Tree};
use crate::hindrance::{Does, Rule};
use crate::report::numbers::count;

const DIRECTORY: &str = "proc/sys/net/netfilter/nf_conntrack_";

/// What is tracked. `rules`: those that matter to a challenge, if the loaded policy may challenge
/// and if they can be read.
pub fn check(tree: &Tree, rules: Option<Option<&[Rule]>>, to: &mut Findings) {
    to.area("firewall");
    let read = |name: &str| tree.number(&format!("{DIRECTORY}{name}"));
    if let Some(rules) = rules {
        moves(rules.unwrap_or_default(), to);
    }
    let Some(most) = read("max") else {
        return to.ok("connections are not tracked (no nf_conntrack)");
    };
    let now = read("count").unwrap_or(0);
    if now * 10 >= most * 8 {
        to.problem(
            format!(
                "conntrack holds {} of {} connections; when it is full, the kernel drops every new \
                 one",
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
    if let Some(rules) = rules {
        judges(tree, read("tcp_loose"), rules, to);
    }
}

/// A challenge would speak for a server that does not get the connection.
fn moves(rules: &[Rule], to: &mut Findings) {
    if let Some(rule) = rules.iter().find(|rule| rule.does == Does::Moves) {
        to.problem(
            format!(
                "{} hands connections to another address, port or socket: a challenge would speak for the wrong server",
                rule.place
            ),
            "if that concerns a service: `limiter set --service NAME --challenge off`, and leave \
             net.ipv4.tcp_syncookies at 1",
        );
    }
}

/// The SYN of a challenged connection never reaches the firewall: its ACK is the first packet that it sees.
fn judges(tree: &Tree, loose: Option<u64>, rules: Option<&[Rule]>, to: &mut Findings) {
    const LOOK: &str = "look for such rules with `nft list ruleset` and `iptables-save`, and take the services' ports out of them";
    if loose == Some(0) {
        return to.problem(
            "nf_conntrack_tcp_loose is 0: the ACK of a challenged connection is `invalid`, and a \
             rule that drops `invalid` packets cuts the connection off",
            format!("`sysctl -w net.netfilter.nf_conntrack_tcp_loose=1`; and {LOOK}"),
        );
    }
    let judge = rules.map(|rules| rules.iter().find(|rule| rule.does == Does::Judges));
    let unread = ["ip_tables_names", "ip6_tables_names"]
        .iter()
        .any(|file| tree.text(&format!("proc/net/{file}")).is_some_and(|names| !names.is_empty()));
    match judge {
        Some(Some(rule)) => to.problem(
            format!(
                "{} keeps out new packets that are no SYN, such as the ACK of a challenged \
                 connection: it cuts every such connection off",
                rule.place
            ),
            "take the services' ports out of it; `nft -a list ruleset` shows its handle",
        ),
        Some(None) if !unread => {
            to.ok("no rule of nftables keeps the ACKs of challenged connections out")
        }
        _ => to.warning(
            "a rule that drops `new` packets that are no SYN would cut off every challenged \
             connection; doctor cannot read all rules here",
            LOOK,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const MAX: &str = "proc/sys/net/netfilter/nf_conntrack_max";
    const COUNT: &str = "proc/sys/net/netfilter/nf_conntrack_count";
    const LOOSE: &str = "proc/sys/net/netfilter/nf_conntrack_tcp_loose";

    fn ruled(files: &[(&str, &str)], rules: Option<Option<&[Rule]>>) -> Findings {
        let (tree, _directory) = Tree::of(files);
        let mut findings = Findings::default();
        check(&tree, rules, &mut findings);
        findings
    }

    fn with(files: &[(&str, &str)], challenges: bool) -> Findings {
        ruled(files, challenges.then_some(None))
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

    #[test]
    fn rules_that_are_read() {
        let rule = |does| Rule {
            place: "the rule with handle 7 in chain c of table ip t".to_owned(),
            does,
        };
        let found = |rules: &[Rule], legacy: &str| {
            let files = [(MAX, "1000"), (LOOSE, "1"), ("proc/net/ip_tables_names", legacy)];
            ruled(&files, Some(Some(rules)))
        };
        assert_eq!(found(&[], "").worst(), Level::Ok);
        assert_eq!(found(&[], "filter").worst(), Level::Warning, "rules that nft does not show");
        let judged = found(&[rule(Does::Judges)], "");
        assert_eq!(
            judged.one("the rule with handle 7 in chain c of table ip t").level,
            Level::Problem
        );
        assert_eq!(found(&[rule(Does::Moves)], "").one("another address").level, Level::Problem);
    }
}
