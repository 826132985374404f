//! The scene: pupils, the school's server, an operator at a desk, and an attacker who forges
//! addresses.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::topology::FRONT_V4;
use lab::wait::until_so;
use lab::{Desk, Flood, Lab, People, Person, Server, ServerOptions, Sources, Workers};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::live;

/// Pupils, each with an address of their own: twelve classes of twenty.
pub const PUPILS: usize = 240;
/// Pages that a pupil wants.
pub const VISIT: u64 = 3;
/// Connections of a page.
pub const CONNECTIONS: u32 = 6;
/// Pages that the server takes in a second.
pub const CAPACITY: u64 = 10;
/// Its workers, and how long one works for a connection: together [`CAPACITY`] pages.
const WORKERS: Workers = Workers { count: 12, time: Duration::from_millis(200) };
/// Connections that may wait at the server. A longer queue would only make them wait longer.
const BACKLOG: u32 = 128;
/// Forged SYNs in a second.
pub const FORGED: u64 = 20_000;

/// How long nobody comes before an act, so that the record tells calm from surge.
const CALM: Duration = Duration::from_secs(4);

/// What the operator has written before.
const POLICY: &str = r#"interfaces = ["crowd0", "attack0"]
mode = "enforce"
set_syncookies = true

[service.school]
listen = ["*:80"]
budget = "54/s"         # nine tenths of what the server takes: ten pages of six connections
budget_burst = 54
challenge = "auto"      # addresses prove that they are there when the budget is short
refuse = "room"         # a pupil who has to wait sees a page that says so
"#;

/// Where `limiter record` is until it ends.
const RECORDED: &str = "morning.partial";

/// What happens in an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing is between the pupils and the server.
    Alone,
    /// limiter is.
    Limited,
    /// It is, and forged SYNs come too.
    Attacked,
}

/// An act as it went.
pub struct Played {
    /// Which one.
    pub act: Act,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What each pupil saw.
    pub pupils: Vec<Person>,
    /// Forged SYNs.
    pub forged: u64,
    /// What `limiter report` says of it: what happened, and what it was.
    pub report: Vec<String>,
}

impl Act {
    /// In their order.
    pub const ALL: [Self; 3] = [Self::Alone, Self::Limited, Self::Attacked];

    /// For the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "without limiter",
            Self::Limited => "with limiter",
            Self::Attacked => "with limiter, flooded",
        }
    }

    /// What the play says of it.
    pub fn title(self) -> String {
        match self {
            Self::Alone => "Act 1: the server alone. They all come at once.".to_owned(),
            Self::Limited => "Act 2: the same morning, with limiter before the server.".to_owned(),
            Self::Attacked => {
                format!("Act 3: the same, and {FORGED} SYN/s from forged addresses on top.")
            }
        }
    }
}

/// The scene.
pub struct Stage {
    // Before the lab, in whose namespaces they are.
    server: Server,
    desk: Desk,
    lab: Lab,
    lasts: Duration,
}

impl Stage {
    /// Sets it, for an act of so many seconds.
    ///
    /// # Errors
    /// When something of it is missing.
    pub fn set(seconds: u64) -> Result<Self> {
        let lab = Lab::new()?;
        let listen = vec![(FRONT_V4, 80).into()];
        let options = ServerOptions { listen, backlog: BACKLOG, workers: Some(WORKERS) };
        let server = Server::with(&lab, options)?;
        let desk = Desk::new(&lab.front)?;
        Ok(Self { server, desk, lab, lasts: Duration::from_secs(seconds) })
    }

