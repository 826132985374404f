//! Twelve million people at eight o'clock: they come within ten minutes, most of them in the first
//! two, to forty front ends with a budget of 3,000 connections a second each, for five pages of six
//! connections. Routers spread them by their source address, so that each front end has 300,000 and
//! knows nothing of the others.
//!
//! `MORNING=1 cargo test --release -p limiter-common --test crowd morning -- --nocapture` simulates
//! one of the front ends, `MORNING=40` all of them; `CASE="room=no stays=120"` differs from it as
//! for other cases. Without them it is a tenth of a front end, behind a tenth of everything.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::case::Case;
use super::door::{Family, SETS};
use super::figures::{Figures, quantile};
use super::people::run;
use super::{PAGE, PAGES};

const PEOPLE: usize = 300_000;
const BUDGET: f64 = 3000.0;
/// People who came one after the other, and would have waited alike.
const NEIGHBOURS: usize = 1000;

/// A part of a front end. People stay for as long as it takes.
fn front_end(part: f64) -> Case {
    Case {
        people: (PEOPLE as f64 * part) as usize,
        arrive: 600.0,
        peak: 60.0,
        once: true,
        budget: BUDGET * part,
        capacity: BUDGET * part / 0.95,
        burst: (500.0 * part) as u64,
        workers: (64.0 * part) as u32,
        backlog: (512.0 * part) as usize,
        settle: 0.0,
        measure: 7200.0,
        stays: 10_000.0,
        sets: (f64::from(SETS) * part) as u32,
        ..Case::new(Family::Line, 1.0).with_room()
    }
}

/// Of some front ends together.
#[derive(Default)]
struct Morning {
    waits: Vec<f64>,
    /// How much longer those waited whose place was lost or not kept than who came with them.
    longer: Vec<f64>,
    gave_up: f64,
    last: f64,
    /// Sums over the front ends.
    pages: f64,
    overtaken: f64,
    evicted: u64,
    placeless: u64,
    /// Of the front end with the most.
    waiting: i32,
    asked: u64,
    shown: u64,
    failed: f64,
}

impl Morning {
    fn add(&mut self, case: &Case, mut figures: Figures) {
        figures.people.sort_by_key(|(id, _, _)| *id);
        for block in figures.people.chunks(NEIGHBOURS) {
            let waits: Vec<f64> = block.iter().map(|(_, wait, _)| *wait).collect();
            let usual = quantile(&waits, 0.5);
            let moved = block.iter().filter(|(_, _, is_moved)| *is_moved);
            self.longer.extend(moved.map(|(_, wait, _)| wait - usual));
        }
        self.waits.extend(figures.people.iter().map(|(_, wait, _)| *wait));
        self.gave_up += figures.gave_up * case.measure;
        self.last = self.last.max(figures.last);
        self.pages += figures.good_by_last;
        self.overtaken += figures.overtaken;
        self.evicted += figures.evicted;
        self.placeless += figures.placeless;
        self.waiting = self.waiting.max(figures.waiting);
        self.asked = self.asked.max(figures.asked_most);
        self.shown = self.shown.max(figures.shown_most);
        self.failed += figures.failed * case.measure;
    }

    fn show(&self, name: &str, ends: u64) {
        let [waits, longer] = [&self.waits, &self.longer]
            .map(|values| [0.5, 0.9, 0.99, 1.0].map(|part| quantile(values, part)));
        println!(
            "{name}: {} let in, {:.0} gave up, {:.0} pages failed; first pages after \
             {waits:.0?} s (50, 90, 99, 100%), the last after {:.0} s; {:.1}% of the budget in \
             whole pages; overtaken {:.3}; at a front end {} waited, {} attempts and {} of the \
             room's pages in a second; {} evicted, {} could not be kept, these {} waited \
             {longer:.0?} s longer",
            self.waits.len(),
            self.gave_up,
            self.failed,
            self.last,
            100.0 * self.pages / ends as f64,
            self.overtaken / ends as f64,
            self.waiting,
            self.asked,
            self.shown,
            self.evicted,
            self.placeless,
            self.longer.len(),
        );
    }
}

/// Runs so many front ends, as many at once as there are CPUs.
fn morning(case: Case, ends: u64) -> Morning {
    let (next, sum) = (AtomicU64::new(1), Mutex::new(Morning::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > ends {
                return;
            }
            let figures = run(Case { seed, ..case });
            sum.lock().expect("no other thread fails").add(&case, figures);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(ends as usize) {
            scope.spawn(work);
        }
    });
    sum.into_inner().expect("no thread failed")
}

/// All come in, as fast as the budget lets them and in turn, and nobody gives up. Of a hundred one
/// has no place for a while, because the set that it would be in is full.
#[test]
fn all_who_come_in_the_morning_come_in() {
    if let Ok(ends) = std::env::var("MORNING") {
        let ends = ends.parse().expect("a number of front ends");
        let text = std::env::var("CASE").unwrap_or_default();
        morning(front_end(1.0).with(&text), ends).show(&format!("{ends} front ends, {text}"), ends);
        return;
    }
    let case = front_end(0.1);
    for soon in [0.0, 3.0] {
        let case = Case { soon, ..case };
        let it = morning(case, 1);
        it.show(&format!("a tenth of a front end, soon={soon}"), 1);
        let people = case.people as f64;
        assert_eq!((it.waits.len(), it.gave_up), (case.people, 0.0));
        let least = people * PAGE * PAGES / case.budget;
        assert!(it.last <= 1.1 * least, "all could be in after {least} s");
        assert!(it.pages >= 0.95 && it.overtaken <= 0.15);
        assert!(it.longer.len() as f64 <= 0.015 * people);
        assert!(quantile(&it.longer, 0.5) <= least / 5.0);
    }
}
