//! One cell: a peer, a flood, and clients, at the same time.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::peer::{Family, Limits, Memory, Peer};
use lab::topology::{ATTACK_DEVICE, FRONT_V4, FRONT_V6, LabOptions};
use lab::{Crowd, Flood, FloodReport, Lab, PageReport, Server, Trivial};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::shape::Shape;

/// The limits of every peer that has any: those of the examples that people copy.
pub const LIMITS: Limits =
    Limits { source: Some((20, 40)), budget: Some((1000, 2000)), entries: None };
/// Pages that the clients begin per second, a connection each.
pub const PAGES_PER_SECOND: f64 = 300.0;
const CLIENTS: u32 = 256;
const MTU: u32 = 1500;
/// Until bursts are spent and queues are full.
const WARM_UP: Duration = Duration::from_millis(300);
/// Until the last frames are through, and what a peer frees in the background is freed.
const SETTLE: Duration = Duration::from_millis(200);

/// How long things take, in seconds.
#[derive(Clone, Copy)]
pub struct Timing {
    /// Clients come.
    pub seconds: f64,
    /// A client waits.
    pub patience: f64,
}

/// The scene.
pub struct Stage {
    lab: Lab,
    timing: Timing,
    /// The CPU that the flood has to itself.
    flood_cpu: usize,
    ksoftirqd: u32,
}

/// What happened in one cell of one round.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// What became of the clients.
    pub pages: PageReport,
    /// Of the flood; none in the calm.
    pub flood: Option<Cost>,
    /// What the peer kept in the end, if it was asked.
    pub memory: Option<Memory>,
}

/// What a flood did to the front end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// SYNs that the front end received, whatever it did with them.
    pub digested: u64,
    /// In so many seconds.
    pub seconds: f64,
    /// CPU nanoseconds for each of them, above a program that drops everything.
    pub ns: f64,
    /// Of these, SYNs that the peer refused or challenged by its own count.
    pub refused: Option<u64>,
}

/// Before anything is taken off.
struct Gross {
    sent: u64,
    digested: u64,
    seconds: f64,
    cpu_ns: f64,
}

impl Stage {
    /// Sets it: this thread, and with it server and clients, leaves the last CPU to the flood.
    pub fn set(timing: Timing) -> Result<Self> {
        let flood_cpu = thread::available_parallelism().map_or(1, usize::from) - 1;
        ensure!(flood_cpu > 0, "one CPU cannot send a flood and serve clients beside it");
        let mut others = CpuSet::new();
        (0..flood_cpu).for_each(|cpu| others.set(cpu));
        sched_setaffinity(None, &others).context("cannot leave the flood's CPU")?;
        let mut lab = Lab::with(LabOptions { mtu: MTU, clients: CLIENTS })?;
        lab.end_answers_at_attacker()?;
        settle_networks(&lab)?;
        Ok(Self { lab, timing, flood_cpu, ksoftirqd: ksoftirqd(flood_cpu)? })
    }

    /// All peers under one flood, one after the other, with the generator's own cost measured before and after them.
    pub fn turn(
        &self,
        peers: &[Peer],
        shape: Shape,
        family: Family,
        weigh: bool,
    ) -> Result<Vec<(Peer, Sample)>> {
        let before = self.generator(shape, family)?;
        let mut samples = Vec::new();
        for peer in peers {
            let what =
                || format!("{} under the flood {shape} over IPv{}", peer.name(), family.number());
            samples.push((*peer, self.cell(*peer, shape, family, weigh).with_context(what)?));
            thread::sleep(SETTLE);
        }
        let generator = (before + self.generator(shape, family)?) / 2.0;
        let mut done = Vec::new();
        for (peer, (mut sample, gross)) in samples {
            if let (Some(cost), Some(gross)) = (&mut sample.flood, gross) {
                cost.ns = (gross.cpu_ns - generator * gross.sent as f64) / gross.digested as f64;
            }
            eprintln!("  {}", describe(peer, &sample));
            done.push((peer, sample));
        }
        Ok(done)
    }

    /// CPU nanoseconds to make a SYN, bring it across, and drop it in the emptiest XDP program.
    fn generator(&self, shape: Shape, family: Family) -> Result<f64> {
        let Some(flood) = self.flood(shape, family, self.timing.seconds) else { return Ok(0.0) };
        let _wall = Trivial::Empty.attach(&self.lab.front, ATTACK_DEVICE)?;
        let Gross { sent, digested, cpu_ns, .. } = self.watch(|| flood.run(&self.lab))?;
        ensure!(digested * 100 > sent * 98, "an empty program received {digested} of {sent} SYNs");
        Ok(cpu_ns / sent as f64)
    }

    fn cell(
        &self,
        peer: Peer,
        shape: Shape,
        family: Family,
        weigh: bool,
    ) -> Result<(Sample, Option<Gross>)> {
        // Clients that the kernel has met are spared when a queue is full: here nobody knows them.
        self.lab.front.ip(&["tcp_metrics", "flush", "all"])?;
        // A listener of its own: half-open connections of the last cell go with theirs.
        let _server = Server::start(&self.lab)?;
        let in_force = peer.set_up(&self.lab, family, &LIMITS)?;
        let crowd = self.crowd(family);
        let Some(flood) = self.flood(shape, family, 600.0) else {
            return Ok((Sample { pages: self.fetch(&crowd)?, ..Sample::default() }, None));
        };
        let mut pages = PageReport::default();
        let gross = self.watch(|| {
            let flooding = flood.spawn(&self.lab)?;
            thread::sleep(WARM_UP);
            pages = self.fetch(&crowd)?;
            flooding.stop()
        })?;
        // After the flood: a program that is asked while it works would be measured being asked.
        let refused = in_force.refused()?;
        let memory = if weigh { Some(in_force.memory()?) } else { None };
        let cost = Cost { digested: gross.digested, seconds: gross.seconds, ns: f64::NAN, refused };
        Ok((Sample { pages, flood: Some(cost), memory }, Some(gross)))
    }

