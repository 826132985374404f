//! Budgets that follow servers, simulated: right after a minute wherever they begin, and not where
//! attackers want them.

use limiter_common::auto::{Auto, Bounds, Second, WHOLE};

/// A server with an accept queue, a hundred steps a second.
struct Server {
    capacity: f64,
    queue: f64,
}

impl Server {
    const BACKLOG: f64 = 128.0;

    /// What it serves in a second of so many attempts a second, and what is seen of it.
    fn second(&mut self, offered: f64, rate: u64) -> (f64, Second) {
        let admitted = offered.min(rate as f64);
        let (mut served, mut lost) = (0.0, false);
        for _ in 0..100 {
            self.queue += admitted / 100.0;
            lost |= self.queue > Self::BACKLOG;
            self.queue = self.queue.min(Self::BACKLOG);
            let now = self.queue.min(self.capacity / 100.0);
            (self.queue, served) = (self.queue - now, served + now);
        }
        let load = Some((self.queue / Self::BACKLOG * WHOLE as f64) as u64);
        (served, Second { admitted: admitted as u64, load, lost })
    }
}

fn bounds(stated: u64) -> Bounds {
    Bounds { stated, least: stated / 10, most: 4 * stated }
}

/// Runs for so many seconds; served in each of them, and the longest queue.
fn run(auto: &mut Auto, server: &mut Server, offered: f64, seconds: usize) -> (f64, f64) {
    let (mut sum, mut longest) = (0.0, 0.0_f64);
    for _ in 0..seconds {
        let (served, seen) = server.second(offered, auto.rate());
        (sum, longest) = (sum + served, longest.max(server.queue));
        auto.second(seen);
    }
    (sum / seconds as f64, longest)
}

#[test]
fn it_is_right_after_a_minute_from_half_twice_and_three_times() {
    for stated in [500, 1000, 2000, 3000] {
        let (mut auto, mut server) =
            (Auto::new(bounds(stated)), Server { capacity: 1000.0, queue: 0.0 });
        run(&mut auto, &mut server, 5000.0, 60);
        let (served, _) = run(&mut auto, &mut server, 5000.0, 300);
        println!("from {stated}/s: {served:.0}/s");
        assert!(served >= 900.0, "from {stated}/s: {served}/s of 1,000");
        assert!((800..=1200).contains(&auto.rate()), "{}", auto.rate());
    }
}

/// A server that can do half for a while.
#[test]
fn it_falls_within_ten_seconds_and_comes_back_within_a_minute() {
    let (mut auto, mut server) = (Auto::new(bounds(1000)), Server { capacity: 1000.0, queue: 0.0 });
    run(&mut auto, &mut server, 5000.0, 120);
    server.capacity = 500.0;
    run(&mut auto, &mut server, 5000.0, 10);
    let (served, _) = run(&mut auto, &mut server, 5000.0, 60);
    assert!(served >= 450.0 && auto.rate() <= 600, "{served}/s of 500, at {}", auto.rate());
    server.capacity = 1000.0;
    run(&mut auto, &mut server, 5000.0, 60);
    let (served, _) = run(&mut auto, &mut server, 5000.0, 60);
    assert!(served >= 900.0, "{served}/s of 1,000");
}

/// In calm it does not climb, however long, and a flood that is refused moves nothing.
#[test]
fn calm_and_floods_leave_it() {
    let (mut auto, mut server) = (Auto::new(bounds(1000)), Server { capacity: 2000.0, queue: 0.0 });
    run(&mut auto, &mut server, 100.0, 7200);
    assert_eq!(auto.rate(), 1000);
    // Refused attempts are not even seen: what is admitted of them is as before.
    let seen = Second { admitted: 100, load: Some(0), lost: false };
    (0..600).for_each(|_| {
        auto.second(seen);
    });
    assert_eq!(auto.rate(), 1000);
}

#[test]
fn bounds_hold_and_without_a_signal_it_is_what_is_stated() {
    let mut auto = Auto::new(bounds(1000));
    let over = Second { admitted: 5000, load: Some(WHOLE), lost: true };
    (0..100).for_each(|_| {
        auto.second(over);
    });
    assert_eq!(auto.rate(), 100);
    assert_eq!(auto.second(Second { load: None, ..over }), 1000);
    let fine = Second { admitted: 1_000_000, load: Some(0), lost: false };
    (0..1000).for_each(|_| {
        auto.second(fine);
    });
    assert_eq!(auto.rate(), 4000);
    // After an hour of calm in which it does not bind it is what is stated again.
    (0..3600 + 200).for_each(|_| {
        auto.second(Second { admitted: 10, ..fine });
    });
    assert_eq!(auto.rate(), 1000);
}
