//! `cargo xtask bench`: what limiter costs per packet, above an empty program in the same run.
//!
//! BPF_PROG_TEST_RUN, median of several rounds in which all programs of a case take turns. Beside each case stands the same
//! limiter over an LRU hash, and at the end the floor (one clock read and one random line of the table) and two CPUs against one. What
//! only a service with a challenge meets is in `challenge`, what classes cost in `classes`, what the
//! line costs in `line`, what it costs to ask who is present in `present`, and a share in `share`.

mod challenge;
mod classes;
mod line;
mod present;
mod share;

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use clap::Args;
use lab::programs::COMPARE;
use lab::{Frame, PrivateBpffs};
use limiter::kernel::slots::Origin;
use limiter::kernel::{Maps, object};
use limiter::policy::{Admission, Policy, Service, text};
use limiter::report::Sample;
use limiter_common::names;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::Counters;
use limiter_common::source_table::WAYS;
use limiter_common::switch::Mode;
use serde::Serialize;

use super::output::Output;

/// How much is measured.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    output: Output,
    /// Rounds; each figure is the median over them.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Packets per program and round.
    #[arg(long, default_value_t = 400_000)]
    packets: u32,
}

/// One kind of packet under one policy.
struct Case {
    name: &'static str,
    frame: Vec<u8>,
    /// Suffix of the programs that change the source, or nothing for the shipped program as it is.
    sources: &'static str,
    source: (u64, u64),
    budget: (u64, u64),
    /// A source limit in the shadow.
    shadow: (u64, u64),
    /// What nearly all packets of the case must be counted as, or it measured something else.
    reason: Reason,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    ns: f64,
    ns_spread: f64,
    ns_lru: f64,
    ratio: f64,
    /// Without noting who came: what is above it is the price of `top`, `status` and `suggest`.
    ns_blind: f64,
    /// Million packets a second that one CPU takes, the empty program's time among theirs.
    mpps: f64,
}

#[derive(Serialize)]
struct Floor {
    clock_and_random_line_ns: f64,
    parse_and_count_ns: f64,
}

#[derive(Serialize)]
struct Report {
    cases: Vec<Row>,
    challenge: Vec<challenge::Row>,
    classes: Vec<classes::Row>,
    line: Vec<challenge::Row>,
    present: Vec<challenge::Row>,
    share: Vec<challenge::Row>,
    floor: Floor,
    scaling_2cpu: f64,
    conditions: String,
}

struct Bench {
    compare: Ebpf,
    shipped: Ebpf,
    maps: Maps,
    _bpffs: PrivateBpffs,
    rounds: usize,
    packets: u32,
}

/// Measures, and gives what came of it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let report = measure(arguments)?;
    arguments.output.give("packets", &report, &table(&report), &[])
}

fn measure(arguments: &Arguments) -> Result<Report> {
    let mut bench = Bench::new(arguments)?;
    let mut rows = Vec::new();
    for case in cases()? {
        eprintln!("measuring {} ...", case.name);
        rows.push(bench.row(&case)?);
    }
    Ok(Report {
        cases: rows,
        challenge: challenge::rows(arguments)?,
        classes: bench.classes()?,
        line: bench.line()?,
        present: bench.present()?,
        share: bench.share()?,
        floor: bench.floor()?,
        scaling_2cpu: bench.scaling()?,
        conditions: conditions(arguments, &bench.maps)?,
    })
}

