//! The kernel's own counters of TCP, of this network namespace: /proc/net/snmp and /proc/net/netstat.
//!
//! They are what shows an overload when limiter does not: who was turned away by the accept queue, and who never completed a handshake.

use std::collections::BTreeMap;

use crate::tree::Tree;

/// Counters by name.
type Counts = BTreeMap<String, u64>;

/// What is kept of the hundreds that there are.
const KEPT: [&str; 23] = [
    // Tcp: in /proc/net/snmp.
    "ActiveOpens",
    "PassiveOpens",
    "AttemptFails",
    "EstabResets",
    "CurrEstab",
    "InSegs",
    "OutSegs",
    "RetransSegs",
    "OutRsts",
    // TcpExt: in /proc/net/netstat.
    "SyncookiesSent",
    "SyncookiesRecv",
    "SyncookiesFailed",
    "ListenOverflows",
    "ListenDrops",
    "TCPReqQFullDoCookies",
    "TCPReqQFullDrop",
    "TCPBacklogDrop",
    "TCPRcvQDrop",
    "TCPTimeouts",
    "TCPSynRetrans",
    "TCPAbortOnMemory",
    "TCPMemoryPressures",
    "PruneCalled",
];

/// What they are now. A kernel that does not have one leaves it out.
pub fn counters(tree: &Tree) -> Counts {
    let mut counts = Counts::new();
    for (file, group) in [("proc/net/snmp", "Tcp:"), ("proc/net/netstat", "TcpExt:")] {
        let text = tree.text(file).unwrap_or_default();
        let mut rows = text.lines().filter(|line| line.split_whitespace().next() == Some(group));
        // A row of names, then a row of numbers.
        let (Some(names), Some(numbers)) = (rows.next(), rows.next()) else { continue };
        for (name, number) in names.split_whitespace().zip(numbers.split_whitespace()).skip(1) {
            if let (true, Ok(number)) = (KEPT.contains(&name), number.parse()) {
                counts.insert(name.to_owned(), number);
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_told_by_their_row() {
        let snmp = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoAlgorithm MaxConn PassiveOpens CurrEstab\nTcp: 1 -1 77 5\n";
        let netstat = "TcpExt: SyncookiesSent PAWSActive ListenOverflows\nTcpExt: 3 4 5\nIpExt: InNoRoutes\nIpExt: 9\n";
        let (tree, _directory) =
            Tree::of(&[("proc/net/snmp", snmp), ("proc/net/netstat", netstat)]);
        let expected =
            [("CurrEstab", 5), ("ListenOverflows", 5), ("PassiveOpens", 77), ("SyncookiesSent", 3)];
        assert_eq!(counters(&tree), expected.map(|(name, count)| (name.to_owned(), count)).into());
    }

    #[test]
    fn this_kernel_has_them() {
        let counts = counters(&Tree::at("/"));
        for name in ["PassiveOpens", "ListenOverflows", "SyncookiesSent", "RetransSegs"] {
            assert!(counts.contains_key(name), "{name}: {counts:?}");
        }
    }
}
