//! Millions of generated frames, judged beside etherparse wherever both have an opinion.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use fastrand::Rng;
use limiter_common::reason::Reason;

use super::{Seen, see};

const THREADS: u64 = 2;

/// As many random bytes at the end of a frame.
fn bytes(random: &mut Rng, to: &mut Vec<u8>, count: usize) {
    to.extend(std::iter::repeat_with(|| random.u8(..)).take(count));
}

fn one_in(random: &mut Rng, n: u8) -> bool {
    random.u8(..n) == 0
}

fn generate(random: &mut Rng, frame: &mut Vec<u8>) {
    frame.clear();
    bytes(random, frame, 12);
    for _ in 0..random.u8(..8).saturating_sub(4) {
        frame.extend(if one_in(random, 2) { [0x81, 0] } else { [0x88, 0xa8] });
        bytes(random, frame, 2);
    }
    if one_in(random, 2) {
        v4(random, frame)
    } else {
        v6(random, frame)
    }
    if one_in(random, 4) {
        let length = random.usize(..=frame.len());
        frame.truncate(length);
    }
    for _ in 0..random.u8(..6).saturating_sub(3) {
        if !frame.is_empty() {
            let at = random.usize(..frame.len());
            frame[at] = random.u8(..);
        }
    }
}

fn v4(random: &mut Rng, frame: &mut Vec<u8>) {
    frame.extend([8, 0]);
    let options = if one_in(random, 3) { random.usize(..11) } else { 0 };
    let payload = 20 + random.usize(..24);
    let total = 20 + options * 4 + payload;
    let fragment = if one_in(random, 6) { random.u16(..) & 0x2003 } else { 0x4000 };
    frame.extend([0x45 + options as u8, 0, (total >> 8) as u8, total as u8, 0, 0]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, if one_in(random, 12) { 17 } else { 6 }, 0, 0]);
    bytes(random, frame, 8 + options * 4);
    tcp(random, frame, payload);
}

fn v6(random: &mut Rng, frame: &mut Vec<u8>) {
    frame.extend([0x86, 0xdd]);
    let start = frame.len();
    frame.extend([0x60, 0, 0, 0, 0, 0, 0, 64]);
    bytes(random, frame, 32);
    let mut next = start + 6;
    for index in 0..random.u8(..14).saturating_sub(4) {
        let kind = [0, 43, 44, 51, 60, 135][random.usize(..6)];
        // etherparse, like the RFC, wants hop-by-hop options first only.
        let kind = if kind == 0 && index > 0 { 60 } else { kind };
        frame[next] = kind;
        next = frame.len();
        let doubles = 1 + random.u8(..3);
        match kind {
            44 => {
                let field = if one_in(random, 3) { random.u16(..) & 0x19 } else { 0 };
                frame.extend([0, 0]);
                frame.extend(field.to_be_bytes());
                frame.extend([0; 4]);
            }
            51 => {
                frame.extend([0, doubles * 2 - 1]);
                bytes(random, frame, usize::from(doubles) * 8 + 2);
            }
            _ => {
                frame.extend([0, doubles - 1]);
                bytes(random, frame, usize::from(doubles) * 8 - 2);
            }
        }
    }
    frame[next] = if one_in(random, 12) { 17 } else { 6 };
    let payload = 20 + random.usize(..24);
    tcp(random, frame, payload);
    let length = if one_in(random, 16) { 0 } else { frame.len() - start - 40 };
    frame[start + 4..start + 6].copy_from_slice(&(length as u16).to_be_bytes());
}

fn tcp(random: &mut Rng, frame: &mut Vec<u8>, length: usize) {
    let start = frame.len();
    bytes(random, frame, length);
    if !one_in(random, 8) {
        frame[start + 12] = 5 << 4;
    }
}

/// What etherparse sees: a TCP segment, something else, or nothing it would swear to.
enum Other {
    Tcp(Seen),
    NotTcp,
    NoOpinion,
}

fn etherparse_sees(frame: &[u8]) -> Other {
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else { return Other::NoOpinion };
    let mapped = |a: [u8; 4]| 0xffff_u128 << 32 | u128::from(u32::from_be_bytes(a));
    let (source, destination) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            (mapped(ip.header().source()), mapped(ip.header().destination()))
        }
        Some(NetSlice::Ipv6(ip)) => (
            u128::from_be_bytes(ip.header().source()),
            u128::from_be_bytes(ip.header().destination()),
        ),
        _ => return Other::NotTcp,
    };
    match packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            Other::Tcp((source, destination, tcp.destination_port(), tcp.slice()[13], false))
        }
        Some(_) => Other::NotTcp,
        None => Other::NoOpinion,
    }
}

/// Where limiter says something else on purpose.
fn is_deliberate(frame: &[u8], reason: Reason) -> bool {
    match reason {
        // etherparse takes three tags; limiter two, as the design says.
        Reason::TooManyTags => true,
        // etherparse takes 0x9100 for a tag; Linux (eth_type_vlan) does not, so a frame with it never reaches a socket.
        Reason::NotIp => frame.chunks_exact(2).any(|pair| pair == [0x91, 0x00]),
        // A longer chain than any client sends.
        Reason::TooManyHeaders => true,
        // etherparse takes a payload length of 0 for "to the end of the frame"; the kernel, and we, only before hop-by-hop options.
        Reason::Truncated => {
            frame.windows(8).any(|w| w[0] >> 4 == 6 && w[4] == 0 && w[5] == 0 && w[6] != 0)
        }
        _ => false,
    }
}

#[test]
fn ten_million_frames_beside_etherparse() {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let frames: u64 = number("LIMITER_FUZZ_FRAMES", 10_000_000);
    let seed: u64 = number("LIMITER_FUZZ_SEED", 0x1d0_f2ee);
    println!("{frames} frames, LIMITER_FUZZ_SEED={seed}");
    let agreed: u64 = std::thread::scope(|scope| {
        let run = |thread| {
            scope.spawn(move || {
                judge(frames / THREADS, seed ^ u64::wrapping_mul(thread + 1, 0x9e37_79b9_7f4a_7c15))
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("no disagreement")).sum()
    });
    println!("{agreed} times both saw the same segment");
    assert!(
        agreed * 5 > frames,
        "too few frames on which both have an opinion: {agreed} of {frames}"
    );
}

/// Judges `frames` frames and returns on how many both saw the same segment.
fn judge(frames: u64, seed: u64) -> u64 {
    let (mut random, mut frame, mut agreed) = (Rng::with_seed(seed), Vec::new(), 0);
    for _ in 0..frames {
        generate(&mut random, &mut frame);
        match (see(&frame), etherparse_sees(&frame)) {
            (Ok(ours), Other::Tcp(theirs)) => {
                assert_eq!(ours, theirs, "{frame:02x?}");
                agreed += 1;
            }
            (Ok(ours), Other::NotTcp) => {
                panic!("etherparse sees no TCP where we see {ours:?}: {frame:02x?}")
            }
            (Err(reason), Other::Tcp(theirs)) => {
                assert!(
                    is_deliberate(&frame, reason),
                    "{reason:?}, but etherparse sees {theirs:?}: {frame:02x?}"
                );
            }
            _ => {}
        }
    }
    agreed
}