fn cases() -> Result<Vec<Case>> {
    let client = "11.0.0.1:40000".parse()?;
    let syn = |port: u16| -> Result<Frame> {
        Ok(Frame::syn(client, format!("10.77.0.1:{port}").parse()?))
    };
    let case = |name, frame: Frame, sources, source, budget, reason| Case {
        name,
        frame: frame.build(),
        sources,
        source,
        budget,
        shadow: (0, 0),
        reason,
    };
    let v6 = || {
        Ok::<_, anyhow::Error>(Frame::syn("[2001:db8::1]:40000".parse()?, "[fd77::1]:80".parse()?))
    };
    let none = (0, 0);
    let usual = (20, 40);
    Ok(vec![
        case(
            "not_tcp",
            Frame::udp(client, "10.77.0.1:80".parse()?),
            "",
            usual,
            none,
            Reason::NotTcp,
        ),
        case("established", syn(80)?.flags(0x10), "", usual, none, Reason::NotAttempt),
        case("established_v6", v6()?.flags(0x10), "", usual, none, Reason::NotAttempt),
        case("not_protected", syn(81)?, "", usual, none, Reason::NotProtected),
        case("refused_hot_source", syn(80)?, "", usual, none, Reason::SourceLimit),
        case("refused_hot_source_v6", v6()?, "", usual, none, Reason::SourceLimit),
        case(
            "refused_hot_source_with_budget",
            syn(80)?,
            "",
            usual,
            (1000, 2000),
            Reason::SourceLimit,
        ),
        case(
            "admitted_65536_sources",
            syn(80)?,
            "_many",
            (15_000, 1 << 20),
            none,
            Reason::Admitted,
        ),
        Case {
            shadow: (15_000, 1 << 20),
            ..case(
                "admitted_and_tried_65536_sources",
                syn(80)?,
                "_many",
                (15_000, 1 << 20),
                none,
                Reason::Admitted,
            )
        },
        case("random_sources", syn(80)?, "_random", usual, none, Reason::Admitted),
        case("refused_spent_budget", syn(80)?, "_random", usual, (100, 100), Reason::GlobalBudget),
    ])
}

impl Bench {
    fn new(arguments: &Arguments) -> Result<Self> {
        let bpffs = PrivateBpffs::new()?;
        let mut compare =
            EbpfLoader::new().load(COMPARE).context("cannot load the bench's object")?;
        load_all(&mut compare)?;
        let maps = object::prepare(
            &compare,
            bpffs.path(),
            &policy((20, 40), (0, 0))?,
            &Origin::default(),
            Mode::Enforce,
        )?;
        let mut loader = EbpfLoader::new();
        for row in names::MAPS {
            loader.map_pin_path(row.name, bpffs.path().join(row.name));
        }
        let mut shipped = loader.load(object::OBJECT).context("cannot load the shipped object")?;
        load_all(&mut shipped)?;
        let Arguments { rounds, packets, .. } = *arguments;
        ensure!(rounds > 0 && packets > 0, "at least one round of one packet");
        Ok(Self { compare, shipped, maps, _bpffs: bpffs, rounds, packets })
    }

    fn row(&mut self, case: &Case) -> Result<Row> {
        let mut policy = policy(case.source, case.budget)?;
        policy.services[0].shadow.source = limit(case.shadow);
        self.enforce(&policy)?;
        let suffix = case.sources;
        let mine = if suffix.is_empty() {
            program(&self.shipped, names::PROGRAM)?
        } else {
            program(&self.compare, &format!("table{suffix}"))?
        };
        let blind = program(&self.compare, &format!("blind{suffix}"))?;
        let lru = program(&self.compare, &format!("lru{suffix}"))?;
        let empty = program(&self.compare, &format!("empty{suffix}"))?;
        let [ns, ns_lru, ns_blind] =
            self.above([mine, lru, blind], empty, &case.frame, case.reason)?;
        let (ns_lru, ns_blind) = (ns_lru.median, ns_blind.median);
        Ok(Row {
            name: case.name,
            ns: ns.median,
            ns_spread: ns.spread,
            ns_lru,
            ratio: ns.median / ns_lru,
            ns_blind,
            mpps: 1e3 / (ns.median + self.run(empty, &case.frame)?),
        })
    }

    /// Nanoseconds per packet of each program above `base`: medians over rounds in which they take turns.
    fn above<const N: usize>(
        &self,
        programs: [&Xdp; N],
        base: &Xdp,
        frame: &[u8],
        reason: Reason,
    ) -> Result<[Figure; N]> {
        let mut times = [const { Vec::new() }; N];
        let before = Sample::take(&self.maps)?.total();
        for round in 0..=self.rounds {
            let base = self.run(base, frame)?;
            for (times, program) in times.iter_mut().zip(programs) {
                let time = self.run(program, frame)?;
                // The first round warms caches and tables.
                if round > 0 {
                    times.push(time - base);
                }
            }
        }
        self.met(&before, reason)?;
        Ok(times.map(Figure::of))
    }

