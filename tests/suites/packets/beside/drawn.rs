//! Policies, lists and frames by chance, in which clients, services, classes and lists often meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lab::Frame;
use lab::frame::Extension;
use limiter::policy::prefix::Prefix;
use limiter::policy::{Admission, Class, Policy, Prefixes, Service};
use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Rate};

const HOUR: u64 = 3_600_000_000_000;
const PORTS: [u16; 6] = [22, 25, 80, 443, 8080, 65_535];

/// xorshift64*, so that a failure comes back with its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// So slow that a test sees nothing of the rate: the two sides need not agree on the time by more than an hour.
fn limit(random: &mut Random, most: u64) -> Limit {
    let per_hour = 1 + random.below(2);
    Limit { rate: Rate { count: per_hour, period: HOUR }, burst: 1 + random.below(most) }
}

fn maybe(random: &mut Random, most: u64) -> Limit {
    if random.one_in(4) { Limit::default() } else { limit(random, most) }
}

fn prefixes(random: &mut Random) -> Prefixes {
    Prefixes { v4: random.pick(&[32, 32, 24, 8, 31]), v6: random.pick(&[64, 64, 128, 48, 65]) }
}

/// A policy that can be kept.
pub fn policy(random: &mut Random) -> Policy {
    let mut policy = Policy {
        source: maybe(random, 12),
        prefixes: prefixes(random),
        budget: if random.one_in(3) { Limit::default() } else { limit(random, 8000) },
        ..Policy::default()
    };
    let mut taken = Vec::new();
    for number in 0..1 + random.below(6) {
        let mut service = Service::bare(format!("s{number}").parse().expect("a name"));
        for _ in 0..1 + random.below(4) {
            let place = SocketAddr::new(server(random), random.pick(&PORTS));
            if !taken.contains(&place) {
                taken.push(place);
                service.listeners.push(place);
            }
        }
        service.source = random.one_in(2).then(|| maybe(random, 12));
        service.prefixes = random.one_in(3).then(|| prefixes(random));
        service.budget = if random.one_in(2) { Limit::default() } else { limit(random, 3000) };
        service.admission = admission(random);
        if !service.listeners.is_empty() {
            policy.services.push(service);
        }
    }
    if random.one_in(2) {
        policy.classes = classes(random);
    }
    policy
}

fn admission(random: &mut Random) -> Admission {
    if random.one_in(3) {
        return Admission::default();
    }
    Admission {
        challenge: random.pick(&[Challenge::Off, Challenge::Auto, Challenge::Always]),
        ticket_seconds: random.pick(&[2, 60, 900, 604_800]),
        reserve: random.below(91) as u8,
        newcomers: if random.one_in(2) { Limit::default() } else { limit(random, 2000) },
        fair_share: random.one_in(2),
        ..Admission::default()
    }
}

fn classes(random: &mut Random) -> Vec<Class> {
    let mut taken = Vec::new();
    let mut classes = Vec::new();
    for number in 0..1 + random.below(4) {
        let mut members: Vec<Prefix> = (0..1 + random.below(20)).map(|_| prefix(random)).collect();
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
                prefixes: random.one_in(2).then(|| prefixes(random)),
            });
        }
    }
    classes
}

/// A block of clients.
pub fn prefix(random: &mut Random) -> Prefix {
    let ip = client(random);
    let length = if ip.is_ipv4() {
        96 + random.pick(&[8, 20, 24, 28, 31, 32])
    } else {
        random.pick(&[32, 62, 64, 96, 127, 128])
    };
    let bits = match ip {
        IpAddr::V4(ip) => 0xffff << 32 | u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let bits = bits & u128::MAX << (128 - u32::from(length));
    Prefix { address: limiter_common::address::Address::v6((bits >> 64) as u64, bits as u64), length }
}

fn client(random: &mut Random) -> IpAddr {
    match random.below(8) {
        0 => Ipv4Addr::from_bits(random.next() as u32).into(),
        1 => Ipv6Addr::from_bits(u128::from(random.next()) << 64 | u128::from(random.next())).into(),
        2..5 => Ipv4Addr::from_bits(0x0a00_0000 + (random.below(16) << 16 | random.below(64)) as u32).into(),
        _ => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(random.below(256)) << 62 | u128::from(random.below(4)))
            .into(),
    }
}

