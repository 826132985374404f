//! Debugging: logs sampled decisions through aya-log. Never in the shipped object.

use aya_ebpf::bindings::xdp_md;
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
    let what =
        decision.reason as u64 | u64::from(decision.counter) << 8 | (decision.mode as u64) << 40;
    limiter_log(context.ctx, what);
}

/// Logs a decision: the reason, above 8 bits the service, above 40 the mode. A function that the
/// verifier checks once: see `subprograms`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_log(context: *mut xdp_md, what: u64) -> u32 {
    let context = XdpContext::new(context);
    let frame = context.data_end() - context.data();
    let (reason, service, mode) = (what as u8, (what >> 8) as u32, (what >> 40) as u8);
    info!(
        &context,
        "reason {} service {} mode {} frame {}",
        u32::from(reason),
        service,
        u32::from(mode),
        frame
    );
    0
}
