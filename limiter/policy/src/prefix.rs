//! Addresses and blocks of them, as people write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use limiter_common::address::Address;

/// An address block: of a class, or of the allow or ban list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// First address; the bits behind the length are zero.
    pub address: Address,
    /// Bits of the mapped form: 96 to 128 for IPv4, 0 to 128 for IPv6.
    pub length: u8,
}

impl Prefix {
    /// Whether this is one address.
    pub const fn is_host(&self) -> bool {
        self.length == 128
    }

    /// Whether `other` lies within this one.
    pub fn covers(&self, other: &Prefix) -> bool {
        self.address.is_v4() == other.address.is_v4()
            && self.length <= other.length
            && cut(other.address, self.length) == self.address
    }

    /// Bits as they are written: 0 to 32 for IPv4.
    pub fn written_length(&self) -> u8 {
        if self.address.is_v4() { self.length.saturating_sub(96) } else { self.length }
    }
}

/// Parses an address or prefix as logs write it, too: with a port, in brackets, with the zone of an
/// interface.
///
/// # Errors
/// A sentence that says what to write.
pub fn logged(text: &str) -> Result<Prefix, String> {
    text.parse::<Prefix>()
        .or_else(|wrong| bare(text).and_then(|bare| bare.parse().ok()).ok_or(wrong))
}

/// The address in `[2001:db8::1]:443`, `[2001:db8::1]`, `192.0.2.7:443`, `fe80::1%eth0`.
fn bare(text: &str) -> Option<&str> {
    let is_port = |text: &str| {
        text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    };
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(_, port)| is_port(port))?.0,
        // More than one colon is IPv6.
        None => match text.rsplit_once(':') {
            Some((address, port)) if !address.contains(':') && port.parse::<u16>().is_ok() => {
                address
            }
            _ => text,
        },
    };
    Some(address.split_once('%').map_or(address, |(address, _)| address))
}

impl From<IpAddr> for Prefix {
    fn from(ip: IpAddr) -> Self {
        Self { address: address(ip), length: 128 }
    }
}

/// The address of an `IpAddr`; a mapped IPv6 address is the IPv4 address it stands for.
pub fn address(ip: IpAddr) -> Address {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Address::v4(ip.to_bits()),
        IpAddr::V6(ip) => Address::v6((ip.to_bits() >> 64) as u64, ip.to_bits() as u64),
    }
}

/// The inverse of [`address`].
pub fn ip(address: Address) -> IpAddr {
    if address.is_v4() {
        Ipv4Addr::from_bits(address.low as u32).into()
    } else {
        Ipv6Addr::from_bits(u128::from(address.high) << 64 | u128::from(address.low)).into()
    }
}

fn cut(address: Address, length: u8) -> Address {
    let bits = (u128::from(address.high) << 64) | u128::from(address.low);
    // A length from a record may be anything.
    let mask = if length == 0 { 0 } else { u128::MAX << 128_u32.saturating_sub(length.into()) };
    Address::v6(((bits & mask) >> 64) as u64, (bits & mask) as u64)
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not an address or prefix; write `192.0.2.7`, `192.0.2.0/24` or \
                 `2001:db8::/48`"
            )
        };
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip.parse::<IpAddr>().map_err(|_| wrong())?, Some(bits)),
            None => (text.parse().map_err(|_| wrong())?, None),
        };
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.map_or(Ok(width), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > width {
            return Err(wrong());
        }
        let length = 128 - width + bits;
        let whole = address(ip);
        let address = cut(whole, length);
        if address != whole {
            let first = Prefix { address, length };
            return Err(format!(
                "`{text}` has bits set behind its length; did you mean `{first}`?"
            ));
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            write!(to, "{}", ip(self.address))
        } else {
            write!(to, "{}/{}", ip(self.address), self.written_length())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_logs_write_them() {
        for (text, plain) in [
            ("192.0.2.7:443", "192.0.2.7"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8::/48", "2001:db8::/48"),
        ] {
            assert_eq!(logged(text).expect(text).to_string(), plain, "{text}");
        }
        for text in
            ["", "-", "[192.0.2.7", "192.0.2.7:", "192.0.2.7:99999", "[::1]x", "::1:x", "host"]
        {
            assert!(logged(text).expect_err(text).contains("is not an address"), "{text}");
        }
    }
    use proptest::prelude::*;

    #[test]
    fn prefixes() {
        let parse = |text: &str| text.parse::<Prefix>();
        assert_eq!(parse("192.0.2.0/24").expect("good").to_string(), "192.0.2.0/24");
        assert_eq!(parse("192.0.2.7/32").expect("good").to_string(), "192.0.2.7");
        assert_eq!(parse("::/0").expect("good").to_string(), "::/0");
        assert_eq!(parse("0.0.0.0/0").expect("good").to_string(), "0.0.0.0/0");
        assert_eq!(parse("2001:db8::/48").expect("good").to_string(), "2001:db8::/48");
        assert!(parse("192.0.2.7/24").expect_err("host bits").contains("192.0.2.0/24"));
        for bad in ["", "192.0.2.0/33", "2001:db8::/129", "192.0.2", "192.0.2.0/-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let net = parse("10.0.0.0/8").expect("good");
        assert!(
            net.covers(&parse("10.1.0.0/16").expect("good"))
                && !net.covers(&parse("11.0.0.0/8").expect("good"))
        );
        assert!(!parse("::/0").expect("good").covers(&net), "an IPv6 prefix holds no IPv4 address");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = text.parse::<Prefix>();
        }

        #[test]
        fn a_prefix_survives_being_shown(bits: u128, length in 0_u8..=128, v4: bool) {
            let whole = if v4 { Address::v4(bits as u32) } else { Address::v6((bits >> 64) as u64 | 1 << 63, bits as u64) };
            let length = if v4 { 96 + length % 33 } else { length.max(1) };
            let given = Prefix { address: cut(whole, length), length };
            prop_assert_eq!(given.to_string().parse::<Prefix>(), Ok(given));
        }
    }
}
