//! The sum of what is in force on all nodes, and of the places that are taken, simulated over every
//! fault at once: never above the budget; and above it as soon as one of the rules is left out.
//!
//! `LIMITER_FLEET_SEEDS=10000` runs so many histories (60 without it).

mod history;
mod world;

use history::{Faults, run};
use world::Without;

fn seeds() -> u64 {
    std::env::var("LIMITER_FLEET_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// At the end at least so much is used of what could be: a twentieth is headroom, and shares stay
/// that would change by less than a fiftieth.
const USED: f64 = 0.9;

#[test]
fn the_sum_is_never_above_the_budget() {
    let (seeds, mut most, mut least_used) = (seeds(), 0.0_f64, 1.0_f64);
    let (mut most_taken, mut least_taken) = (0.0_f64, 1.0_f64);
    let (mut grants, mut silent, mut leaders) = (0, 0, 0);
    for seed in 0..seeds {
        let seen = run(seed, &Faults::of(seed), Without::Nothing);
        assert!(seen.most <= 1.0, "seed {seed}: {:.3}% in force", seen.most * 100.0);
        assert!(seen.most_taken <= 1.0, "seed {seed}: {:.3}% taken", seen.most_taken * 100.0);
        assert!(
            seen.taken >= USED,
            "seed {seed}: {:.1}% taken after all healed",
            seen.taken * 100.0
        );
        assert!(seen.used >= USED, "seed {seed}: {:.1}% used after all healed", seen.used * 100.0);
        (most, least_used) = (most.max(seen.most), least_used.min(seen.used));
        (most_taken, least_taken) = (most_taken.max(seen.most_taken), least_taken.min(seen.taken));
        grants += seen.grants;
        silent += seen.written_off;
        leaders += seen.leaders;
        if seed % 500 == 499 {
            println!("{} of {seeds} histories: at most {:.3}%", seed + 1, most * 100.0);
        }
    }
    println!(
        "{seeds} histories: most in force {:.3}%, least used at the end {:.1}%; most places taken \
         {:.3}%, least at the end {:.1}%; {grants} grants, {silent} to silent nodes, {leaders} \
         leaders",
        most * 100.0,
        least_used * 100.0,
        most_taken * 100.0,
        least_taken * 100.0,
    );
    assert!(grants > seeds * 20 && silent > seeds / 2 && leaders > seeds, "little happened");
}

/// The bound at the size of a large platform.
#[test]
fn a_thousand_nodes_keep_it_too() {
    for seed in 0..1 + seeds() / 1000 {
        let seen = run(seed, &Faults::large(1000), Without::Nothing);
        println!(
            "1,000 nodes: most in force {:.3}%, used {:.1}%, {} grants",
            seen.most * 100.0,
            seen.used * 100.0,
            seen.grants
        );
        assert!(seen.most <= 1.0 && seen.used >= USED, "seed {seed}: {seen:?}");
        assert!(seen.most_taken <= 1.0 && seen.taken >= USED, "seed {seed}: {seen:?}");
    }
}

/// And at that of the largest, whatever comes of it: so many do not even join in the time that a
/// test has, 120 a round. Only where many histories are asked for: it takes minutes.
#[test]
fn ten_thousand_nodes_keep_it_too() {
    let nodes = if seeds() < 10_000 { 2000 } else { 10_000 };
    let seen = run(1, &Faults::large(nodes), Without::Nothing);
    println!(
        "{nodes} nodes: most in force {:.3}%, most places taken {:.3}%, {} grants",
        seen.most * 100.0,
        seen.most_taken * 100.0,
        seen.grants
    );
    assert!(seen.most <= 1.0 && seen.most_taken <= 1.0 && seen.grants > 1000, "{seen:?}");
}

fn breaks(without: Without) {
    let found = (0..400).find_map(|seed| {
        let seen = run(seed, &Faults::of(seed), without);
        let most = match without {
            Without::UserLeft | Without::SilentUsers => seen.most_taken,
            _ => seen.most,
        };
        (most > 1.0).then_some((seed, most))
    });
    let (seed, most) = found.unwrap_or_else(|| panic!("{without:?}: the sum holds without it"));
    println!("{without:?}: {:.3}% in force with seed {seed}", most * 100.0);
}

#[test]
fn it_breaks_if_any_report_renews() {
    breaks(Without::NewestGrant);
}

#[test]
fn it_breaks_if_silence_is_not_written() {
    breaks(Without::WrittenSilence);
}

#[test]
fn it_breaks_if_silence_is_written_over_a_report() {
    breaks(Without::Unchanged);
}

#[test]
fn it_breaks_if_shares_are_below_the_fallback() {
    breaks(Without::Fallback);
}

#[test]
fn it_breaks_if_what_is_lowered_is_given_away_at_once() {
    breaks(Without::Acknowledgment);
}

#[test]
fn it_breaks_if_rounds_do_not_follow_one_another() {
    breaks(Without::Order);
}

#[test]
fn it_breaks_if_places_are_given_away_before_their_users_have_left() {
    breaks(Without::UserLeft);
}

#[test]
fn it_breaks_if_places_of_a_silent_node_are_given_away() {
    breaks(Without::SilentUsers);
}
