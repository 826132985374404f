//! Crowd or attack: how often `watch` and `report` are right.
//!
//! Surges are drawn from parameters and played against a model of limiter and of a server, without
//! packets, into the lines that `limiter record` writes. What `watch` says of a moment and `report`
//! of the whole is then held against what it was. Thresholds may be chosen on the first half, whose
//! seed is fixed; the other half has another seed each run.

mod draw;
mod matrix;
mod scene;
mod world;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use limiter::assess::{self, Facts, Kind, Now, Sources};
use limiter::incident::series::{Counts, Tick};
use limiter::report::{self, ByReason};
use limiter_common::reason::Reason;
use serde::Serialize;

use super::output::Output;
use draw::Draw;
use matrix::{Answer, Matrix};
use scene::Scene;
use world::{Recorded, SURGE};

/// The seed of the half on which thresholds may be chosen.
const TRAINING: u64 = 2021;

/// Arguments of `bench verdict`.
#[derive(Args)]
pub struct Arguments {
    /// Surges in each half.
    #[arg(long, value_name = "N", default_value_t = 300)]
    surges: u32,
    /// Seed of the held-out half [default: another one each run].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only the half on which thresholds are chosen, with every surge that was judged wrongly.
    #[arg(long)]
    training: bool,
    #[command(flatten)]
    output: Output,
}

/// What was measured.
#[derive(Serialize)]
struct Report {
    surges: u32,
    seed: u64,
    /// Of the held-out half, or of the training half when only that was asked for.
    watch: Matrix,
    report: Matrix,
    /// The columns.
    answers: Vec<&'static str>,
    /// Of `watch` and of `report`, in percent.
    shares: [matrix::Shares; 2],
    training: [matrix::Shares; 2],
}

/// Measures, prints, keeps.
pub fn run(arguments: &Arguments) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
    let seed = arguments.seed.unwrap_or_else(|| u64::from(now) + 1);
    let [watch, report] = half(TRAINING, arguments.surges, arguments.training);
    let training = [watch.shares(), report.shares()];
    let [watch, report] = if arguments.training { [watch, report] } else { half(seed, arguments.surges, false) };
    let (answers, shares) = (matrix::names(), [watch.shares(), report.shares()]);
    let measured = Report { surges: arguments.surges, seed, watch, report, answers, shares, training };
    arguments.output.give("verdict", &measured, &text(&measured), &[])
}

/// Plays and judges: by `watch`, by `report`.
fn half(seed: u64, surges: u32, tell: bool) -> [Matrix; 2] {
    let mut draw = Draw::new(seed);
    let mut matrices = [Matrix::default(), Matrix::default()];
    let mut judged = 0;
    while judged < surges {
        let scene = scene::draw(&mut draw);
        let recorded = world::play(&scene, draw.word());
        let at = world::surge_begins() as usize + draw.between(20.0, SURGE as f64 - 5.0) as usize;
        if !is_surge(&scene, &recorded.ticks) {
            continue;
        }
        judged += 1;
        let facts = facts(&scene, &recorded, at);
        let answers = [
            Answer::of_cause(assess::assess(&facts).cause, facts.traffic().kind()),
            Answer::of_kind(limiter::incident::kind(recorded.ticks.iter().cloned())),
        ];
        for (matrix, answer) in matrices.iter_mut().zip(answers) {
            matrix.add(scene.truth, answer);
            if tell && matrix::is_right(scene.truth, answer) == Some(false) {
                eprintln!("{answer:?}: {scene:?}\n    {:?}", facts.traffic());
            }
        }
    }
    matrices
}

/// Whether it is a surge at all: three times the calm, over the time in which it may be.
fn is_surge(scene: &Scene, ticks: &[Tick]) -> bool {
    let begins = world::surge_begins() as usize;
    let attempts = since(&ticks[begins + 20], &ticks[begins + SURGE as usize]).attempts() as f64;
    attempts / (SURGE - 20) as f64 > (4.0 * scene.calm).max(40.0)
}

