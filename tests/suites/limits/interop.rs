//! Challenged connections between real kernels: with and without the options of TCP, large and small, in both directions.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::PATIENCE;
use lab::{Lab, LabOptions};
use limiter::kernel::slots::Origin;
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::record::Refuse;
use limiter_common::switch::Mode;

use super::{Front, decided, dropped, policy};

/// Bytes in each direction.
pub const BULK: usize = 100_000_000;
const GREETING: &[u8] = b"220 a server that speaks first\r\n";

/// `tcpi_options` of linux/tcp.h.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const SCALING: u8 = 4;

/// What one connection was like.
pub struct Passed {
    options: u8,
    /// Until the server had all and the client had it back.
    pub took: Duration,
}

/// One connection: the server greets, the client sends `bytes`, the server sends as many back.
pub fn connect(lab: &Lab, server: IpAddr, client: IpAddr, bytes: usize) -> Passed {
    let address = SocketAddr::new(server, 80);
    let listener = lab.front.run(|| Ok(TcpListener::bind(address)?)).expect("a listener");
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(GREETING).expect("greeted");
        let mut received = vec![0; bytes];
        stream.read_exact(&mut received).expect("all of it");
        assert!(
            received.iter().enumerate().all(|(at, byte)| *byte == at as u8),
            "unharmed on the way up"
        );
        stream.write_all(&received).expect("sent back");
        stream.shutdown(Shutdown::Write).expect("done");
    });
    let passed = lab
        .crowd
        .run(|| {
            let start = Instant::now();
            let mut stream = bound(client)(address);
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut greeting = [0; GREETING.len()];
            stream.read_exact(&mut greeting)?;
            assert_eq!(greeting, GREETING);
            let sent: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            let mut reader = stream.try_clone()?;
            let reading = std::thread::spawn(move || {
                let mut received = Vec::new();
                reader.read_to_end(&mut received).map(|_| received)
            });
            stream.write_all(&sent)?;
            let received = reading.join().expect("a reader")?;
            let took = start.elapsed();
            assert!(
                received == sent,
                "unharmed on the way down: {} of {bytes} bytes",
                received.len()
            );
            Ok(Passed { options: options(&stream), took })
        })
        .expect("a transfer");
    serving.join().expect("a server");
    passed
}

/// Connects from `client`; the standard library's socket cannot be bound first.
pub fn bound(client: IpAddr) -> impl Fn(SocketAddr) -> TcpStream {
    move |server| try_bound(client, server).expect("connected")
}

