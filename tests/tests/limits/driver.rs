//! A driver's own receive path: veth's here, that of NICs where the lab's wires are NICs (`cargo xtask kernels`).
//!
//! Whatever the driver received was judged, once, and admitted exactly by the limits.

use std::net::IpAddr;
use std::time::Duration;

use lab::topology::{ATTACK_DEVICE, FAR_DEVICE, FRONT_V4, FRONT_V6};
use lab::{Flood, Sources, socket};
use limiter::kernel::interface::Attachment;
use limiter::kernel::link;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::Counters;
use limiter_common::switch::Mode;

use super::{Front, decided, policy};

/// Attempts at once of one source, and of all.
const BURST: u64 = 40;
const BUDGET: u64 = 500;

/// Rates of which a test sees no more than the burst.
fn front() -> Front {
    let once = |burst| Limit { rate: Rate { count: 1, period: 120_000_000_000 }, burst };
    let mut policy = policy(&["web=*:80"]);
    policy.source = once(BURST);
    policy.budget = once(BUDGET);
    let front = Front::new(&policy, Mode::Enforce);
    let attached = front.lab.front.run(|| link::attached(&front.pins)).expect("the interfaces");
    assert!(attached.iter().all(|one| one.attachment == Some(Attachment::Native)), "{attached:?}");
    front
}

/// A flood at full speed loses frames on the way.
#[test]
fn a_flood_is_judged_in_the_driver() {
    let front = front();
    let before = received(&front);
    let one = flood(&front, Sources::One("11.1.2.3".parse().expect("an address")));
    assert_eq!(decided(&one, Reason::Admitted), BURST);
    assert!(decided(&one, Reason::SourceLimit) > 1000, "{one:?}");
    let both = flood(&front, Sources::Random);
    assert_eq!(decided(&both, Reason::Admitted), BUDGET);
    assert!(decided(&both, Reason::GlobalBudget) > 1000, "{both:?}");
    assert_eq!(judged(&both), received(&front) - before, "the driver's count of frames");
}

/// A packet socket loses none, so that every count is known before.
#[test]
fn every_frame_that_is_sent_is_judged() {
    const FRAMES: usize = 10_000;
    let front = front();
    let before = received(&front);
    let cases: [(IpAddr, &str, Option<u16>); 3] =
        [(FRONT_V4, "11.1.2.3", None), (FRONT_V6, "2001:db8:7::1", None), (FRONT_V4, "11.1.2.4", Some(77))];
    for (number, (target, source, vlan)) in (1..).zip(cases) {
        let source = Sources::One(source.parse().expect("an address"));
        send(&front, &Flood { vlan, ..Flood::new((target, 80).into(), source) }, FRAMES);
        let counters = front.service(0);
        assert_eq!(decided(&counters, Reason::Admitted), number * BURST, "of {target} with tag {vlan:?}");
        assert_eq!(decided(&counters, Reason::SourceLimit), number * (FRAMES as u64 - BURST));
    }
    send(&front, &Flood::new((FRONT_V4, 80).into(), Sources::Random), FRAMES);
    let counters = front.service(0);
    assert_eq!(decided(&counters, Reason::Admitted), BUDGET, "in total");
    let sent = (cases.len() as u64 + 1) * FRAMES as u64;
    assert_eq!((judged(&counters), received(&front) - before), (sent, sent));
}

fn judged(counters: &Counters) -> u64 {
    counters.decided.iter().sum()
}

/// Floods for half a second and returns the counters of the service when all has arrived.
fn flood(front: &Front, sources: Sources) -> Counters {
    let flood = Flood { frames: u64::MAX, seconds: 0.5, ..Flood::new((FRONT_V4, 80).into(), sources) };
    let before = received(front);
    let report = flood.run(&front.lab).expect("a flood");
    println!("{sources:?}: {report}; {} frames arrived", settled(front) - before);
    front.service(0)
}

/// Sends frames as a flood would make them, and waits until all have arrived.
fn send(front: &Front, flood: &Flood, count: usize) {
    let frames = flood.sample(500).expect("frames");
    let start = std::time::Instant::now();
    socket::send(&front.lab.attacker, FAR_DEVICE, &frames, count).expect("sent");
    settled(front);
    println!("{:?}: {count} frames in {:.2} s", flood.sources, start.elapsed().as_secs_f64());
}

/// Frames that have arrived when no more do.
fn settled(front: &Front) -> u64 {
    let mut arrived = received(front);
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let before = std::mem::replace(&mut arrived, received(front));
        if arrived == before {
            return arrived;
        }
    }
}

/// Frames that the front end's device received, by its driver's count.
fn received(front: &Front) -> u64 {
    let text = front.lab.front.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?)).expect("devices");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(ATTACK_DEVICE)?.strip_prefix(':'));
    let packets = line.and_then(|line| line.split_whitespace().nth(1));
    packets.expect("the device is there").parse().expect("a number")
}
