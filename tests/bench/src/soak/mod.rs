//! `cargo xtask soak`: everything at once, for as long as it is told, and then what must be so is.
//!
//! Floods of changing shape, pages of real clients, connections that stay, policies on trial, bans, readers, upgrades. At the end
//! the counters are exact, every page came, no connection was touched, and memory, programs, maps and pins are as many as before.

mod actors;
mod census;
mod stage;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;

use actors::{Did, Talk};
use census::Census;
use stage::Stage;

/// For how long.
#[derive(Args)]
pub struct Arguments {
    /// Print JSON on standard output.
    #[arg(long)]
    json: bool,
    /// How long.
    #[arg(long, default_value_t = 10.0, value_name = "MINUTES")]
    minutes: f64,
}

/// Runs everybody, and checks what must be so.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.minutes > 0.0 && arguments.minutes <= 24.0 * 60.0,
        "between nothing and a day"
    );
    soak(Duration::from_secs_f64(60.0 * arguments.minutes), arguments.json)
}

/// What ran at once did, by name.
#[derive(Serialize)]
struct Report {
    did: BTreeMap<&'static str, Did>,
    sent: u64,
    pages: (u64, u64),
    talks: u64,
}

fn soak(time: Duration, json: bool) -> Result<()> {
    let stage = Stage::set()?;
    let loaded = Census::take(stage.desk.pins())?;
    let report = together(&stage, Instant::now() + time)?;
    stage.quiet()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    check(&stage, &report, &loaded)?;
    stage.desk.run("detach --all")?;
    ensure!(stage.desk.left().is_empty(), "pins are left: {:?}", stage.desk.left());
    loaded.gone()?;
    let start = Instant::now();
    while !stage.processes().is_empty() {
        ensure!(
            start.elapsed() < Duration::from_secs(15),
            "processes are left: {:?}",
            stage.processes()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!("soak: everything is as it must be");
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, did) in &self.did {
            writeln!(to, "{name:<10} {did}")?;
        }
        let Self { sent, pages: (tried, ok), talks, .. } = self;
        writeln!(
            to,
            "{:<10} {sent} SYNs; {ok} of {tried} pages; {talks} echoes over connections that stayed",
            "traffic"
        )
    }
}

/// Runs everybody until the end; the first failure ends them all.
fn together(stage: &Stage, end: Instant) -> Result<Report> {
    let stop = AtomicBool::new(false);
    let goes_on = || !stop.load(Ordering::Relaxed) && Instant::now() < end;
    std::thread::scope(|scope| {
        let mut talk = Talk::start(stage)?;
        type Actor = fn(&Stage, &dyn Fn() -> bool) -> Result<Did>;
        let actors: [(&'static str, Actor); 5] = [
            ("policies", actors::policies),
            ("lists", actors::lists),
            ("modes", actors::modes),
            ("readers", actors::readers),
            ("upgrades", actors::upgrades),
        ];
        let (stop, goes_on) = (&stop, &goes_on);
        // Whoever fails ends the others.
        let end_all = || stop.store(true, Ordering::Relaxed);
        let running = actors.map(|(name, actor)| {
            (name, scope.spawn(move || actor(stage, goes_on).inspect_err(|_| end_all())))
        });
        let floods = scope.spawn(move || actors::floods(stage, goes_on).inspect_err(|_| end_all()));
        let pages = scope.spawn(move || actors::pages(stage, goes_on).inspect_err(|_| end_all()));
        let mut talks = 0;
        while goes_on() {
            talk.echo().inspect_err(|_| end_all())?;
            talks += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut did = BTreeMap::new();
        for (name, actor) in running {
            did.insert(name, joined(actor).with_context(|| format!("{name} failed"))?);
        }
        let sent = joined(floods).context("the floods failed")?;
        let pages = joined(pages).context("the pages failed")?;
        talk.echo()?;
        Ok(Report { did, sent, pages, talks: talks + 1 })
    })
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What must be so while limiter is still loaded.
fn check(stage: &Stage, report: &Report, loaded: &Census) -> Result<()> {
    let (tried, ok) = report.pages;
    ensure!(ok == tried, "{} of {tried} pages did not come", tried - ok);
    stage.exact(report.sent + tried + stage.sent_again()? + Talk::CONNECTIONS)?;
    ensure!(stage.accepted() == tried, "{} connections of {tried} pages", stage.accepted());
    ensure!(stage.attached()? == 2, "both interfaces are attached, in native mode");
    ensure!(
        stage.desk.left().len() == 1,
        "one layout, and nothing that was being made: {:?}",
        stage.desk.left()
    );
    loaded.unchanged(stage.desk.pins())
}