    /// Refuses packets of which not nearly all were counted for this reason since `before`.
    fn met(&self, before: &Counters, reason: Reason) -> Result<()> {
        let after = Sample::take(&self.maps)?.total();
        let moved =
            |reason: Reason| after.decided[reason as usize] - before.decided[reason as usize];
        let all: u64 = Reason::ALL.iter().map(|reason| moved(*reason)).sum();
        let right = moved(reason) as f64 / all as f64;
        ensure!(right > 0.95, "only {:.1}% of the packets were {}", right * 100.0, reason.name());
        Ok(())
    }

    fn run(&self, program: &Xdp, frame: &[u8]) -> Result<f64> {
        time(program, frame, self.packets)
    }

    fn floor(&self) -> Result<Floor> {
        let segment = Frame::syn("11.0.0.1:40000".parse()?, "10.77.0.1:80".parse()?).flags(0x10);
        let (nothing, segment) = (vec![0; 64], segment.build());
        let above = |name, base, frame: &[u8]| -> Result<f64> {
            let mut above = Vec::new();
            for _ in 0..self.rounds {
                let base = self.run(program(&self.compare, base)?, frame)?;
                above.push(self.run(program(&self.compare, name)?, frame)? - base);
            }
            Ok(median(above))
        };
        Ok(Floor {
            clock_and_random_line_ns: above("floor", "floor_random", &nothing)?,
            parse_and_count_ns: above("floor_parse", "empty", &segment)?,
        })
    }

    /// Work of two CPUs against one: attempts from random sources, each CPU its own, in pairs of rounds.
    fn scaling(&mut self) -> Result<f64> {
        let switch = self.maps.stage_policy(&policy((20, 40), (0, 0))?, &Origin::default())?;
        self.maps.set_switch(switch)?;
        let program = program(&self.compare, "table_random")?;
        let frame = Frame::syn("11.0.0.1:40000".parse()?, "10.77.0.1:80".parse()?).build();
        let packets = self.packets;
        let alone = |cpu| on_cpu(cpu, || time(program, &frame, packets));
        let mut ratios = Vec::new();
        for _ in 0..self.rounds {
            let each = [alone(0)?, alone(1)?];
            let (first, second) = thread::scope(|scope| {
                let other = scope.spawn(|| alone(1));
                (alone(0), other.join())
            });
            let second = second.map_err(|_| anyhow::anyhow!("a measuring thread panicked"))??;
            ratios.push(each[0] / first? + each[1] / second);
        }
        Ok(median(ratios))
    }
}

fn limit((count, burst): (u64, u64)) -> Limit {
    if count == 0 { Limit::default() } else { Limit { rate: Rate::per_second(count), burst } }
}

/// Without a line.
fn policy(source: (u64, u64), budget: (u64, u64)) -> Result<Policy> {
    let web = text::service("web=*:80").map_err(anyhow::Error::msg)?;
    let web = Service { admission: Admission::FIRST_COME, ..web };
    Ok(Policy {
        source: limit(source),
        budget: limit(budget),
        services: vec![web],
        ..Policy::default()
    })
}

/// Loads all that a packet runs; what the kernel asks besides is no `Xdp`.
fn load_all(ebpf: &mut Ebpf) -> Result<()> {
    for (name, program) in ebpf.programs_mut() {
        let Ok(program) = <&mut Xdp>::try_from(program) else { continue };
        program.load().with_context(|| format!("cannot load the program {name}"))?;
    }
    Ok(())
}

fn program<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    Ok(ebpf
        .program(name)
        .with_context(|| format!("the object holds no program {name}"))?
        .try_into()?)
}

/// The kernel's own figure for the loop: calling it costs a grace period besides, for a program that is attached nowhere.
fn time(program: &Xdp, frame: &[u8], packets: u32) -> Result<f64> {
    let options =
        TestRunOptions { data_in: Some(frame), repeat: packets, ..TestRunOptions::default() };
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN failed")?;
    Ok(result.duration.as_nanos() as f64)
}

fn on_cpu<T>(cpu: usize, work: impl FnOnce() -> T) -> T {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    // A machine that refuses measures what it can: the ratio shows it.
    let _ = rustix::thread::sched_setaffinity(None, &set);
    thread::sleep(Duration::from_millis(1));
    let done = work();
    let mut all = rustix::thread::CpuSet::new();
    (0..thread::available_parallelism().map_or(1, usize::from).max(cpu + 1))
        .for_each(|cpu| all.set(cpu));
    let _ = rustix::thread::sched_setaffinity(None, &all);
    done
}