fn server(random: &mut Random) -> IpAddr {
    match random.below(8) {
        0 | 1 => Ipv4Addr::UNSPECIFIED.into(),
        2 | 3 => Ipv6Addr::UNSPECIFIED.into(),
        4 | 5 => Ipv4Addr::new(192, 0, 2, 1 + random.below(3) as u8).into(),
        _ => Ipv6Addr::from_bits(0x2001_0db8_ffff << 80 | u128::from(1 + random.below(3))).into(),
    }
}

/// A frame; mostly an attempt to a service, and all that may be wrong with one.
pub fn frame(random: &mut Random) -> Vec<u8> {
    let source = client(random);
    let mut target = server(random);
    while target.is_ipv4() != source.is_ipv4() {
        target = server(random);
    }
    let (from, to) =
        (SocketAddr::new(source, 1024 + random.below(60_000) as u16), SocketAddr::new(target, port(random)));
    let mut frame = match random.below(40) {
        0 => Frame::udp(from, to),
        1 if source.is_ipv4() => Frame::arp(from, to),
        2 => Frame::raw(from, to, random.next() as u8),
        _ => Frame::syn(from, to).numbers(random.next() as u32, random.next() as u32),
    };
    if random.one_in(4) {
        frame = frame.flags(random.next() as u8);
    }
    for _ in 0..random.below(12).saturating_sub(8) {
        frame = frame.vlan(random.pick(&[0x8100, 0x88a8]), random.below(4096) as u16);
    }
    if random.one_in(8) {
        let bytes: Vec<u8> = (0..random.below(41)).map(|_| random.next() as u8).collect();
        frame =
            if random.one_in(2) { frame.tcp_options(&bytes) } else { frame.ipv4_options(&bytes[..bytes.len() & !3]) };
    }
    if random.one_in(12) {
        frame = frame.fragment(random.below(3) as u16, random.one_in(2));
    }
    if source.is_ipv6() && random.one_in(6) {
        frame = (0..random.below(11)).fold(frame, |frame, _| frame.extension(extension(random)));
    }
    spoilt(random, frame)
}

fn port(random: &mut Random) -> u16 {
    if random.one_in(16) { random.next() as u16 } else { random.pick(&PORTS) }
}

fn extension(random: &mut Random) -> Extension {
    let units = random.below(3) as u8;
    match random.below(6) {
        0 => Extension::HopByHop(units),
        1 => Extension::Routing(units),
        2 => Extension::Destination(units),
        3 => Extension::Fragment(random.below(3) as u16, random.one_in(2)),
        4 => Extension::Authentication(1 + units),
        _ => Extension::Mobility(units),
    }
}

/// The bytes, now and then with something wrong.
fn spoilt(random: &mut Random, mut frame: Frame) -> Vec<u8> {
    match random.below(60) {
        0 => frame = frame.wrong_ihl(random.below(16) as u8),
        1 => frame = frame.wrong_version(random.below(16) as u8),
        2 => frame = frame.wrong_ip_length(random.below(80) as u16),
        3 => frame = frame.wrong_doff(random.below(16) as u8),
        4 => frame = frame.wrong_ethertype(random.next() as u16),
        _ => {}
    }
    let mut bytes = frame.build();
    if random.one_in(20) {
        bytes.truncate(14 + random.below(bytes.len() as u64 - 13) as usize);
    }
    for _ in 0..random.below(30).saturating_sub(27) {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] = random.next() as u8;
    }
    bytes
}
