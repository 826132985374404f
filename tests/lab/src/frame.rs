//! Owns single test frames: one good frame, and the ways to change one thing about it.
//!
//! Bytes are written here rather than by a packet library, because most of the tests want what a library refuses:
//! extension headers in any order, fragments, wrong lengths. Lengths and checksums are right unless asked otherwise.

mod bytes;
mod extension;

use std::net::SocketAddr;

pub use extension::Extension;

/// TCP's flags, as in the 14th byte of its header (RFC 9293, RFC 3168).
pub mod flags {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// TPID of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// TPID of an 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;

#[derive(Clone, Debug)]
enum Transport {
    Tcp { sequence: u32, acknowledgment: u32, flags: u8, options: Vec<u8>, doff: Option<u8> },
    Udp,
    Raw(u8),
}

/// A frame to be built. Start with [`Frame::syn`], change what the test is about, and [`Frame::build`].
#[derive(Clone, Debug)]
pub struct Frame {
    macs: ([u8; 6], [u8; 6]),
    vlans: Vec<(u16, u16)>,
    source: SocketAddr,
    destination: SocketAddr,
    arp: bool,
    ethertype: Option<u16>,
    ipv4_options: Vec<u8>,
    fragment: (u16, bool),
    identification: u32,
    wrong_checksum: bool,
    ihl: Option<u8>,
    version: Option<u8>,
    ip_length: Option<u16>,
    extensions: Vec<Extension>,
    transport: Transport,
    payload: Vec<u8>,
    length: Option<usize>,
}

impl Frame {
    /// A SYN with an MSS option. Both addresses are of one family, the destination's.
    pub fn syn(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            macs: ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]),
            vlans: Vec::new(),
            source,
            destination,
            arp: false,
            ethertype: None,
            ipv4_options: Vec::new(),
            fragment: (0, false),
            identification: 1,
            wrong_checksum: false,
            ihl: None,
            version: None,
            ip_length: None,
            extensions: Vec::new(),
            transport: Transport::Tcp {
                sequence: 1,
                acknowledgment: 0,
                flags: flags::SYN,
                // MSS 1440: fits both families.
                options: vec![2, 4, 0x05, 0xa0],
                doff: None,
            },
            payload: Vec::new(),
            length: None,
        }
    }

    /// A UDP datagram.
    pub fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self { transport: Transport::Udp, ..Self::syn(source, destination) }
    }

    /// An ARP request by the (IPv4) source for the (IPv4) destination.
    pub fn arp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self { arp: true, ..Self::syn(source, destination) }
    }

    /// An IP packet of any protocol: its content is the payload, without a header.
    pub fn raw(source: SocketAddr, destination: SocketAddr, protocol: u8) -> Self {
        Self { transport: Transport::Raw(protocol), ..Self::syn(source, destination) }
    }

    /// Sets the MAC addresses.
    pub fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        self.macs = (source, destination);
        self
    }

    /// Adds a VLAN tag inside those already there.
    pub fn vlan(mut self, tpid: u16, id: u16) -> Self {
        self.vlans.push((tpid, id));
        self
    }

    /// Sets the source.
    pub fn source(mut self, source: SocketAddr) -> Self {
        self.source = source;
        self
    }

    /// Sets the destination.
    pub fn destination(mut self, destination: SocketAddr) -> Self {
        self.destination = destination;
        self
    }

    /// Sets TCP's flags (see [`flags`]).
    pub fn flags(mut self, new: u8) -> Self {
        if let Transport::Tcp { flags, .. } = &mut self.transport {
            *flags = new;
        }
        self
    }

    /// Sets TCP's sequence and acknowledgment numbers.
    pub fn numbers(mut self, new_sequence: u32, new_acknowledgment: u32) -> Self {
        if let Transport::Tcp { sequence, acknowledgment, .. } = &mut self.transport {
            (*sequence, *acknowledgment) = (new_sequence, new_acknowledgment);
        }
        self
    }

    /// Sets TCP's options; they are padded with zeroes to a multiple of four bytes.
    pub fn tcp_options(mut self, new: &[u8]) -> Self {
        if let Transport::Tcp { options, .. } = &mut self.transport {
            *options = padded(new);
        }
        self
    }

    /// Sets what follows the last header.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Sets IPv4's options; they are padded with zeroes to a multiple of four bytes, 40 at most.
    pub fn ipv4_options(mut self, options: &[u8]) -> Self {
        self.ipv4_options = padded(options);
        self
    }

    /// Makes an IPv4 packet a fragment: offset in 8-byte units, more fragments. The transport header stays.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = (offset, more);
        self
    }

    /// Sets the number that tells the fragments of one datagram from those of another; of an IPv4
    /// packet its low half.
    pub fn identification(mut self, new: u32) -> Self {
        self.identification = new;
        self
    }

    /// Writes another checksum of TCP or UDP than the right one.
    pub fn wrong_checksum(mut self) -> Self {
        self.wrong_checksum = true;
        self
    }

    /// The datagram in two fragments, of which the first holds so many bytes of what follows the IP
    /// header: a multiple of eight.
    ///
    /// # Panics
    /// When the first would hold everything.
    pub fn fragments(&self, first: usize) -> [Self; 2] {
        let at = self.transport_offset();
        let bytes = self.build();
        let part = |offset: usize, content: &[u8], more: bool| {
            let units = offset as u16 / 8;
            let part =
                Self { transport: Transport::Raw(TCP), payload: content.to_vec(), ..self.clone() };
            if self.destination.is_ipv4() {
                part.fragment(units, more)
            } else {
                part.extension(Extension::Fragment(units, more))
            }
        };
        [part(0, &bytes[at..at + first], true), part(first, &bytes[at + first..], false)]
    }

    /// Adds an IPv6 extension header after those already there.
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Writes another EtherType than the right one.
    pub fn wrong_ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// Writes another IPv4 header length (in 4-byte units) than the right one.
    pub fn wrong_ihl(mut self, ihl: u8) -> Self {
        self.ihl = Some(ihl);
        self
    }

    /// Writes another IP version than the right one.
    pub fn wrong_version(mut self, version: u8) -> Self {
        self.version = Some(version);
        self
    }

    /// Writes another IPv4 total length or IPv6 payload length (in bytes) than the right one.
    pub fn wrong_ip_length(mut self, length: u16) -> Self {
        self.ip_length = Some(length);
        self
    }

    /// Writes another TCP data offset (in 4-byte units) than the right one.
    pub fn wrong_doff(mut self, new: u8) -> Self {
        if let Transport::Tcp { doff, .. } = &mut self.transport {
            *doff = Some(new);
        }
        self
    }

    /// Cuts the finished frame, or pads it with zeroes, to so many bytes.
    pub fn resize(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    /// Offset of the IP header in bytes.
    pub fn network_offset(&self) -> usize {
        14 + 4 * self.vlans.len()
    }

    /// Offset of the transport header in bytes.
    pub fn transport_offset(&self) -> usize {
        let mut extensions = Vec::new();
        self.extensions.iter().for_each(|extension| extension.write(0, 0, &mut extensions));
        let ip = if self.destination.is_ipv4() {
            20 + self.ipv4_options.len()
        } else {
            40 + extensions.len()
        };
        self.network_offset() + ip
    }
}

fn padded(options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    options
}
