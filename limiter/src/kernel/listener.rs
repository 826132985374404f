//! TCP sockets of this network namespace over sock_diag: those that listen, with their accept
//! queues, connections, and who waits for a first answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, InetResponseHeader, SocketId, StateFlags, Timer,
};
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;

use super::netlink::{Scope, ask_for};

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether a socket on `[::]` leaves IPv4 to others.
    pub only_v6: bool,
    /// Connections that wait to be accepted.
    pub waiting: u32,
    /// Connections that may wait: what the server asked for, at most `net.core.somaxconn`.
    pub room: u32,
    /// The kernel's number of the socket, as links in /proc/PID/fd have it.
    pub inode: u32,
    /// Index of the interface that it is bound to (SO_BINDTODEVICE), 0 for every one.
    pub device: u32,
}

impl Listener {
    /// Whether a connection to `address` can come to this socket.
    pub fn takes(&self, address: SocketAddr) -> bool {
        let ip = self.address.ip();
        let family = match (ip, address.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
            (IpAddr::V6(ip), IpAddr::V4(_)) => ip.is_unspecified() && !self.only_v6,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        };
        let place = ip.is_unspecified() || address.ip().is_unspecified() || ip == address.ip();
        family && place && self.address.port() == address.port()
    }
}

/// The accept queue on one address, of all sockets that share it (SO_REUSEPORT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Connections that wait to be accepted.
    pub waiting: u64,
    /// Connections that may.
    pub room: u64,
}

/// The accept queues of a service that listens on these addresses.
pub fn queues(addresses: &[SocketAddr], listeners: &[Listener]) -> Vec<Queue> {
    let here = listeners.iter().filter(|one| addresses.iter().any(|address| one.takes(*address)));
    let sum = |one: &Listener| {
        let same = listeners.iter().filter(|other| other.address == one.address);
        same.fold(Queue { waiting: 0, room: 0 }, |sum, one| Queue {
            waiting: sum.waiting + u64::from(one.waiting),
            room: sum.room + u64::from(one.room),
        })
    };
    here.map(sum).collect()
}

/// The fullest of them; `None`: no process listens there.
pub fn fullest(addresses: &[SocketAddr], listeners: &[Listener]) -> Option<Queue> {
    let all = queues(addresses, listeners).into_iter();
    all.max_by(|one, other| (one.waiting * other.room).cmp(&(other.waiting * one.room)))
}

/// All of them.
///
/// # Errors
/// When the kernel does not answer.
pub fn all() -> Result<Vec<Listener>> {
    Ok(sockets(StateFlags::LISTEN, None)?.iter().map(listener).collect())
}

/// Sockets in these states; `port`: those with this port here, about so many of each family, of
/// which the kernel tells more.
fn sockets(states: StateFlags, port: Option<(u16, usize)>) -> Result<Vec<InetResponse>> {
    let (port, most) = port.map_or((0, usize::MAX), |one| one);
    let mut sockets = Vec::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let question = SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: if port == 0 { ExtensionFlags::empty() } else { ExtensionFlags::INFO },
            states: states.clone(),
            socket_id: SocketId { source_port: port, ..any },
        });
        let answers = ask_for(NETLINK_SOCK_DIAG, question, Scope::All, most)?;
        sockets.extend(answers.into_iter().filter_map(|answer| match answer {
            SockDiagMessage::InetResponse(response) => Some(*response),
            _ => None,
        }));
    }
    Ok(sockets)
}

fn listener(response: &InetResponse) -> Listener {
    let header = &response.header;
    let only_v6 = response.nlas.iter().any(|attribute| matches!(attribute, Nla::SkV6Only(true)));
    Listener {
        address: SocketAddr::new(header.socket_id.source_address, header.socket_id.source_port),
        only_v6,
        waiting: header.recv_queue,
        room: header.send_queue,
        inode: header.inode,
        device: header.socket_id.interface_id,
    }
}

/// A connection of this network namespace: its end here, and the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// Its end here.
    pub local: SocketAddr,
    /// The other one.
    pub remote: SocketAddr,
}

/// All connections that were made and have not ended, those in the accept queue too. (What only
/// waits for late packets, in TIME_WAIT or orphaned in FIN_WAIT2, is over.)
///
/// # Errors
/// When the kernel does not answer.
pub fn connections() -> Result<Vec<Connection>> {
    let live = StateFlags::ESTABLISHED
        | StateFlags::FIN_WAIT1
        | StateFlags::FIN_WAIT2
        | StateFlags::CLOSE_WAIT
        | StateFlags::LAST_ACK
        | StateFlags::CLOSING;
    Ok(sockets(live, None)?.iter().filter_map(|one| connection(&one.header)).collect())
}

