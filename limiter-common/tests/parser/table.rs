//! Frames made by changing one field of a good one, and what the parser must say of each.

use limiter_common::packet::{Cursor, parse, second_look};
use limiter_common::reason::Reason::{self, *};

use super::see;

const SYN: u8 = 0x02;

/// Ethernet, IPv4, TCP: a SYN from 192.0.2.1:40000 to 198.51.100.7:443, 20 bytes of TCP.
fn v4() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7]);
    frame.extend(tcp());
    frame
}

/// The same over IPv6, from 2001:db8::1 to 2001:db8::7, behind extension headers `(kind, bytes)`.
fn v6(extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    let kinds: Vec<u8> = extensions.iter().map(|(kind, _)| *kind).chain([6]).collect();
    let length = 20 + extensions.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    frame.extend([0x60, 0, 0, 0, (length >> 8) as u8, length as u8, kinds[0], 64]);
    let mut address = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    frame.extend(address);
    address[15] = 7;
    frame.extend(address);
    for ((_, bytes), next) in extensions.iter().zip(&kinds[1..]) {
        let mut bytes = bytes.clone();
        bytes[0] = *next;
        frame.extend(bytes);
    }
    frame.extend(tcp());
    frame
}

fn tcp() -> [u8; 20] {
    let mut tcp = [0; 20];
    tcp[..4].copy_from_slice(&[0x9c, 0x40, 0x01, 0xbb]);
    tcp[12] = 5 << 4;
    tcp[13] = SYN;
    tcp
}

fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn tagged(frame: &[u8], tags: &[u16]) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    for tag in tags {
        out.extend(tag.to_be_bytes());
        out.extend([0, 7]);
    }
    out.extend(&frame[12..]);
    out
}

/// An extension header of `doubles` x 8 bytes (AH counts differently).
fn extension(kind: u8, doubles: u8) -> (u8, Vec<u8>) {
    let mut bytes = vec![0; usize::from(doubles) * 8];
    bytes[1] = match kind {
        44 => 0,
        51 => doubles * 2 - 2,
        _ => doubles - 1,
    };
    (kind, bytes)
}

fn fragment(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let (kind, mut bytes) = extension(44, 1);
    bytes[2..4].copy_from_slice(&(offset << 3 | u16::from(more)).to_be_bytes());
    (kind, bytes)
}

#[track_caller]
fn is_syn(frame: &[u8]) {
    let seen = see(frame).expect("a segment");
    assert_eq!((seen.2, seen.3, seen.4), (443, SYN, false));
}

#[track_caller]
fn is(frame: &[u8], reason: Reason) {
    assert_eq!(see(frame), Err(reason));
}

#[test]
fn good_frames() {
    is_syn(&v4());
    is_syn(&v6(&[]));
    let mapped = |a: [u8; 4]| 0xffff_u128 << 32 | u128::from(u32::from_be_bytes(a));
    let seen = see(&v4()).expect("a segment");
    assert_eq!((seen.0, seen.1), (mapped([192, 0, 2, 1]), mapped([198, 51, 100, 7])));
    let seen = see(&v6(&[])).expect("a segment");
    assert_eq!((seen.0, seen.1), (0x2001_0db8 << 96 | 1, 0x2001_0db8 << 96 | 7));
}

#[test]
fn every_truncation_passes_as_truncated() {
    let chain = v6(&[extension(0, 1), extension(43, 2), extension(60, 1)]);
    for good in [v4(), v6(&[]), tagged(&v4(), &[0x8100, 0x8100]), chain] {
        for length in 0..good.len() {
            is(&good[..length], Truncated);
        }
        is_syn(&good);
    }
}

#[test]
fn tags() {
    for frame in [v4(), v6(&[])] {
        is_syn(&tagged(&frame, &[0x8100]));
        is_syn(&tagged(&frame, &[0x88a8]));
        is_syn(&tagged(&frame, &[0x88a8, 0x8100]));
        is(&tagged(&frame, &[0x8100, 0x8100, 0x8100]), TooManyTags);
    }
}

/// The kernel takes off any number of tags of VLAN 0, so more of them than are read are a way round.
#[test]
fn tags_of_priority() {
    let priority = |tags: usize, which: usize| {
        with(tagged(&v4(), &vec![0x8100; tags]), 14 + 4 * which, &[0xe0, 0])
    };
    is_syn(&priority(1, 0));
    is_syn(&priority(2, 1));
    for which in 0..3 {
        is(&priority(3, which), TooManyHeaders);
    }
    is(&priority(4, 0), TooManyHeaders);
}

#[test]
fn other_protocols() {
    is(&with(v4(), 12, &[0x08, 0x06]), NotIp);
    is(&with(v4(), 23, &[17]), NotTcp);
    is(&with(v6(&[]), 20, &[58]), NotTcp);
    is(&with(v6(&[]), 20, &[59]), NotTcp);
    is(&with(v6(&[extension(60, 1)]), 54, &[17]), NotTcp);
}

