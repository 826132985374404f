//! What a policy combines that cannot work on this machine: each fact once, for `policy check`,
//! `apply`, `set`, `arm` and `doctor`. It changes nothing and refuses nothing.

use std::fmt;
use std::net::SocketAddr;

use limiter_common::switch::Mode;

use crate::kernel::Maps;
use crate::kernel::cookies::Cookies;
use crate::kernel::listener::{self, Listener};
use crate::policy::{Policy, Service};
use crate::report::numbers::count;
use crate::report::waiting_room;

/// The least burst that limiter chooses by itself: ten pages of six connections come in at once,
/// however short the server's accept queue is. What does not fit comes again after a second; with
/// less the line has too little to give to those who are present. Behind an accept queue of 5, at
/// twice what 560/s can serve, 83% of the capacity are whole pages with a burst of 60 or 100, 80%
/// with 12 and 76% with 6 (`CASE="settle=30 measure=60 backlog=5 burst=12"` of
/// `limiter-common/tests/crowd`), and 92% where the queue holds 128: the queue has to be longer.
pub const LEAST: u64 = 60;

/// The burst that fits into an accept queue with so many places.
pub fn fitting(room: u64) -> u64 {
    (room * 8 / 10).max(LEAST)
}

/// Something that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combination {
    /// What.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Combination {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.what, self.advice)
    }
}

/// What of the loaded policy cannot work in `mode`. What cannot be looked at is left out: the
/// command that asks has done its work.
pub fn found(maps: &Maps, policy: &Policy, mode: Mode) -> Vec<Combination> {
    let mut all = Vec::new();
    all.extend(maps.cookies().ok().and_then(|cookies| challenge(policy, &cookies)));
    let room = waiting_room(maps, policy).ok().flatten();
    all.extend(room.and_then(|room| closed(&room.closed)));
    if let Ok(listeners) = listener::all() {
        for service in &policy.services {
            all.extend(short(policy, service, &listeners));
        }
    }
    if mode == Mode::Enforce {
        all.extend(unbounded(policy));
    }
    all
}

/// A challenge for which the kernel makes no cookies, and limiter may not let it.
pub fn challenge(policy: &Policy, cookies: &Cookies) -> Option<Combination> {
    let works = !policy.may_challenge() || cookies.works() || cookies.may_set;
    (!works).then(|| Combination {
        what: format!(
            "nobody is challenged: net.ipv4.tcp_syncookies is {}, not 2",
            cookies.syncookies
        ),
        advice: "let limiter set it with `limiter set --set-syncookies yes` (in the file \
                 `set_syncookies = true`), or set it yourself"
            .to_owned(),
    })
}

/// Services that let in any number of sources, however many come. Where nothing at all is limited,
/// that is said instead.
pub fn unbounded(policy: &Policy) -> Option<Combination> {
    let names = names(policy, |service| !policy.is_bounded(service));
    let first = names.first().filter(|_| policy.has_limits())?;
    Some(Combination {
        what: format!(
            "nothing bounds a crowd at {}, so there is no line in which people could wait",
            names.join(", ")
        ),
        advice: format!(
            "choose what your servers can stand, `limiter set --service {first} --budget 500/s`"
        ),
    })
}

/// The services for which something holds.
pub fn names(policy: &Policy, holds: impl Fn(&Service) -> bool) -> Vec<String> {
    let those = policy.services.iter().filter(|service| holds(service));
    those.map(|service| service.name.to_string()).collect()
}

/// Ports whose refused connections go to a waiting room that is not there.
pub fn closed(ports: &[u16]) -> Option<Combination> {
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    (!ports.is_empty()).then(|| Combination {
        what: format!(
            "no waiting room listens for port {list}: who is refused there gets no answer"
        ),
        advice:
            "start `limiter room --http 80 --https 443 --cert FILE --key FILE`, with the ports \
                 that you have; or `limiter set --service NAME --refuse drop`"
                .to_owned(),
    })
}

/// What budgets let in to a service at once; `None` where none bounds it. All of it may arrive at
/// once.
pub fn burst(policy: &Policy, service: &Service) -> Option<u64> {
    let bursts = [service.budget, policy.budget].into_iter().filter(|limit| !limit.is_none());
    bursts.map(|limit| limit.burst).min()
}

/// Accept queues of a service that hold less than its budget lets in at once.
pub fn short(
    policy: &Policy,
    service: &Service,
    listeners: &[Listener],
) -> impl Iterator<Item = Combination> {
    let burst = burst(policy, service);
    let queues = queues(service, listeners).into_iter();
    queues.filter_map(move |queue| Some(queue.short(burst)?.of(&queue)))
}

