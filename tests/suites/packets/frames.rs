//! What a frame is: cases made by changing one thing of a good one.

use lab::Frame;
use lab::frame::Extension;
use limiter_common::reason::Reason::*;
use limiter_common::switch::{Mode, Switch};

use super::{CLIENT, CLIENT_V6, DROP, Judge, PASS, WEB, WEB_V6, policy, syn};

fn web() -> Judge {
    Judge::new(&policy(&["web=*:80"]))
}

#[test]
fn good_syns_are_admitted() {
    let judge = web();
    for frame in [syn(CLIENT, WEB), syn(CLIENT_V6, WEB_V6)] {
        judge.says(&frame.build(), 1, Admitted, PASS);
        judge.says(&frame.clone().vlan(0x8100, 7).build(), 1, Admitted, PASS);
        judge.says(&frame.clone().vlan(0x88a8, 7).vlan(0x8100, 8).build(), 1, Admitted, PASS);
        judge.says(
            &frame.clone().vlan(0x88a8, 7).vlan(0x8100, 8).vlan(0x8100, 9).build(),
            0,
            TooManyTags,
            PASS,
        );
        judge.says(&frame.clone().vlan(0x8100, 0).vlan(0x8100, 0).build(), 1, Admitted, PASS);
        judge.says(
            &frame.clone().vlan(0x8100, 0).vlan(0x8100, 0).vlan(0x8100, 0).build(),
            0,
            TooManyHeaders,
            DROP,
        );
    }
    for options in [4, 20, 40] {
        judge.says(&syn(CLIENT, WEB).ipv4_options(&vec![1; options]).build(), 1, Admitted, PASS);
    }
}

/// The kernel runs no frame shorter than an Ethernet header; the host's tests do.
#[test]
fn every_truncation_passes_as_truncated() {
    let judge = web();
    for good in [syn(CLIENT, WEB), syn(CLIENT_V6, WEB_V6), syn(CLIENT, WEB).vlan(0x8100, 7)] {
        let end = good.transport_offset() + 20;
        let frame = good.build();
        for length in 14..end {
            judge.says(&frame[..length], 0, Truncated, PASS);
        }
        judge.says(&frame[..end], 1, Admitted, PASS);
    }
}

#[test]
fn flags() {
    let judge = web();
    for flags in [0x10, 0x12, 0x18, 0x11, 0x04, 0x14, 0x00, 0x01, 0x3d] {
        judge.says(&syn(CLIENT, WEB).flags(flags).build(), 0, NotAttempt, PASS);
    }
    // SYN alone, with FIN, with RST, and with both ECN bits (RFC 3168 6.1.1).
    for flags in [0x02, 0x03, 0x06, 0xc2] {
        judge.says(&syn(CLIENT, WEB).flags(flags).build(), 1, Admitted, PASS);
    }
}

#[test]
fn what_is_no_tcp() {
    let judge = web();
    let (client, server) = (CLIENT.parse().expect("a client"), WEB.parse().expect("a server"));
    judge.says(&Frame::udp(client, server).build(), 0, NotTcp, PASS);
    judge.says(&Frame::arp(client, server).build(), 0, NotIp, PASS);
    judge.says(&syn(CLIENT, WEB).wrong_ethertype(0x88cc).build(), 0, NotIp, PASS);
}

#[test]
fn lengths_that_lie() {
    let judge = web();
    for ihl in 0..5 {
        judge.says(&syn(CLIENT, WEB).wrong_ihl(ihl).build(), 0, Malformed, PASS);
    }
    judge.says(&syn(CLIENT, WEB).wrong_version(6).build(), 0, Malformed, PASS);
    judge.says(&syn(CLIENT_V6, WEB_V6).wrong_version(4).build(), 0, Malformed, PASS);
    judge.says(&syn(CLIENT, WEB).wrong_ip_length(19).build(), 0, Malformed, PASS);
    judge.says(&syn(CLIENT, WEB).wrong_ip_length(39).build(), 0, Truncated, PASS);
    for doff in 0..5 {
        judge.says(&syn(CLIENT, WEB).wrong_doff(doff).build(), 0, Malformed, PASS);
    }
}

