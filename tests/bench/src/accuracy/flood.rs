//! The cells that are measured: real floods at the real programs. What a peer lets through is counted behind it, by a rule that is none of
//! its own and drops it: a listener would make the flood a tenth as strong.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::peer::{Family, Limits, Peer};
use lab::topology::{ATTACK_DEVICE, FRONT_V4};
use lab::{Flood, Lab, Sources};
use limiter_common::rate::{Limit, Rate};

use super::cell::{EACH, EIGHTHS, How, Kind, Load, PLACES, Row, bursts};
use super::simulate::LOADS;
use super::simulation::Skew;

/// One tick of the coarse clock, at its coarsest, in seconds.
const TICK: f64 = 0.01;
/// Attempts per second that the second CPU sends of a 90/10 load; the first sends what it can.
const TENTH: u64 = 100_000;
/// Until the last frames are through.
const SETTLE: Duration = Duration::from_millis(20);
/// The budget of many sources.
const ALL_OF_THEM: (u64, u64) = (1000, 2000);
const TABLE: &str = "lab_sink";

/// The scene.
pub struct Stage {
    lab: Lab,
    seconds: f64,
}

/// What is set up and what comes.
struct Scene {
    limits: Limits,
    sources: Sources,
    load: Load,
}

impl Stage {
    /// Sets it.
    pub fn set(seconds: f64) -> Result<Self> {
        ensure!(seconds > 0.0, "a flood takes time");
        ensure!(
            std::thread::available_parallelism().map_or(1, usize::from) > 1,
            "skew takes two CPUs"
        );
        Ok(Self { lab: Lab::new()?, seconds })
    }

    /// A budget and a source limit at every rate, with both bursts, on one CPU and on two.
    pub fn rates(&self, peer: Peer, rates: &[u64]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for kind in [Kind::Budget, Kind::Source] {
            eprintln!("{}: {kind:?} ...", peer.name());
            for rate in rates {
                for burst in bursts(*rate) {
                    for load in LOADS.into_iter().filter(|load| load.cpus == 2) {
                        rows.push(self.rate(peer, kind, (*rate, burst), load)?);
                    }
                }
            }
        }
        Ok(rows)
    }

    fn rate(&self, peer: Peer, kind: Kind, allowance: (u64, u64), load: Load) -> Result<Row> {
        let one = Sources::One([11, 0, 0, 1].into());
        let (source, budget, sources) = match kind {
            Kind::Source => (Some(allowance), None, one),
            _ => (None, Some(allowance), Sources::Random),
        };
        let limits = Limits { source, budget, entries: None };
        self.measure(peer, kind, allowance, &Scene { limits, sources, load })
    }

    /// Many sources at a table of [`PLACES`], and, for limiter, at a budget beside it.
    pub fn crowds(&self, peer: Peer) -> Result<Vec<Row>> {
        eprintln!("{}: many sources ...", peer.name());
        let mut rows = Vec::new();
        for eighths in EIGHTHS {
            let sources =
                Sources::Networks { base: [11, 0, 0, 1].into(), count: PLACES / 8 * eighths };
            let limits = Limits { source: Some(EACH), budget: None, entries: Some(PLACES) };
            rows.push(self.measure(
                peer,
                Kind::Sources,
                EACH,
                &Scene { limits, sources, load: LOADS[1] },
            )?);
            let limits = Limits { budget: Some(ALL_OF_THEM), ..limits };
            let load = Scene { limits, sources, load: LOADS[2] };
            rows.push(self.measure(peer, Kind::BudgetOfSources, ALL_OF_THEM, &load)?);
        }
        Ok(rows)
    }

