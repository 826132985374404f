//! Owns the IPv6 extension headers of test frames (RFC 8200, RFC 4302, RFC 6275).

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug)]
pub enum Extension {
    /// Hop-by-hop options of 8 x (n + 1) bytes.
    HopByHop(u8),
    /// A routing header of 8 x (n + 1) bytes, type 4, no segments left.
    Routing(u8),
    /// Destination options of 8 x (n + 1) bytes.
    Destination(u8),
    /// A fragment header: offset in 8-byte units, more fragments.
    Fragment(u16, bool),
    /// An authentication header of 4 x (n + 2) bytes (RFC 4302 counts differently from the others).
    Authentication(u8),
    /// A mobility header of 8 x (n + 1) bytes.
    Mobility(u8),
}

impl Extension {
    /// The header's protocol number.
    pub fn number(&self) -> u8 {
        match self {
            Self::HopByHop(_) => 0,
            Self::Routing(_) => 43,
            Self::Fragment(..) => 44,
            Self::Authentication(_) => 51,
            Self::Destination(_) => 60,
            Self::Mobility(_) => 135,
        }
    }

    pub(super) fn write(&self, next: u8, identification: u32, to: &mut Vec<u8>) {
        let start = to.len();
        match *self {
            Self::Fragment(offset, more) => {
                to.extend([next, 0]);
                to.extend((offset << 3 | u16::from(more)).to_be_bytes());
                to.extend(identification.to_be_bytes());
            }
            Self::Authentication(units) => {
                to.extend([next, units]);
                to.resize(start + 4 * (usize::from(units) + 2), 0);
            }
            Self::HopByHop(units) | Self::Destination(units) => {
                let length = 8 * (usize::from(units) + 1);
                to.extend([next, units]);
                // Filled with PadN options, which hold at most 255 bytes; a single byte left is a Pad1.
                let mut left = length - 2;
                while left > 0 {
                    let size = left.min(257);
                    match size {
                        1 => to.push(0),
                        _ => to.extend([1, (size - 2) as u8]),
                    }
                    left -= size;
                    to.resize(start + length - left, 0);
                }
            }
            Self::Routing(units) | Self::Mobility(units) => {
                to.extend([next, units, 4, 0]);
                to.resize(start + 8 * (usize::from(units) + 1), 0);
            }
        }
    }
}
