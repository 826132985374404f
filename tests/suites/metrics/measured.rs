//! What scrapers hold up.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::{ADDRESS, World, until};

/// A shell that scrapes without a pause, ended when dropped.
struct Scraper(Child);

impl Scraper {
    fn start(world: &World) -> Self {
        let script = format!("while :; do curl -sS -o /dev/null http://{ADDRESS}/metrics; done");
        let mut command = world.desk.program("sh");
        Self(
            command
                .args(["-c", &script])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it runs"),
        )
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A device that comes back is attached as fast beside four scrapers without rest as without.
#[test]
fn scrapers_hold_up_nothing() {
    let world = World::new();
    let daemon = world.daemon();
    let gone = || daemon.said().matches("gone: deleted, renamed").count();
    let back = || daemon.said().matches("limiter is attached to it: watched").count();
    let measure = || {
        let (was_gone, was_back) = (gone(), back());
        world.rename("crowd0", "other0");
        until("gone", super::PATIENCE, || (gone() > was_gone).then_some(()));
        let start = Instant::now();
        world.rename("other0", "crowd0");
        while back() == was_back {
            assert!(start.elapsed() < super::PATIENCE, "{}", daemon.said());
            std::thread::sleep(Duration::from_millis(1));
        }
        start.elapsed()
    };
    until("attached", super::PATIENCE, || {
        (back() >= 1 || daemon.said().contains("crowd0")).then_some(())
    });
    let alone = measure();
    let scrapers: Vec<Scraper> = (0..4).map(|_| Scraper::start(&world)).collect();
    std::thread::sleep(Duration::from_millis(500));
    let beside = measure();
    let start = Instant::now();
    assert!(world.metrics("").contains("limiter_loaded 1"));
    let answer = start.elapsed();
    drop(scrapers);
    let took = world.value("limiter_snapshot_duration_seconds").expect("a time");
    println!(
        "noticed after {alone:?}, beside four scrapers {beside:?}; an answer in {answer:?}; a look takes {:.1} ms",
        1e3 * took
    );
    assert!(beside < Duration::from_secs(1), "{beside:?}");
    assert!(answer < Duration::from_secs(2), "{answer:?}");
}
