//! What limiter answers: a SYN-ACK that carries a cookie, and resets. Headers only, and never longer than what they answer.

use crate::packet::{Header, Numbers, Options};
use crate::record::Kernel;

/// Words of the longest reply: 40 bytes of IPv6 and 40 of TCP.
pub const WORDS: usize = 20;
/// Unscaled window of a SYN-ACK, in bytes, where that of the kernel's own is not known: real, and no
/// more than the kernel will grant a socket whose buffer nobody made small.
pub const WINDOW: u16 = 32_768;

/// What the kernel says in its own SYN-ACKs for a service and a family, as one was seen leaving
/// behind routes, sockets and the firewall, and until when that holds; in a word, to be written with
/// one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own(pub u64);

impl Own {
    /// None was seen.
    pub const UNKNOWN: Self = Self(0);
    const WINDOW_SHIFT: u32 = 16;
    const SCALE_SHIFT: u32 = 32;
    const UNTIL_SHIFT: u32 = 36;
    /// Units of the time until when it holds: 1024 ms.
    const UNIT_SHIFT: u32 = 10;

    /// One with this MSS (0: it said none), this window, and this scale if it said one, which holds
    /// until `until`, milliseconds of CLOCK_MONOTONIC.
    pub fn new(mss: u16, window: u16, scale: Option<u32>, until: u64) -> Self {
        let scale = scale.map_or(0, |scale| u64::from(scale.min(14)) + 1);
        Self(
            u64::from(mss)
                | u64::from(window) << Self::WINDOW_SHIFT
                | scale << Self::SCALE_SHIFT
                | until >> Self::UNIT_SHIFT << Self::UNTIL_SHIFT,
        )
    }

    /// What holds now, milliseconds of CLOCK_MONOTONIC.
    #[inline(always)]
    pub const fn at(self, now: u64) -> Self {
        if now >> Self::UNIT_SHIFT < self.0 >> Self::UNTIL_SHIFT { self } else { Self::UNKNOWN }
    }

    /// The largest segment, in bytes; `None`: not known.
    #[inline(always)]
    pub const fn mss(self) -> Option<u16> {
        let mss = self.0 as u16;
        if mss == 0 { None } else { Some(mss) }
    }

    /// The unscaled window, in bytes; `None`: not known.
    #[inline(always)]
    pub const fn window(self) -> Option<u16> {
        let window = (self.0 >> Self::WINDOW_SHIFT) as u16;
        if window == 0 { None } else { Some(window) }
    }

    /// The window scale, 0 to 14; `None`: not known.
    #[inline(always)]
    pub const fn scale(self) -> Option<u32> {
        let scale = (self.0 >> Self::SCALE_SHIFT) as u32 & 15;
        if scale == 0 { None } else { Some(scale - 1) }
    }
}

/// An answer while it is written.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The packet, in the order of the wire.
    pub words: [u32; WORDS],
    /// What the SYN offers.
    pub options: Options,
}
const _: () = assert!(size_of::<Draft>() == 92);

const V4: usize = 5;
const V6: usize = 10;
/// Words of a TCP header without options.
const PLAIN: usize = 5;
/// With an MSS.
const WITH_MSS: usize = 6;
/// With MSS, SACK permitted and timestamps; the window scale, if there is one, takes one more.
const WITH_TIMESTAMPS: usize = 9;

const SYN: u32 = 0x02;
const RST: u32 = 0x04;
const ACK: u32 = 0x10;

/// What a SYN-ACK says beside its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The cookie, which becomes the sequence number.
    pub cookie: u32,
    /// The largest segment that this host receives.
    pub mss: u16,
    /// Unscaled window, in bytes.
    pub window: u16,
    /// Window scale, 0 to 14; 15 if scaling is off.
    pub scale: u32,
    /// CLOCK_MONOTONIC in milliseconds.
    pub milliseconds: u64,
}

/// What TCP says, before it is laid out.
struct Tcp {
    sequence: u32,
    acknowledgment: u32,
    flags: u32,
    window: u32,
    words: usize,
    options: [u32; 5],
}

/// Writes the SYN-ACK for a SYN of `room` bytes from its IP header on, in the order of the wire, and returns its length in bytes.
/// `None` if even the shortest would be longer than the SYN.
#[inline(always)]
pub fn syn_ack(
    words: &mut [u32; WORDS],
    header: &Header<'_>,
    asked: &Numbers,
    options: &Options,
    offer: &Offer,
    kernel: &Kernel,
    room: usize,
) -> Option<usize> {
    let ip = ip_words(header);
    let mut tcp = Tcp {
        sequence: offer.cookie,
        acknowledgment: asked.sequence.wrapping_add(1),
        flags: SYN | ACK,
        window: offer.window as u32,
        words: PLAIN,
        options: [0; 5],
    };
    let scales = options.window_scale < 15 && offer.scale < 15;
    let all = if scales { WITH_TIMESTAMPS + 1 } else { WITH_TIMESTAMPS };
    if room >= (ip + all) * 4 && options.has_timestamp && kernel.timestamps != 0 {
        tcp.words = all;
        tcp.options = all_options(options, offer, kernel, scales);
    } else if room >= (ip + WITH_MSS) * 4 {
        tcp.words = WITH_MSS;
        tcp.options[0] = mss(offer.mss);
    } else if room < (ip + PLAIN) * 4 {
        return None;
    }
    Some(lay_out(words, header, asked, &tcp))
}

