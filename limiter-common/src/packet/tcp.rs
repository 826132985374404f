//! TCP ports and flags.

use super::network::{Header, Payload};
use super::{Bytes, Cursor, FIN, Segment};
use crate::reason::Reason;

/// The numbers of a TCP header. Only who answers a segment reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: u8,
    /// Bytes of options, 0 to 40.
    pub options: usize,
}

/// Bytes up to and including the flags.
const TO_FLAGS: usize = 14;
/// Shortest header (RFC 9293 3.1).
const HEADER: usize = 20;

/// Reads ports and flags of the segment at `frame`.
#[inline(always)]
pub fn segment<'a>(
    mut frame: Cursor<'a>,
    network: Header<'a>,
    payload: Payload,
) -> Result<Segment<'a>, Reason> {
    if payload.length < HEADER {
        return if payload.is_fragment {
            short(frame, network, payload)
        } else {
            Err(Reason::Truncated)
        };
    }
    let tcp = frame;
    let header = frame.take::<HEADER>().ok_or(Reason::Truncated)?;
    if header.byte::<12>() >> 4 < 5 {
        return Err(Reason::Malformed);
    }
    let (port, flags) = (header.half::<2>(), header.byte::<13>());
    let Payload { length, is_fragment } = payload;
    Ok(Segment { network, tcp, length, port, flags, is_fragment, hides_flags: false })
}

impl<'a> Segment<'a> {
    /// The numbers of its header, and a cursor at its last byte before the options. `None` for what is not whole.
    #[inline(always)]
    pub fn numbers(&self) -> Option<(Numbers, Cursor<'a>)> {
        if self.is_fragment {
            return None;
        }
        let header = self.tcp.ahead::<HEADER>()?;
        let mut last = self.tcp;
        last.skip(HEADER - 1);
        let doff = usize::from(header.byte::<12>() >> 4);
        let numbers = Numbers {
            source_port: header.half::<0>(),
            port: header.half::<2>(),
            sequence: header.word::<4>(),
            acknowledgment: header.word::<8>(),
            flags: header.byte::<13>(),
            options: if doff > 5 { (doff - 5) * 4 } else { 0 },
        };
        Some((numbers, last))
    }

    /// Its header without options. `None` for what is not whole.
    #[inline(always)]
    pub fn header(&self) -> Option<Bytes<'a, HEADER>> {
        if self.is_fragment { None } else { self.tcp.ahead::<HEADER>() }
    }

    /// Whether anything follows its header: data, or the end of it.
    #[inline(always)]
    pub const fn has_data(&self, numbers: &Numbers) -> bool {
        self.length > HEADER + numbers.options || numbers.flags & FIN != 0
    }

    /// Its header as far as a first fragment that shows its flags has it, and zeros.
    #[inline(always)]
    pub fn beginning(&self) -> Option<[u8; HEADER]> {
        let mut header = [0; HEADER];
        let (shown, _) = header.split_first_chunk_mut::<TO_FLAGS>()?;
        *shown = self.tcp.ahead::<TO_FLAGS>()?.copied();
        Some(header)
    }

    /// The ports of a first fragment, and nothing else of its header: the rest may not be in it.
    #[inline(always)]
    pub fn ports(&self) -> Option<Numbers> {
        let ports = self.tcp.ahead::<4>()?;
        let (source_port, port) = (ports.half::<0>(), ports.half::<2>());
        Some(Numbers {
            source_port,
            port,
            sequence: 0,
            acknowledgment: 0,
            flags: self.flags,
            options: 0,
        })
    }
}

/// A first fragment that ends within the TCP header. Its padding is not read: it is the sender's to choose.
#[inline(always)]
fn short<'a>(
    mut frame: Cursor<'a>,
    network: Header<'a>,
    payload: Payload,
) -> Result<Segment<'a>, Reason> {
    if payload.length < 4 {
        return Err(Reason::Truncated);
    }
    let tcp = frame;
    let ports = frame.take::<4>().ok_or(Reason::Truncated)?;
    let port = ports.half::<2>();
    if payload.length < TO_FLAGS {
        return Ok(Segment {
            network,
            tcp,
            length: payload.length,
            port,
            flags: 0,
            is_fragment: true,
            hides_flags: true,
        });
    }
    frame.skip(TO_FLAGS - 6);
    let flags = frame.take::<2>().ok_or(Reason::Truncated)?.byte::<1>();
    Ok(Segment {
        network,
        tcp,
        length: payload.length,
        port,
        flags,
        is_fragment: true,
        hides_flags: false,
    })
}
