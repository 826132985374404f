//! The servers behind the services: whether somebody listens, accept queues, and what the kernel counted there.

use std::net::SocketAddr;

use super::{Findings, Tree};
use crate::combinations::{self, Queue};
use crate::kernel::listener::Listener;
use crate::policy::{Policy, text};
use crate::report::numbers::count;

/// Counters of /proc/net/netstat that say that connections were lost behind limiter.
const LOST: [(&str, &str, &str); 2] = [
    (
        "ListenOverflows",
        "found the accept queue of their server full",
        "the server is too slow, or its queue too short: set a budget that it can take, a longer \
         `listen` backlog, or a larger net.core.somaxconn",
    ),
    (
        "TCPReqQFullDrop",
        "were dropped because too many were half-open",
        "switch cookies on with `sysctl -w net.ipv4.tcp_syncookies=1`, or raise net.ipv4.tcp_max_syn_backlog",
    ),
];

/// The kernel's counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counted(Vec<(String, u64)>);

impl Counted {
    /// As they are now: pairs of lines, names above numbers.
    pub fn now(tree: &Tree) -> Self {
        let text = tree.text("proc/net/netstat").unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let pairs = lines.chunks_exact(2).filter(|pair| pair[0].starts_with("TcpExt:"));
        let both =
            pairs.flat_map(|pair| pair[0].split_whitespace().zip(pair[1].split_whitespace()));
        Self(
            both.filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
    }
}

/// What was lost, since boot and within the second between the two moments.
pub fn lost(before: &Counted, after: &Counted, to: &mut Findings) {
    to.area("servers");
    let mut none = true;
    for (name, what, advice) in LOST {
        let Some(total) = after.get(name).filter(|total| *total > 0) else { continue };
        none = false;
        let now = total.saturating_sub(before.get(name).unwrap_or(total));
        let what = format!(
            "{} connections {what} since boot ({name}), {} in the last second",
            count(total),
            count(now)
        );
        if now > 0 { to.problem(what, advice) } else { to.warning(what, advice) }
    }
    if none && !after.0.is_empty() {
        to.ok("no connection was lost before a server since boot");
    }
}

/// The services of the loaded policy and who listens there.
pub fn services(policy: &Policy, listeners: &[Listener], to: &mut Findings) {
    for service in &policy.services {
        let name = &service.name;
        to.area(format!("service {name}"));
        let silent = silent(&service.listeners, listeners);
        if !silent.is_empty() {
            to.warning(
                format!("no server listens on {} here", text::show_listeners(&silent).join(", ")),
                "start the server; or name in the policy where it listens. Limits also hold for \
                 connections that the host only forwards, or hands to a container, but challenges \
                 do not work there",
            );
        }
        let burst = combinations::burst(policy, service);
        for queue in combinations::queues(service, listeners) {
            accepts(&queue, burst, to);
        }
    }
}

/// Addresses that nobody listens on. A port on every address of both families needs one listener of either.
fn silent(addresses: &[SocketAddr], listeners: &[Listener]) -> Vec<SocketAddr> {
    let taken = |address: &SocketAddr| listeners.iter().any(|listener| listener.takes(*address));
    let twin = |address: &SocketAddr| {
        address.ip().is_unspecified()
            && addresses.iter().any(|other| {
                other.ip().is_unspecified() && other.port() == address.port() && taken(other)
            })
    };
    addresses.iter().filter(|address| !taken(address) && !twin(address)).copied().collect()
}

/// An accept queue, and whether a burst fits.
fn accepts(queue: &Queue, burst: Option<u64>, to: &mut Findings) {
    let Queue { address, sockets, room, waiting, is_full } = *queue;
    let shared = if sockets > 1 { format!(" in {sockets} sockets") } else { String::new() };
    let what = format!(
        "{address}: {} of {} places of the accept queue taken{shared}",
        count(waiting),
        count(room)
    );
    if is_full {
        to.problem(what, "the server hardly accepts: restart it if it hangs; if it is slow, a lower budget helps");
    } else if waiting * 2 > room {
        to.warning(what, "the server accepts too slowly: look at it, or lower its budget");
    } else if let Some(short) = queue.short(burst) {
        to.warning(format!("{what}, but {}", short.burst), short.advice);
    } else {
        to.ok(what);
    }
}

#[cfg(test)]
mod tests {
    use limiter_common::rate::{Limit, Rate};

    use super::super::Level;
    use super::*;

    fn listener(address: &str, waiting: u32, room: u32) -> Listener {
        let address = address.parse().expect("an address");
        Listener { address, only_v6: false, waiting, room, inode: 0, device: 0 }
    }

    fn checked(service: &str, burst: u64, listeners: &[Listener]) -> Findings {
        let service = text::service(service).expect("a service");
        let budget = Limit { rate: Rate::per_second(burst / 2), burst };
        let policy = Policy { services: vec![service], budget, ..Policy::default() };
        let mut findings = Findings::default();
        services(&policy, listeners, &mut findings);
        findings
    }

    #[test]
    fn somebody_listens() {
        let findings = checked(
            "web=*:80,*:443",
            100,
            &[listener("0.0.0.0:80", 0, 511), listener("[::]:443", 3, 511)],
        );
        assert_eq!(findings.worst(), Level::Ok, "{findings:#?}");
        assert_eq!(
            findings.one("[::]:443").what,
            "[::]:443: 3 of 511 places of the accept queue taken"
        );
        let pair = [listener("0.0.0.0:80", 0, 511), listener("0.0.0.0:80", 2, 511)];
        assert!(checked("web=*:80", 100, &pair).one("2 sockets").what.contains("2 of 1,022"));
    }

    #[test]
    fn nobody_listens() {
        let findings = checked("web=*:80,192.0.2.1:443", 100, &[listener("192.0.2.2:443", 0, 511)]);
        let silent = findings.one("no server listens");
        assert_eq!(silent.level, Level::Warning);
        assert!(
            silent.what.contains("*:80") && silent.what.contains("192.0.2.1:443"),
            "{}",
            silent.what
        );
        assert_eq!(silent.area, "service web");
    }

    #[test]
    fn queues() {
        let level = |waiting, room, burst| {
            checked("web=*:80", burst, &[listener("0.0.0.0:80", waiting, room)]).one("places").level
        };
        assert_eq!(level(128, 128, 100), Level::Problem, "full");
        assert_eq!(level(65, 128, 100), Level::Warning, "filling");
        assert_eq!(level(0, 128, 2000), Level::Warning, "a burst that does not fit");
        assert_eq!(level(0, 4096, 2000), Level::Ok);
    }

    #[test]
    fn what_the_kernel_counted() {
        let text = |overflows: u64| {
            format!(
                "TcpExt: SyncookiesSent ListenOverflows TCPReqQFullDrop\nTcpExt: 5 {overflows} 0\nIpExt: InOctets\nIpExt: 7\n"
            )
        };
        let counted = |overflows| {
            let (tree, _directory) = Tree::of(&[("proc/net/netstat", &text(overflows))]);
            Counted::now(&tree)
        };
        let found = |before, after| {
            let mut findings = Findings::default();
            lost(&counted(before), &counted(after), &mut findings);
            findings.one(if after > 0 { "ListenOverflows" } else { "no connection" }).clone()
        };
        assert_eq!(found(0, 0).level, Level::Ok);
        assert_eq!(found(12, 12).level, Level::Warning);
        let now = found(12, 1012);
        assert_eq!(now.level, Level::Problem);
        assert!(
            now.what.starts_with("1,012") && now.what.contains("1,000 in the last second"),
            "{}",
            now.what
        );
    }
}
