//! SYN cookies as Linux makes them (net/ipv4/syncookies.c: `secure_tcp_syn_cookie`, `check_tcp_syn_cookie`), with a hash that costs less.

use super::packet::{CLASSES, Flow};

/// Minutes that a cookie is taken for: its own and the next (`MAX_SYNCOOKIE_AGE`).
const AGE: u32 = 2;
const LOW: u32 = 0x00ff_ffff;

/// What a kernel mixes into its cookies.
#[derive(Clone, Copy, Debug)]
pub struct Secret(pub u64);

impl Secret {
    /// The cookie of a SYN with this sequence number in a minute.
    pub fn cookie(self, flow: Flow, sequence: u32, minute: u32, class: u32) -> u32 {
        let low = self.hash(flow, u64::from(minute) + 1).wrapping_add(class) & LOW;
        self.hash(flow, 0).wrapping_add(sequence).wrapping_add(minute << 24).wrapping_add(low)
    }

    /// The class of the cookie that an ACK brings back, if it brings one. The sequence number is part of the sum, so a segment that
    /// begins a byte later looks like the same cookie of the next class: nobody who sees one segment alone can tell these apart.
    pub fn class(self, flow: Flow, sequence: u32, acknowledgment: u32, minute: u32) -> Option<u32> {
        let cookie = acknowledgment.wrapping_sub(1);
        let rest = cookie.wrapping_sub(self.hash(flow, 0)).wrapping_sub(sequence.wrapping_sub(1));
        let age = minute.wrapping_sub(rest >> 24) & 0xff;
        if age >= AGE {
            return None;
        }
        let made = u64::from(minute.wrapping_sub(age)) + 1;
        let class = rest.wrapping_sub(self.hash(flow, made)) & LOW;
        (class < CLASSES).then_some(class)
    }

    fn hash(self, flow: Flow, about: u64) -> u32 {
        let mixed = (self.0 ^ (flow as u64) << 32 ^ about).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 31) as u32
    }
}

#[test]
fn a_cookie_has_a_window_of_four_sequence_numbers_and_two_minutes() {
    let secret = Secret(77);
    for class in 0..CLASSES {
        let cookie = secret.cookie(3, 1000, 41, class).wrapping_add(1);
        for shift in 0..=8 {
            // The first byte of the connection is 1001; the segment begins at `sequence`.
            let sequence = 1001 + shift - 4;
            let expected = (class + 4).checked_sub(shift).filter(|class| *class < CLASSES);
            assert_eq!(secret.class(3, sequence, cookie, 41), expected);
            assert_eq!(secret.class(3, sequence, cookie, 42), expected);
        }
        assert_eq!(secret.class(3, 1001, cookie, 43), None);
        assert_eq!(secret.class(3, 1001, cookie, 40), None);
        assert_eq!(secret.class(4, 1001, cookie, 41), None);
    }
}
