//! Settings of the network that decide what becomes of connections which limiter lets through, and what a challenge needs.

use super::{Findings, Tree};
use crate::kernel::cookies::Cookies;
use crate::policy::text::show_yes;
use crate::report::numbers::count;

/// Connections that a listening socket should have room for, at least: Linux's own default since 5.4.
const ROOM: u64 = 4096;
/// Below this a burst of ordinary users fills it.
const TOO_FEW: u64 = 1024;

/// What the loaded policy asks of the kernel's cookies.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Whether some service may challenge.
    pub wanted: bool,
    /// Whether the mode is enforce.
    pub enforced: bool,
    /// What the kernel and limiter's note of it say.
    pub cookies: Cookies,
    /// Whether the note of the settings is as they are now.
    pub noted: bool,
}

/// All settings. `challenge`: of the loaded policy.
pub fn check(tree: &Tree, challenge: Option<&Challenge>, to: &mut Findings) {
    to.area("settings");
    match challenge {
        Some(challenge) if challenge.wanted => cookies(challenge, to),
        _ => no_challenge(tree, to),
    }
    if let Some(challenge) = challenge {
        leftover(challenge, to);
    }
    queues(tree, to);
    retries(tree, to);
    backlog(tree, to);
}

/// A policy that may challenge is loaded.
fn cookies(challenge: &Challenge, to: &mut Findings) {
    let Challenge { enforced, cookies, noted, .. } = challenge;
    let value = cookies.syncookies;
    match (cookies.works(), cookies.may_set) {
        (true, _) => to.ok("tcp_syncookies is 2: the kernel makes cookies for the challenge"),
        (false, true) if *enforced => to.problem(
            format!("tcp_syncookies is {value}, not 2, so NOBODY IS CHALLENGED: another process changed it after limiter set it"),
            format!("`{}` sets it again", look_again(cookies)),
        ),
        (false, true) => to.ok(format!("tcp_syncookies is {value}; limiter sets it to 2 when it is armed")),
        (false, false) => to.warning(
            format!("tcp_syncookies is {value}, not 2, so NOBODY IS CHALLENGED"),
            "`limiter set --set-syncookies yes` lets limiter set it while it enforces; or `sysctl -w net.ipv4.tcp_syncookies=2`",
        ),
    }
    let again = look_again(cookies);
    if !noted {
        to.problem(
            "TCP settings have changed since limiter looked: challenged connections may get wrong options, and ACKs that make connections may \
             pass uncharged",
            format!("`{again}` makes limiter look again and changes nothing else"),
        );
    } else if cookies.keeps_options {
        to.ok("tcp_timestamps is 2: challenged connections keep window scaling and SACK");
    } else {
        to.warning(
            "tcp_timestamps is not 2: challenged connections go without window scaling and SACK",
            format!(
                "they are slower over long distances. `sysctl -w net.ipv4.tcp_timestamps=2`, then \
                 `{again}`, which makes limiter look again; clients can then tell how long this \
                 host has been up"
            ),
        );
    }
}

/// A command that changes nothing, not even an armed time, and brings limiter and the kernel's settings in line.
fn look_again(cookies: &Cookies) -> String {
    format!("limiter set --set-syncookies {}", show_yes(cookies.may_set))
}

fn no_challenge(tree: &Tree, to: &mut Findings) {
    match tree.number("proc/sys/net/ipv4/tcp_syncookies") {
        Some(0) => to.warning(
            "tcp_syncookies is 0: when the queue of half-open connections is full, the kernel \
             drops every attempt",
            "`sysctl -w net.ipv4.tcp_syncookies=1`",
        ),
        Some(value) => to.ok(format!("tcp_syncookies is {value}")),
        None => to.unseen("net.ipv4.tcp_syncookies"),
    }
}

/// What limiter set and should have put back.
fn leftover(challenge: &Challenge, to: &mut Findings) {
    let Some(before) = challenge.cookies.syncookies_before else { return };
    if !(challenge.wanted && challenge.enforced) {
        to.warning(
            format!("tcp_syncookies is still 2, as limiter set it; before that it was {before}"),
            format!(
                "the process that puts it back was killed: `{}` does it",
                look_again(&challenge.cookies)
            ),
        );
    }
}

/// Where connections wait to be finished and accepted.
fn queues(tree: &Tree, to: &mut Findings) {
    for (path, name, what) in [
        (
            "proc/sys/net/core/somaxconn",
            "net.core.somaxconn",
            "finished connections that may wait for a server",
        ),
        (
            "proc/sys/net/ipv4/tcp_max_syn_backlog",
            "net.ipv4.tcp_max_syn_backlog",
            "half-open connections of a server",
        ),
    ] {
        let short = name.rsplit('.').next().unwrap_or(name);
        match tree.number(path) {
            Some(value) if value < TOO_FEW => to.warning(
                format!("{short} is {}: few {what}", count(value)),
                format!("`sysctl -w {name}={ROOM}`, then restart the servers: a socket keeps the limit that it was made with"),
            ),
            Some(value) => to.ok(format!("{short} is {}", count(value))),
            None => to.unseen(name),
        }
    }
}

