//! A connection is charged once, is whole, and is left alone: whatever a client, a spoofer or the
//! server does, by real packets against the real kernel.
//!
//! What is compared: connections that the server accepted, good cookies that the kernel took
//! (SyncookiesRecv), and what limiter charged.

mod beside;
mod bytes;
mod checksums;
mod elsewhere;
mod fragments;
mod groups;
mod named;
mod queue;
mod replays;
mod resets;
mod sequences;
mod told;
mod unpaid;

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::until_so;
use lab::{Hand, Lab};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;

use super::challenge::{front, kernel, web};
use super::{Front, decided, limit};

/// Connections at once of a source, which then has to wait for half an hour.
const BURST: u64 = 3;

/// An attacker's own address, and the server's, by family.
const PAIRS: [(&str, IpAddr); 2] = [("11.0.0.1", FRONT_V4), ("2001:db8:11::1", FRONT_V6)];

/// A front end at which a source has [`BURST`] connections.
fn strict(challenge: Challenge) -> Front {
    let mut policy = web(challenge);
    policy.source = limit(2, BURST);
    policy.source.rate.period *= 3600;
    front(&policy)
}

/// A client of the attacker's.
fn hand(front: &Front, client: &str, port: u16, server: IpAddr) -> Hand {
    let client = SocketAddr::new(client.parse().expect("an address"), port);
    Hand::new(&front.lab, client, SocketAddr::new(server, 80)).expect("a packet socket")
}

/// Connections that were paid for as proofs.
fn proofs(front: &Front) -> u64 {
    let counters = front.service(0);
    decided(&counters, Reason::Proven)
}

/// A server that counts its connections and keeps them: what is sent to it does not end one.
struct Keeper {
    accepted: Arc<AtomicU64>,
}

impl Keeper {
    /// On port 80 of any address.
    fn start(lab: &Lab) -> Self {
        Self::on(listeners(lab), |stream, kept| kept.push(stream))
    }

    /// The same, and it closes what its client has closed.
    fn closing(lab: &Lab) -> Self {
        let close = |mut stream: TcpStream, _: &mut Vec<TcpStream>| {
            std::thread::spawn(
                move || while stream.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {},
            );
        };
        Self::on(listeners(lab), close)
    }

    fn on(
        listeners: impl IntoIterator<Item = TcpListener>,
        serve: impl Fn(TcpStream, &mut Vec<TcpStream>) + Copy + Send + 'static,
    ) -> Self {
        let accepted = Arc::new(AtomicU64::new(0));
        for listener in listeners {
            let counter = Arc::clone(&accepted);
            // It ends with the test's process: nobody else has its namespace.
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                for stream in listener.incoming().flatten() {
                    serve(stream, &mut kept);
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { accepted }
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

fn listeners(lab: &Lab) -> [TcpListener; 2] {
    lab.front.run(|| Ok([TcpListener::bind("0.0.0.0:80")?, v6_only()])).expect("listeners")
}

/// A listening socket on port 80 of any IPv6 address and of no IPv4 one.
fn v6_only() -> TcpListener {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
    let socket = socket(AddressFamily::INET6, SocketType::STREAM, None).expect("a socket");
    sockopt::set_ipv6_v6only(&socket, true).expect("one family");
    sockopt::set_socket_reuseaddr(&socket, true).expect("again");
    bind(&socket, &"[::]:80".parse::<SocketAddr>().expect("a place")).expect("bound");
    listen(&socket, 1024).expect("it listens");
    TcpListener::from(socket)
}

/// Everything that was sent before this is called has been judged and taken: a stranger's handshake
/// behind it went through, on every CPU that the sender may have used. Returns the number of
/// strangers.
fn fence(front: &Front, keeper: &Keeper, server: IpAddr) -> u64 {
    const CPUS: u64 = 2;
    static STRANGER: AtomicU64 = AtomicU64::new(1);
    for cpu in 0..CPUS {
        let number = STRANGER.fetch_add(1, Ordering::Relaxed);
        let stranger = if server.is_ipv4() {
            format!("11.9.{}.{}", number >> 8, number & 255)
        } else {
            format!("2001:db8:9:{number:x}::9")
        };
        on_cpu(cpu as usize, || {
            let before = keeper.accepted();
            hand(front, &stranger, 40_000, server).connect().expect("a SYN-ACK for a stranger");
            until_so("a stranger's connection", || keeper.accepted() > before);
        });
    }
    CPUS
}

/// Runs on a CPU.
fn on_cpu<T: Send>(cpu: usize, work: impl FnOnce() -> T + Send) -> T {
    let bound = move || {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set).expect("a CPU");
        work()
    };
    std::thread::scope(|scope| scope.spawn(bound).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What the server accepted, the kernel took and limiter charged is the same.
#[track_caller]
fn agree(front: &Front, keeper: &Keeper, case: &str) {
    let (accepted, received, charged) =
        (keeper.accepted(), kernel(front, "SyncookiesRecv"), proofs(front));
    println!("{case}: {accepted} connections, {received} cookies taken, {charged} charged");
    assert_eq!((accepted, charged), (received, received), "{case}: {:?}", front.service(0));
}

/// No connection was made that was not paid. Who resets or ends his own connection while he brings
/// its cookie again may have paid for one that was not made: it met what he had reset a moment
/// later.
#[track_caller]
fn all_paid(front: &Front, keeper: &Keeper, case: &str) -> u64 {
    let (accepted, received, charged) =
        (keeper.accepted(), kernel(front, "SyncookiesRecv"), proofs(front));
    println!("{case}: {accepted} connections, {received} cookies taken, {charged} charged");
    let counters = front.service(0);
    assert!(
        accepted == received && received <= charged,
        "{case}: {accepted}, {received}, {charged}: {counters:?}"
    );
    charged
}

/// The same, and the attacker has paid for no more than his limit lets him have.
#[track_caller]
fn all_paid_within_limit(front: &Front, keeper: &Keeper, strangers: u64, case: &str) {
    let own = all_paid(front, keeper, case) - strangers;
    assert!(own <= BURST, "{case}: {own} charged: {:?}", front.service(0));
}

/// The same, and the attacker has no more connections than his limit lets him have.
#[track_caller]
fn agree_within_limit(front: &Front, keeper: &Keeper, strangers: u64, case: &str) {
    agree(front, keeper, case);
    let own = keeper.accepted() - strangers;
    assert!(own <= BURST, "{case}: {own} connections: {:?}", front.service(0));
}