    /// Plays an act: the pupils come, and all leave when it ends.
    ///
    /// # Errors
    /// When a command fails, or the pupils cannot come.
    pub fn play(self, act: Act) -> Result<Played> {
        let commands = if act == Act::Alone { None } else { Some(self.raise(act)?) };
        let mut addresses = self.lab.clients_v4();
        addresses.truncate(PUPILS);
        let people = People {
            target: (FRONT_V4, 80).into(),
            addresses,
            arrival: Duration::from_secs(4),
            ends: self.lasts,
            visit: VISIT,
            connections_per_page: CONNECTIONS,
            patience: Duration::from_secs(5),
            reading: Duration::from_secs(2),
        };
        let flood = Flood {
            frames: u64::MAX,
            seconds: self.lasts.as_secs_f64() + 10.0,
            rate: Some(FORGED),
            ..Flood::new((FRONT_V4, 80).into(), Sources::Random)
        };
        let flood = if act == Act::Attacked { Some(flood.spawn(&self.lab)?) } else { None };
        let begun = Instant::now();
        let there = people.spawn(&self.lab)?;
        // Where there is a terminal the operator's own view is shown.
        let is_watched = commands.is_some() && std::io::stdout().is_terminal();
        let watch = if is_watched {
            Some(Running::start(&self.desk, "watch --window 1m", true)?)
        } else {
            None
        };
        live::show(there.tally(), self.lasts, !is_watched);
        let pupils = there.wait()?;
        let seconds = begun.elapsed().as_secs_f64();
        drop(watch);
        let forged = flood.map(lab::FloodHandle::stop).transpose()?.map_or(0, |flood| flood.sent);
        let report = commands.map(|commands| self.tell(act, commands)).transpose()?;
        // The server is the last to know.
        drop(self.server);
        Ok(Played { act, seconds, pupils, forged, report: report.unwrap_or_default() })
    }

    /// The operator types what the policy needs; what runs until the end.
    fn raise(&self, act: Act) -> Result<[Running; 2]> {
        let shows = act == Act::Limited;
        std::fs::write(self.desk.policy(), POLICY).context("cannot write the policy")?;
        let said = self.desk.run("apply")?;
        if shows {
            eprintln!("# cat policy.toml");
            POLICY.lines().for_each(|line| eprintln!("    {line}"));
            eprintln!("# limiter apply");
            said.lines().for_each(|line| eprintln!("    {line}"));
        }
        let commands = ["room --http 80 --user nobody", "record --output morning.tar.gz"];
        let [room, record] = commands.map(|line| {
            if shows {
                eprintln!("# limiter {line}");
            }
            Running::start(&self.desk, line, false)
        });
        until_so("the room opens", || {
            self.desk.run("status --quick").is_ok_and(|status| status.contains("open for port"))
        });
        until_so("the record begins", || self.desk.file(RECORDED).exists());
        std::thread::sleep(CALM);
        Ok([room?, record?])
    }

    /// Ends what runs beside the act, and asks limiter what it was.
    fn tell(&self, act: Act, [room, record]: [Running; 2]) -> Result<Vec<String>> {
        drop(room);
        drop(record);
        let page = page(act)?;
        self.desk.run(&format!("report morning.tar.gz --output {}", page.display()))?;
        let report: Value = serde_json::from_str(&self.desk.run("report morning.tar.gz --json")?)?;
        let summary = report["summary"].as_array().context("the report has a summary")?;
        eprintln!("the report of it, with plots: {}", page.display());
        Ok(summary.iter().take(2).filter_map(Value::as_str).map(str::to_owned).collect())
    }
}

/// A command beside an act. When dropped it is asked to end, and has ended.
struct Running(Child);

impl Running {
    fn start(desk: &Desk, line: &str, is_seen: bool) -> Result<Self> {
        let mut command = desk.command(line);
        if !is_seen {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        Ok(Self(command.spawn().with_context(|| format!("cannot run `limiter {line}`"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or is to.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Where an act's page goes: beside what cargo builds.
fn page(act: Act) -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program has no path")?;
    let directory =
        program.parent().and_then(Path::parent).context("this program has no target")?;
    let name = if act == Act::Limited { "demo-crowd.html" } else { "demo-flood.html" };
    Ok(directory.join(name))
}