    fn measure(
        &self,
        peer: Peer,
        limited: Kind,
        (rate, burst): (u64, u64),
        load: &Scene,
    ) -> Result<Row> {
        let sources = if let Sources::Networks { count, .. } = load.sources { count } else { 1 };
        let mut row = Row {
            peer: peer.name(),
            limited,
            how: How::Kernel,
            rate,
            burst,
            cpus: load.load.cpus,
            skew: load.load.skew_name(),
            sources,
            places: PLACES,
            seconds: self.seconds,
            attempts: 0,
            admitted: None,
            allowed: 0.0,
            bound: 0.0,
            holds: None,
            steals: None,
            sources_over: None,
            note: None,
        };
        let in_force = match peer.set_up(&self.lab, Family::V4, &load.limits) {
            Ok(in_force) => in_force,
            Err(error) => {
                row.note = Some(error.to_string());
                return Ok(row);
            }
        };
        let sink = Sink::dig(&self.lab, peer)?;
        let (attempts, began, ended) = self.flood(load)?;
        std::thread::sleep(SETTLE);
        let (longest, admitted) = (began.elapsed().as_secs_f64(), sink.count()?);
        row.attempts = attempts;
        row.seconds = ended.duration_since(began).as_secs_f64();
        row.admitted = Some(admitted);
        let times = if limited == Kind::Sources { f64::from(sources) } else { 1.0 };
        row.allowed = (rate as f64 * row.seconds + burst as f64) * times;
        row.bound = bound(limited, rate, burst, longest)? * times;
        row.holds = Some(admitted as f64 <= row.bound);
        drop(in_force);
        Ok(row)
    }

    /// Attempts, and when the first and the last of them came.
    fn flood(&self, Scene { sources, load, .. }: &Scene) -> Result<(u64, Instant, Instant)> {
        let target = (FRONT_V4, 80).into();
        let flood = Flood {
            frames: u64::MAX,
            seconds: self.seconds,
            cpu: Some(0),
            ..Flood::new(target, *sources)
        };
        let second = match load.skew {
            Skew::One => None,
            Skew::Even => Some(Flood { cpu: Some(1), ..flood.clone() }),
            Skew::Ninety => Some(Flood { cpu: Some(1), rate: Some(TENTH), ..flood.clone() }),
        };
        let running = std::iter::once(flood).chain(second).map(|flood| flood.spawn(&self.lab));
        let running = running.collect::<Result<Vec<_>>>()?;
        let reports =
            running.into_iter().map(lab::FloodHandle::wait).collect::<Result<Vec<_>>>()?;
        let began =
            reports.iter().map(|report| report.began).min().context("a load without a flood")?;
        let ended =
            reports.iter().map(|report| report.began + report.elapsed).max().unwrap_or(began);
        Ok((reports.iter().map(|report| report.sent).sum(), began, ended))
    }
}

/// The bound of the design, for everybody: what a peer grants beyond it is not what was asked for.
fn bound(limited: Kind, rate: u64, burst: u64, longest: f64) -> Result<f64> {
    let allowed = |time: f64| rate as f64 * time + burst as f64;
    if matches!(limited, Kind::Source | Kind::Sources) {
        return Ok(allowed(longest + TICK));
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let limit = Limit { rate: Rate::per_second(rate), burst };
    let lease =
        limit.to_budget(cpus).map_err(|error| anyhow::anyhow!("{rate}/s: {error:?}"))?.lease;
    Ok(allowed(longest) + if lease > 1 { (cpus * lease) as f64 } else { 0.0 })
}

/// A rule behind the peer that counts and drops, deleted when dropped.
struct Sink<'a> {
    lab: &'a Lab,
    family: &'static str,
}

impl<'a> Sink<'a> {
    fn dig(lab: &'a Lab, peer: Peer) -> Result<Self> {
        let (family, hook) = match peer {
            Peer::Hashlimit | Peer::NftablesInput => ("ip", "input".to_owned()),
            _ => ("netdev", format!("ingress device \"{ATTACK_DEVICE}\"")),
        };
        let sink = Self { lab, family };
        sink.nft(&format!(
            "table {family} {TABLE} {{ chain in {{ type filter hook {hook} priority 100; tcp flags syn counter drop; }}\n}}"
        ))?;
        Ok(sink)
    }

    fn count(&self) -> Result<u64> {
        let text = self.nft(&format!("list chain {} {TABLE} in", self.family))?;
        let count = text
            .split("counter packets ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        count.context("the rule behind the peer has no counter")
    }

    fn nft(&self, rule: &str) -> Result<String> {
        let mut nft = self.lab.front.command("nft")?;
        let output =
            nft.args(["--terse", rule]).stdin(Stdio::null()).output().context("cannot run nft")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft {rule}: {}", words.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.nft(&format!("delete table {} {TABLE}", self.family)) {
            eprintln!("the table {TABLE} is still there: {error:#}");
        }
    }
}
