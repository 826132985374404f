//! What a frame is to limiter: a TCP segment with a source, a destination and flags, or a reason why not.
//!
//! Only this module touches packet memory. It runs over the kernel's packet pointers and over slices alike; what it cannot
//! read in full it does not read. The way of a frame is the order of the files: `link`, `network`, `tcp`.

mod cursor;
mod link;
mod network;
mod options;
mod tcp;

pub use cursor::{Bytes, Cursor};
pub use network::{EXTENSION_HEADERS, Header};
pub use options::{Options, read as read_options};
pub use tcp::Numbers;

use core::hint::black_box;

use crate::reason::Reason;
use crate::record::REASONS;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A TCP segment, or the first fragment of one.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The IP header: addresses are read from it when they are asked for, which for most packets is never.
    pub network: Header<'a>,
    /// The TCP header, for who answers the segment.
    tcp: Cursor<'a>,
    /// Bytes from there to its end.
    length: usize,
    /// Destination port.
    pub port: u16,
    /// TCP flags, 0 if they are hidden. (Not an `Option<u8>`: the undefined byte of a `None` is any register to LLVM, and the
    /// verifier refuses the pointer that it finds in it.)
    pub flags: u8,
    /// Whether this is the first fragment of several.
    pub is_fragment: bool,
    /// Whether this is a first fragment that ends before the flags.
    pub hides_flags: bool,
}

impl Segment<'_> {
    /// SYN set and ACK clear (RFC 9293 3.10.7.2): the kernel would open a connection. ECN bits are no news (RFC 3168 6.1.1),
    /// and a FIN or RST beside the SYN hides nothing.
    #[inline(always)]
    pub const fn is_attempt(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    /// Whether the kernel would take a cookie from it (`cookie_v4_check`).
    #[inline(always)]
    pub const fn may_prove(&self) -> bool {
        self.flags & (SYN | ACK | RST) == ACK
    }

    /// Whether it resets a connection.
    #[inline(always)]
    pub const fn is_reset(&self) -> bool {
        self.flags & RST != 0
    }

    /// Whether its sender has no more to say.
    #[inline(always)]
    pub const fn is_end(&self) -> bool {
        self.flags & FIN != 0
    }

    /// Whether there is a FIN or RST beside a SYN: the kernel discards that, or takes it for the
    /// reset that it is.
    #[inline(always)]
    pub const fn has_bad_flags(&self) -> bool {
        self.flags & (FIN | RST) != 0
    }
}

/// Where the headers of a segment are in its frame, in one number that crosses a call: who reads it
/// there needs two looks and not the way through all headers.
/// `length (32 bits) | TCP header at (16) | 0 (5) | hides its flags (1) | fragment (1) | IPv6 (1) |
/// IP header at (8)`. Or, with the highest bit, the [`Reason`] why there is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(pub u64);

impl Found {
    const V6: u64 = 1 << 8;
    const FRAGMENT: u64 = 1 << 9;
    const HIDES: u64 = 1 << 10;
    const NONE: u64 = 1 << 63;
    const TCP: u32 = 16;
    const LENGTH: u32 = 32;
    /// Bounds that say nothing new, but that the verifier wants to see.
    const MOST_LINK: usize = 0x1f;
    const MOST_TCP: usize = 0x7fff;

    /// Of what was parsed, and the first byte of its frame.
    #[inline(always)]
    pub fn of_parsed(parsed: &Result<Segment<'_>, Reason>, frame: &Cursor<'_>) -> Self {
        match parsed {
            Ok(segment) if segment.hides_flags => Self(Self::of(segment, frame).0 | Self::HIDES),
            Ok(segment) => Self::of(segment, frame),
            Err(reason) => Self(Self::NONE | *reason as u64),
        }
    }

