//! Whether the verdict is right: staged surges, each with its truth, through what `watch` and
//! `report` judge by. Nothing here touches a kernel, and none of it needs root.
//!
//! Clients, the server and its kernel are simulated (`world`); limiter decides and notes by the code
//! of the kernel side (`door`, `notes`); what it noted is read by the readers of the command
//! (`seen`), and judged by `assess` and `incident`. The thresholds were chosen on surges that the
//! numbers in [`CHOSEN_ON`] draw; the other half is drawn by another number each time.

mod cases;
mod door;
mod notes;
mod seen;
mod table;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use limiter::assess::{self, Cause, Signs};
use limiter::incident::{self, Pattern};
use serde::Serialize;

use cases::{CALM, IMITATORS, SHAPES, SURGE, Truth};
use seen::Look;
use table::Said;
use world::SECOND;

use super::output::Output;

/// What draws the surges that the thresholds were chosen on (with 1 and 1000001, while they were
/// being chosen).
const CHOSEN_ON: u64 = 7;
/// Seconds of the calm that are recorded.
const BEFORE: u64 = 60;

/// Measure how often the verdict of `watch` and of `report` is right.
#[derive(clap::Args)]
pub struct Arguments {
    /// Surges of each shape.
    #[arg(long, default_value_t = 16)]
    each: u64,
    /// Draw the held-out half by this number instead of another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Only the held-out half.
    #[arg(long)]
    held_out: bool,
    /// Only shapes whose name contains this.
    #[arg(long, value_name = "SHAPE")]
    only: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// One surge, and what was said of it.
#[derive(Clone, Debug, Serialize)]
struct Told {
    shape: &'static str,
    truth: Truth,
    seed: u64,
    watch: Cause,
    report: Pattern,
    signs: Signs,
    said: String,
}

impl Told {
    fn said_by(&self, is_report: bool) -> Said {
        if is_report { self.report.into() } else { self.watch.into() }
    }
}

/// A half of the surges, and what was said of them.
#[derive(Serialize)]
struct Half {
    seed: u64,
    watch: table::Sums,
    report: table::Sums,
    surges: Vec<Told>,
}

/// Runs the bench.
pub fn run(arguments: &Arguments) -> Result<()> {
    // Of another stretch of numbers than those that the thresholds were chosen on.
    let seed = arguments.seed.unwrap_or_else(|| 1 << 32 | fastrand::u64(..1 << 31));
    let mut halves = Vec::new();
    let mut text = String::new();
    let names = ["the thresholds were chosen on these", "held out"];
    for (name, seed) in names.into_iter().zip([CHOSEN_ON, seed]) {
        if arguments.held_out && name == names[0] {
            continue;
        }
        let surges = half(arguments, seed)?;
        text += &format!("{} surges, {name}: seed {seed}\n\n", surges.len());
        text += &format!("{}\n{}\n", table::text(&surges, false), table::text(&surges, true));
        let sums = |is_report| table::sums(&surges, is_report);
        halves.push(Half { seed, watch: sums(false), report: sums(true), surges });
    }
    arguments.output.give("verdict", &halves, &text, &[])
}

/// Stages and judges all surges that a number draws, on all CPUs.
fn half(arguments: &Arguments, seed: u64) -> Result<Vec<Told>> {
    let asked = arguments.only.as_deref().unwrap_or("");
    let jobs: Vec<_> = (SHAPES.iter().chain([&IMITATORS]))
        .filter(|(name, _)| name.contains(asked))
        .flat_map(|shape| (0..arguments.each).map(move |_| *shape))
        .enumerate()
        .map(|(at, shape)| (shape, seed.wrapping_add(7919 * at as u64)))
        .collect();
    let (next, told) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || -> Result<()> {
        while let Some((shape, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let one = judge(*shape, *seed)?;
            told.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    let mut told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    told.sort_by_key(|one| (one.truth, one.shape, one.seed));
    Ok(told)
}

/// Stages a surge, and says what `watch` and `report` say of it.
fn judge(shape: (&'static str, Truth), seed: u64) -> Result<Told> {
    let mut case = cases::stage(shape, seed)?;
    let start = case.world.now;
    let at = start + CALM * SECOND;
    let look = at + (case.look * 1e9) as u64;
    let (mut looks, mut facts) = (Vec::new(), None);
    for second in CALM - BEFORE..=CALM + SURGE {
        case.world.run(start + second * SECOND);
        looks.push(Look::of(&case));
        if facts.is_none() && case.world.now >= look {
            facts = seen::facts(&case, &looks);
        }
    }
    let facts = facts.unwrap_or_default();
    let said = assess::assess(&facts);
    let verdict = incident::verdict(looks.into_iter().map(|look| look.tick));
    Ok(Told {
        shape: case.shape,
        truth: case.truth,
        seed,
        watch: said.cause,
        report: verdict.kind,
        signs: Signs::of(&facts),
        said: said.likely,
    })
}
