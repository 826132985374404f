//! The shapes of floods: who the SYNs say they are from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab::Sources;
use lab::peer::Family;

/// A flood, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// No flood.
    Calm,
    /// One source.
    One,
    /// So many sources in turn: addresses of IPv4, networks (/64) of IPv6.
    Many(u32),
    /// A new random source for every SYN.
    Random,
}

impl Shape {
    /// All but the calm.
    pub const FLOODS: [Self; 4] = [Self::One, Self::Many(256), Self::Many(65_536), Self::Random];

    /// Where its frames are from; none in the calm.
    pub fn sources(self, family: Family) -> Option<Sources> {
        let base: IpAddr = match family {
            Family::V4 => Ipv4Addr::new(11, 0, 0, 1).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 1).into(),
        };
        match self {
            Self::Calm => None,
            Self::One => Some(Sources::One(base)),
            Self::Many(count) => Some(Sources::Networks { base, count }),
            Self::Random => Some(Sources::Random),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calm => to.write_str("calm"),
            Self::One => to.write_str("1"),
            Self::Many(count) => count.fmt(to),
            Self::Random => to.write_str("random"),
        }
    }
}

/// What [`Shape`] displays, but the calm.
pub fn parse(text: &str) -> Result<Shape, String> {
    match text {
        "1" => Ok(Shape::One),
        "random" => Ok(Shape::Random),
        _ => text
            .parse()
            .map(Shape::Many)
            .map_err(|_| "1, a number of sources, or random".to_owned()),
    }
}
