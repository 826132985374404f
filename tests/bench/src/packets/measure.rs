//! How a packet is measured: the programs are loaded over one set of maps, they run in turns, and
//! what is said of the rounds is their median and how far they are apart.

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lab::PrivateBpffs;
use lab::programs::COMPARE;
use limiter::kernel::slots::Origin;
use limiter::kernel::{Maps, object};
use limiter::policy::{Admission, Policy, Service, text};
use limiter::report::Sample;
use limiter_common::names;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::Counters;
use limiter_common::switch::Mode;

use super::Arguments;

pub(super) struct Bench {
    pub(super) compare: Ebpf,
    pub(super) shipped: Ebpf,
    pub(super) maps: Maps,
    _bpffs: PrivateBpffs,
    pub(super) rounds: usize,
    pub(super) packets: u32,
}

impl Bench {
    pub(super) fn new(arguments: &Arguments) -> Result<Self> {
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

    /// Nanoseconds per packet of each program above `base`: medians over rounds in which they take
    /// turns.
    pub(super) fn above<const N: usize>(
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
    pub(super) fn met(&self, before: &Counters, reason: Reason) -> Result<()> {
        let after = Sample::take(&self.maps)?.total();
        let moved =
            |reason: Reason| after.decided[reason as usize] - before.decided[reason as usize];
        let all: u64 = Reason::ALL.iter().map(|reason| moved(*reason)).sum();
        let right = moved(reason) as f64 / all as f64;
        ensure!(right > 0.95, "only {:.1}% of the packets were {}", right * 100.0, reason.name());
        Ok(())
    }

    pub(super) fn run(&self, program: &Xdp, frame: &[u8]) -> Result<f64> {
        time(program, frame, self.packets)
    }
}

pub(super) fn limit((count, burst): (u64, u64)) -> Limit {
    if count == 0 { Limit::default() } else { Limit { rate: Rate::per_second(count), burst } }
}

/// Without a line.
pub(super) fn policy(source: (u64, u64), budget: (u64, u64)) -> Result<Policy> {
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

pub(super) fn program<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    Ok(ebpf
        .program(name)
        .with_context(|| format!("the object holds no program {name}"))?
        .try_into()?)
}

/// The kernel's own figure for the loop: calling it costs a grace period besides, for a program
/// that is attached nowhere.
pub(super) fn time(program: &Xdp, frame: &[u8], packets: u32) -> Result<f64> {
    let options =
        TestRunOptions { data_in: Some(frame), repeat: packets, ..TestRunOptions::default() };
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN failed")?;
    Ok(result.duration.as_nanos() as f64)
}

/// A median over rounds, and how far they are apart.
pub(super) struct Figure {
    pub(super) median: f64,
    /// Half of the way from the first quartile to the third, and no less than half of the kernel's
    /// own unit, a nanosecond.
    pub(super) spread: f64,
}

impl Figure {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
        Self { median: values[values.len() / 2], spread: ((at(3) - at(1)) / 2.0).max(0.5) }
    }
}

pub(super) fn median(values: Vec<f64>) -> f64 {
    Figure::of(values).median
}
