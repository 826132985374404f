//! One network of many sources, and users of others beside it: real handshakes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use lab::topology::FRONT_V6;
use lab::wait::{PATIENCE, until_so};
use lab::{Crowd, Lab, Server};
use limiter::policy::Policy;
use limiter_common::rate::Limit;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::{Front, decided, dropped, limit, policy};

/// The attacker's /48, routed to the crowd's side.
const NETWORK: u128 = 0xfd79_0000_0001 << 80;
/// Handshakes that it completes per second, each from another /64.
const RATE: f64 = 900.0;
const SECONDS: f64 = 8.0;
/// Users come for so long, once the first attempt of the network is refused.
const USERS_SECONDS: f64 = 3.0;
/// What a network may do.
const HELD: (u64, u64) = (100, 100);
/// Users that come per second, and how long each tries.
const USERS: (f64, Duration) = (40.0, PATIENCE);

/// What came of users, and what came in of the network.
struct Outcome {
    tried: u64,
    served: u64,
    from_network: u64,
    seconds: f64,
    front: Front,
}

/// The attacker's sources are each within their limit, and all together three times the budget.
fn beside_a_network(policy: &Policy, (per_second, timeout): (f64, Duration)) -> Outcome {
    let lab = Lab::new().expect("a lab");
    // Any address of the /48 is the crowd's own.
    lab.crowd
        .ip_batch("route add local fd79:0:1::/48 dev lo\n")
        .and_then(|()| lab.crowd.sysctl("ipv6/ip_nonlocal_bind", "1"))
        .and_then(|()| lab.front.ip_batch("route add fd79:0:1::/48 via fd77:1::2\n"))
        .expect("routes");
    let front = Front::in_lab(lab, policy, Mode::Enforce).expect("limiter attaches");
    let _server = Server::start(&front.lab).expect("a server");
    let target = SocketAddr::new(FRONT_V6, 80);
    // No two alike: an odd factor visits every /64 once.
    let sources = (0..65_536_u128).map(|number| {
        let site = number * 40_503 % 65_536;
        IpAddr::V6(Ipv6Addr::from_bits(NETWORK | site << 64 | 1))
    });
    let attack = Crowd {
        pages_per_second: RATE,
        seconds: SECONDS,
        // Nobody waits for what it does not get; its kernel has sent each SYN again once.
        timeout: Duration::from_secs(2),
        ..Crowd::new(target, sources.collect())
    };
    let users = Crowd {
        pages_per_second: per_second,
        seconds: USERS_SECONDS,
        timeout,
        // Of as many /48 as there are: these are of one /64, so IPv4.
        ..Crowd::new(SocketAddr::new(lab::topology::FRONT_V4, 80), front.lab.clients_v4())
    };
    let start = Instant::now();
    let (attack, users) = std::thread::scope(|scope| {
        let attack = scope.spawn(|| attack.run(&front.lab));
        until_so("the network to be refused", || dropped(&front.service(0)) > 0);
        let users = users.run(&front.lab).expect("users");
        (attack.join().expect("an attacker").expect("an attack"), users)
    });
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "users: {} of {} served, page p99 {:.0} ms; of the network {} of {} in {seconds:.1} s",
        users.ok,
        users.tried,
        users.page_p99(),
        attack.ok,
        attack.tried
    );
    Outcome { tried: users.tried, served: users.ok, from_network: attack.ok, seconds, front }
}

fn guarded() -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(20, 40);
    policy.services[0].budget = limit(300, 300);
    policy.services[0].admission.line = true;
    policy.services[0].networks.limit = limit(HELD.0, HELD.1);
    policy
}

/// A budget for those who come first, of a fortieth of what the network asks for: each of its
/// sources is within its limit, so it has nearly all of it, and users have what is left.
fn first_come(networks: Limit) -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(20, 40);
    policy.services[0].budget = limit(20, 40);
    policy.services[0].admission.line = false;
    policy.services[0].networks.limit = networks;
    policy
}

/// What one /48 does today where no network has a limit, and no line shares the budget.
#[test]
fn a_network_without_a_limit_takes_the_budget_of_first_come() {
    let alone = beside_a_network(&first_come(Limit::default()), (5.0, Duration::from_secs(2)));
    let counters = alone.front.service(0);
    assert!(decided(&counters, Reason::ServiceBudget) > 0, "{counters:?}");
    assert_eq!(decided(&counters, Reason::SourceLimit), 0, "each is within its limit");
    assert_eq!(decided(&counters, Reason::NetworkLimit), 0, "{counters:?}");
    // How many users get through depends on how steadily the network comes. That the budget went
    // to the network does not.
    assert!(alone.from_network > alone.served, "{} and {}", alone.from_network, alone.served);
}

/// The same with a limit: the budget is never spent, and every user is served.
#[test]
fn a_network_with_a_limit_leaves_the_budget_of_first_come() {
    let held = beside_a_network(&first_come(limit(5, 5)), (5.0, PATIENCE));
    let counters = held.front.service(0);
    assert!(decided(&counters, Reason::NetworkLimit) > 0, "{counters:?}");
    assert_eq!(decided(&counters, Reason::ServiceBudget), 0, "{counters:?}");
    assert_eq!(held.served, held.tried);
}

/// Whatever the /48 does, it has its rate and burst, and nearly every user is served at once.
#[test]
fn a_network_is_held_as_one_and_users_are_served() {
    let held = beside_a_network(&guarded(), USERS);
    let counters = held.front.service(0);
    let most = HELD.1 as f64 + HELD.0 as f64 * (held.seconds + 0.01);
    assert!(held.from_network as f64 <= most, "{} of at most {most}", held.from_network);
    assert!(decided(&counters, Reason::NetworkLimit) > 0, "{counters:?}");
    assert!(100 * held.served >= 99 * held.tried, "{} of {}", held.served, held.tried);
}

/// The default has no limit of networks: a carrier with many users behind one /24 is not held as
/// one.
#[test]
fn a_carrier_is_not_held_as_one_unless_told() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(20, 40);
    let front = Front::new(&policy, Mode::Enforce);
    let _server = Server::start(&front.lab).expect("a server");
    // 250 addresses of 10.78.0.0/24, 20 users behind each: 5,000 in ten seconds.
    let mut addresses = front.lab.clients_v4();
    addresses.truncate(250);
    assert_eq!(addresses.len(), 250);
    let crowd = Crowd {
        pages_per_second: 500.0,
        seconds: 10.0,
        timeout: PATIENCE,
        ..Crowd::new(SocketAddr::new(lab::topology::FRONT_V4, 80), addresses)
    };
    let report = crowd.run(&front.lab).expect("a crowd");
    let counters = front.service(0);
    assert_eq!((report.ok, report.tried), (5000, 5000), "{counters:?}");
    assert_eq!(decided(&counters, Reason::NetworkLimit), 0);
}
