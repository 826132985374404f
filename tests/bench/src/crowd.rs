//! What arming does for people: a crowd of real TCP clients at one to ten times of what a server
//! can serve, with and without a flood from forged addresses and the kernel's cookies, and what an
//! operator does ten seconds after it began to come.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use lab::topology::{FRONT_V4, LabOptions};
use lab::{
    Crowd, CrowdHandle, Desk, Flood, Lab, PageReport, Server, ServerOptions, Sources, Workers,
};
use serde::Serialize;

use super::output::Output;

/// What is staged.
#[derive(Args)]
pub struct Arguments {
    /// Loads, in times of what the server can serve.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,10")]
    loads: Vec<u32>,
    /// What is beside the crowd.
    #[arg(long, value_delimiter = ',', default_value = "nothing,cookies,flood,both")]
    beside: Vec<Beside>,
    /// What the operator does.
    #[arg(long, value_delimiter = ',', default_value = "nothing,arm,guard,siege")]
    does: Vec<Does>,
    /// Cells that are staged at once, each in namespaces of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=8))]
    at_once: u64,
    #[command(flatten)]
    output: Output,
}

/// Connections of a page.
const CONNECTIONS: u32 = 6;
/// Ten pages a second.
const WORKERS: Workers = Workers { count: 12, time: Duration::from_millis(200) };
const CAPACITY: f64 = 10.0;
/// Pages that the budget holds a second, nine tenths of that.
const BUDGET: f64 = 9.0;
const BACKLOG: u32 = 128;
/// Each person wants a page every so many seconds.
const EVERY: u32 = 10;
/// How long a person of the crowd waits for a page, and a regular.
const PATIENCE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(2)];
/// Regulars, who were there before, and the pages of one connection that all want a second.
const REGULARS: u32 = 20;
const REGULAR_PAGES: f64 = 5.0;
/// Forged SYNs a second.
const FORGED: u64 = 25_000;
/// How long a phase lasts, in seconds: before the operator acts, right after, and the time between
/// that and the last, which is from 30 s on.
const PHASES: [u64; 4] = [10, 20, 10, 20];
/// What the sample policy says in comments, and what the operator has made of it.
const FILLED_IN: [(&str, &str); 2] = [
    ("# interfaces = [\"eth0\", \"eth1\"]", "interfaces = [\"crowd0\", \"attack0\"]"),
    ("# budget = \"1000/s\"         # of this service", "budget = \"54/s\""),
];
/// And where the kernel makes cookies.
const CHALLENGED: [(&str, &str); 2] = [
    ("set_syncookies = false", "set_syncookies = true"),
    ("# challenge = \"auto\" ", "challenge = \"auto\" "),
];
const SAMPLE: &str = include_str!("../../../packaging/policy.toml");

/// What is beside the crowd.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Beside {
    Nothing,
    Cookies,
    Flood,
    Both,
}

/// What the operator does.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Does {
    Nothing,
    Arm,
    Guard,
    Siege,
}

impl Does {
    fn command(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Arm => Some("arm"),
            Self::Guard => Some("profile use guard"),
            Self::Siege => Some("profile use siege"),
        }
    }
}

/// A cell of the table.
#[derive(Clone, Copy, Serialize)]
struct Cell {
    load: u32,
    cookies: bool,
    flood: bool,
    does: Does,
}

/// What came of it, in the twenty seconds after the command and in those from 30 s on.
#[derive(Clone, Serialize)]
struct Fared {
    #[serde(flatten)]
    cell: Cell,
    /// Whole pages of the crowd a second.
    pages_per_second: [f64; 2],
    /// Of the pages of the regulars, how many came in time.
    regulars: [f64; 2],
}

#[derive(Serialize)]
struct Report {
    capacity_pages_per_second: f64,
    budget_pages_per_second: f64,
    forged_per_second: u64,
    cells: Vec<Fared>,
}

