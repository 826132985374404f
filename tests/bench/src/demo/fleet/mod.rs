//! `cargo xtask demo --fleet`: three front ends behind a router with ECMP, one budget, and a real
//! etcd. A crowd shifts to one of them, one dies, etcd dies and comes back; the shares move, and
//! their sum stays.

mod crowd;
mod front;
mod stage;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::output::Output;
use crowd::Crowd;
use front::ALONE;
use stage::{BUDGET, FRONTS, RATE, Stage};

/// How often it is looked at, and how often a line is printed.
const LOOK: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(2);

/// What happens, in its order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Even,
    Shift,
    Dies,
    NoEngine,
    Back,
}

impl Act {
    const ALL: [Self; 5] = [Self::Even, Self::Shift, Self::Dies, Self::NoEngine, Self::Back];

    const fn title(self) -> &'static str {
        match self {
            Self::Even => "The crowd comes to all three front ends.",
            Self::Shift => "It shifts: nine of ten come to the first.",
            Self::Dies => "The third dies; the router notices, and sends as many to both others.",
            Self::NoEngine => "etcd is killed: each front end admits what its own policy states.",
            Self::Back => "etcd is back, and the third front end.",
        }
    }

    fn happen(self, stage: &mut Stage) -> Result<()> {
        match self {
            Self::Even => stage.route([1, 1, 1]),
            Self::Shift => stage.route([18, 1, 1]),
            Self::Dies => {
                stage.die(2)?;
                stage.route([1, 1, 0])
            }
            Self::NoEngine => stage.end_engine(),
            Self::Back => {
                stage.start_engine()?;
                stage.live(2)?;
                stage.route([1, 1, 1])
            }
        }
    }
}

/// One moment.
#[derive(Clone, Debug, Serialize)]
struct Moment {
    seconds: f64,
    /// By front end: what is in force on it, a second, and what it admitted in the last seconds.
    in_force: [f64; FRONTS],
    admitted: [f64; FRONTS],
    /// All that is in force.
    sum: f64,
}

/// An act as it went.
#[derive(Serialize)]
struct Played {
    act: &'static str,
    moments: Vec<Moment>,
}

/// The play as it went.
#[derive(Serialize)]
struct Report {
    budget: u64,
    stated_of_each: u64,
    crowd_per_second: u64,
    acts: Vec<Played>,
    most_in_force: f64,
    pages: u64,
    admitted: u64,
    /// The budget over all the time, its burst and what CPUs hold: no more can be admitted.
    admitted_at_most: f64,
}

/// Shows it.
pub fn run(seconds: u64, output: &Output) -> Result<()> {
    let mut stage = Stage::set()?;
    let crowd = Crowd::come(&stage, RATE)?;
    let start = Instant::now();
    let before: u64 = stage.admitted().iter().sum();
    let (mut acts, mut most) = (Vec::new(), 0.0_f64);
    for act in Act::ALL {
        eprintln!("\n{}", act.title());
        act.happen(&mut stage)?;
        let moments = watch(&stage, start, seconds, &mut most);
        acts.push(Played { act: act.title(), moments });
    }
    let admitted = stage.admitted().iter().sum::<u64>() - before;
    let time = start.elapsed().as_secs_f64();
    let report = Report {
        budget: BUDGET,
        stated_of_each: ALONE,
        crowd_per_second: RATE,
        acts,
        most_in_force: most,
        pages: crowd.end(),
        admitted,
        admitted_at_most: BUDGET as f64 * (time + 2.0) + stage.leases(),
    };
    output.give("fleet", &report, &text(&report), &[])
}

/// Looks for so long, and prints what is seen as it comes.
fn watch(stage: &Stage, start: Instant, seconds: u64, most: &mut f64) -> Vec<Moment> {
    let began = Instant::now();
    let (mut moments, mut line, mut before) = (Vec::new(), Instant::now(), stage.admitted());
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(LOOK);
        let in_force = stage.in_force();
        let sum = in_force.iter().sum::<f64>();
        *most = most.max(sum);
        let passed = line.elapsed();
        if passed < LINE {
            continue;
        }
        let now = stage.admitted();
        let admitted = std::array::from_fn(|front| {
            now[front].saturating_sub(before[front]) as f64 / passed.as_secs_f64()
        });
        (line, before) = (Instant::now(), now);
        let moment = Moment { seconds: start.elapsed().as_secs_f64(), in_force, admitted, sum };
        eprintln!("{}", show(&moment));
        moments.push(moment);
    }
    moments
}

fn show(moment: &Moment) -> String {
    let fronts: Vec<String> = (0..FRONTS)
        .map(|front| {
            let (share, admitted) = (moment.in_force[front], moment.admitted[front]);
            format!("{share:>5.0}/s in force {admitted:>5.0}/s in")
        })
        .collect();
    format!("{:>4.0} s   {}   sum {:>5.0}/s", moment.seconds, fronts.join("   "), moment.sum)
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "\nOne budget of {}/s for three front ends, each of which may use {}/s alone; a crowd of {}/s.\n",
        report.budget, report.stated_of_each, report.crowd_per_second
    );
    for Played { act, moments } in &report.acts {
        text.push_str(&format!("\n{act}\n"));
        if let Some(last) = moments.last() {
            text.push_str(&format!("{}\n", show(last)));
        }
    }
    text.push_str(&format!(
        "\nThe most in force at any moment: {:.1}/s of {}/s ({:.1}%).\nAdmitted: {} of {:.0} at most; \
         {} pages came.\n",
        report.most_in_force,
        report.budget,
        100.0 * report.most_in_force / report.budget as f64,
        report.admitted,
        report.admitted_at_most,
        report.pages,
    ));
    text
}
