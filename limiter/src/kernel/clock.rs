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