/// What `watch` would know at this second.
fn facts(scene: &Scene, recorded: &Recorded, at: usize) -> Facts {
    let ticks = &recorded.ticks;
    let counts = since(&ticks[at - 3], &ticks[at]);
    let now = Now::of(&counts, 3.0);
    let distinct = ticks[at].limiter.as_ref().and_then(|limiter| limiter.distinct);
    let sources = distinct.map(|distinct| Sources {
        seconds: distinct.seconds,
        sources: distinct.sources,
        networks: distinct.prefixes_24,
        returning_percent: distinct.returning_percent,
        each: since(&ticks[at - distinct.seconds as usize], &ticks[at]).attempts() as f64 / distinct.sources as f64,
    });
    let top = &recorded.top[at - world::surge_begins() as usize - 1];
    Facts {
        enforces: scene.enforces,
        attached: 1,
        services: vec![assess::Service { name: "web".to_owned(), budget: scene.budget, ..assess::Service::default() }],
        now: Some(now),
        sources,
        network: assess::network::of_addresses(top),
        heaviest: assess::network::heaviest(top.iter().map(|(_, count)| *count)),
        usual: Some(scene.calm),
        ..Facts::default()
    }
}

/// What was counted between two lines.
fn since(before: &Tick, after: &Tick) -> report::Counts {
    let of = |tick: &Tick| {
        let service = tick.limiter.as_ref().and_then(|limiter| limiter.services.first());
        let [decided, observed] = match service {
            Some(service) => [by_reason(&service.decided), by_reason(&service.observed)],
            None => [ByReason::new(), ByReason::new()],
        };
        let server = ["PassiveOpens", "ListenOverflows"].map(|name| tick.tcp.get(name).copied().unwrap_or(0));
        report::Counts { server: Some(server), ..report::Counts::of(&decided, &observed) }
    };
    of(after).since(&of(before)).unwrap_or_default()
}

fn by_reason(counts: &Counts) -> ByReason {
    let of = |reason: &Reason| Some((reason.name(), *counts.get(reason.name())?));
    Reason::ALL.iter().filter_map(of).collect()
}

fn text(measured: &Report) -> String {
    let shares = |name: &str, shares: &matrix::Shares| {
        format!(
            "{name}: {:.1}% right of those judged, {:.1}% of the people called an attack, {:.1}% not known\n",
            shares.right, shares.people_called_attack, shares.not_known
        )
    };
    format!(
        "{} surges, seed {}\n\n`watch`, at a moment of the surge\n\n{}\n`report`, of the whole\n\n{}\n{}{}{}{}",
        measured.surges,
        measured.seed,
        measured.watch.table(),
        measured.report.table(),
        shares("watch", &measured.shares[0]),
        shares("report", &measured.shares[1]),
        shares("watch, training half", &measured.training[0]),
        shares("report, training half", &measured.training[1]),
    )
}

impl Answer {
    fn of_kind(kind: Kind) -> Self {
        match kind {
            Kind::SpoofedFlood | Kind::Flood => Self::Forged,
            Kind::FloodOfFew | Kind::HeavyClients | Kind::FewSources => Self::Few,
            Kind::Botnet => Self::Botnet,
            Kind::Crowd | Kind::RealClients => Self::Crowd,
            Kind::Mixed => Self::Mixed,
            Kind::NoSurge => Self::Nothing,
            Kind::Unknown => Self::NotKnown,
        }
    }

    fn of_cause(cause: assess::Cause, kind: Kind) -> Self {
        match cause {
            assess::Cause::OwnLimit => Self::OwnLimit,
            assess::Cause::Server => Self::Server,
            assess::Cause::Nothing | assess::Cause::Quiet => Self::Nothing,
            assess::Cause::Unclear => Self::NotKnown,
            _ => Self::of_kind(kind),
        }
    }
}
