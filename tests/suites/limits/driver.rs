//! A driver's own receive path: veth's here, that of NICs where the lab's wires are NICs (`cargo xtask kernels`).
//!
//! Whatever the driver received was judged, once, and admitted exactly by the limits.

use std::net::{IpAddr, SocketAddr};

use lab::topology::{ATTACK_DEVICE, CROWD_DEVICE, FAR_DEVICE, FRONT_V4, FRONT_V6};
use lab::wait::{PATIENCE, until};
use lab::{Flood, Lab, LabOptions, Server, ServerOptions, Sources, socket};
use limiter::kernel::interface::Attachment;
use limiter::kernel::link;
use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::{Counters, Refuse};
use limiter_common::switch::Mode;

use super::room::{By, Room, request_from};
use super::{Front, challenge, decided, policy};

/// Attempts at once of one source, and of all.
const BURST: u64 = 40;
const BUDGET: u64 = 500;
/// Addresses of each family that fetch pages.
const CLIENTS: u32 = 5;
/// Frames of each kind that are to arrive at least: more than a burst and the budget, at which nothing would be refused.
const ARRIVING: u64 = 2 * BUDGET;
/// Frames that a packet socket sends at a time.
const FRAMES: usize = 2000;

/// Services by their ids: of what comes at full speed, of what a packet socket sends, and of
/// clients.
const FLOODED: usize = 0;
const SENT: usize = 1;
const WEB: usize = 2;
const FULL: usize = 3;
const SERVICES: [&str; 4] = ["flooded=*:81", "sent=*:82", "web=*:80", "full=*:83"];

/// Rates of which a test sees no more than the burst.
fn front() -> Front {
    let once = |burst| Limit { rate: Rate { count: 1, period: 2_000_000_000_000 }, burst };
    let mut policy = policy(&SERVICES);
    policy.source = once(BURST);
    for id in [FLOODED, SENT] {
        policy.services[id].budget = once(BUDGET);
    }
    policy.services[WEB].admission.challenge = Challenge::Always;
    policy.services[FULL].budget = once(1);
    policy.services[FULL].admission.refuse = Refuse::Room;
    let lab = Lab::with(LabOptions { clients: CLIENTS, ..LabOptions::default() }).expect("a lab");
    let front = Front::in_lab(lab, &policy, Mode::Enforce).expect("limiter attaches in the lab");
    let attached = front.lab.front.run(|| link::attached(&front.pins)).expect("the interfaces");
    assert!(attached.iter().all(|one| one.attachment == Some(Attachment::Native)), "{attached:?}");
    front
}

/// One program for all: to verify it is most of what this takes on an emulated machine. Where
/// `LAB_LIVE_FRAMES` is `no` there is no flood; `cargo xtask kernels` says so.
#[test]
fn what_the_driver_receives_is_judged() {
    let mut front = front();
    let quiet = until("a quiet moment", || {
        let now = undecided(&front);
        (now == undecided(&front)).then_some(now)
    });
    if std::env::var("LAB_LIVE_FRAMES").as_deref() != Ok("no") {
        a_flood_is(&front, quiet);
    }
    what_a_packet_socket_sends_is(&front, quiet);
    one_is_diverted(&mut front);
    clients_are_answered(&mut front);
}

/// The budget lets one connection in, and perhaps another of each further CPU's lease; the program
/// that chooses listeners hands the others to the room.
fn one_is_diverted(front: &mut Front) {
    let listen = vec![SocketAddr::new(FRONT_V4, 83), SocketAddr::new(FRONT_V6, 83)];
    let options = ServerOptions { listen, ..ServerOptions::default() };
    let server = Server::with(&front.lab, options).expect("a server");
    let room = Room::open_for(front, 83);
    let mut asked = 0;
    for (target, client) in
        [(FRONT_V4, front.lab.clients_v4()[0]), (FRONT_V6, front.lab.clients_v6()[0])]
    {
        let (client, target) = (SocketAddr::new(client, 0), SocketAddr::new(target, 83));
        until("the room is shown", || {
            asked += 1;
            let by = front.lab.crowd.run(|| Ok(request_from(client, target, PATIENCE)));
            (by.expect("a client") == By::Room).then_some(())
        });
    }
    assert_eq!((room.seen(), server.accepted()), (2, asked - 2), "{:?}", front.service(FULL));
    assert_eq!(decided(&front.service(FULL), Reason::Diverted), 2);
}

/// A flood at full speed loses frames on the way, and how many arrive is the machine's business:
/// each of them is judged, once.
fn a_flood_is(front: &Front, quiet: i64) {
    let one = flood(front, quiet, Sources::One("11.1.2.3".parse().expect("an address")));
    assert_eq!(decided(&one, Reason::Admitted), BURST, "{one:?}");
    assert_eq!(decided(&one, Reason::SourceLimit), all(&one) - BURST, "{one:?}");
    let both = flood(front, quiet, Sources::Random);
    let refused = [Reason::SourceLimit, Reason::ServiceBudget].map(|why| decided(&both, why));
    assert_eq!(decided(&both, Reason::Admitted), BUDGET, "{both:?}");
    assert_eq!(refused.iter().sum::<u64>(), all(&both) - BUDGET, "{both:?}");
    assert!(refused[1] > 0, "{both:?}");
}

