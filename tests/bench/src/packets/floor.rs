//! What no limiter goes below on this machine, and how much two CPUs do at once.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use lab::Frame;
use limiter::kernel::slots::Origin;
use serde::Serialize;

use super::measure::{Bench, median, policy, program, time};

#[derive(Serialize)]
pub(super) struct Floor {
    pub(super) clock_and_random_line_ns: f64,
    pub(super) parse_and_count_ns: f64,
}

impl Bench {
    pub(super) fn floor(&self) -> Result<Floor> {
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

    /// Work of two CPUs against one: attempts from random sources, each CPU its own, in pairs of
    /// rounds.
    pub(super) fn scaling(&mut self) -> Result<f64> {
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
