//! The line with the waiting room beside the same line without it.
//!
//! `cargo test --release -p limiter-common --test crowd shown -- --nocapture` prints the table.

use super::case::Case;
use super::door::Family;
use super::figures::{Figures, quantile};
use super::people::run;
use super::{PAGE, PAGES};

const HEAD: &str = "\
load room | whole pages visits | gave |  seconds until the first page  | over- | SYNs shown| hangs
          |  /s   of budget /s | up/s |  50%   90%   99% longest   fair | taken |   /s    /s|  99%";

/// How the case with the room differs.
fn kind(case: &Case) -> &'static str {
    match (case.room, case.soon > 0.0) {
        (false, _) => "no",
        (true, false) => "yes",
        (true, true) => "soon",
    }
}

fn row(case: &Case, figures: &Figures) {
    let first = |part| quantile(&figures.first, part);
    let pages = figures.good * case.capacity;
    println!(
        "{:3}x {:4} |{:5.1} {:6.1}%{:6.1} | {:4.1} |{:5.0} {:5.0} {:5.0} {:7.0} {:6.0} |  {:.2} |\
         {:5.0}{:6.0}| {:5.1}",
        case.load,
        kind(case),
        pages / PAGE,
        100.0 * pages / case.budget,
        figures.visits,
        figures.gave_up,
        first(0.5),
        first(0.9),
        first(0.99),
        first(1.0),
        figures.fair,
        figures.overtaken,
        figures.asked,
        figures.shown,
        quantile(&figures.hangs, 0.99),
    );
}

/// People who wait for as long as it takes. With the room no page and no visit is lost, and nobody
/// looks at a browser that hangs. They come in turn if the room's page of who is at the head comes
/// again soon. If it comes again after 6 to 15 s there too, luck decides among those at the head:
/// in a line of a minute more than a fifth of those who wait are overtaken.
#[test]
fn people_who_are_shown_the_room_are_served() {
    println!("{HEAD}");
    for load in [1.0, 2.0, 4.0, 10.0] {
        let case = Case {
            leads: true,
            stays: 3600.0,
            settle: 60.0 * load,
            measure: 60.0 * load + 180.0,
            ..Case::new(Family::Line, load)
        };
        let soon = Case { soon: 3.0, ..case.with_room() };
        for case in [case, case.with_room(), soon] {
            let figures = run(case);
            row(&case, &figures);
            let name = format!("{load}x, {}", kind(&case));
            let pages = figures.good * case.capacity / case.budget;
            assert!(pages >= 0.9, "{name}: {pages} of the budget in whole pages");
            let visits = figures.visits / (case.budget / PAGE / PAGES);
            assert!(visits >= 0.88, "{name}: {visits} of the visits");
            assert!(figures.gave_up == 0.0, "{name}: nobody gives up sooner than he wants to");
            assert!(figures.holes == 0.0, "{name}: what was let in comes whole");
            let hangs = quantile(&figures.hangs, 0.99);
            assert!(hangs <= 1.0 || !case.room, "{name}: {hangs} s without a page");
            if load == 1.0 {
                continue;
            }
            let is_in_turn = kind(&case) != "yes";
            let overtaken = if is_in_turn { 0.15 } else { 0.25 };
            assert!(figures.overtaken <= overtaken, "{name}: overtaken {}", figures.overtaken);
            let slowest = quantile(&figures.first, 1.0) / figures.fair;
            // Without a room a SYN that is sent again after 15 s may meet a spent budget too.
            let latest = match kind(&case) {
                "soon" => 2.0,
                "no" => 2.3,
                _ => 5.0,
            };
            assert!(slowest <= latest, "{name}: the slowest waits {slowest} times the fair time");
        }
    }
}

/// Who is shown the room goes when he has waited for as long as he wanted to, as others do.
#[test]
fn who_has_waited_long_enough_leaves_the_room() {
    let case = Case { leads: true, settle: 300.0, ..Case::new(Family::Line, 10.0) };
    println!("{HEAD}");
    let [without, with] = [case, case.with_room()].map(|case| {
        let figures = run(case);
        row(&case, &figures);
        figures
    });
    assert!((with.gave_up / without.gave_up - 1.0).abs() <= 0.05);
    assert!(with.good >= without.good - 0.02 && with.overtaken <= 0.15);
}

/// Where cookies are made the room asks everybody who waits for a proof, and each proof keeps its
/// place: nothing is different.
#[test]
fn places_are_kept_where_cookies_are_made() {
    let case = Case { stays: 3600.0, settle: 120.0, ..Case::new(Family::Line, 4.0).with_room() };
    println!("{HEAD}");
    for cookies in [false, true] {
        let case = Case { cookies, soon: 3.0, ..case };
        let figures = run(case);
        row(&case, &figures);
        assert!(figures.good * case.capacity >= 0.9 * case.budget);
        assert!(figures.overtaken <= 0.15 && quantile(&figures.first, 1.0) <= 2.0 * figures.fair);
    }
}
