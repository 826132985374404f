//! Connections that exist are never touched, whatever is done to the limiter.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use lab::topology::FRONT_V4;
use lab::wait::PATIENCE;
use lab::{Crowd, Flood, Server, Sources};
use limiter::kernel::link;
use limiter::kernel::slots::Origin;
use limiter_common::reason::Reason;
use limiter_common::record::List;
use limiter_common::switch::{Mode, Selection};

use super::{Front, decided, limit, policy};

/// A bulk transfer through the same interface as the flood's victim: complete, and not a packet of it refused.
#[test]
fn a_bulk_transfer_survives_a_flood() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(20, 40);
    policy.budget = limit(1000, 2000);
    let front = Front::new(&policy, Mode::Enforce);
    let server = Server::start(&front.lab).expect("a server");
    let target = (FRONT_V4, 80).into();
    let base = "11.0.0.1".parse().expect("an address");
    let flood = Flood {
        frames: u64::MAX,
        seconds: 600.0,
        cpu: Some(1),
        ..Flood::new(target, Sources::Many { base, count: 40 })
    };
    let flooding = flood.spawn(&front.lab).expect("a flood");
    let bulk = Crowd {
        path: format!("/bytes/{}", 200 << 20),
        pages_per_second: 1.0,
        seconds: 2.0,
        timeout: PATIENCE,
        ..Crowd::new(target, front.lab.clients_v4())
    };
    let pages = bulk.run(&front.lab).expect("transfers");
    let flooded = flooding.stop().expect("the flood ends");
    assert_eq!((pages.ok, pages.tried), (2, 2), "200 MiB each, whole");
    let counters = front.service(0);
    let attempts = flooded.sent + pages.tried + front.sent_again();
    let refused =
        decided(&counters, Reason::SourceLimit) + decided(&counters, Reason::GlobalBudget);
    assert_eq!(
        decided(&counters, Reason::Admitted) + refused,
        attempts,
        "only attempts were judged"
    );
    assert!(decided(&counters, Reason::SourceLimit) > 0, "the flood was refused meanwhile");
    assert_eq!(server.accepted(), 2);
}

/// An idle connection, as of ssh, through everything an operator does.
#[test]
fn an_idle_connection_survives_arm_disarm_set_and_detach() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(1, 1);
    let mut front = Front::new(&policy, Mode::Observe);
    let listener =
        front.lab.front.run(|| Ok(TcpListener::bind((FRONT_V4, 80))?)).expect("a listener");
    let mut client =
        front.lab.crowd.run(|| Ok(TcpStream::connect((FRONT_V4, 80))?)).expect("a connection");
    let (mut server, _) = listener.accept().expect("a connection");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut echo = |when: &str| {
        client.write_all(when.as_bytes()).expect(when);
        let mut heard = vec![0; when.len()];
        server.read_exact(&mut heard).expect(when);
        server.write_all(&heard).expect(when);
        client.read_exact(&mut heard).expect(when);
        assert_eq!(heard, when.as_bytes());
    };
    echo("observe");
    let switch = front.maps.switch().expect("the switch");
    let now = switch.fallback();
    front.maps.set_switch(switch.select(Selection { mode: Mode::Enforce, ..now })).expect("armed");
    echo("armed");
    policy.source = limit(2, 2);
    let staged = front.maps.stage_policy(&policy, &Origin::default()).expect("a policy");
    front.maps.set_switch(staged).expect("set");
    echo("set");
    let other = "192.0.2.0/24".parse().expect("a prefix");
    front.maps.add(List::Ban, &[other], None).expect("banned");
    echo("a ban of somebody else");
    front.maps.set_switch(switch.select(now)).expect("disarmed");
    echo("disarmed");
    for index in front.pins.links() {
        link::detach(&front.pins, index).expect("detached");
    }
    echo("detached");
    assert!(front.root().is_dir(), "only the links went");
}
