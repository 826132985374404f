//! A drill: an incident happens to a front end, and whoever sits at its shell finds out which, and
//! what to do.

use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use lab::topology::FRONT_V4;
use lab::{Crowd, Desk, Flood, Lab, LabOptions, Server, ServerOptions, Sources, Workers};
use limiter::history::{Entry, State, Totals, Who};

/// The server: sixty connections a second, and one that has become slow.
const WELL: Workers = Workers { count: 12, time: Duration::from_millis(200) };
const SLOW: Workers = Workers { count: 12, time: Duration::from_secs(3) };
const BACKLOG: u32 = 128;
/// Those who were there before: they want so many pages of one connection a second, and wait two
/// seconds for each.
const REGULARS: usize = 40;
const WANTED: f64 = 10.0;
const PATIENCE: Duration = Duration::from_secs(2);
/// The others wait longer.
const LONGER: Duration = Duration::from_secs(5);
/// How long nothing happens first, and how often it is noted what users have.
const CALM: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_secs(5);
/// Longest time that a drill goes on.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// What the sample policy says in comments, and what the operator has made of it.
const FILLED_IN: (&str, &str) =
    ("# interfaces = [\"eth0\", \"eth1\"]", "interfaces = [\"crowd0\", \"attack0\"]");
const SAMPLE: &str = include_str!("../../../../packaging/policy.toml");

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Incident {
    /// One of the others, which is not said before the end.
    Any,
    /// Four times as many people as the server can serve.
    Crowd,
    /// Five machines that come far too often.
    Heavy,
    /// Six hundred machines, each at the pace of a person, that ask for one page again and again.
    Botnet,
    /// SYNs from forged addresses.
    Spoofed,
    /// A crowd, and forged addresses beside it.
    Both,
    /// A server that has become slow.
    Slow,
    /// A server that has gone.
    Dead,
    /// A colleague has set a budget that is far too small.
    Own,
    /// A colleague has detached limiter from the interface that a crowd comes over.
    Gone,
    /// Nothing at all.
    Calm,
}

impl Incident {
    /// What it was, for the end.
    const fn told(self) -> &'static str {
        match self {
            Self::Any | Self::Calm => "nothing: as many came as usual, and all were served",
            Self::Crowd => {
                "a crowd: 40 pages a second of six connections, where the server takes 10"
            }
            Self::Heavy => "five sources, 200 connections a second together",
            Self::Botnet => "a botnet: 600 machines, 150 connections a second together",
            Self::Spoofed => "a flood of 25,000 SYN/s from forged addresses",
            Self::Both => "a crowd of 40 pages a second beside 25,000 SYN/s from forged addresses",
            Self::Slow => "a slow server: four connections a second, where it took 60",
            Self::Dead => "a server that was down",
            Self::Own => "our own limit: a colleague had set a budget of 2/s, and armed",
            Self::Gone => "limiter was detached from crowd0, over which a crowd came",
        }
    }

    /// The one that is meant.
    fn drawn(self) -> Self {
        let all: Vec<Self> = Self::value_variants().iter().copied().skip(1).collect();
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos() as usize;
        if self == Self::Any { all[now / 1000 % all.len()] } else { self }
    }

    /// What colleagues have typed.
    const fn typed(self) -> &'static [&'static str] {
        match self {
            Self::Own => &["arm", "set --service web --budget 2/s"],
            Self::Gone => &["detach crowd0"],
            _ => &[],
        }
    }

    /// Whether those who come are people.
    const fn is_crowd(self) -> bool {
        matches!(self, Self::Crowd | Self::Both | Self::Gone)
    }

    /// Whom it brings beside the regulars, of these addresses, in the round with this number.
    fn brings(self, addresses: &[IpAddr], round: usize) -> Option<Crowd> {
        let (machines, pages_per_second, connections_per_page) = match self {
            Self::Crowd | Self::Both | Self::Gone => (400, 40.0, 6),
            Self::Heavy => (5, 200.0, 1),
            Self::Botnet => (600, 150.0, 1),
            _ => return None,
        };
        let seconds = EVERY.as_secs_f64();
        let mut addresses = addresses[..machines].to_vec();
        if self.is_crowd() {
            fastrand::shuffle(&mut addresses);
        } else {
            // Each keeps its pace.
            addresses.rotate_left((pages_per_second * seconds) as usize * round % machines);
        }
        let crowd = Crowd::new((FRONT_V4, 80).into(), addresses);
        Some(Crowd { pages_per_second, connections_per_page, seconds, timeout: LONGER, ..crowd })
    }
}

