//! The checksum of TCP (RFC 9293 3.1, RFC 1071): whether a segment came as it was sent.
//!
//! The kernel drops one that did not, so nobody pays for it and nobody answers it. A segment that
//! never left this machine may bear the sum of its pseudo header alone, because whoever sent it
//! left the rest to a device (CHECKSUM_PARTIAL in include/linux/skbuff.h); that is taken for good.

use crate::packet::Header;

/// 32-bit words of the longest segment that is summed; of a longer one it is not asked.
pub const WORDS: usize = 520;

/// The sum of the pseudo header of a segment of `length` bytes, which the sum of the segment is
/// added to. Not folded.
#[inline(always)]
pub fn pseudo(header: &Header<'_>, length: u32) -> u64 {
    const TCP: u64 = 6;
    let halves = |word: u64| (word >> 32) + (word & 0xffff_ffff);
    let (from, to) = (header.source(), header.destination());
    let addresses = match header {
        Header::V4(_) => (from.low & 0xffff_ffff) + (to.low & 0xffff_ffff),
        Header::V6(_) => halves(from.high) + halves(from.low) + halves(to.high) + halves(to.low),
    };
    addresses + TCP + length as u64
}

/// A sum in 16 bits.
#[inline(always)]
pub const fn fold(mut sum: u64) -> u16 {
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// Whether a segment is whole, by the sum of its pseudo header, the folded sum of its words in the
/// order of the wire with the checksum in it, and that checksum.
#[inline(always)]
pub const fn is_whole(pseudo: u64, words: u16, checksum: u16) -> bool {
    let of_pseudo = fold(pseudo);
    fold(of_pseudo as u64 + words as u64) == 0xffff || checksum == of_pseudo
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn sums_are_those_of_rfc_1071() {
        // Section 3: the words 0001 f203 f4f5 f6f7.
        assert_eq!(fold(0x0001 + 0xf203 + 0xf4f5 + 0xf6f7), 0xddf2);
        assert_eq!(fold(u64::MAX), 0xffff);
        assert!(is_whole(0x1_2345, !fold(0x1_2345), 7), "the whole sum");
        assert!(is_whole(0x1_2345, 7, fold(0x1_2345)), "the pseudo header's alone");
        assert!(!is_whole(0x1_2345, 7, 8));
    }
}
