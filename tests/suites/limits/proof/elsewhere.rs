//! Connections whose other end the driver's look does not find: behind a bridge, in a container, on
//! another host.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream};

use lab::topology::{ATTACK_DEVICE, FAR_DEVICE, FRONT_V4};
use lab::wait::PATIENCE;
use lab::{Lab, Namespace};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;

use super::super::interop::try_bound;
use super::{Front, decided, front, hand, web};

/// The container's address, and the front end's towards it.
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);
const TOWARDS_IT: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);

/// Puts the device towards the attacker into a bridge, which gets its addresses. limiter stays on
/// the device.
pub fn bridge(front: &Front) {
    front
        .lab
        .front
        .ip_batch(&format!(
            "link add br0 address 02:00:00:77:02:01 type bridge\n\
             address del 10.77.2.1/24 dev {ATTACK_DEVICE}\n\
             address del fd77:2::1/64 dev {ATTACK_DEVICE}\n\
             link set {ATTACK_DEVICE} master br0\n\
             link set br0 arp off\n\
             link set br0 up\n\
             address add 10.77.2.1/24 dev br0\n\
             address add fd77:2::1/64 dev br0 nodad\n\
             address add fe80::77:1/64 dev br0 nodad\n\
             neighbour replace 10.77.2.2 lladdr 02:00:00:77:02:02 dev br0 nud permanent\n\
             neighbour replace fd77:2::2 lladdr 02:00:00:77:02:02 dev br0 nud permanent\n\
             neighbour replace fe80::77:2 lladdr 02:00:00:77:02:02 dev br0 nud permanent\n\
             route replace default via 10.77.2.2\n\
             route replace default via fd77:2::2\n"
        ))
        .expect("a bridge");
}

/// Answers each connection's bytes with themselves.
fn echo(listener: TcpListener) {
    // It ends with the test's process: nobody else has its namespace.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

/// Sends some bytes and has them back.
fn ping(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"ping")?;
    stream.read_exact(&mut [0; 4])
}

/// Others are challenged from now on: one of them was.
fn challenge_others(front: &Front) {
    hand(front, "11.5.5.5", 40_000, FRONT_V4).ask().expect("a cookie for a stranger");
    assert!(decided(&front.service(0), Reason::Challenged) > 0, "{:?}", front.service(0));
}

/// Of a link-local client over a bridge the kernel binds the connection to the bridge, and so the
/// look from its port meets the listening socket.
#[test]
fn link_local_connections_over_a_bridge_live_through_a_challenge() {
    let front = front(&web(Challenge::Always));
    bridge(&front);
    front
        .lab
        .attacker
        .ip(&["address", "add", "fe80::77:2/64", "dev", FAR_DEVICE, "nodad"])
        .expect("an address");
    let neighbour =
        ["neighbour", "replace", "fe80::77:1", "lladdr", "02:00:00:77:02:01", "dev", FAR_DEVICE];
    front.lab.attacker.ip(&[&neighbour[..], &["nud", "permanent"]].concat()).expect("a neighbour");
    echo(front.lab.front.run(|| Ok(super::v6_only())).expect("a listener"));
    let v4 = front.lab.front.run(|| Ok(TcpListener::bind("0.0.0.0:80")?)).expect("a listener");
    front
        .lab
        .attacker
        .run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            let device = rustix::net::netdevice::name_to_index(&socket, FAR_DEVICE)?;
            let server = SocketAddrV6::new("fe80::77:1".parse()?, 80, 0, device);
            let mut stream = TcpStream::connect_timeout(&server.into(), PATIENCE)?;
            ping(&mut stream)?;
            challenge_others(&front);
            for _ in 0..3 {
                // What follows a proof comes free for a moment.
                std::thread::sleep(std::time::Duration::from_millis(140));
                ping(&mut stream)?;
            }
            Ok(())
        })
        .expect("bytes come back");
    assert_eq!(decided(&front.service(0), Reason::BadCookie), 0, "{:?}", front.service(0));
    drop(v4);
}

/// A namespace behind the front end, as a container is, with a server on port 80.
fn container(lab: &Lab) -> Namespace {
    let inside = Namespace::new().expect("a namespace");
    lab.front
        .ip(&["link", "add", "in0", "type", "veth", "peer", "name", "out0", "netns", inside.name()])
        .expect("a veth");
    lab.front
        .ip_batch(&format!("address add {TOWARDS_IT}/24 dev in0\nlink set in0 up\n"))
        .expect("addresses");
    inside
        .ip_batch(&format!("address add {INSIDE}/24 dev out0\nlink set out0 up\nroute add default via {TOWARDS_IT}\n"))
        .expect("addresses");
    lab.front.sysctl("ipv4/ip_forward", "1").expect("a setting");
    echo(inside.run(|| Ok(TcpListener::bind((INSIDE, 80))?)).expect("a listener"));
    inside
}

fn nft(lab: &Lab, rules: &[&str]) {
    for rule in rules {
        let done = lab.front.command("nft").expect("a namespace").arg(rule).status();
        assert!(done.expect("nft is installed by `cargo xtask setup`").success(), "nft {rule}");
    }
}

/// Where the connections of a client end.
#[derive(Clone, Copy, Debug)]
enum Behind {
    /// In a container, to which the service's address is translated; beside it a proxy listens on
    /// the same port, as Docker's does.
    Translated,
    /// On a host of its own, whose address is only forwarded to. The front end has a server of its
    /// own on the port.
    Forwarded,
}

/// A connection into a container, and one that is only forwarded, are there when a challenge
/// begins, with a listening socket here that could be meant.
#[test]
fn connections_that_end_elsewhere_live_through_a_challenge() {
    for behind in [Behind::Translated, Behind::Forwarded] {
        let mut front = front(&web(Challenge::Off));
        let _inside = container(&front.lab);
        let _proxy =
            front.lab.front.run(|| Ok(TcpListener::bind("0.0.0.0:80")?)).expect("a listener");
        let server: IpAddr = match behind {
            Behind::Translated => {
                let rules = [
                    "add table ip lab",
                    "add chain ip lab before { type nat hook prerouting priority -100; }",
                    "add rule ip lab before ip daddr 10.77.0.1 tcp dport 80 dnat to 10.79.0.2:80",
                ];
                nft(&front.lab, &rules);
                FRONT_V4
            }
            Behind::Forwarded => INSIDE.into(),
        };
        let client = front.lab.clients_v4()[0];
        let connect = || Ok(try_bound(client, SocketAddr::new(server, 80))?);
        let mut stream = front.lab.crowd.run(connect).expect("connected");
        ping(&mut stream).expect("an answer in calm");
        begin(&mut front, Challenge::Always);
        challenge_others(&front);
        for round in 0..3 {
            let answer = ping(&mut stream);
            assert!(answer.is_ok(), "{behind:?}, ping {round}: {answer:?}; {:?}", front.service(0));
        }
    }
}

/// A policy with another challenge.
fn begin(front: &mut Front, challenge: Challenge) {
    let origin = limiter::kernel::slots::Origin::default();
    let switch = front.maps.stage_policy(&web(challenge), &origin).expect("a policy");
    front.maps.set_switch(switch).expect("switched");
    let Front { lab, maps, .. } = front;
    lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
}
