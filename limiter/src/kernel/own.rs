//! SYN-ACKs of the kernel's own, as they leave: a challenge says in its place what they say.
//!
//! The kernel computes MSS, window and scale of each from the route, the listening socket, its
//! settings and the device, and the firewall may change them after that. A packet socket sees what
//! came of all this. It costs a copy of every packet that leaves the device, so it is open for a
//! moment only.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TransportSlice};
use limiter_common::reply::Own;
use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

use super::clock;
use super::maps::{Maps, Raw};
use crate::policy::{Name, text};

/// The longest headers of IP and TCP, in bytes.
const MOST: usize = 60 + 60;

/// SYN-ACKs that are enough to know what an interface's say.
const ENOUGH: usize = 64;
/// How long what was seen holds. Where nothing is seen for longer, no client comes either.
const GOOD_FOR: Duration = Duration::from_secs(3600);

/// A SYN-ACK that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From where.
    pub from: SocketAddr,
    /// Its MSS; 0 if it says none.
    pub mss: u16,
    /// Its window.
    pub window: u16,
    /// Its window scale.
    pub scale: Option<u32>,
}

/// Sees SYN-ACKs leave by an interface.
#[derive(Debug)]
pub struct Tap {
    socket: Socket,
}

impl Tap {
    /// Opens one. It needs CAP_NET_RAW.
    ///
    /// # Errors
    /// When the kernel gives no packet socket, or there is no such interface.
    pub fn open(index: u32) -> Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)
            .context("cannot open a packet socket, which takes CAP_NET_RAW")?;
        // Before it is bound: until then it hears nothing.
        socket.attach_filter(&filter()).context("cannot set a filter")?;
        socket.bind(&every_packet(index)).with_context(|| {
            format!("cannot bind a packet socket to the interface with index {index}")
        })?;
        Ok(Self { socket })
    }

    /// The next SYN-ACK; `None`: none left until then.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn next(&self, until: Instant) -> Result<Option<Answer>> {
        let mut packet = [0; MOST];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // A time-out of 0 would be none.
            let left = left.max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).context("cannot set a time-out")?;
            match (&self.socket).read(&mut packet) {
                Ok(length) => match read(&packet[..length]) {
                    Some(answer) => return Ok(Some(answer)),
                    None => continue,
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("cannot read from a packet socket"),
            }
        }
    }
}

