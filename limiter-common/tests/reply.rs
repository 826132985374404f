//! Replies beside etherparse, which reads them back and recomputes their checksums.

use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use limiter_common::packet::{Cursor, Options, parse, read_options};
use limiter_common::record::Kernel;
use limiter_common::reply::{Draft, Offer, WINDOW, reset, syn_ack};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The SYN of a Linux client: MSS 1460, SACK permitted, timestamp, window scale 7.
const LINUX: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

fn frame(v6: bool, flags: u8, options: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    let tcp = 20 + options.len() as u8;
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, tcp, 6, 64]);
        frame.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 7]);
    } else {
        frame.extend([
            8,
            0,
            0x45,
            0,
            0,
            20 + tcp,
            0,
            0,
            0x40,
            0,
            64,
            6,
            0,
            0,
            192,
            0,
            2,
            1,
            198,
            51,
            100,
            7,
        ]);
    }
    frame.extend([
        0x9c,
        0x40,
        0x01,
        0xbb,
        1,
        2,
        3,
        4,
        9,
        8,
        7,
        6,
        tcp / 4 * 16,
        flags,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    frame.extend(options);
    frame
}

/// What is answered to a frame, as bytes from the IP header on, for a kernel that decodes timestamps or not.
fn answer(frame: &[u8], timestamps: bool) -> Option<Vec<u8>> {
    let segment = parse(Cursor::new(frame)).expect("a segment");
    let (asked, cursor) = segment.numbers().expect("a whole header");
    let mut draft = Draft::default();
    read_options(cursor, asked.options, &mut draft.options);
    let kernel =
        Kernel { timestamps: timestamps.into(), window_scale: 7, sack: 1, ..Kernel::default() };
    let room = frame.len() - 14;
    let Draft { words, options } = &mut draft;
    let length = if asked.flags & (SYN | ACK) == SYN && asked.sequence != 0 {
        let offer = Offer {
            cookie: 0xc00c_1e00,
            mss: 1400,
            window: WINDOW,
            scale: 7,
            milliseconds: 1_000_000,
        };
        syn_ack(words, &segment.network, &asked, options, &offer, &kernel, room)?
    } else {
        reset(words, &segment.network, &asked, room)?
    };
    Some(bytes(words, length))
}

fn bytes(words: &[u32], length: usize) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).take(length).collect()
}

/// Checks addresses, ports and checksums, and hands the TCP header to `look`.
fn check(reply: &[u8], look: impl FnOnce(&etherparse::TcpSlice<'_>)) {
    let packet = SlicedPacket::from_ip(reply).expect("an IP packet");
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
    let sum = match packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            assert_eq!(ip.header().source(), [198, 51, 100, 7]);
            assert_eq!(ip.header().destination(), [192, 0, 2, 1]);
            assert_eq!(
                ip.header().to_header().calc_header_checksum(),
                ip.header().header_checksum()
            );
            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
        }
        Some(NetSlice::Ipv6(ip)) => {
            assert_eq!(ip.header().source()[14..], [0xff, 7]);
            assert_eq!(ip.header().destination()[15], 1);
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
        }
        _ => panic!("no IP"),
    };
    assert_eq!(sum.expect("a length"), tcp.checksum());
    assert_eq!((tcp.source_port(), tcp.destination_port()), (443, 40_000));
    look(&tcp);
}

