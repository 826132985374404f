//! What arming does for people: a crowd of real TCP clients at one to ten times of what a server
//! can serve, with and without a flood from forged addresses and the kernel's cookies, and what an
//! operator does ten seconds after it began to come.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use lab::topology::{FRONT_V4, LabOptions};
use lab::{
    Crowd, CrowdHandle, Desk, Flood, Lab, Nginx, PageReport, Server, ServerOptions, Sources,
    Workers,
};
use serde::{Deserialize, Serialize};

use super::output::Output;

/// What is staged.
#[derive(Args)]
pub struct Arguments {
    /// Loads, in times of what the server can serve.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,10")]
    loads: Vec<u32>,
    /// What is beside the crowd. Cookies: the policy lets limiter set `net.ipv4.tcp_syncookies`
    /// to 2, and `challenge = "auto"`.
    #[arg(long, value_delimiter = ',', default_value = "nothing,cookies,flood,both")]
    beside: Vec<Beside>,
    /// What the operator does.
    #[arg(long, value_delimiter = ',', default_value = "nothing,arm,guard,siege")]
    does: Vec<Does>,
    /// Stage an nginx before the server, whose accept queue never fills.
    #[arg(long)]
    nginx: bool,
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
/// Where the server listens behind an nginx, and what that does.
const BEHIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const PROXY: &str = "keepalive_timeout 0; server { listen 80 backlog=128; \
                     location / { proxy_pass http://127.0.0.1:8080; } }";
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
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Does {
    Nothing,
    Arm,
    Guard,
    Siege,
}

impl Does {
    /// In a table.
    const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Arm => "`arm`",
            Self::Guard => "guard",
            Self::Siege => "siege",
        }
    }

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
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Cell {
    load: u32,
    cookies: bool,
    flood: bool,
    does: Does,
}

/// What came of it, in the twenty seconds after the command and in those from 30 s on.
#[derive(Clone, Serialize, Deserialize)]
struct Fared {
    #[serde(flatten)]
    cell: Cell,
    /// Whole pages of the crowd a second.
    pages_per_second: [f64; 2],
    /// Of the pages of the regulars, how many came in time.
    regulars: [f64; 2],
}

#[derive(Serialize, Deserialize)]
struct Report {
    /// Whether an nginx was before the server.
    nginx: bool,
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
            let fared = cell.stage(arguments.nginx)?;
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
    done.sort_by_key(|one| (one.cell.row(), one.cell.does as u8));
    let report = Report {
        nginx: arguments.nginx,
        capacity_pages_per_second: CAPACITY,
        budget_pages_per_second: BUDGET,
        forged_per_second: FORGED,
        cells: done,
    };
    arguments.output.give("crowd", &report, &text(&report), &[])
}

impl Cell {
    /// All of it but what the operator does.
    const fn row(self) -> (u32, bool, bool) {
        (self.load, self.cookies, self.flood)
    }

    const fn beside(self) -> &'static str {
        match (self.cookies, self.flood) {
            (false, false) => "",
            (false, true) => "flood",
            (true, false) => "cookies",
            (true, true) => "cookies, flood",
        }
    }

    fn policy(self) -> String {
        let filled = FILLED_IN.iter().chain(CHALLENGED.iter().filter(|_| self.cookies));
        filled.fold(SAMPLE.to_owned(), |policy, (from, to)| policy.replacen(from, to, 1))
    }

    fn stage(self, nginx: bool) -> Result<Fared> {
        let people = self.load * CAPACITY as u32 * EVERY;
        let options = LabOptions { clients: REGULARS + people, ..LabOptions::default() };
        let lab = Lab::with(options)?;
        let listen = vec![if nginx { BEHIND } else { (FRONT_V4, 80).into() }];
        let options = ServerOptions { listen, backlog: BACKLOG, workers: Some(WORKERS) };
        let _server = Server::with(&lab, options)?;
        let before = || Nginx::start(&lab.front, 1, 1, |_| PROXY.to_owned());
        let _nginx = nginx.then(before).transpose()?;
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

/// For who waits.
fn line(Fared { cell, pages_per_second, regulars }: &Fared) -> String {
    format!(
        "{}x {} {}: {}, regulars {}",
        cell.load,
        cell.beside(),
        cell.does.word(),
        pages(*pages_per_second),
        percent(*regulars)
    )
}

/// Pages a second, of both times.
fn pages([first, later]: [f64; 2]) -> String {
    format!("{first:.1}, {later:.1}")
}

fn percent(shares: [f64; 2]) -> String {
    let [first, later] = shares.map(|share| 100.0 * share);
    format!("{first:.0}%, {later:.0}%")
}

fn text(report: &Report) -> String {
    let Report {
        nginx,
        capacity_pages_per_second,
        budget_pages_per_second,
        forged_per_second,
        cells,
    } = report;
    let nginx = if *nginx { "An nginx, and behind it a" } else { "A" };
    let mut text = format!(
        "{nginx} server of {capacity_pages_per_second} pages a second ({CONNECTIONS} connections each) behind the sample policy with a\n\
         budget of {budget_pages_per_second}. After ten seconds the operator types the command. Whole pages a second of the\n\
         crowd, and pages in time of {REGULARS} regulars, in the 20 s after it and from 30 s on. Flood:\n\
         {forged_per_second} SYN/s from forged addresses beside the crowd.\n\n"
    );
    let mut does: Vec<Does> = cells.iter().map(|one| one.cell.does).collect();
    does.sort_by_key(|does| *does as u8);
    does.dedup();
    let words = does.iter().map(|does| does.word()).collect::<Vec<_>>().join(" | ");
    let _ = writeln!(text, "| load | beside it | {words} | regulars: {words} |");
    let _ = writeln!(text, "|{}", " --- |".repeat(2 + 2 * does.len()));
    for row in cells.chunk_by(|one, next| one.cell.row() == next.cell.row()) {
        let Some(first) = row.first() else { continue };
        let column = |what: &dyn Fn(&Fared) -> String| {
            let of = |does: &Does| row.iter().find(|one| one.cell.does == *does);
            let all = does.iter().map(|does| of(does).map_or_else(String::new, what));
            all.collect::<Vec<_>>().join(" | ")
        };
        let _ = writeln!(
            text,
            "| {}x | {} | {} | {} |",
            first.cell.load,
            first.cell.beside(),
            column(&|one| pages(one.pages_per_second)),
            column(&|one| percent(one.regulars))
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = include_str!("../../../docs/bench/crowd.json");
    const TEXT: &str = include_str!("../../../docs/bench/crowd.txt");
    const PAGE: &str = include_str!("../../../docs/performance.md");

    /// Whoever edits a figure is told so here.
    #[test]
    fn the_page_says_what_was_measured() {
        let report: Report = serde_json::from_str(JSON).expect("what `--keep` wrote");
        assert_eq!(text(&report), TEXT);
        let (_, table) = TEXT.split_once("\n\n").expect("a table behind an empty line");
        assert!(PAGE.contains(table), "not the table of docs/bench/crowd.txt");
    }

    #[test]
    fn the_sample_policy_is_filled_in() {
        let cell = Cell { load: 1, cookies: true, flood: false, does: Does::Arm };
        let policy = cell.policy();
        for (_, to) in FILLED_IN.iter().chain(&CHALLENGED) {
            assert!(policy.contains(&format!("\n{to}")), "{to} is not in the sample any more");
        }
    }
}
