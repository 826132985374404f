//! What is seen while an act is played: a line each second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::Tally;

/// Follows the pupils until the act is over, and prints what came in each second.
pub fn show(tally: &Tally, lasts: Duration, prints: bool) {
    if prints {
        eprintln!("          whole pages                 \"wait\"     nothing   in class");
    }
    let (begun, mut before) = (Instant::now(), [0; 3]);
    for second in 1..=lasts.as_secs() {
        sleep((begun + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let now = [&tally.pages, &tally.waits, &tally.broken].map(read);
        let [pages, waits, broken] = std::array::from_fn(|index| now[index] - before[index]);
        before = now;
        if prints {
            let bar = "#".repeat(pages.min(24) as usize);
            let done = read(&tally.done);
            eprintln!("{second:>5} s {pages:>4} {bar:<24} {waits:>5} {broken:>11} {done:>10}");
        }
    }
}
