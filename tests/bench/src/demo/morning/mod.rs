//! The morning of April 2021 on one machine: more pupils come at once than the school's server can
//! serve. First it is left alone, then limiter stands before it, then a flood comes on top.

mod live;
mod stage;
mod table;

use anyhow::Result;

use super::super::output::Output;
use stage::{Act, Played, Stage};

/// Shows it; each act lasts so many seconds.
pub fn run(seconds: u64, output: &Output) -> Result<()> {
    eprintln!(
        "08:00. {} pupils, twelve classes, want into the school's platform: {} pages each, {} \
         connections a page.\nIts server takes {} pages a second.",
        stage::PUPILS,
        stage::VISIT,
        stage::CONNECTIONS,
        stage::CAPACITY,
    );
    let results = table::results(&play(seconds)?);
    let plots = [("demo".to_owned(), table::plot(&results))];
    output.give("demo", &results, &table::text(&results), &plots)
}

fn play(seconds: u64) -> Result<Vec<Played>> {
    let play = |act: Act| {
        eprintln!("\n{}", act.title());
        // The same morning again: nothing is left of the act before.
        Stage::set(seconds)?.play(act)
    };
    Act::ALL.into_iter().map(play).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are served is a matter of speed. That each act comes to its end, and limiter tells
    /// of its own, is not.
    #[test]
    fn the_morning_is_played_to_its_end() {
        let acts = play(3).expect("it plays");
        assert!(acts.iter().all(|played| played.pupils.len() == stage::PUPILS));
        let told: Vec<bool> = acts.iter().map(|played| !played.report.is_empty()).collect();
        assert_eq!(told, [false, true, true]);
        assert!(acts[2].forged > 0 && acts[0].forged == 0 && acts[1].forged == 0);
    }
}
