//! A driver's own receive path, at full speed: veth's here, and that of NICs where the lab's wires are NICs (`cargo xtask kernels`).

use std::time::Duration;

use lab::topology::{ATTACK_DEVICE, FRONT_V4};
use lab::{Flood, Sources};
use limiter::kernel::interface::Attachment;
use limiter::kernel::link;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::Counters;
use limiter_common::switch::Mode;

use super::{Front, decided, policy};

/// A rate of which a test sees no more than the burst.
fn once(burst: u64) -> Limit {
    Limit { rate: Rate { count: 1, period: 120_000_000_000 }, burst }
}

/// At full speed a device loses frames on the way; whatever its driver received was judged, once, and admitted by the limits exactly.
#[test]
fn a_flood_is_judged_in_the_driver() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = once(40);
    policy.budget = once(500);
    let front = Front::new(&policy, Mode::Enforce);
    let attached = front.lab.front.run(|| link::attached(&front.pins)).expect("the interfaces");
    assert!(attached.iter().all(|one| one.attachment == Some(Attachment::Native)), "{attached:?}");
    let before = received(&front);
    let one = flood(&front, Sources::One("11.1.2.3".parse().expect("an address")));
    assert_eq!(decided(&one, Reason::Admitted), 40);
    assert!(decided(&one, Reason::SourceLimit) > 1000, "{one:?}");
    let both = flood(&front, Sources::Random);
    assert_eq!(decided(&both, Reason::Admitted), 500, "the source took 40 of the budget");
    assert!(decided(&both, Reason::GlobalBudget) > 1000, "{both:?}");
    let judged: u64 = both.decided.iter().sum();
    assert_eq!(judged, received(&front) - before, "the driver's count of frames");
}

/// Floods for half a second, waits until what was under way has arrived, and returns the counters of the service.
fn flood(front: &Front, sources: Sources) -> Counters {
    let flood = Flood { frames: u64::MAX, seconds: 0.5, ..Flood::new((FRONT_V4, 80).into(), sources) };
    let before = received(front);
    let report = flood.run(&front.lab).expect("a flood");
    let mut arrived = received(front);
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = received(front);
        if now == arrived {
            break;
        }
        arrived = now;
    }
    println!("{sources:?}: {report}; {} frames arrived", arrived - before);
    front.service(0)
}

/// Frames that the front end's device received, by its driver's count.
fn received(front: &Front) -> u64 {
    let text = front.lab.front.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?)).expect("devices");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(ATTACK_DEVICE)?.strip_prefix(':'));
    let packets = line.and_then(|line| line.split_whitespace().nth(1));
    packets.expect("the device is there").parse().expect("a number")
}