#[test]
fn extension_headers() {
    let judge = web();
    let with = |chain: &[Extension]| {
        chain
            .iter()
            .fold(syn(CLIENT_V6, WEB_V6), |frame, extension| frame.extension(*extension))
            .build()
    };
    use Extension::{Authentication, Destination, HopByHop, Mobility, Routing};
    for one in [
        HopByHop(0),
        Routing(0),
        Destination(0),
        Authentication(1),
        Mobility(0),
        HopByHop(3),
        Destination(5),
    ] {
        judge.says(&with(&[one]), 1, Admitted, PASS);
    }
    let jumbo =
        |chain: Extension| syn(CLIENT_V6, WEB_V6).extension(chain).wrong_ip_length(0).build();
    judge.says(&jumbo(HopByHop(0)), 1, Admitted, PASS);
    judge.says(&jumbo(Destination(0)), 0, Truncated, PASS);
    judge.says(
        &with(&[HopByHop(1), Routing(2), Authentication(1), Destination(0)]),
        1,
        Admitted,
        PASS,
    );
    judge.says(&with(&[Destination(0); 8]), 1, Admitted, PASS);
    judge.says(&with(&[Destination(0); 9]), 0, TooManyHeaders, DROP);
    let long = with(&[Destination(127); 2]);
    judge.says(&long, 1, Admitted, PASS);
    judge.says(&long[..500], 0, Truncated, PASS);
    judge.says(&long[..1500], 0, Truncated, PASS);
    // More than the driver shows: the kernel would find TCP behind it.
    judge.says(&with(&[Destination(255); 3]), 0, TooManyHeaders, DROP);
    judge.mode(Mode::Observe);
    judge.says(&with(&[Destination(0); 9]), 0, TooManyHeaders, PASS);
}

#[test]
fn fragments() {
    let judge = web();
    let v4 = |offset, more| syn(CLIENT, WEB).fragment(offset, more);
    let v6 = |offset, more| syn(CLIENT_V6, WEB_V6).extension(Extension::Fragment(offset, more));
    judge.says(&v4(0, true).build(), 1, Admitted, PASS);
    judge.says(&v6(0, true).build(), 1, Admitted, PASS);
    judge.says(&v6(0, false).build(), 1, Admitted, PASS);
    judge.says(&v4(1, true).build(), 0, OverlappingFragment, DROP);
    judge.says(&v6(1, false).build(), 0, OverlappingFragment, DROP);
    judge.says(&v4(2, true).build(), 0, LaterFragment, PASS);
    judge.says(&v6(185, false).build(), 0, LaterFragment, PASS);
    // Eight bytes show the ports and hide the flags. Elsewhere it is no business of ours.
    judge.says(&v4(0, true).wrong_ip_length(28).build(), 1, ShortFragment, DROP);
    judge.says(&v6(0, true).wrong_ip_length(16).build(), 1, ShortFragment, DROP);
    judge.says(
        &v4(0, true)
            .wrong_ip_length(28)
            .destination("198.51.100.7:81".parse().expect("a server"))
            .build(),
        0,
        NotProtected,
        PASS,
    );
    judge.mode(Mode::Observe);
    judge.says(&v4(0, true).wrong_ip_length(28).build(), 1, ShortFragment, PASS);
}

#[test]
fn services_by_port_and_address() {
    let services =
        ["a=198.51.100.7:80,[2001:db8:ffff::7]:80", "b=0.0.0.0:80", "c=*:443", "d=[::]:25"];
    let judge = Judge::new(&policy(&services));
    let case = |server: &str, service: usize, reason| {
        let client = if server.starts_with('[') { CLIENT_V6 } else { CLIENT };
        judge.says(&syn(client, server).build(), service, reason, PASS);
    };
    case("198.51.100.7:80", 1, Admitted);
    case("[2001:db8:ffff::7]:80", 1, Admitted);
    case("198.51.100.8:80", 2, Admitted);
    case("[2001:db8:ffff::8]:80", 0, NotProtected);
    case("198.51.100.8:443", 3, Admitted);
    case("[2001:db8:ffff::8]:443", 3, Admitted);
    case("[2001:db8:ffff::8]:25", 4, Admitted);
    case("198.51.100.8:25", 0, NotProtected);
    case("198.51.100.7:81", 0, NotProtected);
    case("198.51.100.7:65535", 0, NotProtected);
}

/// Fail open: a switch that nobody wrote.
#[test]
fn without_a_policy_everything_passes() {
    let judge = web();
    judge.maps.set_switch(Switch(0)).expect("switched");
    judge.says(&syn(CLIENT, WEB).build(), 0, NoPolicy, PASS);
    judge.says(&syn(CLIENT, WEB).flags(0x10).build(), 0, NotAttempt, PASS);
    judge.says(&syn(CLIENT, WEB).fragment(1, false).build(), 0, OverlappingFragment, PASS);
}