/// Stages it, and gives the operator a shell until that is left.
///
/// # Errors
/// When something of the scene is missing.
pub fn run(incident: Incident) -> Result<()> {
    let incident = incident.drawn();
    let lab = Lab::with(LabOptions { clients: 1000, ..LabOptions::default() })?;
    let server = |workers| {
        let listen = vec![(FRONT_V4, 80).into()];
        Server::with(&lab, ServerOptions { listen, backlog: BACKLOG, workers: Some(workers) })
    };
    let well = server(WELL)?;
    let desk = Desk::new(&lab.front)?;
    let (from, to) = FILLED_IN;
    std::fs::write(desk.policy(), SAMPLE.replacen(from, to, 1)).context("cannot write a policy")?;
    write_history(&desk)?;
    desk.run("apply")?;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let users = scope.spawn(|| users(&lab, &desk, incident, &ends));
        let _ends = Ends(&ends);
        eprintln!("A front end, limiter in observe mode. Users begin to complain in {CALM:?}.");
        sleep(CALM);
        let _server = match incident {
            Incident::Slow | Incident::Dead => {
                drop(well);
                (incident == Incident::Slow).then(|| server(SLOW)).transpose()?
            }
            _ => Some(well),
        };
        incident.typed().iter().try_for_each(|line| desk.run(line).map(drop))?;
        let forged = matches!(incident, Incident::Spoofed | Incident::Both).then(|| {
            let flood = Flood::new((FRONT_V4, 80).into(), Sources::Random);
            let seconds = LONGEST.as_secs_f64();
            Flood { frames: u64::MAX, seconds, rate: Some(25_000), ..flood }.spawn(&lab)
        });
        let _forged = forged.transpose()?;
        eprintln!(
            "\nUsers complain. This is the front end's shell: `limiter status`, `tail users` (what \
             users\nhave), the policy is in {}. `exit` ends the drill, and says what it was.\n",
            desk.policy().display()
        );
        let begun = Instant::now();
        shell(&desk)?;
        ends.store(true, Ordering::Relaxed);
        users.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        println!("\nIt was {}.\n{}", incident.told(), told(&desk)?);
        println!("The drill took {:.0} s.", begun.elapsed().as_secs_f64());
        Ok(())
    })
}

/// Ends what comes, also where the drill fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A shell in front of which `limiter` is found.
fn shell(desk: &Desk) -> Result<()> {
    let limiter = lab::desk::limiter()?;
    let directory = limiter.parent().unwrap_or(&limiter).as_os_str().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = [directory, ":".into(), path].into_iter().collect::<std::ffi::OsString>();
    let mut shell = desk.program("bash");
    let shell = shell.args(["--norc", "--noprofile"]).env("PATH", path).env("PS1", "front# ");
    // How the last command in it ended is nothing to us.
    let _ = shell.status().context("cannot run bash")?;
    Ok(())
}

/// What users have, a line every few seconds, in the desk's file `users`.
fn users(lab: &Lab, desk: &Desk, incident: Incident, ends: &AtomicBool) -> Result<()> {
    let mut addresses = lab.clients_v4();
    let mut regulars = Crowd {
        pages_per_second: WANTED,
        seconds: EVERY.as_secs_f64(),
        timeout: PATIENCE,
        ..Crowd::new((FRONT_V4, 80).into(), addresses.split_off(addresses.len() - REGULARS))
    };
    let mut to = File::create(file(desk)).context("cannot write what users have")?;
    let (begun, mut waiting, mut round) = (Instant::now(), Vec::new(), 0);
    while begun.elapsed() < LONGEST && !ends.load(Ordering::Relaxed) {
        let next = Instant::now() + EVERY;
        let is_on = begun.elapsed() >= CALM;
        let others = is_on.then(|| incident.brings(&addresses, round)).flatten();
        round += 1;
        fastrand::shuffle(&mut regulars.addresses);
        let others = others.map(|crowd| crowd.spawn(lab)).transpose()?;
        waiting.push((SystemTime::now(), regulars.spawn(lab)?, others));
        sleep(next.saturating_duration_since(Instant::now()));
        // All pages of the round before have come, or were given up.
        if waiting.len() > 2 {
            let (at, regulars, others) = waiting.remove(0);
            let report = regulars.wait()?;
            let crowd = others.map(|others| others.wait().map(|report| report.ok)).transpose()?;
            let is_crowd = matches!(incident, Incident::Crowd | Incident::Both | Incident::Gone);
            let crowd = crowd.filter(|_| is_crowd).map_or_else(String::new, |pages| {
                format!("; newcomers: {:.1} whole pages/s", pages as f64 / EVERY.as_secs_f64())
            });
            let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let clock = [at / 3600 % 24, at / 60 % 60, at % 60];
            let [hours, minutes, seconds] = clock;
            writeln!(
                to,
                "{hours:02}:{minutes:02}:{seconds:02} users: {} of {} pages in time{crowd}",
                report.ok, report.tried
            )?;
        }
    }
    Ok(())
}

fn file(desk: &Desk) -> PathBuf {
    desk.file("users")
}

/// What users had from beginning to end, in one line.
fn told(desk: &Desk) -> Result<String> {
    let text = std::fs::read_to_string(file(desk)).context("cannot read what users had")?;
    let had = text.lines().filter_map(|line| line.split_once("users: ")?.1.split(' ').next());
    let had: Vec<&str> = had.collect();
    let all = EVERY.as_secs_f64() * WANTED;
    Ok(format!("Pages that users had in time, of {all} each {EVERY:?}: {}.", had.join(" ")))
}

/// limiter has been here since yesterday, and as many came as now.
fn write_history(desk: &Desk) -> Result<()> {
    let now = UNIX_EPOCH.elapsed().context("the clock is before 1970")?;
    let state = |mode: &str| Some(State { mode: mode.to_owned(), profile: None });
    let entry = |hours_ago: u64, before, after, attempts| -> Result<String> {
        let time = now.saturating_sub(Duration::from_secs(hours_ago * 3600));
        let entry = Entry {
            time: (UNIX_EPOCH + time).into(),
            who: Who::default(),
            command: vec!["apply".to_owned()],
            changed: Vec::new(),
            before,
            after,
            goes_back_at: None,
            decides: Vec::new(),
            counters: Some(Totals { attempts, admitted: attempts, refused: 0 }),
        };
        Ok(serde_json::to_string(&entry)? + "\n")
    };
    let day = (23.0 * 3600.0 * WANTED) as u64;
    let first = entry(24, None, state("observe"), 0)?;
    let last = entry(1, state("observe"), None, day)?;
    std::fs::write(desk.history(), first + &last).context("cannot write a history")
}