#[test]
fn a_syn_ack_carries_the_cookie_and_no_more_than_the_kernel_decodes() {
    for v6 in [false, true] {
        let syn = frame(v6, SYN, &LINUX);
        check(&answer(&syn, false).expect("an answer"), |tcp| {
            assert!(tcp.syn() && tcp.ack() && !tcp.rst());
            assert_eq!(
                (tcp.sequence_number(), tcp.acknowledgment_number()),
                (0xc00c_1e00, 0x0102_0305)
            );
            assert_eq!(tcp.window_size(), WINDOW);
            let options: Vec<_> =
                tcp.options_iterator().map(|option| option.expect("well-formed")).collect();
            assert_eq!(options, [TcpOptionElement::MaximumSegmentSize(1400)]);
        });
        check(&answer(&syn, true).expect("an answer"), |tcp| {
            let options: Vec<_> =
                tcp.options_iterator().map(|option| option.expect("well-formed")).collect();
            // 1,000,000 ms with the low six bits replaced by SACK (bit 4) and the client's scale, and not in the future.
            let stamp = (1_000_000 & !0x3f) | 0x10 | 7;
            let stamp = if stamp > 1_000_000 { stamp - 64 } else { stamp };
            use TcpOptionElement::*;
            let expected = [
                MaximumSegmentSize(1400),
                SelectiveAcknowledgementPermitted,
                Timestamp(stamp, 0x0102_0304),
                Noop,
                WindowScale(7),
            ];
            assert_eq!(options, expected);
        });
    }
}

#[test]
fn an_answer_is_never_longer_than_what_it_answers() {
    for v6 in [false, true] {
        for options in [&LINUX[..0], &LINUX[..4], &LINUX[..16], &LINUX[..]] {
            let syn = frame(v6, SYN, options);
            for timestamps in [false, true] {
                let reply = answer(&syn, timestamps).expect("an answer");
                assert!(reply.len() + 14 <= syn.len());
                check(&reply, |tcp| assert!(tcp.syn() && tcp.ack()));
            }
        }
    }
}

#[test]
fn resets() {
    for v6 in [false, true] {
        let mut syn = frame(v6, SYN, &LINUX);
        // A sequence number of 0 asks `answer` for a reset.
        let at = if v6 { 58 } else { 38 };
        syn[at..at + 4].copy_from_slice(&[0; 4]);
        check(&answer(&syn, false).expect("an answer"), |tcp| {
            assert!(tcp.rst() && tcp.ack() && !tcp.syn());
            assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (0, 1));
        });
        check(&answer(&frame(v6, ACK, &[]), false).expect("an answer"), |tcp| {
            assert!(tcp.rst() && !tcp.ack() && !tcp.syn());
            assert_eq!(tcp.sequence_number(), 0x0908_0706);
        });
    }
}

fn read(options: &[u8]) -> Options {
    let frame = frame(false, SYN, options);
    let segment = parse(Cursor::new(&frame)).expect("a segment");
    let (asked, cursor) = segment.numbers().expect("a whole header");
    let mut read = Options::default();
    read_options(cursor, asked.options, &mut read);
    read
}

#[test]
fn options() {
    let linux = read(&LINUX);
    assert_eq!((linux.mss, linux.window_scale, linux.sack), (1460, 7, true));
    assert_eq!(
        (linux.has_timestamp, linux.timestamp, linux.is_kernels),
        (true, 0x0102_0304, false)
    );
    let none = Options { window_scale: 15, ..Options::default() };
    assert_eq!(read(&[]), none);
    assert_eq!(read(&[1, 1, 0, 0]), none);
    assert_eq!(read(&[0, 2, 4, 5]), none, "nothing is read behind the end");
    assert_eq!(read(&[2, 5, 5, 0xb4]), none, "longer than what is left");
    assert_eq!(read(&[2, 1, 5, 0xb4]), none, "shorter than itself");
    assert_eq!(read(&[1, 3, 3, 15]).window_scale, 14, "RFC 7323 2.3");
    assert!(read(&[&[19, 18][..], &[0; 18]].concat()).is_kernels);
    // Multipath TCP: one that joins a connection, and one that opens one.
    assert!(read(&[&[30, 12, 0x11][..], &[0; 9]].concat()).is_kernels);
    assert!(!read(&[30, 4, 0x01, 0]).is_kernels);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever the options say, they are read within their bounds; the frame is an exactly sized allocation.
    #[test]
    fn any_options(mut options in proptest::collection::vec(0_u8..12, 0..40)) {
        options.truncate(options.len() / 4 * 4);
        let read = read(&options);
        proptest::prop_assert!(read.window_scale <= 15);
    }
}