/// The same frames by the device's own way, for both families and with a tag. A veth still loses some, because it makes no sender wait.
fn what_a_packet_socket_sends_is(front: &Front, quiet: i64) {
    let cases: [(IpAddr, &str, Option<u16>); 3] = [
        (FRONT_V4, "11.1.2.3", None),
        (FRONT_V6, "2001:db8:7::1", None),
        (FRONT_V4, "11.1.2.4", Some(77)),
    ];
    for (target, source, vlan) in cases {
        let source = Sources::One(source.parse().expect("an address"));
        let sent = send(front, quiet, &Flood { vlan, ..Flood::new((target, 82).into(), source) });
        let case = format!("of {target} with tag {vlan:?}: {sent:?}");
        assert_eq!(sent.admitted, BURST, "{case}");
        assert_eq!(sent.admitted + sent.over_source_limit, sent.arrived, "{case}");
    }
    let sent = send(front, quiet, &Flood::new((FRONT_V4, 82).into(), Sources::Random));
    assert_eq!(sent.admitted, BUDGET - cases.len() as u64 * BURST, "{sent:?}");
    // Of the source before, some may have been on their way.
    let refused = sent.over_source_limit + sent.over_budget;
    assert_eq!(sent.admitted + refused, sent.arrived, "{sent:?}");
    assert!(sent.over_budget > 0, "{sent:?}");
}

/// Cookies leave by the driver too, and every proof comes back through it. Until now the kernel
/// made none: attempts paid.
fn clients_are_answered(front: &mut Front) {
    front.lab.front.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
    let Front { lab, maps, .. } = front;
    lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
    let _server = Server::start(&front.lab).expect("a server");
    for (target, clients) in
        [(FRONT_V4, front.lab.clients_v4()), (FRONT_V6, front.lab.clients_v6())]
    {
        let report = challenge::pages(front, target, clients, 20.0, 0.5);
        assert_eq!((report.tried, report.ok), (10, 10), "pages from {target}");
    }
    let counters = front.service(WEB);
    assert!(decided(&counters, Reason::Challenged) >= 20, "each was challenged: {counters:?}");
    // On a slow machine data may come so long after its ACK that the two are not known to belong
    // together, and still before the kernel has made the connection: then it pays too.
    let made = challenge::netstat(&front.lab.front, "SyncookiesRecv");
    assert!(
        made >= 20 && decided(&counters, Reason::Proven) >= made,
        "none comes in unpaid: {made} made, {counters:?}"
    );
}

/// Floods until enough has arrived; the counters of the service.
fn flood(front: &Front, quiet: i64, sources: Sources) -> Counters {
    let flood =
        Flood { frames: u64::MAX, seconds: 0.5, ..Flood::new((FRONT_V4, 81).into(), sources) };
    arrive(front, quiet, FLOODED, || {
        println!("{sources:?}: {}", flood.run(&front.lab).expect("a flood"));
    })
}

/// What became of the frames that were sent.
#[derive(Debug)]
struct Sent {
    arrived: u64,
    admitted: u64,
    over_source_limit: u64,
    over_budget: u64,
}

/// Sends frames as a flood would make them, until enough has arrived.
fn send(front: &Front, quiet: i64, flood: &Flood) -> Sent {
    let frames = flood.sample(500).expect("frames");
    let before = front.service(SENT);
    let after = arrive(front, quiet, SENT, || {
        socket::send(&front.lab.attacker, FAR_DEVICE, &frames, FRAMES).expect("sent");
    });
    let moved = |reason| decided(&after, reason) - decided(&before, reason);
    Sent {
        arrived: all(&after) - all(&before),
        admitted: moved(Reason::Admitted),
        over_source_limit: moved(Reason::SourceLimit),
        over_budget: moved(Reason::ServiceBudget),
    }
}

/// All that were decided on.
fn all(counters: &Counters) -> u64 {
    counters.decided.iter().sum()
}

/// Has frames sent to a service until enough have arrived, each of which limiter has decided on,
/// once: as many are undecided as when it is quiet. The service's counters.
fn arrive(front: &Front, quiet: i64, id: usize, send: impl Fn()) -> Counters {
    let before = all(&front.service(id));
    until("enough frames arrive", || {
        send();
        let after = until("each is decided on, once", || {
            let counters = front.service(id);
            (undecided(front) == quiet).then_some(counters)
        });
        println!("{} frames arrived", all(&after) - before);
        (all(&after) - before >= ARRIVING).then_some(after)
    })
}

/// Frames that the front end's devices received, by their drivers' count, less all that limiter has
/// decided on. The driver may count one a little later.
fn undecided(front: &Front) -> i64 {
    let seen = front.seen();
    let text = front
        .lab
        .front
        .run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?))
        .expect("devices");
    let packets = |device: &str| -> u64 {
        let line =
            text.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
        let packets = line.and_then(|line| line.split_whitespace().nth(1));
        packets.expect("the device is there").parse().expect("a number")
    };
    (packets(ATTACK_DEVICE) + packets(CROWD_DEVICE)) as i64 - seen as i64
}
