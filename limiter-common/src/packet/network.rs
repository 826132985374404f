//! IPv4 with its real header length, IPv6 with its extension headers, and the fragments of both.

use super::cursor::{Bytes, Cursor};
use crate::address::Address;
use crate::reason::Reason;

/// Longest chain of IPv6 extension headers that is followed. The kernel follows any, so a longer one must not simply
/// pass: it is the cheapest way round a limiter (RFC 8504 5.3 lets a host set such a limit).
pub const EXTENSION_HEADERS: usize = 8;

/// A payload that ends where the frame does: no frame is longer.
const LONGEST: usize = u16::MAX as usize;
const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;

/// The fixed part of an IP header.
#[derive(Clone, Copy, Debug)]
pub enum Header<'a> {
    /// IPv4 (RFC 791).
    V4(Bytes<'a, 20>),
    /// IPv6 (RFC 8200).
    V6(Bytes<'a, 40>),
}

impl Header<'_> {
    /// Source address.
    #[inline(always)]
    pub fn source(&self) -> Address {
        match self {
            Header::V4(header) => Address::v4(header.word::<12>()),
            Header::V6(header) => Address::v6(header.double::<8>(), header.double::<16>()),
        }
    }

    /// Destination address.
    #[inline(always)]
    pub fn destination(&self) -> Address {
        match self {
            Header::V4(header) => Address::v4(header.word::<16>()),
            Header::V6(header) => Address::v6(header.double::<24>(), header.double::<32>()),
        }
    }

    /// Whether it is from or to many (RFC 5771, RFC 4291 2.7, RFC 919): TCP has connections with
    /// nobody there. The broadcast address of a subnet is not told by its numbers; frames to one
    /// are.
    #[inline(always)]
    pub fn is_group(&self) -> bool {
        match self {
            Header::V4(ip) => {
                let is_group = |address: u32| address >> 28 == 0xe || address == u32::MAX;
                is_group(ip.word::<12>()) || is_group(ip.word::<16>())
            }
            Header::V6(ip) => ip.byte::<8>() == 0xff || ip.byte::<24>() == 0xff,
        }
    }

    /// Whether this is IPv6.
    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        matches!(self, Header::V6(_))
    }
}

/// What the IP header says of the TCP bytes that follow.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// Bytes that belong to this packet, whatever padding follows them.
    pub length: usize,
    /// Whether it is the first fragment of several.
    pub is_fragment: bool,
}

/// Reads an IPv4 header with its options.
#[inline(always)]
pub fn ipv4<'a>(frame: &mut Cursor<'a>) -> Result<(Header<'a>, Payload), Reason> {
    let header = frame.take::<20>().ok_or(Reason::Truncated)?;
    let first = header.byte::<0>();
    let header_length = usize::from(first & 0xf) * 4;
    let total_length = usize::from(header.half::<2>());
    if first >> 4 != 4 || header_length < 20 || total_length < header_length {
        return Err(Reason::Malformed);
    }
    if header.byte::<9>() != TCP {
        return Err(Reason::NotTcp);
    }
    let fragment = header.half::<6>();
    match fragment & 0x1fff {
        0 => {}
        1 => return Err(Reason::OverlappingFragment),
        _ => return Err(Reason::LaterFragment),
    }
    frame.skip(header_length - 20);
    let payload =
        Payload { length: total_length - header_length, is_fragment: fragment & 0x2000 != 0 };
    Ok((Header::V4(header), payload))
}

/// Reads an IPv6 header, and with `extensions` the chain of its extension headers.
#[inline(always)]
pub fn ipv6<'a, E: From<Reason>>(
    frame: &mut Cursor<'a>,
    extensions: impl FnOnce(&mut Cursor<'a>, u8, &mut Payload) -> Result<u8, E>,
) -> Result<(Header<'a>, Payload), E> {
    let header = frame.take::<40>().ok_or(Reason::Truncated)?;
    if header.byte::<0>() >> 4 != 6 {
        return Err(Reason::Malformed.into());
    }
    let mut next = header.byte::<6>();
    let length = match header.half::<4>() {
        // The kernel (`ip6_rcv_core`) then takes the frame's length, with a jumbo option (RFC 2675) or without.
        0 if next == HOP_BY_HOP => LONGEST,
        stated => usize::from(stated),
    };
    let mut payload = Payload { length, is_fragment: false };
    if is_extension(next) {
        next = extensions(frame, next, &mut payload)?;
    }
    if next == TCP { Ok((Header::V6(header), payload)) } else { Err(Reason::NotTcp.into()) }
}

/// Walks a chain of extension headers; says which protocol follows it.
#[inline(always)]
pub fn extensions(
    frame: &mut Cursor<'_>,
    mut next: u8,
    payload: &mut Payload,
) -> Result<u8, Reason> {
    let mut headers = 0;
    while headers < EXTENSION_HEADERS {
        if !is_extension(next) {
            return Ok(next);
        }
        // A first fragment must hold the whole chain (RFC 7112); the kernel drops what does not, since 5.10 only.
        let cut_off = if payload.is_fragment { Reason::ShortFragment } else { Reason::Truncated };
        let head = frame.take::<8>().ok_or(cut_off)?;
        let length = length(next, head.byte::<1>());
        if length > payload.length {
            return Err(cut_off);
        }
        if next == FRAGMENT {
            fragment(head.half::<2>(), head.byte::<0>(), payload)?;
        }
        next = head.byte::<0>();
        frame.skip(length - 8);
        payload.length -= length;
        headers += 1;
    }
    if is_extension(next) { Err(Reason::TooManyHeaders) } else { Ok(next) }
}

/// Judges the offset of a fragment header (RFC 8200 4.5) and notes whether more fragments follow.
#[inline(always)]
fn fragment(field: u16, next: u8, payload: &mut Payload) -> Result<(), Reason> {
    match field >> 3 {
        0 => {
            payload.is_fragment |= field & 1 != 0;
            Ok(())
        }
        1 if next == TCP => Err(Reason::OverlappingFragment),
        _ if next == TCP => Err(Reason::LaterFragment),
        _ if is_extension(next) => Err(Reason::LaterFragment),
        _ => Err(Reason::NotTcp),
    }
}

/// Length of an extension header in bytes, at least 8 (AH, RFC 4302 2.2, counts in words; the rest, RFC 8200 4, in doubles).
#[inline(always)]
fn length(kind: u8, field: u8) -> usize {
    match kind {
        FRAGMENT => 8,
        AUTHENTICATION => (usize::from(field) + 2) * 4,
        _ => (usize::from(field) + 1) * 8,
    }
}

#[inline(always)]
const fn is_extension(kind: u8) -> bool {
    matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY)
}
