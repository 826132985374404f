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

/// What is counted of an attempt: its source and its network.
#[derive(Clone, Copy, Debug)]
pub struct Hashes {
    /// Of an IPv4 address, or of a /64 of IPv6.
    pub source: u64,
    /// Of a /24 of IPv4, or of a /48 of IPv6.
    pub network: u64,
    /// The sketch that the network belongs to: 1 or 2; sources are in 0.
    pub sketch: usize,
}

impl Hashes {
    /// Nobody without the key can choose them. (A /64 and an IPv4 address with the same number: the former are ::/32, which is nobody's.)
    #[inline(always)]
    pub const fn of(key: &Key, address: Address) -> Self {
        let (number, host_bits, sketch) =
            if address.is_v4() { (address.low & 0xffff_ffff, 8, 1) } else { (address.high, 16, 2) };
        Self {
            source: spread(number ^ key[0]),
            network: spread(number >> host_bits ^ key[1]),
            sketch,
        }
    }
}

/// Two thirds of [`crate::hash::mix`]: only the upper bits come out well, and only they are used here.
#[inline(always)]
const fn spread(number: u64) -> u64 {
    let product = number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (product ^ (product >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// What a register counts zeros of: a one behind the last bit ends the run.
#[inline(always)]
const fn tail(hash: u64) -> u64 {
    hash << INDEX_BITS | 1 << (INDEX_BITS - 1)
}

/// Whether a register that holds `longest` would rise. And so, whether any would, where none holds less than that: most hashes of a flood do not
/// have to look at theirs.
#[inline(always)]
pub const fn may_raise(longest: u8, hash: u64) -> bool {
    longest == 0 || tail(hash) >> ((64 - longest as u32) & 63) == 0
}

/// Notes a hash. Most often that is one load: a register rises a few times in an interval.
#[inline(always)]
pub fn see<B: SharedByte>(registers: &[B; REGISTERS], hash: u64) {
    let register = &registers[(hash >> TAIL_BITS) as usize & (REGISTERS - 1)];
    if may_raise(register.load(), hash) {
        register.store(tail(hash).leading_zeros() as u8 + 1);
    }
}

/// Whether each of eight registers holds at least `floor`, at most 64.
#[inline(always)]
pub const fn are_at_least(registers: u64, floor: u8) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = EACH << 7;
    (registers | TOP).wrapping_sub(EACH * floor as u64) & TOP == TOP
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    #[test]
    fn a_register_holds_the_longest_run() {
        let registers = [const { Cell::new(0) }; REGISTERS];
        for (tail, expected) in
            [(1 << 51, 1), (1 << 48, 4), (1 << 50, 4), (1, 52), (0, 53), (1 << 51, 53)]
        {
            see(&registers, 7 << TAIL_BITS | tail);
            assert_eq!(registers[7].get(), expected, "{tail:#x}");
        }
        assert_eq!(registers.iter().filter(|register| register.get() != 0).count(), 1);
    }

    /// What is skipped because no register is lower would not have changed one.
    #[test]
    fn a_floor_hides_nothing() {
        let (plain, skipping) =
            ([const { Cell::new(0) }; REGISTERS], [const { Cell::new(0) }; REGISTERS]);
        let (mut floor, mut looked) = (0_u8, 0);
        for number in 0..400_000_u64 {
            let hash = spread(number ^ 77);
            see(&plain, hash);
            if may_raise(floor, hash) {
                looked += 1;
                see(&skipping, hash);
            }
            let eight = |first: usize| {
                (0..8).fold(0, |word, number| {
                    word | u64::from(skipping[first + number].get()) << (number * 8)
                })
            };
            if number % 1000 == 0
                && (0..REGISTERS).step_by(8).all(|first| are_at_least(eight(first), floor + 1))
            {
                floor += 1;
            }
        }
        assert_eq!(plain, skipping);
        assert!(floor > 2 && looked < 200_000, "{floor} {looked}");
        assert!(
            are_at_least(u64::MAX >> 1 & 0x4040_4040_4040_4040, 64)
                && !are_at_least(0x0505_0505_0504_0505, 5)
        );
    }

    #[test]
    fn a_source_is_an_address_or_a_network_of_ipv6() {
        let hashes = |address| {
            let Hashes { source, network, sketch } = Hashes::of(&[5, 9], address);
            (source, network, sketch)
        };
        let (one, near) = (hashes(Address::v4(0x0a00_0001)), hashes(Address::v4(0x0a00_0002)));
        assert!(one.0 != near.0 && one.1 == near.1 && one.2 == 1, "a /24");
        let (one, near) = (
            hashes(Address::v6(0x2001_0db8_0001_0001, 1)),
            hashes(Address::v6(0x2001_0db8_0001_0001, 2)),
        );
        assert_eq!(one, near, "a /64");
        let next = hashes(Address::v6(0x2001_0db8_0001_0002, 1));
        assert!(one.0 != next.0 && one.1 == next.1 && one.2 == 2, "a /48");
    }
}