    /// Who never connected counts as long as it waited: else those who connect at once among many who never do look well served.
    fn fetch(&self, crowd: &Crowd) -> Result<PageReport> {
        let mut pages = crowd.run(&self.lab)?;
        pages.connect_ms.resize(pages.tried as usize, self.timing.patience * 1e3);
        Ok(pages)
    }

    /// What a flood cost until its last frame was through.
    fn watch(&self, work: impl FnOnce() -> Result<FloodReport>) -> Result<Gross> {
        let (frames, softirqs) = (self.received()?, cpu_time(self.ksoftirqd)?);
        let report = work()?;
        thread::sleep(Duration::from_millis(20));
        let softirqs = cpu_time(self.ksoftirqd)? - softirqs;
        Ok(Gross {
            sent: report.sent,
            digested: self.received()? - frames,
            seconds: report.elapsed.as_secs_f64(),
            cpu_ns: report.cpu.as_secs_f64() * 1e9 + softirqs,
        })
    }

    fn flood(&self, shape: Shape, family: Family, seconds: f64) -> Option<Flood> {
        let target = (front(family), 80).into();
        let sources = shape.sources(family)?;
        Some(Flood {
            frames: u64::MAX,
            seconds,
            cpu: Some(self.flood_cpu),
            ..Flood::new(target, sources)
        })
    }

    fn crowd(&self, family: Family) -> Crowd {
        let addresses = match family {
            Family::V4 => self.lab.clients_v4(),
            Family::V6 => networks().collect(),
        };
        Crowd {
            pages_per_second: PAGES_PER_SECOND,
            seconds: self.timing.seconds,
            timeout: Duration::from_secs_f64(self.timing.patience),
            ..Crowd::new((front(family), 80).into(), addresses)
        }
    }

    /// Frames that the front end's device took from the attacker. What its ring had no room for is not among them.
    fn received(&self) -> Result<u64> {
        let path = "/proc/thread-self/net/dev";
        let text =
            self.lab.front.run(|| fs::read_to_string(path).context("no statistics of devices"))?;
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(ATTACK_DEVICE)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .with_context(|| format!("{path} has no packets of {ATTACK_DEVICE}"))
    }
}

/// Clients of IPv6, each in a /64 of its own: the lab's own clients share one, and would be one source.
fn networks() -> impl Iterator<Item = IpAddr> {
    (1..=CLIENTS as u16).map(|number| Ipv6Addr::new(0xfd79, 0, 0, number, 0, 0, 0, 1).into())
}

fn settle_networks(lab: &Lab) -> Result<()> {
    let lines: String =
        networks().map(|client| format!("address add {client}/128 dev lo nodad\n")).collect();
    lab.crowd.ip_batch(&lines)?;
    lab.front.ip_batch("route add fd79::/48 via fd77:1::2\n")
}

fn front(family: Family) -> IpAddr {
    match family {
        Family::V4 => FRONT_V4,
        Family::V6 => FRONT_V6,
    }
}

/// The pid of a CPU's softirq thread, which takes over when softirqs come too thick for the thread that they interrupt.
fn ksoftirqd(cpu: usize) -> Result<u32> {
    let name = format!("ksoftirqd/{cpu}\n");
    let pids = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut named = pids.filter(|pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == name)
    });
    named.next().with_context(|| format!("there is no thread {}", name.trim()))
}

/// CPU time of a thread, in nanoseconds.
fn cpu_time(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("{path} is empty"))
}

fn describe(peer: Peer, sample: &Sample) -> String {
    let PageReport { tried, ok, .. } = sample.pages;
    let (p50, p99) = (sample.pages.connect_p50(), sample.pages.connect_p99());
    let pages = format!("{ok} of {tried} pages, connect {p50:.2}/{p99:.2} ms");
    let flood = sample.flood.map_or_else(String::new, |cost| {
        let rate = cost.digested as f64 / cost.seconds / 1e6;
        let refused =
            cost.refused.map_or_else(String::new, |refused| format!(", {refused} refused"));
        format!("{:.0} ns/SYN, {rate:.2} M/s{refused}; ", cost.ns)
    });
    format!("{:<18} {flood}{pages}", peer.name())
}

/// What the figures were measured on and how.
pub fn conditions(stage: &Stage, rounds: u64) -> Result<String> {
    let kernel = rustix::system::uname();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let Timing { seconds, patience } = stage.timing;
    Ok(format!(
        "Linux {}, {}, {} CPUs, veth with native XDP, MTU {MTU}; medians of {rounds} round(s), clients come for\n\
         {seconds} s a cell. Limits: 20/s burst 40 a source, 1000/s burst 2000 in all; 262,144 places where a set\n\
         has a size. CPU {} sends at its full speed and receives too (a veth's softirq runs where the sender\n\
         does); server and clients, {PAGES_PER_SECOND} pages/s from {CLIENTS} addresses, {patience} s patience, have the rest. CPU ns\n\
         are those of the sending thread and its CPU's ksoftirqd, less the same flood against an empty XDP\n\
         program. Answers are dropped at the attacker's device. Who never connects counts with its patience.\n\
         `nothing` has tcp_syncookies=1 too, so that the difference of the two rows is the noise.\n",
        kernel.release().to_string_lossy(),
        model.trim_start_matches([':', '\t', ' ']),
        stage.flood_cpu + 1,
        stage.flood_cpu,
    ))
}
