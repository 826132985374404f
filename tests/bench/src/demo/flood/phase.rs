//! One part of the demo: a flood and a crowd at the same time, and what was measured meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::topology::FRONT_V4;
use lab::{Crowd, Desk, Flood, Lab, PageReport, Server, Sources, Trivial};
use limiter::kernel::Pins;
use serde_json::Value;

use super::super::super::busy;

/// Pages that the ordinary clients begin per second.
pub const PAGES_PER_SECOND: f64 = 50.0;
/// Addresses of the ordinary clients.
pub const CLIENTS: usize = 250;
/// Sources of the flood.
const FLOODERS: u32 = 64;

/// The scene: namespaces, a web server, and the limiter command.
pub struct Stage {
    lab: Lab,
    _server: Server,
    desk: Desk,
    random: bool,
    /// Length of a part in seconds.
    pub seconds: f64,
    /// CPU seconds that one frame costs to generate.
    generating: f64,
}

/// What happened in one part.
pub struct Phase {
    /// SYNs of the flood.
    pub syn_sent: u64,
    /// Pages of the ordinary clients.
    pub pages: PageReport,
    /// How long the flood went on, in seconds.
    pub elapsed: f64,
    /// CPU seconds of the whole machine, per second.
    busy: f64,
    /// CPU milliseconds per million SYNs, above generating them and above the calm.
    pub cpu_ms_per_million_syn: f64,
    /// What limiter counted in this part, if it was there.
    pub counted: Option<Counted>,
}

/// Attempts of the service, as limiter counted them.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// All of them.
    pub attempts: u64,
    /// Those let in.
    pub admitted: u64,
    /// The rest, by reason, and attempts on the allow list as `allowed`.
    pub refused: BTreeMap<String, u64>,
}

impl Stage {
    /// Sets it, and measures what a frame costs to generate.
    pub fn set(random: bool, seconds: f64) -> Result<Self> {
        let lab = Lab::new()?;
        let server = Server::start(&lab)?;
        let desk = Desk::new(&lab.front)?;
        let mut stage = Self { desk, lab, _server: server, random, seconds, generating: 0.0 };
        let _wall = Trivial::DropAll.attach(&stage.lab.front, "attack0")?;
        let before = busy()?;
        let sent = stage.flood(1.0)?;
        stage.generating = (busy()? - before) / sent as f64;
        Ok(stage)
    }

    /// The clients alone.
    pub fn calm(&self) -> Result<Phase> {
        let (before, start) = (busy()?, Instant::now());
        let pages = self.crowd().run(&self.lab)?;
        let busy = (busy()? - before) / start.elapsed().as_secs_f64();
        Ok(Phase {
            syn_sent: 0,
            pages,
            elapsed: 0.0,
            busy,
            cpu_ms_per_million_syn: f64::NAN,
            counted: None,
        })
    }

    /// The clients and the flood, with `halfway` done in the middle.
    pub fn play(&self, calm: &Phase, halfway: impl FnOnce(&Self) -> Result<()>) -> Result<Phase> {
        let counted = self.counted()?;
        let (before, start) = (busy()?, Instant::now());
        let crowd = self.crowd().spawn(&self.lab)?;
        let floods = self
            .floods(120.0)
            .into_iter()
            .map(|flood| flood.spawn(&self.lab))
            .collect::<Result<Vec<_>>>()?;
        std::thread::sleep(Duration::from_secs_f64(self.seconds / 2.0));
        halfway(self)?;
        // The flood lasts until the last page is there or given up.
        let pages = crowd.wait()?;
        let mut sent = 0;
        for flood in floods {
            sent += flood.stop()?.sent;
        }
        let elapsed = start.elapsed().as_secs_f64();
        let busy = busy()? - before;
        let cost = busy - calm.busy * elapsed - self.generating * sent as f64;
        Ok(Phase {
            syn_sent: sent,
            pages,
            elapsed,
            busy: busy / elapsed,
            cpu_ms_per_million_syn: cost.max(0.0) * 1e3 / (sent as f64 / 1e6),
            counted: self.counted()?.map(|now| now.since(&counted.unwrap_or_default())),
        })
    }

    /// Types a command, and shows what was typed and what it said.
    pub fn type_in(&self, line: &str) -> Result<()> {
        eprintln!("# limiter {line}");
        let said = self.desk.run(line)?;
        said.lines().for_each(|line| eprintln!("{line}"));
        Ok(())
    }

    fn counted(&self) -> Result<Option<Counted>> {
        if !Pins::at(self.desk.pins()).root().exists() {
            return Ok(None);
        }
        let status: Value = serde_json::from_str(&self.desk.run("status --quick --json")?)?;
        let service = &status["services"][0];
        let number = |value: &Value| value.as_u64().context("status has a number here");
        let mut refused = BTreeMap::new();
        for (reason, count) in service["decided"].as_object().context("status has reasons")? {
            if !["not_attempt", "admitted", "asked", "proven", "unanswered"]
                .contains(&reason.as_str())
            {
                refused.insert(reason.clone(), number(count)?);
            }
        }
        let allowed = refused.get("allowed").copied().unwrap_or(0);
        let attempts = number(&service["attempts"])? + allowed;
        Ok(Some(Counted { attempts, admitted: number(&service["admitted"])? + allowed, refused }))
    }

    fn crowd(&self) -> Crowd {
        let mut addresses = self.lab.clients_v4();
        addresses.truncate(CLIENTS);
        Crowd {
            pages_per_second: PAGES_PER_SECOND,
            seconds: self.seconds,
            timeout: Duration::from_secs(5),
            ..Crowd::new((FRONT_V4, 80).into(), addresses)
        }
    }

    /// A flood on every CPU at full speed, for at most `seconds`.
    fn floods(&self, seconds: f64) -> Vec<Flood> {
        let base = [11, 0, 0, 1].into();
        let sources =
            if self.random { Sources::Random } else { Sources::Many { base, count: FLOODERS } };
        let cpus = std::thread::available_parallelism().map_or(1, usize::from).min(2);
        let flood = |cpu| Flood {
            frames: u64::MAX,
            seconds,
            cpu: Some(cpu),
            ..Flood::new((FRONT_V4, 80).into(), sources)
        };
        (0..cpus).map(flood).collect()
    }

    fn flood(&self, seconds: f64) -> Result<u64> {
        let floods = self
            .floods(seconds)
            .into_iter()
            .map(|flood| flood.spawn(&self.lab))
            .collect::<Result<Vec<_>>>()?;
        let mut sent = 0;
        for flood in floods {
            sent += flood.wait()?.sent;
        }
        Ok(sent)
    }
}

impl Counted {
    fn since(mut self, before: &Self) -> Self {
        self.attempts -= before.attempts;
        self.admitted -= before.admitted;
        for (reason, count) in &mut self.refused {
            *count -= before.refused.get(reason).unwrap_or(&0);
        }
        self.refused.retain(|reason, count| *count > 0 && reason != "allowed");
        self
    }
}
