//! Small budgets, of 3 to 200 connections a second: nobody waits while the budget has room.
//!
//! `cargo test --release -p limiter-common --test crowd few -- --nocapture` prints the tables.

use super::case::Case;
use super::door::Family;
use super::figures::{Figures, quantile};
use super::people::run;

const BUDGETS: [f64; 5] = [3.0, 10.0, 20.0, 50.0, 200.0];
/// Connections of a page.
const PAGES: [u32; 2] = [1, 6];

/// How somebody comes again who was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// By TCP alone, after 1, 3, 7, 15 and 31 s: a program that does not try anew for two minutes.
    Syn,
    /// By that, and anew when the patience of 2 to 17 s is over.
    Reload,
    /// When the waiting room's page says so.
    Room,
}

/// So many people that a budget with its usual burst lets all of them in within 20 s. They come in
/// ten seconds, each for one page.
fn crowd(budget: f64, connections: u32, again: Again) -> Case {
    let case = Case {
        connections,
        regulars: (budget / 10.0).clamp(1.0, 20.0) as usize,
        budget,
        capacity: budget / 0.95,
        burst: (2.0 * budget).max(10.0) as u64,
        workers: (budget / 40.0).ceil() as u32,
        people: (20.0 * budget / f64::from(connections)) as usize,
        once: true,
        settle: 0.0,
        measure: 300.0,
        pages: 0.5,
        stays: 3600.0,
        ..Case::new(Family::Line, 1.0)
    };
    match again {
        Again::Syn => Case { patience: [120.0; 2], ..case },
        Again::Reload => case,
        Again::Room => Case { soon: 3.0, ..case.with_room() },
    }
}

/// Means over some runs.
struct Means(Vec<Figures>);

impl Means {
    fn of(case: Case) -> Self {
        Self((1..=6).map(|seed| run(Case { seed, ..case })).collect())
    }

    fn mean(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        self.0.iter().map(figure).sum::<f64>() / self.0.len() as f64
    }

    fn used(&self) -> f64 {
        self.mean(|figures| figures.used)
    }

    fn last(&self) -> f64 {
        self.mean(|figures| figures.last)
    }

    fn regulars(&self) -> f64 {
        self.mean(|figures| figures.regulars)
    }

    fn overtaken(&self) -> f64 {
        self.mean(|figures| figures.overtaken)
    }
}

/// Everybody is in when the budget could have let everybody in, and a moment later; whether a page
/// has one connection or six.
#[test]
fn a_small_budget_is_used_while_people_wait() {
    println!("budget page again   come in | used | 90%, last of | overtaken");
    for again in [Again::Syn, Again::Reload, Again::Room] {
        for (connections, budget) in PAGES.into_iter().flat_map(|page| BUDGETS.map(|b| (page, b))) {
            for arrive in [1.0, 10.0] {
                let case = Case { arrive, ..crowd(budget, connections, again) };
                let seen = Means::of(case);
                let asked = (case.people as u32 * connections) as f64;
                let least = (asked - case.burst as f64) / budget;
                let (used, last) = (seen.used(), seen.last());
                let name = format!("{budget:3}/s {connections} {again:6?} {arrive:4} s");
                println!(
                    "{name} | {:3.0}% | {:3.0} {last:3.0} {least:3.0} | {:.2}",
                    100.0 * used,
                    seen.mean(|figures| quantile(&figures.first, 0.9)),
                    seen.overtaken(),
                );
                // Between two tries of TCP nobody is there whom the budget could let in.
                if again == Again::Syn {
                    continue;
                }
                assert!(used >= 0.8, "{name}: {used} of the budget is used while people wait");
                assert!(used >= 0.9 || again == Again::Reload, "{name}: {used} with the room");
                let pages = 2.0 * f64::from(connections) / budget;
                let latest = match again {
                    // A moment of luck is a second at 3/s.
                    Again::Room if budget < 10.0 => pages + 9.0,
                    Again::Room => pages + 8.0,
                    _ => pages + 14.0,
                };
                assert!(last <= least + latest, "{name}: the last is in after {last} s of {least}");
            }
        }
    }
}

/// Twice as many as can be served, in visits of five pages, for five minutes.
#[test]
fn a_small_budget_is_shared_in_turn() {
    println!("budget page again  | whole pages, of the budget | let in | regulars | overtaken");
    for again in [Again::Reload, Again::Room] {
        for (connections, budget) in PAGES.into_iter().flat_map(|page| BUDGETS.map(|b| (page, b))) {
            let case = crowd(budget, connections, again);
            let case = Case { once: false, pages: 5.0, settle: 120.0, ..case };
            let seen = Means::of(case);
            let whole = seen.mean(|figures| figures.good) * case.capacity / budget;
            let let_in = seen.mean(|figures| figures.admitted) / budget;
            let (regulars, overtaken) = (seen.regulars(), seen.overtaken());
            let name = format!("{budget:3}/s {connections} {again:6?}");
            println!(
                "{name} | {:3.0}% | {:3.0}% | {:3.0}% | {overtaken:.2}",
                100.0 * whole,
                100.0 * let_in,
                100.0 * regulars,
            );
            // A server of 3/s needs two seconds for a page of six, and its burst is less than two.
            let is_least = budget < 10.0 && connections > 1;
            assert!(let_in >= if is_least { 0.85 } else { 0.95 }, "{name}: {let_in} let in");
            assert!(whole >= if is_least { 0.7 } else { 0.9 }, "{name}: {whole} whole");
            let (least, most) = match budget {
                ..10.0 => (0.6, 0.45),
                ..20.0 => (0.88, 0.25),
                ..50.0 => (0.95, 0.2),
                _ => (0.97, 0.15),
            };
            assert!(regulars >= least, "{name}: regulars {regulars}");
            assert!(overtaken <= most, "{name}: overtaken {overtaken}");
        }
    }
}