/// A median over rounds, and how far they are apart.
struct Figure {
    median: f64,
    /// Half of the way from the first quartile to the third, and no less than half of the kernel's own unit, a nanosecond.
    spread: f64,
}

impl Figure {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
        Self { median: values[values.len() / 2], spread: ((at(3) - at(1)) / 2.0).max(0.5) }
    }
}

fn median(values: Vec<f64>) -> f64 {
    Figure::of(values).median
}

fn conditions(arguments: &Arguments, maps: &Maps) -> Result<String> {
    let kernel = rustix::system::uname();
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches([':', '\t', ' ']);
    let ways = maps.sets() as usize * WAYS;
    Ok(format!(
        "Linux {}, {model}; median of {} rounds of {} packets; source table of {ways} ways ({} MiB), LRU hash of 262144 entries; IPv4 where no other is named, without tags",
        kernel.release().to_string_lossy(),
        arguments.rounds,
        arguments.packets,
        (ways * 8) >> 20,
    ))
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, report);
    text
}

/// In whole nanoseconds, which is what the kernel measures in.
fn write(to: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        to,
        "ns per packet above an empty XDP program    limiter    on an LRU hash    ratio    noting nobody    Mpps a CPU"
    )?;
    for Row { name, ns, ns_spread, ns_lru, ratio, ns_blind, mpps } in &report.cases {
        let ns = format!("{ns:.0} ±{ns_spread:.0}");
        writeln!(
            to,
            "{name:<42} {ns:>8} {ns_lru:>17.0} {ratio:>8.2} {ns_blind:>16.0} {mpps:>13.1}"
        )?;
    }
    let Floor { clock_and_random_line_ns, parse_and_count_ns } = report.floor;
    writeln!(to, "floor: parsed and counted                  {parse_and_count_ns:>8.0}")?;
    writeln!(to, "floor: clock and one random line           {clock_and_random_line_ns:>8.0}")?;
    writeln!(to, "ns per packet of a service with a challenge")?;
    for challenge::Row { name, ns, ns_spread } in &report.challenge {
        writeln!(to, "{name:<42} {:>8}", format!("{ns:.0} ±{ns_spread:.0}"))?;
    }
    writeln!(to, "ns per attempt, with a budget of the host")?;
    for challenge::Row { name, ns, ns_spread } in &report.line {
        writeln!(to, "{name:<42} {:>8}", format!("{ns:.0} ±{ns_spread:.0}"))?;
    }
    writeln!(to, "ns per attempt of 65,536 sources in 256 networks")?;
    for challenge::Row { name, ns, ns_spread } in &report.present {
        writeln!(to, "{name:<42} {:>8}", format!("{ns:.0} ±{ns_spread:.0}"))?;
    }
    writeln!(
        to,
        "ns per attempt, with a budget of the host and with a share of it in force, in turns"
    )?;
    for challenge::Row { name, ns, ns_spread } in &report.share {
        writeln!(to, "{name:<42} {:>8}", format!("{ns:.0} ±{ns_spread:.0}"))?;
    }
    writeln!(
        to,
        "ns per attempt of a random source, and of finding its class alone     attempt  boundaries   trie"
    )?;
    for classes::Row { prefixes, attempt, boundaries, trie } in &report.classes {
        let name = format!("{prefixes} prefixes in classes");
        writeln!(to, "{name:<58} {attempt:>18.0} {boundaries:>11.0} {trie:>6.0}")?;
    }
    writeln!(to, "two CPUs do {:.2} times the work of one (random sources)", report.scaling_2cpu)?;
    writeln!(to, "{}", report.conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row refuses to measure packets that get another reason than its own, and the object
    /// must load as it is shipped.
    #[test]
    fn every_row_meets_the_packets_it_is_named_for() {
        let arguments = Arguments { output: Output::default(), rounds: 1, packets: 20_000 };
        let report = measure(&arguments).expect("each row is of its packets");
        assert!(report.cases.iter().all(|row| row.ns.is_finite()));
        assert!(!report.challenge.is_empty() && !report.line.is_empty());
    }
}
