//! How busy the machine is.

use anyhow::{Context as _, Result, ensure};

/// CPU seconds that this machine has been busy, from /proc/stat: everything but idle and waiting
/// for I/O.
pub fn busy() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> =
        line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    ensure!(ticks.len() >= 7, "/proc/stat has an unknown form");
    let busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
    Ok(busy / rustix::param::clock_ticks_per_second() as f64)
}