/// Writes the reset for a segment, and returns its length: for an attempt one that acknowledges it, else one at the place that its sender expects (RFC 9293 3.10.7.1).
#[inline(always)]
pub fn reset(
    words: &mut [u32; WORDS],
    header: &Header<'_>,
    asked: &Numbers,
    room: usize,
) -> Option<usize> {
    if room < (ip_words(header) + PLAIN) * 4 {
        return None;
    }
    let mut tcp = Tcp {
        sequence: 0,
        acknowledgment: asked.sequence.wrapping_add(1),
        flags: RST | ACK,
        window: 0,
        words: PLAIN,
        options: [0; 5],
    };
    if u32::from(asked.flags) & ACK != 0 {
        (tcp.sequence, tcp.acknowledgment, tcp.flags) = (asked.acknowledgment, 0, RST);
    }
    Some(lay_out(words, header, asked, &tcp))
}

#[inline(always)]
const fn ip_words(header: &Header<'_>) -> usize {
    if header.is_v6() { V6 } else { V4 }
}

#[inline(always)]
const fn mss(mss: u16) -> u32 {
    0x0204_0000 | mss as u32
}

/// Options as the kernel will decode them from the timestamp's low bits (`cookie_timestamp_decode` in net/ipv4/syncookies.c).
#[inline(always)]
fn all_options(asked: &Options, offer: &Offer, kernel: &Kernel, scales: bool) -> [u32; 5] {
    const BITS: u64 = 0x3f;
    const SACK: u64 = 1 << 4;
    const NO_SCALE: u64 = 0xf;
    let sack = asked.sack && kernel.sack != 0;
    let bits =
        if scales { u64::from(asked.window_scale) } else { NO_SCALE } | if sack { SACK } else { 0 };
    let mut stamp = (offer.milliseconds & !BITS) | bits;
    if stamp > offer.milliseconds {
        stamp -= BITS + 1;
    }
    let scale = if scales { 0x0103_0300 | offer.scale } else { 0 };
    let first = if sack { 0x0402_080a } else { 0x0101_080a };
    [mss(offer.mss), first, stamp as u32, asked.timestamp, scale]
}

#[inline(always)]
fn lay_out(words: &mut [u32; WORDS], header: &Header<'_>, asked: &Numbers, tcp: &Tcp) -> usize {
    match header {
        Header::V4(ip) => {
            let length = (V4 + tcp.words) as u32 * 4;
            let (from, to) = (ip.word::<16>(), ip.word::<12>());
            // Do not fragment; time to live 64.
            let head = [0x4500_0000 | length, 0x4000, 0x4006_0000, from, to];
            words[..V4].copy_from_slice(&head);
            words[2] |= checksum(add(0, &head));
            put_tcp::<V4>(words, asked, tcp, add(0, &[from, to]));
        }
        Header::V6(ip) => {
            let length = tcp.words as u32 * 4;
            let from = [ip.word::<24>(), ip.word::<28>(), ip.word::<32>(), ip.word::<36>()];
            let to = [ip.word::<8>(), ip.word::<12>(), ip.word::<16>(), ip.word::<20>()];
            words[..2].copy_from_slice(&[0x6000_0000, length << 16 | 0x0640]);
            words[2..6].copy_from_slice(&from);
            words[6..V6].copy_from_slice(&to);
            put_tcp::<V6>(words, asked, tcp, add(add(0, &from), &to));
        }
    }
    let mut word = 0;
    while word < WORDS {
        words[word] = words[word].to_be();
        word += 1;
    }
    (ip_words(header) + tcp.words) * 4
}

#[inline(always)]
fn put_tcp<const AT: usize>(words: &mut [u32; WORDS], asked: &Numbers, tcp: &Tcp, addresses: u32) {
    let head = [
        u32::from(asked.port) << 16 | u32::from(asked.source_port),
        tcp.sequence,
        tcp.acknowledgment,
        (tcp.words as u32) << 28 | tcp.flags << 16 | tcp.window,
    ];
    words[AT..AT + 4].copy_from_slice(&head);
    words[AT + 5..AT + 10].copy_from_slice(&tcp.options);
    // The pseudo header ends with the protocol and the length.
    let sum = addresses + 6 + tcp.words as u32 * 4;
    words[AT + 4] = checksum(add(add(sum, &head), &tcp.options)) << 16;
}

/// Adds the 16-bit halves of numbers (RFC 1071). Sums of up to 20 words do not overflow.
#[inline(always)]
fn add<const N: usize>(mut sum: u32, words: &[u32; N]) -> u32 {
    let mut word = 0;
    while word < N {
        sum += (words[word] >> 16) + (words[word] & 0xffff);
        word += 1;
    }
    sum
}

#[inline(always)]
const fn checksum(sum: u32) -> u32 {
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum >> 16) + sum) & 0xffff
}