/// What a SYN-ACK says; `None`: it is none, or not whole.
fn read(packet: &[u8]) -> Option<Answer> {
    let packet = LaxSlicedPacket::from_ip(packet).ok()?;
    let from = match packet.net? {
        LaxNetSlice::Ipv4(ip) => IpAddr::from(ip.header().source_addr()),
        LaxNetSlice::Ipv6(ip) => IpAddr::from(ip.header().source_addr()),
        LaxNetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
    let (mut mss, mut scale) = (0, None);
    for option in tcp.options_iterator().map_while(Result::ok) {
        match option {
            TcpOptionElement::MaximumSegmentSize(bytes) => mss = bytes,
            TcpOptionElement::WindowScale(shift) => scale = Some(shift.into()),
            _ => {}
        }
    }
    let from = SocketAddr::new(from, tcp.source_port());
    (tcp.syn() && tcp.ack()).then(|| Answer { from, mss, window: tcp.window_size(), scale })
}

/// Lets through what leaves and is TCP with SYN and ACK, as it is from its network header on
/// (Documentation/networking/filter.rst of Linux).
fn filter() -> [SockFilter; 17] {
    const LOAD: u16 = 0x20;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_BYTE_BEHIND: u16 = 0x50;
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const AND: u16 = 0x54;
    const GO: u16 = 0x05;
    const IF: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// SKF_AD_OFF + SKF_AD_PKTTYPE, where PACKET_OUTGOING is 4.
    const KIND: u32 = 0xffff_f000 + 4;
    const TCP: u32 = 6;
    const FLAGS: u32 = 13;
    // What is done, with which number, and how many steps are left out if that is so and if not.
    [
        (LOAD, KIND, 0, 0),
        (IF, 4, 0, 13),
        (LOAD_BYTE, 0, 0, 0),
        (AND, 0xf0, 0, 0),
        (IF, 0x40, 0, 5),
        (LOAD_BYTE, 9, 0, 0),
        (IF, TCP, 0, 8),
        (LOAD_HEADER_LENGTH, 0, 0, 0),
        (LOAD_BYTE_BEHIND, FLAGS, 0, 0),
        (GO, 3, 0, 0),
        (LOAD_BYTE, 6, 0, 0),
        (IF, TCP, 0, 3),
        (LOAD_BYTE, 40 + FLAGS, 0, 0),
        (AND, 0x17, 0, 0),
        (IF, 0x12, 1, 0),
        (RETURN, 0, 0, 0),
        (RETURN, MOST as u32, 0, 0),
    ]
    .map(|(code, number, yes, no)| SockFilter::new(code, yes, no, number))
}

/// The address of all packets of an interface.
fn every_packet(index: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage has room for every kind of address, and is aligned for it.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: it is such an address, of that length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}

/// What SYN-ACKs say together: of each number the least, which is what every one of them allows.
fn least(seen: &[Answer], before: Own, until: u64) -> Option<Own> {
    let mss = seen.iter().map(|one| one.mss).filter(|mss| *mss != 0).min();
    let window = seen.iter().map(|one| one.window).filter(|window| *window != 0).min();
    // Who offers no scale is told none.
    let scale = seen.iter().filter_map(|one| one.scale).min().or(before.scale());
    let mss = mss.or(before.mss()).unwrap_or(0);
    window.map(|window| Own::new(mss, window, scale, until))
}

/// Whether a service that is protected at an address answers from there. Where it is protected at
/// any, the host's own count: what is forwarded for others, as of its guests, says what they like.
fn is_at(protected: &SocketAddr, from: &SocketAddr, own: &BTreeSet<IpAddr>) -> bool {
    let is_any = protected.ip().is_unspecified() && own.contains(&from.ip());
    protected.port() == from.port() && (is_any || protected.ip().to_canonical() == from.ip())
}

/// Listens at interfaces for `time` in all, or until many were seen.
///
/// # Errors
/// When there is no packet socket, or an interface goes.
pub fn listen(indices: &[u32], time: Duration) -> Result<Vec<Answer>> {
    let mut seen = Vec::new();
    for index in indices {
        let tap = Tap::open(*index)?;
        let until = Instant::now() + time / indices.len() as u32;
        let most = seen.len() + ENOUGH;
        while seen.len() < most
            && let Some(answer) = tap.next(until)?
        {
            seen.push(answer);
        }
    }
    Ok(seen)
}

impl Maps {
    /// Lets challenges of the services in force say what these SYN-ACKs say, for [`GOOD_FOR`]. `own`:
    /// addresses of this host. The caller holds the lock.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn learn_own_answers(&mut self, seen: &[Answer], own: &BTreeSet<IpAddr>) -> Result<()> {
        let now = clock::now() / 1_000_000;
        let until = now + GOOD_FOR.as_millis() as u64;
        let slot = self.selection()?.slot;
        let policy = self.policy(slot)?;
        for (id, record) in self.services(slot)? {
            let named = text::name(&record.name).and_then(|name| policy.service(&name));
            let Some(service) = named else { continue };
            for is_v6 in [false, true] {
                let is_its = |one: &&Answer| {
                    let is_at = |at: &SocketAddr| is_at(at, &one.from, own);
                    one.from.is_ipv6() == is_v6 && service.listeners.iter().any(is_at)
                };
                let its: Vec<_> = seen.iter().filter(is_its).copied().collect();
                if let Some(said) = least(&its, self.own_answer(id, is_v6)?.at(now), until) {
                    self.set_own_answer(id, is_v6, said)?;
                }
            }
        }
        Ok(())
    }

    /// What the kernel says of itself for each service in force, by name and family, where that is
    /// known.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn own_answers(&self) -> Result<Vec<(Name, bool, Own)>> {
        let now = clock::now() / 1_000_000;
        let mut found = Vec::new();
        for (id, record) in self.services(self.selection()?.slot)? {
            let Some(name) = text::name(&record.name) else { continue };
            for is_v6 in [false, true] {
                let own = self.own_answer(id, is_v6)?.at(now);
                if own != Own::UNKNOWN {
                    found.push((name.clone(), is_v6, own));
                }
            }
        }
        Ok(found)
    }

    /// What the kernel says of itself for a service, by what was seen last; it may have ended.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn own_answer(&self, id: u32, is_v6: bool) -> Result<Own> {
        let Raw(word) = self.own.get(&index(id, is_v6), 0).context("cannot read own answers")?;
        Ok(Own(word))
    }

    /// Lets challenges of a service say so from now on.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_own_answer(&mut self, id: u32, is_v6: bool, own: Own) -> Result<()> {
        self.own.set(index(id, is_v6), Raw(own.0), 0).context("cannot write own answers")
    }
}

const fn index(id: u32, is_v6: bool) -> u32 {
    id * 2 + is_v6 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Answer = Answer {
        from: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 80),
        mss: 1460,
        window: 64_240,
        scale: Some(7),
    };

    #[test]
    fn the_least_is_said() {
        let seen =
            [SEEN, Answer { mss: 1208, scale: None, ..SEEN }, Answer { window: 1000, ..SEEN }];
        let own = least(&seen, Own::UNKNOWN, 1 << 20).expect("some were seen");
        assert_eq!((own.mss(), own.window(), own.scale()), (Some(1208), Some(1000), Some(7)));
        assert_eq!((own.at((1 << 20) - 1), own.at(1 << 20)), (own, Own::UNKNOWN), "it ends");
        assert_eq!(least(&[], own, 1 << 20), None);
        // What came had no scale: the one of before still is.
        let plain = [Answer { mss: 0, scale: None, ..SEEN }];
        let later = least(&plain, own, 1 << 21).expect("one was seen");
        assert_eq!((later.mss(), later.scale()), (Some(1208), Some(7)));
    }

    #[test]
    fn a_service_answers_from_where_it_is_protected() {
        let at = |text: &str| text.parse().expect("an address");
        let own = BTreeSet::from([SEEN.from.ip()]);
        for (protected, is) in [
            ("0.0.0.0:80", true),
            ("[::]:80", true),
            ("192.0.2.1:80", true),
            ("192.0.2.2:80", false),
            ("0.0.0.0:81", false),
        ] {
            assert_eq!(is_at(&at(protected), &SEEN.from, &own), is, "{protected}");
        }
        assert!(!is_at(&at("0.0.0.0:80"), &SEEN.from, &BTreeSet::new()), "a guest's");
    }
}
