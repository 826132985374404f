//! The clock that the kernel side reads, and the number of CPUs.

use std::time::Duration;

/// CLOCK_MONOTONIC in nanoseconds, as `bpf_ktime_get_ns` returns it.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The moment `time` from now; `u64::MAX` (for ever) when it is too far to say.
pub fn after(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).ok().and_then(|time| now().checked_add(time)).unwrap_or(u64::MAX)
}

/// CPUs that may run the program. Budgets share their leases among them.
pub fn cpus() -> u64 {
    aya::util::nr_cpus().map_or(1, |cpus| cpus as u64)
}

/// Jiffies in a minute of the running kernel: 6,000 to 60,000. Its coarse clock ticks once a jiffy.
pub fn jiffies_per_minute() -> u32 {
    const MINUTE: u64 = 60_000_000_000;
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    // A tick is rounded to a nanosecond: at 300 Hz it is 3,333,333.
    let per_second = (1_000_000_000 + tick.tv_nsec as u64 / 2).checked_div(tick.tv_nsec as u64);
    per_second.map_or(0, |hertz| (MINUTE / 1_000_000_000 * hertz) as u32)
}