fn connection(header: &InetResponseHeader) -> Option<Connection> {
    let id = &header.socket_id;
    let end = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    (header.timer != Some(Timer::TimeWait)).then(|| Connection {
        local: end(id.source_address, id.source_port),
        remote: end(id.destination_address, id.destination_port),
    })
}

/// A client that has asked for something on a new connection, and has had no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it asked.
    pub at: SocketAddr,
    /// For how long it has waited.
    pub waits: Duration,
}

/// Those that wait so at a port here, in an accept queue or at a process that has accepted them.
/// One that the server has sent more than [`HANDSHAKE`] to has had its answer. `most`: connections of
/// each family that are looked at, about 5 us each; those beyond, in the order of the kernel's table,
/// are left out.
///
/// # Errors
/// When the kernel does not answer.
pub fn asked(port: u16, most: usize) -> Result<Vec<Asked>> {
    let live = StateFlags::ESTABLISHED | StateFlags::CLOSE_WAIT;
    let asked = |response: &InetResponse| {
        let info = response.nlas.iter().find_map(|attribute| match attribute {
            Nla::TcpInfo(info) => Some(info),
            _ => None,
        })?;
        // A browser confirms what it gets in frames of its own, so who asked last is not enough.
        // An answer in the same tick of the kernel leaves both times equal, as a new connection has
        // them; a FIN alone counts as a byte, and is no segment with data.
        let waits = info.data_segs_in > 0
            && (info.bytes_sent == 0 || info.last_data_recv < info.last_data_sent)
            && info.bytes_sent < HANDSHAKE
            && info.last_data_recv < IDLE;
        let at = connection(&response.header)?.local;
        waits.then(|| Asked { at, waits: Duration::from_millis(info.last_data_recv.into()) })
    };
    Ok(sockets(live, Some((port, most)))?.iter().filter_map(asked).collect())
}

/// Half of the clients without an answer wait for so long where an answer takes a second.
pub const LATE: Duration = Duration::from_millis(500);

/// For how long half of them wait.
pub fn median(waits: &mut [Duration]) -> Duration {
    waits.sort_unstable();
    waits.get(waits.len() / 2).copied().unwrap_or_default()
}

/// Milliseconds after which people have given up: protocols that confirm, such as HTTP/2, or that need
/// no answer, have connections that are idle behind what the client sent last.
const IDLE: u32 = 10_000;
/// Bytes that a server may send before its first answer, for TLS: its certificates, mostly.
const HANDSHAKE: u64 = 8192;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn at(address: &str, only_v6: bool) -> Listener {
        let address = address.parse().expect("an address");
        Listener { address, only_v6, waiting: 0, room: 128, inode: 0, device: 0 }
    }

    #[test]
    fn who_takes_what() {
        let to = |address: &str| address.parse().expect("an address");
        assert!(at("0.0.0.0:80", false).takes(to("192.0.2.1:80")));
        assert!(at("192.0.2.1:80", false).takes(to("0.0.0.0:80")), "a service on every address");
        assert!(!at("192.0.2.1:80", false).takes(to("192.0.2.2:80")));
        assert!(!at("0.0.0.0:80", false).takes(to("192.0.2.1:81")));
        assert!(at("[::]:80", false).takes(to("192.0.2.1:80")));
        assert!(!at("[::]:80", true).takes(to("192.0.2.1:80")));
        assert!(!at("0.0.0.0:80", false).takes(to("[2001:db8::1]:80")));
    }

    #[test]
    fn the_kernel_tells_of_a_real_one() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = socket.local_addr().expect("an address");
        let found = all().expect("sock_diag answers");
        let mine = found.iter().find(|one| one.address == address).expect("it is there");
        assert_eq!((mine.waiting, mine.room > 0), (0, true));
    }

    /// In the accept queue, accepted, and answered.
    #[test]
    fn who_waits_for_a_first_answer() {
        let server = TcpListener::bind("127.0.0.1:0").expect("bound");
        let at = server.local_addr().expect("an address");
        let waiting = || asked(at.port(), 100).expect("sock_diag answers").len();
        let mut client = TcpStream::connect(at).expect("connected");
        assert_eq!(waiting(), 0, "it has asked nothing");
        client.write_all(b"GET /").expect("written");
        assert_eq!(waiting(), 1);
        let (mut socket, _) = server.accept().expect("a connection");
        socket.read_exact(&mut [0; 5]).expect("what it asks");
        assert_eq!(asked(at.port(), 100).expect("sock_diag answers")[0].at, at);
        socket.write_all(b"page").expect("an answer");
        client.read_exact(&mut [0; 4]).expect("the answer");
        assert_eq!(waiting(), 0);
    }
}
