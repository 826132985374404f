//! TCP ports and flags.

use super::network::{Header, Payload};
use super::{Cursor, Segment};
use crate::reason::Reason;

/// Bytes up to and including the flags.
const TO_FLAGS: usize = 14;
/// Shortest header (RFC 9293 3.1).
const HEADER: usize = 20;

/// Reads ports and flags of the segment at `frame`.
#[inline(always)]
pub fn segment<'a>(mut frame: Cursor<'a>, network: Header<'a>, payload: Payload) -> Result<Segment<'a>, Reason> {
    if payload.length < HEADER {
        return if payload.is_fragment { short(frame, network, payload) } else { Err(Reason::Truncated) };
    }
    let header = frame.take::<HEADER>().ok_or(Reason::Truncated)?;
    if header.byte::<12>() >> 4 < 5 {
        return Err(Reason::Malformed);
    }
    Ok(Segment { network, port: header.half::<2>(), flags: header.byte::<13>(), hides_flags: false })
}

/// A first fragment that ends within the TCP header. Its padding is not read: it is the sender's to choose.
#[inline(always)]
fn short<'a>(mut frame: Cursor<'a>, network: Header<'a>, payload: Payload) -> Result<Segment<'a>, Reason> {
    if payload.length < 4 {
        return Err(Reason::Truncated);
    }
    let ports = frame.take::<4>().ok_or(Reason::Truncated)?;
    let port = ports.half::<2>();
    if payload.length < TO_FLAGS {
        return Ok(Segment { network, port, flags: 0, hides_flags: true });
    }
    frame.skip(TO_FLAGS - 6);
    let flags = frame.take::<2>().ok_or(Reason::Truncated)?.byte::<1>();
    Ok(Segment { network, port, flags, hides_flags: false })
}