/// The same, and what came instead of a connection.
pub fn try_bound(client: IpAddr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = runtime.block_on(async {
        let socket = match client {
            IpAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
            IpAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
        }?;
        socket.bind(SocketAddr::new(client, 0))?;
        socket.connect(server).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The options that the connection has.
fn options(stream: &TcpStream) -> u8 {
    let mut info = [0_u8; 8];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the buffer is as long as said; the kernel writes the first bytes of struct tcp_info.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0);
    // state, ca_state, retransmits, probes, backoff, options
    info[5] & (TIMESTAMPS | SACK | SCALING)
}

pub fn front(mtu: u32, challenge: Challenge, timestamps: &str) -> Front {
    let lab = Lab::with(LabOptions { mtu, clients: 16 }).expect("a lab");
    let cookies = if challenge == Challenge::Off { "1" } else { "2" };
    lab.front.sysctl("ipv4/tcp_syncookies", cookies).expect("a setting");
    lab.front.sysctl("ipv4/tcp_timestamps", timestamps).expect("a setting");
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission.challenge = challenge;
    let mut front =
        Front::in_lab(lab, &policy, Mode::Enforce).expect("limiter attaches in the lab");
    let Front { lab, maps, .. } = &mut front;
    lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
    front
}

fn client_settings(front: &Front, timestamps: bool, sack: bool, scaling: bool) {
    let set = |name: &str, on: bool| {
        front.lab.crowd.sysctl(name, if on { "1" } else { "0" }).expect("a setting")
    };
    set("ipv4/tcp_timestamps", timestamps);
    set("ipv4/tcp_sack", sack);
    set("ipv4/tcp_window_scaling", scaling);
}

/// So many connections were challenged and paid; more where the kernel was slow, and a client sent
/// something again.
#[track_caller]
fn are_charged(front: &Front, connections: u64) {
    let counters = front.service(0);
    let challenged = connections..=connections + front.sent_again();
    assert!(challenged.contains(&decided(&counters, Reason::Challenged)), "{counters:?}");
    assert!(decided(&counters, Reason::Proven) >= connections, "{counters:?}");
}

/// Each connection is challenged. All bytes arrive; and where the kernel decodes a cookie's
/// timestamp, the options that the client offered are kept.
#[test]
fn every_kind_of_client_gets_through_unharmed() {
    for (mtu, server_timestamps) in [(1500, "1"), (1500, "2"), (1280, "1"), (1280, "2")] {
        let front = front(mtu, Challenge::Always, server_timestamps);
        let mut challenged = 0;
        for v6 in [false, true] {
            let (server, clients) = if v6 {
                (FRONT_V6, front.lab.clients_v6())
            } else {
                (FRONT_V4, front.lab.clients_v4())
            };
            for (kind, client) in (0..8).zip(clients) {
                let [timestamps, sack, scaling] = [1, 2, 4].map(|bit| kind & bit != 0);
                client_settings(&front, timestamps, sack, scaling);
                let passed = connect(&front.lab, server, client, 300_000);
                challenged += 1;
                let kept = timestamps && server_timestamps == "2";
                let offered = [(timestamps, TIMESTAMPS), (sack, SACK), (scaling, SCALING)];
                let offered = offered.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum::<u8>();
                let expected = if kept { offered } else { 0 };
                assert_eq!(
                    passed.options, expected,
                    "MTU {mtu}, IPv6 {v6}, {timestamps} {sack} {scaling}"
                );
            }
        }
        are_charged(&front, challenged);
    }
}

/// A client that sends more than one segment right behind its ACK, and a server that says nothing before it has all of it: not one is lost,
/// whether refusals are answered with resets or not.
#[test]
fn a_large_first_request_arrives_at_once() {
    const REQUEST: usize = 20_000;
    let mut front = front(1500, Challenge::Always, "1");
    for (reset, v6) in [(false, false), (true, false), (false, true), (true, true)] {
        let slot = front.maps.selection().expect("a slot").slot;
        let mut policy = front.maps.policy(slot).expect("the policy");
        policy.services[0].admission.refuse = if reset { Refuse::Reset } else { Refuse::Drop };
        let switch = front.maps.stage_policy(&policy, &Origin::default()).expect("a policy");
        front.maps.set_switch(switch).expect("switched");
        let (server, clients) = if v6 {
            (FRONT_V6, front.lab.clients_v6())
        } else {
            (FRONT_V4, front.lab.clients_v4())
        };
        let address = SocketAddr::new(server, 80);
        let listener = front.lab.front.run(|| Ok(TcpListener::bind(address)?)).expect("a listener");
        let serving = std::thread::spawn(move || {
            for stream in listener.incoming().take(6) {
                let mut stream = stream.expect("a connection");
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                stream.read_exact(&mut [0; REQUEST]).expect("all of it");
                stream.write_all(GREETING).expect("answered");
            }
        });
        let offset = if reset { 6 } else { 0 };
        for client in clients.into_iter().skip(offset).take(6) {
            let answered = front.lab.crowd.run(|| {
                let mut stream = bound(client)(address);
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(&[7; REQUEST])?;
                stream.read_exact(&mut [0; GREETING.len()])?;
                Ok(())
            });
            answered.unwrap_or_else(|error| panic!("reset {reset}, IPv6 {v6}: {error}"));
        }
        serving.join().expect("a server");
    }
    let counters = front.service(0);
    are_charged(&front, 24);
    // What TCP would have had to send again.
    assert_eq!((dropped(&counters), counters.resets), (0, 0), "{counters:?}");
}

/// Where the kernel does not decode options, a challenged connection has none: slower, and complete.
#[test]
fn bulk_transfers_are_complete_without_options() {
    let front = front(1500, Challenge::Always, "1");
    for (server, client) in
        [(FRONT_V4, front.lab.clients_v4()[0]), (FRONT_V6, front.lab.clients_v6()[0])]
    {
        let passed = connect(&front.lab, server, client, BULK);
        println!("100 MB up and down with {client}, no options: {:.3?}", passed.took);
        assert_eq!(passed.options, 0);
    }
    are_charged(&front, 2);
}

/// A connection from before the challenge goes on through it.
#[test]
fn a_connection_from_before_is_untouched() {
    let front = front(1500, Challenge::Off, "1");
    let listener =
        front.lab.front.run(|| Ok(TcpListener::bind((FRONT_V4, 80))?)).expect("a listener");
    let client = front.lab.clients_v4()[0];
    let mut stream =
        front.lab.crowd.run(|| Ok(bound(client)((FRONT_V4, 80).into()))).expect("connected");
    let (mut served, _) = listener.accept().expect("a connection");
    let mut front = front;
    let mut always = policy(&["web=*:80"]);
    always.services[0].admission.challenge = Challenge::Always;
    front.lab.front.sysctl("ipv4/tcp_syncookies", "2").expect("a setting");
    let switch = front.maps.stage_policy(&always, &Origin::default()).expect("a policy");
    front.maps.set_switch(switch).expect("switched");
    let Front { lab, maps, .. } = &mut front;
    lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
    // Another client makes cookies go out, so that ACKs are looked at.
    let other = lab.clients_v4()[1];
    let _other = lab.crowd.run(|| Ok(bound(other)((FRONT_V4, 80).into()))).expect("connected");
    for _ in 0..100 {
        stream.write_all(GREETING).expect("sent");
        let mut received = [0; GREETING.len()];
        served.read_exact(&mut received).expect("received");
        assert_eq!(received, GREETING);
    }
    assert_eq!(decided(&front.service(0), Reason::BadCookie), 0);
}
