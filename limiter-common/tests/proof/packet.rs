//! Packets of the model, and whose they are.

/// Flows of the attacker, who has one address and any number of ports.
pub const ATTACKERS: usize = 3;
/// All flows: the others are of clients, one port each, two clients to a source.
pub const FLOWS: usize = 6;
/// Sources: the attacker, the first two clients, the third.
pub const SOURCES: usize = 3;
/// Classes of segment sizes (`msstab` of net/ipv4/syncookies.c), which a cookie's lowest bits tell.
pub const CLASSES: u32 = 4;

/// Number of a flow: an address and a port of a client; the server has one of each.
pub type Flow = usize;

/// The source of a flow.
pub const fn source(flow: Flow) -> usize {
    match flow {
        0..ATTACKERS => 0,
        3 | 4 => 1,
        _ => 2,
    }
}

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// What of a segment a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// A first fragment, with all of TCP's header. The number is that of the datagram.
    First(u8),
    /// The last fragment, without a header of TCP.
    Last(u8),
}

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub flow: Flow,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgment: u32,
    /// Bytes of data.
    pub length: u32,
    /// Class of the segment size that a SYN asks for.
    pub class: u32,
    pub part: Part,
    /// Who sent it: a client with this first sequence number, which keeps to TCP. Of all others nobody knows what they meant.
    pub client: Option<u32>,
}

/// What the server sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Sequence number and acknowledgment number.
    SynAck(u32, u32),
    /// Its sequence number after what it sent, and the acknowledgment number.
    Ack(u32, u32),
    Reset,
}