/// The accept queues of the sockets on one address; several share it with SO_REUSEPORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Where they listen.
    pub address: SocketAddr,
    /// How many there are.
    pub sockets: usize,
    /// Connections that may wait to be accepted.
    pub room: u64,
    /// Connections that do.
    pub waiting: u64,
    /// Whether one of them takes no more.
    pub is_full: bool,
}

/// A burst that is let in, and is lost where it does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// That it is let in.
    pub burst: String,
    /// What to do.
    pub advice: String,
}

impl Short {
    fn of(self, queue: &Queue) -> Combination {
        let Queue { address, room, .. } = queue;
        let what =
            format!("{address}: the accept queue has {} places, but {}", count(*room), self.burst);
        Combination { what, advice: self.advice }
    }
}

impl Queue {
    /// Whether a burst does not fit.
    pub fn short(&self, burst: Option<u64>) -> Option<Short> {
        let burst = burst.filter(|burst| *burst > self.room)?;
        // One that is small already serves no more by being smaller.
        let smaller = match fitting(self.room) {
            fitting if fitting <= self.room && fitting < burst => {
                format!(", or the budget a smaller burst (`--budget-burst {fitting}`)")
            }
            _ if burst > LEAST => ", or the budget a smaller burst".to_owned(),
            _ => String::new(),
        };
        Some(Short {
            burst: format!("the budget lets {} in at once", count(burst)),
            advice: format!(
                "give the server a longer queue (`listen` backlog, such as nginx `listen 80 backlog={burst}`; at most \
                 net.core.somaxconn){smaller}"
            ),
        })
    }
}

/// The accept queues behind a service, one for each address.
pub fn queues(service: &Service, listeners: &[Listener]) -> Vec<Queue> {
    let mut queues: Vec<Queue> = Vec::new();
    for Listener { address, waiting, room, .. } in listeners
        .iter()
        .filter(|listener| service.listeners.iter().any(|address| listener.takes(*address)))
    {
        let at = queues.iter().position(|queue| queue.address == *address);
        let at = at.unwrap_or_else(|| {
            queues.push(Queue {
                address: *address,
                sockets: 0,
                room: 0,
                waiting: 0,
                is_full: false,
            });
            queues.len() - 1
        });
        let queue = &mut queues[at];
        queue.sockets += 1;
        queue.room += u64::from(*room);
        queue.waiting += u64::from(*waiting);
        queue.is_full |= *waiting > 0 && waiting >= room;
    }
    queues
}

#[cfg(test)]
mod tests {
    use limiter_common::rate::{Limit, Rate};

    use super::*;
    use crate::policy::text;

    fn policy(budget: Option<u64>, source: u64) -> Policy {
        let limit = |rate: u64| Limit { rate: Rate::per_second(rate), burst: 2 * rate };
        let mut policy = Policy { source: limit(source), ..Policy::default() };
        policy.services = vec![text::service("web=*:80").expect("a service")];
        policy.budget = budget.map_or(Limit::default(), limit);
        policy
    }

    fn listener(address: &str, waiting: u32, room: u32) -> Listener {
        let address = address.parse().expect("an address");
        Listener { address, only_v6: false, waiting, room, inode: 0, device: 0 }
    }

    #[test]
    fn a_crowd_is_bounded_by_a_budget_or_by_users() {
        assert!(unbounded(&policy(None, 20)).is_some_and(|one| one.what.contains("at web,")));
        assert_eq!(unbounded(&policy(Some(100), 20)), None);
        let mut users = policy(None, 20);
        users.services[0].admission.users = 9;
        assert_eq!(unbounded(&users), None);
        let unlimited = Policy { source: Limit::default(), ..policy(None, 20) };
        assert_eq!(unbounded(&unlimited), None, "that nothing is limited is said instead");
    }

    #[test]
    fn sockets_on_one_address_are_one_queue() {
        let policy = policy(Some(100), 20);
        let listeners = [
            listener("0.0.0.0:80", 3, 100),
            listener("[::]:80", 0, 500),
            listener("0.0.0.0:80", 90, 90),
        ];
        let queues = queues(&policy.services[0], &listeners);
        let shown: Vec<_> =
            queues.iter().map(|one| (one.sockets, one.waiting, one.room, one.is_full)).collect();
        assert_eq!(shown, [(2, 93, 190, true), (1, 0, 500, false)]);
        let burst = burst(&policy, &policy.services[0]);
        assert_eq!(burst, Some(200));
        let short: Vec<_> = queues.iter().map(|queue| queue.short(burst).is_some()).collect();
        assert_eq!(short, [true, false]);
    }
}
