//! The keyed hash that places a source in the source table.
//!
//! SipHash-1-3 (Aumasson and Bernstein, 2012; the reduced rounds that Rust's and Python's hash tables use), over whole
//! 64-bit words and without the length word: the first word says how many follow, so no message is a prefix of
//! another. The key is drawn at load, so nobody outside can aim at a set. An IPv4 source is one word, 4 rounds.

use crate::address::Address;

/// A 128-bit secret, drawn once when the tables are made.
pub type Key = [u64; 2];

/// Where a source lives in the tables: the 64 bits of its hash. (One number, because BPF has few registers and a small stack.)
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(pub u64);

impl Place {
    /// Index of the set in a table of `sets` sets: the high 32 bits choose (multiply-shift, so any number of sets will do).
    #[inline(always)]
    pub const fn set(self, sets: u32) -> u32 {
        (((self.0 >> 32) * sets as u64) >> 32) as u32
    }

    /// The place of what comes in the name of a source and is never proven.
    #[inline(always)]
    pub const fn apart(self) -> Self {
        Self(mix(self.0.rotate_left(32)))
    }

    /// The low 24 bits tell sources of a set apart; never 0, which marks a way that was never used.
    #[inline(always)]
    pub const fn fingerprint(self) -> u32 {
        let low = self.0 as u32 & 0xff_ffff;
        if low == 0 { 1 } else { low }
    }
}

/// Beside a class: the place of a network of its sources. It has debts of its own in the same
/// table.
pub const NETWORK: u32 = 1 << 8;

/// The place of `source` (already cut to its prefix) for one `service` (by its number, 22 bits) and
/// `class` (9 bits, of which the highest is [`NETWORK`]).
#[inline(always)]
pub const fn place(key: &Key, service: u32, class: u32, source: Address) -> Place {
    let head = ((service as u64 & 0x3f_ffff) << 41) | ((class as u64 & 0x1ff) << 32);
    let hash = if source.is_v4() {
        finish(absorb(start(key), head | source.low & 0xffff_ffff))
    } else {
        let state = absorb(start(key), head | 1 << 63);
        finish(absorb(absorb(state, source.high), source.low))
    };
    Place(hash)
}

/// The place of a flow in the table of flows: both addresses, and both ports in one number.
#[inline(always)]
pub const fn flow(key: &Key, source: Address, destination: Address, ports: u32) -> Place {
    let state = start(key);
    let state = if source.is_v4() {
        absorb(state, source.low << 32 | destination.low & 0xffff_ffff)
    } else {
        absorb(
            absorb(absorb(absorb(state, source.high), source.low), destination.high),
            destination.low,
        )
    };
    Place(finish(absorb(state, (source.is_v4() as u64) << 32 | ports as u64)))
}

/// Spreads the bits of a number over all of it, one to one (David Stafford's mix13). Not keyed: what goes in must be a secret's already, or
/// be mixed with one.
#[inline(always)]
pub const fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

type State = [u64; 4];

#[inline(always)]
const fn start(key: &Key) -> State {
    [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ]
}

#[inline(always)]
const fn absorb(mut state: State, word: u64) -> State {
    state[3] ^= word;
    state = round(state);
    state[0] ^= word;
    state
}

#[inline(always)]
const fn finish(mut state: State) -> u64 {
    state[2] ^= 0xff;
    state = round(round(round(state)));
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline(always)]
const fn round([mut a, mut b, mut c, mut d]: State) -> State {
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32).wrapping_add(d);
    c = c.wrapping_add(b);
    d = d.rotate_left(21) ^ a;
    b = b.rotate_left(17) ^ c;
    [a, b, c.rotate_left(32), d]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a length word added the same rounds give std's SipHash-1-3, whose vectors are well known.
    #[test]
    fn rounds_are_those_of_siphash_1_3() {
        extern crate std;
        #[expect(deprecated, reason = "the only SipHash in std with a key of one's own")]
        use std::hash::{Hasher, SipHasher};
        // std's public SipHasher is SipHash-2-4: two rounds for a word, four at the end.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let two = |mut state: State, word: u64| {
            state[3] ^= word;
            state = round(round(state));
            state[0] ^= word;
            state
        };
        let mut state = two(two(start(&key), 0x1122_3344_5566_7788), 8 << 56);
        state[2] ^= 0xff;
        state = round(round(round(round(state))));
        #[expect(deprecated, reason = "see above")]
        let mut reference = SipHasher::new_with_keys(key[0], key[1]);
        reference.write(&0x1122_3344_5566_7788_u64.to_le_bytes());
        assert_eq!(state[0] ^ state[1] ^ state[2] ^ state[3], reference.finish());
    }

    #[test]
    fn everything_that_names_a_source_changes_its_place() {
        let key = [3, 4];
        let one = place(&key, 1, 0, Address::v4(0x0102_0304));
        for other in [
            place(&[3, 5], 1, 0, Address::v4(0x0102_0304)),
            place(&key, 2, 0, Address::v4(0x0102_0304)),
            place(&key, 1, 1, Address::v4(0x0102_0304)),
            place(&key, 1, NETWORK, Address::v4(0x0102_0304)),
            place(&key, 1, 0, Address::v4(0x0102_0305)),
            place(&key, 1, 0, Address::v6(0, 0x0102_0304)),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_place_beside_is_another_one_and_spreads_as_evenly() {
        const SETS: u32 = 1024;
        let mut count = [0_u32; SETS as usize];
        for address in 0..1 << 18 {
            let place = place(&[11, 12], 0, 0, Address::v4(0x0a00_0000 + address));
            assert_ne!(place.apart(), place);
            count[place.apart().set(SETS) as usize] += 1;
        }
        let chi: f64 =
            count.iter().map(|&n| (f64::from(n) - 256.0) * (f64::from(n) - 256.0) / 256.0).sum();
        assert!((800.0..1250.0).contains(&chi), "chi-squared {chi}");
    }

    /// Chi-squared over 1,024 sets with 262,144 neighbouring addresses: mean 1,023, standard deviation 45.
    #[test]
    fn neighbours_spread_evenly() {
        const SETS: u32 = 1024;
        let mut count = [0_u32; SETS as usize];
        for address in 0..1 << 18 {
            let place = place(&[11, 12], 0, 0, Address::v4(0x0a00_0000 + address));
            count[place.set(SETS) as usize] += 1;
        }
        let expected = f64::from(1 << 18) / f64::from(SETS);
        let chi: f64 = count
            .iter()
            .map(|&n| (f64::from(n) - expected) * (f64::from(n) - expected) / expected)
            .sum();
        assert!((800.0..1250.0).contains(&chi), "chi-squared {chi}");
    }
}