/// Stages all of it, and gives what came of it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut cells = Vec::new();
    for load in &arguments.loads {
        for beside in &arguments.beside {
            let cookies = matches!(beside, Beside::Cookies | Beside::Both);
            let flood = matches!(beside, Beside::Flood | Beside::Both);
            let cell = |does: &Does| Cell { load: *load, cookies, flood, does: *does };
            cells.extend(arguments.does.iter().map(cell));
        }
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<()> {
        while let Some(cell) = cells.get(next.fetch_add(1, Ordering::SeqCst)) {
            let fared = cell.stage()?;
            eprintln!("{} of {}: {}", next.load(Ordering::SeqCst), cells.len(), line(&fared));
            done.lock().unwrap_or_else(PoisonError::into_inner).push(fared);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..arguments.at_once).map(|_| scope.spawn(work)).collect();
        all.into_iter()
            .try_for_each(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|one| (one.cell.load, one.cell.cookies, one.cell.flood, one.cell.does as u8));
    let report = Report {
        capacity_pages_per_second: CAPACITY,
        budget_pages_per_second: BUDGET,
        forged_per_second: FORGED,
        cells: done,
    };
    arguments.output.give("crowd", &report, &text(&report), &[])
}

impl Cell {
    fn policy(self) -> String {
        let filled = FILLED_IN.iter().chain(CHALLENGED.iter().filter(|_| self.cookies));
        filled.fold(SAMPLE.to_owned(), |policy, (from, to)| policy.replacen(from, to, 1))
    }

    fn stage(self) -> Result<Fared> {
        let people = self.load * CAPACITY as u32 * EVERY;
        let options = LabOptions { clients: REGULARS + people, ..LabOptions::default() };
        let lab = Lab::with(options)?;
        let listen = vec![(FRONT_V4, 80).into()];
        let options = ServerOptions { listen, backlog: BACKLOG, workers: Some(WORKERS) };
        let _server = Server::with(&lab, options)?;
        let desk = Desk::new(&lab.front)?;
        std::fs::write(desk.policy(), self.policy()).context("cannot write the policy")?;
        if self.does != Does::Nothing {
            desk.run("apply")?;
        }
        let flood = Flood {
            frames: u64::MAX,
            seconds: 600.0,
            rate: Some(FORGED),
            ..Flood::new((FRONT_V4, 80).into(), Sources::Random)
        };
        let flood = self.flood.then(|| flood.spawn(&lab)).transpose()?;
        let mut phases = Vec::new();
        for (phase, seconds) in PHASES.iter().enumerate() {
            let until = Instant::now() + Duration::from_secs(*seconds);
            if phase == 1
                && let Some(command) = self.does.command()
            {
                desk.run(command)?;
            }
            phases.push(self.come(&lab, *seconds as f64)?);
            sleep(until.saturating_duration_since(Instant::now()));
        }
        let reports: Vec<[PageReport; 2]> = phases
            .into_iter()
            .map(|[crowd, regulars]| Ok([crowd.wait()?, regulars.wait()?]))
            .collect::<Result<_>>()?;
        if let Some(flood) = flood {
            flood.stop()?;
        }
        let rate = |phase: usize| reports[phase][0].ok as f64 / PHASES[phase] as f64;
        Ok(Fared {
            cell: self,
            pages_per_second: [rate(1), rate(3)],
            regulars: [reports[1][1].share(), reports[3][1].share()],
        })
    }

    /// The crowd and the regulars, for so many seconds.
    fn come(self, lab: &Lab, seconds: f64) -> Result<[CrowdHandle; 2]> {
        let mut crowd = lab.clients_v4();
        let regulars = crowd.split_off(crowd.len() - REGULARS as usize);
        let target = (FRONT_V4, 80).into();
        let crowd = Crowd {
            pages_per_second: f64::from(self.load) * CAPACITY,
            connections_per_page: CONNECTIONS,
            seconds,
            timeout: PATIENCE[0],
            ..Crowd::new(target, crowd)
        };
        let regulars = Crowd {
            pages_per_second: REGULAR_PAGES,
            seconds,
            timeout: PATIENCE[1],
            ..Crowd::new(target, regulars)
        };
        Ok([crowd.spawn(lab)?, regulars.spawn(lab)?])
    }
}

fn line(Fared { cell, pages_per_second: [first, later], regulars }: &Fared) -> String {
    let percent = regulars.map(|share| 100.0 * share);
    format!(
        "{:>3}x  {:<8}{:<8}{:<18}{first:>6.1}{later:>6.1}{:>8.0}%{:>5.0}%",
        cell.load,
        if cell.cookies { "cookies" } else { "" },
        if cell.flood { "flooded" } else { "" },
        cell.does.command().unwrap_or("nothing"),
        percent[0],
        percent[1],
    )
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "A server of {CAPACITY} pages a second ({CONNECTIONS} connections each) behind the sample policy with a\n\
         budget of {BUDGET}. After ten seconds the operator types the command. Whole pages a second of the\n\
         crowd, and pages in time of {REGULARS} regulars, in the 20 s after it and from 30 s on.\n\n\
         load                  command            pages: first later  regulars: first later\n"
    );
    for one in &report.cells {
        let _ = writeln!(text, "{}", line(one));
    }
    let _ = writeln!(text, "\nFlooded: {FORGED} SYN/s from forged addresses beside the crowd.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_policy_is_filled_in() {
        let cell = Cell { load: 1, cookies: true, flood: false, does: Does::Arm };
        let policy = cell.policy();
        for (_, to) in FILLED_IN.iter().chain(&CHALLENGED) {
            assert!(policy.contains(&format!("\n{to}")), "{to} is not in the sample any more");
        }
    }
}