#[test]
fn ipv4_lengths() {
    for ihl in 0..5 {
        is(&with(v4(), 14, &[0x40 | ihl]), Malformed);
    }
    is(&with(v4(), 14, &[0x65]), Malformed);
    for ihl in 6..=15_u8 {
        let mut frame = with(v4(), 14, &[0x40 | ihl]);
        let options = usize::from(ihl - 5) * 4;
        frame[17] += options as u8;
        frame.splice(34..34, vec![1; options]);
        is_syn(&frame);
    }
    is(&with(v4(), 16, &[0, 19]), Malformed);
    // The frame holds a whole header, but the packet says that it ends before: what follows is padding.
    for total in 20..40 {
        is(&with(v4(), 16, &[0, total]), Truncated);
    }
}

#[test]
fn ipv6_versions_and_lengths() {
    is(&with(v6(&[]), 14, &[0x40]), Malformed);
    for length in 0..20 {
        is(&with(v6(&[]), 18, &[0, length]), Truncated);
    }
    is(&with(v6(&[extension(0, 2)]), 18, &[0, 15]), Truncated);
}

/// Behind hop-by-hop options the kernel takes a payload length of 0 for "as long as the frame", and answers the SYN.
#[test]
fn ipv6_length_zero_behind_hop_by_hop_options() {
    let zero = |chain: &[(u8, Vec<u8>)]| with(v6(chain), 18, &[0, 0]);
    is_syn(&zero(&[extension(0, 1)]));
    is_syn(&zero(&[extension(0, 3), extension(60, 1)]));
    let whole = zero(&[extension(0, 2)]);
    for length in 0..whole.len() {
        is(&whole[..length], Truncated);
    }
    is(&zero(&[extension(60, 1)]), Truncated);
    is(&zero(&[]), Truncated);
}

#[test]
fn ipv6_chains() {
    for kind in [0, 43, 51, 60, 135] {
        for doubles in [1, 2, 5] {
            is_syn(&v6(&[extension(kind, doubles)]));
        }
    }
    for headers in 1..=8 {
        is_syn(&v6(&vec![extension(60, 1); headers]));
    }
    is(&v6(&vec![extension(60, 1); 9]), TooManyHeaders);
}

/// What ends within its headers passes only while that is all that there can be.
#[test]
fn headers_beyond_what_is_shown() {
    let long = v6(&[extension(60, 255), extension(60, 255)]);
    is_syn(&long);
    for length in (0..long.len()).step_by(7) {
        is(&long[..length], Truncated);
        let cursor = Cursor::new(&long[..length]);
        let reason = parse(cursor).map(|_| ()).expect_err("it is cut");
        assert_eq!(
            second_look(cursor, || false, reason),
            TooManyHeaders,
            "{length} of {} bytes",
            long.len()
        );
    }
}

#[test]
fn ipv4_fragments() {
    let fragment =
        |offset: u16, more: bool| with(v4(), 20, &(offset | u16::from(more) << 13).to_be_bytes());
    is_syn(&fragment(0, true));
    is(&fragment(1, true), OverlappingFragment);
    is(&fragment(1, false), OverlappingFragment);
    is(&fragment(2, false), LaterFragment);
    is(&fragment(185, true), LaterFragment);
    is(&with(fragment(1, false), 23, &[17]), NotTcp);
    // First fragments of 8 and 16 bytes: the flags are hidden by the first, whatever the padding says.
    let seen = see(&with(fragment(0, true), 16, &[0, 28])).expect("ports");
    assert_eq!((seen.2, seen.4), (443, true));
    is_syn(&with(fragment(0, true), 16, &[0, 36]));
    is(&with(fragment(0, true), 16, &[0, 20]), Truncated);
}

#[test]
fn ipv6_fragments() {
    is_syn(&v6(&[fragment(0, false)]));
    is_syn(&v6(&[fragment(0, true)]));
    is_syn(&v6(&[extension(0, 1), fragment(0, true), extension(60, 1)]));
    is(&v6(&[fragment(1, false)]), OverlappingFragment);
    is(&v6(&[fragment(2, false)]), LaterFragment);
    is(&v6(&[fragment(1, true), extension(60, 1)]), LaterFragment);
    let seen = see(&with(v6(&[fragment(0, true)]), 18, &[0, 16])).expect("ports");
    assert_eq!((seen.2, seen.4), (443, true));
    // The chain goes on in a later fragment.
    is(&with(v6(&[fragment(0, true), extension(60, 2)]), 18, &[0, 16]), ShortFragment);
}

#[test]
fn tcp_headers() {
    for doff in 0..5 {
        is(&with(v4(), 46, &[doff << 4]), Malformed);
    }
    for flags in 0..=255_u8 {
        let seen = see(&with(v4(), 47, &[flags])).expect("a segment");
        assert_eq!(seen.3, flags);
    }
}

/// SYN without ACK is an attempt, whatever else is set.
#[test]
fn attempts() {
    use limiter_common::packet::{Cursor, parse};
    for flags in 0..=255_u8 {
        let frame = with(v4(), 47, &[flags]);
        let attempt = parse(Cursor::new(&frame)).expect("a segment").is_attempt();
        assert_eq!(attempt, flags & 0x12 == 0x02, "flags {flags:#x}");
    }
}
