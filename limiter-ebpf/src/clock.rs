//! The two clocks, both CLOCK_MONOTONIC. Nothing below the entry reads one except through here.

use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};

/// Nanoseconds at the last tick: 1 to 10 ms old, and less than half the price of [`precise`].
#[inline(always)]
pub fn coarse() -> u64 {
    // SAFETY: the helper takes nothing and only returns a number.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Nanoseconds now. Only for drawing from a budget, whose bound must hold in real time.
#[inline(always)]
pub fn precise() -> u64 {
    // SAFETY: the helper takes nothing and only returns a number.
    unsafe { bpf_ktime_get_ns() }
}