fn retries(tree: &Tree, to: &mut Findings) {
    match tree.number("proc/sys/net/ipv4/tcp_synack_retries") {
        Some(retries) if retries > 5 => to.warning(
            format!("tcp_synack_retries is {retries}: a spoofed SYN that gets through holds a place for minutes"),
            "`sysctl -w net.ipv4.tcp_synack_retries=3`",
        ),
        Some(retries) => to.ok(format!("tcp_synack_retries is {retries}")),
        None => to.unseen("net.ipv4.tcp_synack_retries"),
    }
}

/// Packets that the kernel dropped between the driver and the protocols: /proc/net/softnet_stat, a line a CPU, second column.
fn backlog(tree: &Tree, to: &mut Findings) {
    let Some(text) = tree.text("proc/net/softnet_stat") else { return };
    let dropped = text
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok());
    let dropped: u64 = dropped.sum();
    if dropped > 0 {
        to.warning(
            format!(
                "the kernel dropped {} packets since boot because its queue behind the drivers was \
                 full",
                count(dropped)
            ),
            "these are packets that limiter passed on veth, on interfaces in generic mode, and \
             with RPS: `sysctl -w net.core.netdev_max_backlog=10000`",
        );
    } else {
        to.ok("no packet was dropped between drivers and protocols (netdev_max_backlog)");
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("proc/sys/net/ipv4/tcp_syncookies", "1"),
        ("proc/sys/net/core/somaxconn", "4096"),
        ("proc/sys/net/ipv4/tcp_max_syn_backlog", "4096"),
        ("proc/sys/net/ipv4/tcp_synack_retries", "5"),
        ("proc/net/softnet_stat", "0000012d 00000000 00000000\n0000ffff 00000000 00000001\n"),
    ];

    fn with(changed: &[(&str, &str)], challenge: Option<&Challenge>) -> Findings {
        let (tree, _directory) = Tree::of(&[&GOOD, changed].concat());
        let mut findings = Findings::default();
        check(&tree, challenge, &mut findings);
        findings
    }

    fn challenge(syncookies: u32, may_set: bool, enforced: bool) -> Challenge {
        let cookies = Cookies {
            syncookies,
            syncookies_before: None,
            may_set,
            keeps_options: true,
            charged: crate::kernel::cookies::Charged::Proofs,
        };
        Challenge { wanted: true, enforced, cookies, noted: true }
    }

    #[test]
    fn good_settings() {
        let findings = with(&[], None);
        assert_eq!(findings.worst(), Level::Ok, "{findings:#?}");
        assert_eq!(with(&[], Some(&challenge(2, false, true))).worst(), Level::Ok);
    }

    #[test]
    fn settings_that_are_too_small() {
        for (path, value, words) in [
            ("proc/sys/net/ipv4/tcp_syncookies", "0", "tcp_syncookies is 0"),
            ("proc/sys/net/core/somaxconn", "128", "somaxconn is 128"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "256", "tcp_max_syn_backlog is 256"),
            ("proc/sys/net/ipv4/tcp_synack_retries", "8", "tcp_synack_retries is 8"),
            (
                "proc/net/softnet_stat",
                "00000001 0000000a 0\n00000001 00000006 0\n",
                "dropped 16 packets",
            ),
        ] {
            let findings = with(&[(path, value)], None);
            assert_eq!(findings.one(words).level, Level::Warning);
            assert!(findings.one(words).advice.is_some());
        }
    }

    #[test]
    fn a_challenge_without_cookies() {
        let level = |challenge: &Challenge| with(&[], Some(challenge)).one("tcp_syncookies").level;
        assert_eq!(level(&challenge(1, false, false)), Level::Warning);
        assert_eq!(level(&challenge(1, true, false)), Level::Ok, "it is set when armed");
        assert_eq!(level(&challenge(1, true, true)), Level::Problem);
    }

    #[test]
    fn what_limiter_noted_and_left() {
        let stale = Challenge { noted: false, ..challenge(2, true, true) };
        assert_eq!(with(&[], Some(&stale)).one("wrong options").level, Level::Problem);
        let mut plain = challenge(2, true, true);
        plain.cookies.keeps_options = false;
        assert_eq!(with(&[], Some(&plain)).one("tcp_timestamps").level, Level::Warning);
        let mut left = challenge(2, true, false);
        left.cookies.syncookies_before = Some(1);
        assert_eq!(with(&[], Some(&left)).one("still 2").level, Level::Warning);
        left.enforced = true;
        assert!(!with(&[], Some(&left)).all.iter().any(|finding| finding.what.contains("still 2")));
    }
}