    /// What was parsed, from the first byte of its frame.
    #[inline(always)]
    pub fn parsed<'a>(self, frame: Cursor<'a>) -> Result<Segment<'a>, Reason> {
        if self.0 & Self::NONE != 0 {
            let reason = Reason::from_number(self.0 as u8 & (REASONS as u8 - 1));
            return Err(reason.unwrap_or(Reason::Truncated));
        }
        let segment = if self.0 & Self::HIDES != 0 { self.hidden(frame) } else { self.read(frame) };
        segment.ok_or(Reason::Truncated)
    }

    /// A segment that hides its flags.
    #[inline(always)]
    fn hidden<'a>(self, frame: Cursor<'a>) -> Option<Segment<'a>> {
        let mut tcp = frame;
        tcp.skip(self.tcp());
        Some(Segment {
            network: self.network(frame)?,
            tcp,
            length: (self.0 >> Self::LENGTH) as usize,
            port: tcp.ahead::<4>()?.half::<2>(),
            flags: 0,
            is_fragment: true,
            hides_flags: true,
        })
    }

    /// Of a segment that shows its flags, and the first byte of its frame.
    #[inline(always)]
    pub fn of(segment: &Segment<'_>, frame: &Cursor<'_>) -> Self {
        let (network, v6) = match segment.network {
            Header::V4(ip) => (frame.before(ip.as_ptr()), 0),
            Header::V6(ip) => (frame.before(ip.as_ptr()), Self::V6),
        };
        let fragment = if segment.is_fragment { Self::FRAGMENT } else { 0 };
        let tcp = segment.tcp.offset(frame) as u64;
        Self(
            (segment.length as u64) << Self::LENGTH
                | tcp << Self::TCP
                | fragment
                | v6
                | network as u64,
        )
    }

    /// Bytes before the IP header: 14, 18 or 22.
    #[inline(always)]
    pub const fn link(self) -> usize {
        self.0 as usize & Self::MOST_LINK
    }

    /// Bytes before the TCP header.
    #[inline(always)]
    const fn tcp(self) -> usize {
        (self.0 >> Self::TCP) as usize & Self::MOST_TCP
    }

    /// Where the segment begins in its frame, and its length in bytes; `None` for a fragment, and
    /// for what is behind IP options or extension headers.
    #[inline(always)]
    pub const fn plain(self) -> Option<(usize, usize)> {
        let network = if self.0 & Self::V6 != 0 { 40 } else { 20 };
        if self.0 & Self::FRAGMENT != 0 || self.tcp() != self.link() + network {
            return None;
        }
        Some((self.tcp(), (self.0 >> Self::LENGTH) as usize))
    }

    #[inline(always)]
    fn network<'a>(self, mut frame: Cursor<'a>) -> Option<Header<'a>> {
        frame.skip(self.link());
        // Constants that the compiler cannot see through: of a bit that was tested older verifiers
        // (6.1) forget the outcome when it is kept on the stack, and then read an IPv4 header as
        // IPv6.
        let is_v6 = if self.0 & Self::V6 != 0 { black_box(1_u64) } else { black_box(0) };
        Some(if is_v6 != 0 {
            Header::V6(frame.ahead::<40>()?)
        } else {
            Header::V4(frame.ahead::<20>()?)
        })
    }

    /// The segment, from the first byte of its frame.
    #[inline(always)]
    pub fn read<'a>(self, frame: Cursor<'a>) -> Option<Segment<'a>> {
        let network = self.network(frame)?;
        let mut tcp = frame;
        tcp.skip(self.tcp());
        let start = tcp.ahead::<14>()?;
        Some(Segment {
            network,
            tcp,
            length: (self.0 >> Self::LENGTH) as usize,
            port: start.half::<2>(),
            flags: start.byte::<13>(),
            is_fragment: self.0 & Self::FRAGMENT != 0,
            hides_flags: false,
        })
    }
}

/// Reads a frame from its first byte, the Ethernet header.
///
/// # Errors
/// The reason why it is no segment: what cannot be read passes, what exists only to hide an attempt is dropped.
#[inline(always)]
pub fn parse<'a>(frame: Cursor<'a>) -> Result<Segment<'a>, Reason> {
    walk(frame, network::extensions)
}

/// Reads a frame without IPv6 extension headers, as nearly all are. [`parse`] reads the others: who
/// calls it for them alone has a verifier walk what follows for each end of a chain only once.
///
/// # Errors
/// The reason why it is no segment, or `None` for a chain of extension headers.
#[inline(always)]
pub fn parse_plain<'a>(frame: Cursor<'a>) -> Result<Segment<'a>, Option<Reason>> {
    walk(frame, |_, _, _| Err(None))
}

#[inline(always)]
fn walk<'a, E: From<Reason>>(
    mut frame: Cursor<'a>,
    extensions: impl FnOnce(&mut Cursor<'a>, u8, &mut network::Payload) -> Result<u8, E>,
) -> Result<Segment<'a>, E> {
    let (header, payload) = match link::ether_type(&mut frame)? {
        link::IPV4 => network::ipv4(&mut frame)?,
        link::IPV6 => network::ipv6(&mut frame, extensions)?,
        _ => return Err(Reason::NotIp.into()),
    };
    Ok(tcp::segment(frame, header, payload)?)
}

/// A second look at a frame that [`parse`] could not read and that would pass: what the kernel
/// reads all the same must not. Apart from `parse`, because it costs that nothing. `is_whole`: the
/// driver shows all that it received. Of a frame in pieces it shows the first, and a few of the
/// longest IPv6 extension headers push TCP out of that, where the kernel still finds it; what
/// really ends there the kernel discards.
#[inline(always)]
pub fn second_look(frame: Cursor<'_>, is_whole: impl FnOnce() -> bool, reason: Reason) -> Reason {
    match reason {
        Reason::Truncated if !is_whole() => Reason::TooManyHeaders,
        Reason::TooManyTags if link::has_priority_tag(frame) => Reason::TooManyHeaders,
        other => other,
    }
}
