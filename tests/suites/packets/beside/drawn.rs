//! Policies, lists and frames by chance, in which clients, services, classes and lists often meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fastrand::Rng;
use lab::Frame;
use lab::frame::Extension;
use limiter::policy::prefix::Prefix;
use limiter::policy::{Admission, Class, Networks, Policy, Prefixes, Service, Shadow};
use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Rate};

const HOUR: u64 = 3_600_000_000_000;
const PORTS: [u16; 6] = [22, 25, 80, 443, 8080, 65_535];

fn pick<T: Copy>(random: &mut Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

fn limit(random: &mut Rng, most: u64) -> Limit {
    let per_hour = 1 + random.u64(..2);
    Limit { rate: Rate { count: per_hour, period: HOUR }, burst: 1 + random.u64(..most) }
}

fn maybe(random: &mut Rng, most: u64) -> Limit {
    if random.u8(..4) == 0 { Limit::default() } else { limit(random, most) }
}

fn prefixes(random: &mut Rng) -> Prefixes {
    Prefixes { v4: pick(random, &[32, 32, 24, 8, 31]), v6: pick(random, &[64, 64, 128, 48, 65]) }
}

/// One in three has a limit of networks. Of clients by chance many are in one.
fn networks(random: &mut Rng) -> Networks {
    if random.u8(..3) != 0 {
        return Networks::default();
    }
    let prefixes = Prefixes { v4: pick(random, &[24, 24, 8, 31]), v6: pick(random, &[48, 32, 63]) };
    Networks { limit: limit(random, 22), prefixes, open: 0 }
}

/// A policy that can be kept.
pub fn policy(random: &mut Rng) -> Policy {
    let mut policy = Policy {
        source: maybe(random, 12),
        prefixes: prefixes(random),
        budget: if random.u8(..3) == 0 { Limit::default() } else { limit(random, 8000) },
        ..Policy::default()
    };
    let mut taken = Vec::new();
    for number in 0..1 + random.u64(..6) {
        let mut service = Service::bare(format!("s{number}").parse().expect("a name"));
        for _ in 0..1 + random.u64(..4) {
            let place = SocketAddr::new(server(random), pick(random, &PORTS));
            if !taken.contains(&place) {
                taken.push(place);
                service.listeners.push(place);
            }
        }
        service.source = random.bool().then(|| maybe(random, 12));
        service.prefixes = (random.u8(..3) == 0).then(|| prefixes(random));
        service.networks = networks(random);
        service.budget = if random.bool() { Limit::default() } else { limit(random, 3000) };
        service.admission = admission(random);
        if random.bool() {
            service.shadow = Shadow { source: limit(random, 8), open: 0 };
        }
        if !service.listeners.is_empty() {
            policy.services.push(service);
        }
    }
    if random.bool() {
        policy.classes = classes(random);
    }
    policy
}

fn admission(random: &mut Rng) -> Admission {
    Admission {
        challenge: pick(random, &[Challenge::Off, Challenge::Auto, Challenge::Always]),
        line: random.bool(),
        users: pick(random, &[0, 0, 3, 500]),
        ..Admission::default()
    }
}

fn classes(random: &mut Rng) -> Vec<Class> {
    let mut taken = Vec::new();
    let mut classes = Vec::new();
    for number in 0..1 + random.u64(..4) {
        let mut members: Vec<Prefix> = (0..1 + random.u64(..20)).map(|_| prefix(random)).collect();
        members.retain(|prefix| !taken.contains(prefix));
        members.sort_unstable();
        members.dedup();
        taken.extend(members.iter().copied());
        if !members.is_empty() {
            let name = format!("c{number}").parse().expect("a name");
            classes.push(Class {
                name,
                members,
                source: maybe(random, 20),
                prefixes: random.bool().then(|| prefixes(random)),
                open: None,
                networks: networks(random),
            });
        }
    }
    classes
}

/// A block of clients.
pub fn prefix(random: &mut Rng) -> Prefix {
    let ip = client(random);
    let length = if ip.is_ipv4() {
        96 + pick(random, &[8, 20, 24, 28, 31, 32])
    } else {
        pick(random, &[32, 62, 64, 96, 127, 128])
    };
    let bits = match ip {
        IpAddr::V4(ip) => 0xffff << 32 | u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let bits = bits & u128::MAX << (128 - u32::from(length));
    Prefix {
        address: limiter_common::address::Address::v6((bits >> 64) as u64, bits as u64),
        length,
    }
}

fn client(random: &mut Rng) -> IpAddr {
    match random.u64(..8) {
        0 => Ipv4Addr::from_bits(random.u32(..)).into(),
        1 => Ipv6Addr::from_bits(u128::from(random.u64(..)) << 64 | u128::from(random.u64(..)))
            .into(),
        2..5 => {
            Ipv4Addr::from_bits(0x0a00_0000 + (random.u64(..16) << 16 | random.u64(..64)) as u32)
                .into()
        }
        _ => Ipv6Addr::from_bits(
            0x2001_0db8 << 96 | u128::from(random.u64(..256)) << 62 | u128::from(random.u64(..4)),
        )
        .into(),
    }
}

fn server(random: &mut Rng) -> IpAddr {
    match random.u64(..8) {
        0 | 1 => Ipv4Addr::UNSPECIFIED.into(),
        2 | 3 => Ipv6Addr::UNSPECIFIED.into(),
        4 | 5 => Ipv4Addr::new(192, 0, 2, 1 + random.u8(..3)).into(),
        _ => Ipv6Addr::from_bits(0x2001_0db8_ffff << 80 | u128::from(1 + random.u64(..3))).into(),
    }
}

/// A frame; mostly an attempt to a service, and all that may be wrong with one.
pub fn frame(random: &mut Rng) -> Vec<u8> {
    let source = client(random);
    let mut target = server(random);
    while target.is_ipv4() != source.is_ipv4() {
        target = server(random);
    }
    let (from, to) = (
        SocketAddr::new(source, 1024 + random.u16(..60_000)),
        SocketAddr::new(target, port(random)),
    );
    let mut frame = match random.u64(..40) {
        0 => Frame::udp(from, to),
        1 if source.is_ipv4() => Frame::arp(from, to),
        2 => Frame::raw(from, to, random.u8(..)),
        _ => Frame::syn(from, to).numbers(random.u32(..), random.u32(..)),
    };
    if random.u8(..4) == 0 {
        frame = frame.flags(random.u8(..));
    }
    for _ in 0..random.u64(..12).saturating_sub(8) {
        frame = frame.vlan(pick(random, &[0x8100, 0x88a8]), random.u16(..4096));
    }
    if random.u8(..8) == 0 {
        let bytes: Vec<u8> = (0..random.u64(..41)).map(|_| random.u8(..)).collect();
        frame = if random.bool() {
            frame.tcp_options(&bytes)
        } else {
            frame.ipv4_options(&bytes[..bytes.len() & !3])
        };
    }
    if random.u8(..12) == 0 {
        frame = frame.fragment(random.u16(..3), random.bool());
    }
    if source.is_ipv6() && random.u8(..6) == 0 {
        frame = (0..random.u64(..11)).fold(frame, |frame, _| frame.extension(extension(random)));
    }
    spoilt(random, frame)
}

fn port(random: &mut Rng) -> u16 {
    if random.u8(..16) == 0 { random.u16(..) } else { pick(random, &PORTS) }
}

fn extension(random: &mut Rng) -> Extension {
    let units = random.u8(..3);
    match random.u64(..6) {
        0 => Extension::HopByHop(units),
        1 => Extension::Routing(units),
        2 => Extension::Destination(units),
        3 => Extension::Fragment(random.u16(..3), random.bool()),
        4 => Extension::Authentication(1 + units),
        _ => Extension::Mobility(units),
    }
}

/// The bytes, now and then with something wrong.
fn spoilt(random: &mut Rng, mut frame: Frame) -> Vec<u8> {
    match random.u64(..60) {
        0 => frame = frame.wrong_ihl(random.u8(..16)),
        1 => frame = frame.wrong_version(random.u8(..16)),
        2 => frame = frame.wrong_ip_length(random.u16(..80)),
        3 => frame = frame.wrong_doff(random.u8(..16)),
        4 => frame = frame.wrong_ethertype(random.u16(..)),
        _ => {}
    }
    let mut bytes = frame.build();
    if random.u8(..20) == 0 {
        bytes.truncate(14 + random.usize(..bytes.len() - 13));
    }
    for _ in 0..random.u64(..30).saturating_sub(27) {
        let at = random.usize(..bytes.len());
        bytes[at] = random.u8(..);
    }
    bytes
}
