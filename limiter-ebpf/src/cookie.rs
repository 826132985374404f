//! cookie? Whether a segment brings back a cookie that the kernel made.

use core::num::NonZero;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::programs::XdpContext;
use limiter_common::bases::{self, Bases, Said, Tuple};
use limiter_common::packet::{Bytes, Found, Header, Segment};
use limiter_common::record::Instance;

use crate::frame::{again, read};
use crate::listener;
use crate::maps::{BASES, INSTANCE};

/// Whether a segment with ACK and neither SYN nor RST brings a good cookie, as a whole. Of a flow
/// that this CPU knows most segments are told by a subtraction.
#[inline(always)]
pub fn is_in(context: &XdpContext, segment: &Segment<'_>) -> bool {
    let Some(tcp) = segment.header() else { return false };
    let tuple = tuple(&segment.network, &tcp);
    if let Some(bases) = known(&tuple) {
        let difference = tcp.word::<8>().wrapping_sub(tcp.word::<4>());
        match bases.ask(&tuple, difference, jiffies()) {
            Said::None => return false,
            Said::Ask => {}
            Said::AskAndLearn => {
                limiter_know(context.ctx, Found::of(segment, &again(context).0).0);
            }
        }
    }
    listener::is_cookie(&segment.network, tcp.as_ptr())
}

/// Learns what is needed to tell the next segments of a flow. A function that the verifier checks
/// once: see `subprograms`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_know(context: *mut xdp_md, found: u64) -> u32 {
    know(&XdpContext::new(context), Found(found)).is_some().into()
}

#[inline(always)]
fn know(context: &XdpContext, found: Found) -> Option<()> {
    let segment = read(context, found)?;
    let tcp = segment.header()?;
    let Instance { jiffies_per_minute, .. } = INSTANCE.get(0)?;
    let period = NonZero::new(u64::from(*jiffies_per_minute))?;
    let tuple = tuple(&segment.network, &tcp);
    let now = jiffies();
    known(&tuple)?.learn(&tuple, now, period, || {
        let sequence = tcp.word::<4>();
        let cookie = listener::own_cookie(&segment.network, tuple.1, sequence)?;
        // A minute that ends in between would be learnt under the wrong number.
        (jiffies() / period == now / period).then_some(cookie.wrapping_sub(sequence))
    });
    Some(())
}

/// The line of a flow.
#[inline(always)]
fn known(tuple: &Tuple) -> Option<&'static mut Bases> {
    // SAFETY: the element belongs to this CPU, and a borrow ends before the next is asked for.
    BASES.get_ptr_mut(bases::line(tuple)).map(|bases| unsafe { &mut *bases })
}

/// The kernel's jiffies, by which it counts the minutes of its cookies (`tcp_cookie_time`).
#[inline(always)]
fn jiffies() -> u64 {
    // SAFETY: the helper takes nothing and only returns a number.
    unsafe { bpf_jiffies64() }
}

#[inline(always)]
fn tuple(network: &Header<'_>, tcp: &Bytes<'_, 20>) -> Tuple {
    let addresses = match network {
        Header::V4(ip) => [ip.double::<12>(), 0, 0, 0],
        Header::V6(ip) => {
            [ip.double::<8>(), ip.double::<16>(), ip.double::<24>(), ip.double::<32>()]
        }
    };
    (addresses, tcp.word::<0>())
}
