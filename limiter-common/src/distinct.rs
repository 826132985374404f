//! How many sources there are: HyperLogLog (Flajolet, Fusy, Gandouet, Meunier, 2007), an interval at a time.
//!
//! A register keeps the longest run of zeros that any hash of its share began with. Seeing a source again changes nothing, registers of several
//! intervals merge by their maximum, and a sketch is 4 KiB whether a thousand sources come or a billion. The standard error is 1.04 / sqrt(4096) = 1.6%.
//!
//! The registers belong to all CPUs. Two that write one register in the same nanoseconds may lose the larger value; it comes back when its
//! source does, and one register of 4,096 is a fraction of the error. In exchange memory does not grow with the CPUs.

use crate::address::Address;
use crate::hash::Key;
use crate::word::SharedByte;

/// Registers of a sketch.
pub const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 12;
/// Bits of a hash that a register counts zeros of.
pub const TAIL_BITS: u32 = 64 - INDEX_BITS;
/// Sketches of an interval: sources, /24 prefixes of IPv4, /48 prefixes of IPv6.
pub const SKETCHES: usize = 3;
/// Length of an interval as a power of two, in nanoseconds: 17.2 seconds.
pub const INTERVAL_SHIFT: u32 = 34;
/// Intervals that are kept: 73 minutes.
pub const INTERVALS: u32 = 256;
/// Words before the registers, a cache line: the number of the interval, how often its sample of the sources is halved and how many attempts of it
/// were kept (`sighting`), and zeros.
pub const HEAD: usize = 8;
/// Words of an interval.
pub const WORDS: usize = HEAD + SKETCHES * REGISTERS / 8;

/// Number of the interval that holds a time in nanoseconds.
#[inline(always)]
pub const fn interval(now: u64) -> u64 {
    now >> INTERVAL_SHIFT
}

/// The hash of a source, which nobody without the key can choose: of an IPv4 address, or of a /64 of IPv6.
#[inline(always)]
pub const fn source(key: &Key, address: Address) -> u64 {
    if address.is_v4() {
        spread(address.low & 0xffff_ffff ^ key[0])
    } else {
        spread(address.high ^ key[0].rotate_left(32))
    }
}

/// The hash of its network: a /24 of IPv4, a /48 of IPv6.
#[inline(always)]
pub const fn network(key: &Key, address: Address) -> u64 {
    if address.is_v4() {
        spread((address.low & 0xffff_ffff) >> 8 ^ key[1])
    } else {
        spread(address.high >> 16 ^ key[1].rotate_left(32))
    }
}

/// Two thirds of [`crate::hash::mix`]: only the upper bits come out well, and only they are used here.
#[inline(always)]
const fn spread(number: u64) -> u64 {
    let product = number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (product ^ (product >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Notes a hash. Most often that is one load: a register rises a few times in an interval.
#[inline(always)]
pub fn see<B: SharedByte>(registers: &[B; REGISTERS], hash: u64) {
    let register = &registers[(hash >> TAIL_BITS) as usize & (REGISTERS - 1)];
    // A one behind the last bit ends the run.
    let tail = hash << INDEX_BITS | 1 << (INDEX_BITS - 1);
    let longest = register.load();
    if longest == 0 || tail >> ((64 - longest as u32) & 63) == 0 {
        register.store(tail.leading_zeros() as u8 + 1);
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    #[test]
    fn a_register_holds_the_longest_run() {
        let registers = [const { Cell::new(0) }; REGISTERS];
        for (tail, expected) in [(1 << 51, 1), (1 << 48, 4), (1 << 50, 4), (1, 52), (0, 53), (1 << 51, 53)] {
            see(&registers, 7 << TAIL_BITS | tail);
            assert_eq!(registers[7].get(), expected, "{tail:#x}");
        }
        assert_eq!(registers.iter().filter(|register| register.get() != 0).count(), 1);
    }

    #[test]
    fn a_source_is_an_address_or_a_network_of_ipv6() {
        let hashes = |address| (source(&[5, 9], address), network(&[5, 9], address));
        let (one, near) = (hashes(Address::v4(0x0a00_0001)), hashes(Address::v4(0x0a00_0002)));
        assert!(one.0 != near.0 && one.1 == near.1, "a /24");
        let (one, near) =
            (hashes(Address::v6(0x2001_0db8_0001_0001, 1)), hashes(Address::v6(0x2001_0db8_0001_0001, 2)));
        assert_eq!(one, near, "a /64");
        let next = hashes(Address::v6(0x2001_0db8_0001_0002, 1));
        assert!(one.0 != next.0 && one.1 == next.1, "a /48");
    }
}
