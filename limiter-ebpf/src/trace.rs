//! Debugging: logs sampled decisions through aya-log. Never in the shipped object.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::info;

use crate::exit::Decision;

/// One decision in so many is logged.
const ONE_IN: u32 = 64;

/// Logs one decision in [`ONE_IN`]: reason and service by number, the mode, and the length of the frame.
#[inline(always)]
pub fn sample(context: &XdpContext, decision: &Decision) {
    // SAFETY: the helper takes nothing and only returns a number.
    if unsafe { bpf_get_prandom_u32() } % ONE_IN != 0 {
        return;
    }
    let frame = context.data_end() - context.data();
    info!(
        context,
        "reason {} service {} mode {} frame {}", decision.reason as u32, decision.counter, decision.mode as u32, frame
    );
}
