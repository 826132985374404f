//! Owns waiting: for something to be so, never for a time in the hope that it is; the end is far off, for slow machines.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long something may take that takes milliseconds on a machine with nothing else to do.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `look` finds something, and returns it.
///
/// # Panics
/// When it found nothing in [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until `is_so` says yes.
///
/// # Panics
/// As [`until`].
#[track_caller]
pub fn until_so(what: &str, mut is_so: impl FnMut() -> bool) {
    until(what, || is_so().then_some(()));
}

/// Waits until the coarse clock is past `time`, nanoseconds of CLOCK_MONOTONIC: what ends then has ended.
pub fn tick_past(time: u64) {
    until_so("the clock ticks", || coarse() > Duration::from_nanos(time));
}

/// CLOCK_MONOTONIC as of the last tick, the clock that sources and lists are judged by. What the kernel read between
/// two readings of ours is between them, whatever the ticks do.
pub fn coarse() -> Duration {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
