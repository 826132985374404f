//! How fast the generator is.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use lab::{Flood, Lab, Trivial, topology::ATTACK_DEVICE};

use super::{source_modes, targets};

#[test]
fn the_generator_is_fast() -> Result<()> {
    let lab = Lab::new()?;
    let sink = Trivial::DropAll.attach(&lab.front, ATTACK_DEVICE)?;
    for (target, base) in targets() {
        for sources in source_modes(base) {
            let before = settled(|| sink.frames())?;
            let flood = Flood {
                frames: u64::MAX,
                seconds: 0.5,
                cpu: Some(1),
                ..Flood::new(target, sources)
            };
            let report = flood.run(&lab)?;
            let arrived = settled(|| sink.frames())? - before;
            println!("{sources:?}: {report}, {arrived} arrived");
            assert!(report.rate() > 300_000.0, "{report}");
            assert!(arrived as f64 > 0.99 * report.sent as f64, "{report}, {arrived} arrived");
        }
    }
    Ok(())
}

/// The count once it has stood still: the last frames may be in a softirq.
fn settled(count: impl Fn() -> Result<u64>) -> Result<u64> {
    loop {
        let before = count()?;
        thread::sleep(Duration::from_millis(200));
        if count()? == before {
            return Ok(before);
        }
    }
}
