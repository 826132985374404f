//! cookie? Whether a segment brings back a cookie that the kernel made.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use limiter_common::bases::{self, Said, Tuple};
use limiter_common::packet::{Bytes, Header, Segment};
use limiter_common::record::Instance;

use crate::listener;
use crate::maps::{BASES, INSTANCE};

/// Whether a whole segment, with ACK and neither SYN nor RST, brings a good cookie. Of a flow that this CPU knows most segments are told by a
/// subtraction.
#[inline(always)]
pub fn is_in(segment: &Segment<'_>, tcp: &Bytes<'_, 20>) -> bool {
    let network = &segment.network;
    let Some(&Instance { jiffies_per_minute: period @ 1.., .. }) = INSTANCE.get(0) else {
        return listener::is_cookie(network, tcp.as_ptr());
    };
    let (tuple, (jiffies, minute)) = (tuple(network, tcp), time(period));
    let Some(bases) = BASES.get_ptr_mut(bases::line(&tuple)) else {
        return listener::is_cookie(network, tcp.as_ptr());
    };
    // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
    let bases = unsafe { &mut *bases };
    let sequence = tcp.word::<4>();
    match bases.ask(&tuple, tcp.word::<8>().wrapping_sub(sequence), minute, jiffies) {
        Said::None => return false,
        Said::Ask => {}
        Said::AskAndLearn => {
            // A minute that ends in between would be learnt under the wrong number.
            if let Some(cookie) = listener::own_cookie(network, tuple.1, sequence)
                && time(period).1 == minute
            {
                bases.learn(cookie.wrapping_sub(sequence), minute);
            }
        }
    }
    listener::is_cookie(network, tcp.as_ptr())
}

/// The kernel's jiffies, and the minute by which it makes cookies (`tcp_cookie_time`).
#[inline(always)]
fn time(period: u32) -> (u32, u32) {
    // SAFETY: the helper takes nothing and only returns a number.
    let jiffies = unsafe { bpf_jiffies64() };
    (jiffies as u32, (jiffies / u64::from(period)) as u32)
}

#[inline(always)]
fn tuple(network: &Header<'_>, tcp: &Bytes<'_, 20>) -> Tuple {
    let addresses = match network {
        Header::V4(ip) => [ip.double::<12>(), 0, 0, 0],
        Header::V6(ip) => [ip.double::<8>(), ip.double::<16>(), ip.double::<24>(), ip.double::<32>()],
    };
    (addresses, tcp.word::<0>())
}
