//! Client addresses, and the prefix that turns one into a source.

/// An IPv4 or IPv6 address as one 128-bit value, IPv4 in its mapped form (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2).
///
/// The halves are numbers in host order: the first byte on the wire is the most significant of `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Bits 127 to 64.
    pub high: u64,
    /// Bits 63 to 0.
    pub low: u64,
}

const MAPPED: u64 = 0xffff << 32;

impl Address {
    /// An IPv4 address from its 32-bit value.
    #[inline(always)]
    pub const fn v4(value: u32) -> Self {
        Self { high: 0, low: MAPPED | value as u64 }
    }

    /// An IPv6 address from its two halves. A mapped one becomes the IPv4 address that it stands for.
    #[inline(always)]
    pub const fn v6(high: u64, low: u64) -> Self {
        Self { high, low }
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.high == 0 && self.low >> 32 == 0xffff
    }

    /// The address in the order of the wire, for keys of maps.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u64; 2] {
        [self.high.to_be(), self.low.to_be()]
    }

    /// The inverse of [`Address::to_bytes`].
    pub const fn from_bytes(words: [u64; 2]) -> Self {
        Self { high: u64::from_be(words[0]), low: u64::from_be(words[1]) }
    }
}

/// The masks that cut a client address to its source, as the kernel side applies them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceMask {
    /// For IPv4, over the low half of the mapped form.
    pub v4: u64,
    /// For IPv6, over the high half.
    pub v6_high: u64,
    /// For IPv6, over the low half.
    pub v6_low: u64,
}

impl SourceMask {
    /// Masks for prefixes of `v4` (0 to 32) and `v6` (0 to 128) bits; longer ones count as the whole address.
    pub const fn new(v4: u8, v6: u8) -> Self {
        let v4 = if v4 > 32 { 32 } else { v4 };
        Self {
            v4: leading(32 + v4),
            v6_high: leading(v6),
            v6_low: if v6 > 64 { leading(v6 - 64) } else { 0 },
        }
    }

    /// The source that `address` belongs to.
    #[inline(always)]
    pub const fn apply(&self, address: Address) -> Address {
        if address.is_v4() {
            Address { high: 0, low: address.low & self.v4 }
        } else {
            Address { high: address.high & self.v6_high, low: address.low & self.v6_low }
        }
    }
}

const fn leading(bits: u8) -> u64 {
    match bits {
        0 => 0,
        1..=63 => !0 << (64 - bits),
        _ => !0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cut_to_the_prefix() {
        let mask = SourceMask::new(24, 56);
        assert_eq!(mask.apply(Address::v4(0x0a4d_0203)), Address::v4(0x0a4d_0200));
        let address = Address::v6(0x2001_0db8_1234_5678, 9);
        assert_eq!(mask.apply(address), Address::v6(0x2001_0db8_1234_5600, 0));
        assert_eq!(SourceMask::new(32, 128).apply(address), address);
        assert_eq!(SourceMask::new(0, 0).apply(address), Address::v6(0, 0));
        assert_eq!(SourceMask::new(0, 0).apply(Address::v4(7)), Address::v4(0));
        assert_eq!(
            SourceMask::new(32, 65).apply(Address::v6(1, u64::MAX)),
            Address::v6(1, 1 << 63)
        );
    }
}
