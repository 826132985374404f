//! The network that most of what is counted comes from.

use std::net::IpAddr;

use serde::Serialize;

use super::kind::COMMON;
use crate::observe::Heavy;

/// Sources that a network must show, or it is their own.
const LEAST: usize = 8;
/// So many sources are few, and so many counts are enough to say what they make.
const FEW: usize = 64;
const ENOUGH: u64 = 500;
/// Longest networks that are named, and the shortest, by family.
const LONGEST: [u32; 2] = [24, 48];
const SHORTEST: [u32; 2] = [8, 24];
/// Seconds after which a counter is of another time.
pub const LATELY: f64 = 60.0;

/// A network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Network {
    /// As `185.20.0.0/16`.
    pub prefix: String,
    /// Its share of what was counted, 0 to 1.
    pub share: f64,
    /// Its sources that have a counter.
    pub sources: usize,
}

/// The longest one that makes [`COMMON`] of what was counted lately.
pub fn common(counted: &[Heavy]) -> Option<Network> {
    let lately = counted.iter().filter(|heavy| heavy.last_seconds_ago <= LATELY);
    of_addresses(&lately.filter_map(|heavy| Some((heavy.address.parse().ok()?, heavy.count))).collect::<Vec<_>>())
}

/// The same of addresses with their counts.
pub fn of_addresses(counted: &[(IpAddr, u64)]) -> Option<Network> {
    let all: u64 = counted.iter().map(|(_, count)| count).sum();
    let family = |is_v6: bool| counted.iter().filter(move |(ip, _)| ip.is_ipv6() == is_v6);
    let is_v6 = family(true).map(|(_, count)| count).sum::<u64>() * 2 > all;
    let mut inside: Vec<(u128, u64)> = family(is_v6).map(|(ip, count)| (bits(*ip), *count)).collect();
    let sum = |of: &[(u128, u64)]| of.iter().map(|(_, count)| count).sum::<u64>();
    let enough = |of: &[(u128, u64)]| of.len() >= LEAST && sum(of) as f64 >= COMMON * all as f64;
    let mut length = 0;
    while length < LONGEST[usize::from(is_v6)] {
        let side = |one: bool| -> Vec<(u128, u64)> {
            inside.iter().copied().filter(|(ip, _)| (ip >> (127 - length) & 1 == 1) == one).collect()
        };
        let (zero, one) = (side(false), side(true));
        let heavier = if sum(&zero) >= sum(&one) { zero } else { one };
        if !enough(&heavier) {
            break;
        }
        (inside, length) = (heavier, length + 1);
    }
    let first = inside.first().filter(|_| length >= SHORTEST[usize::from(is_v6)] && enough(&inside))?.0;
    let network = first & (u128::MAX << (128 - length));
    let ip = if is_v6 { IpAddr::V6(network.into()) } else { IpAddr::V4(((network >> 96) as u32).into()) };
    Some(Network { prefix: format!("{ip}/{length}"), share: sum(&inside) as f64 / all as f64, sources: inside.len() })
}

/// The share that the [`FEW`] most counted make; `None`: too little is counted.
pub fn heaviest(counts: impl Iterator<Item = u64>) -> Option<f64> {
    let mut counts: Vec<u64> = counts.collect();
    counts.sort_unstable_by(|one, other| other.cmp(one));
    let (few, all): (u64, u64) = (counts.iter().take(FEW).sum(), counts.iter().sum());
    (all >= ENOUGH).then(|| few as f64 / all as f64)
}

/// An address from the highest bit on.
fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn most_come_from_one_network() {
        let mut counted: Vec<_> =
            (0..200_u32).map(|n| (IpAddr::from([185, 20, (n * 83 % 256) as u8, n as u8]), 94)).collect();
        counted.extend((0..200_u32).map(|n| (IpAddr::from([81, 10, 7, n as u8]), 6)));
        let found = of_addresses(&counted).expect("a network");
        assert_eq!((found.prefix.as_str(), found.sources), ("185.20.0.0/16", 200));
        assert!((found.share - 0.94).abs() < 0.001, "{found:?}");
    }

    #[test]
    fn addresses_from_everywhere_have_none() {
        let spread: Vec<_> = (0..500_u32).map(|n| (IpAddr::V4(n.wrapping_mul(2_654_435_761).into()), 1)).collect();
        assert_eq!(of_addresses(&spread), None);
        assert_eq!(of_addresses(&[(v4("192.0.2.1"), 1000)]), None, "one source is no network");
        assert_eq!(of_addresses(&[]), None);
    }

    #[test]
    fn of_six_as_well() {
        let of = |n: u16| IpAddr::from([0x2001, 0xdb8, 0x17, n, 0, 0, 0, 1]);
        let counted: Vec<_> = (0..40).map(|n| (of(n), 5)).collect();
        assert_eq!(of_addresses(&counted).map(|found| found.prefix), Some("2001:db8:17::/48".to_owned()));
    }
}
