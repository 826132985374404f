//! Floods arrive, whole, and end when they should.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use lab::wait::{PATIENCE, until_so};
use lab::{Flood, Lab, Server, Sources, Trivial, topology::ATTACK_DEVICE};

use super::{source_modes, targets};

const FRAMES: u64 = 10_000;

#[test]
fn every_frame_of_a_flood_arrives() -> Result<()> {
    let lab = Lab::new()?;
    for (target, base) in targets() {
        for sources in source_modes(base) {
            let counter = Trivial::DropAll.attach(&lab.front, ATTACK_DEVICE)?;
            let report = Flood { frames: FRAMES, ..Flood::new(target, sources) }.run(&lab)?;
            assert_eq!(report.sent, FRAMES, "{sources:?}");
            until_so("all arrive", || counter.frames().is_ok_and(|seen| seen == FRAMES));
        }
    }
    Ok(())
}

#[test]
fn redirected_frames_arrive_too() -> Result<()> {
    let lab = Lab::new()?;
    let counter = Trivial::DropAll.attach(&lab.front, ATTACK_DEVICE)?;
    let flood =
        Flood { frames: FRAMES, redirect: true, ..Flood::new(targets()[0].0, Sources::Random) };
    assert_eq!(flood.run(&lab)?.sent, FRAMES);
    until_so("all arrive", || counter.frames().is_ok_and(|seen| seen == FRAMES));
    Ok(())
}

#[test]
fn a_flood_keeps_its_bounds() -> Result<()> {
    let lab = Lab::new()?;
    let sink = Trivial::DropAll.attach(&lab.front, ATTACK_DEVICE)?;
    let (target, _) = targets()[0];
    let endless = Flood { frames: u64::MAX, seconds: 60.0, ..Flood::new(target, Sources::Random) };

    let short = Flood { seconds: 0.2, ..endless.clone() }.run(&lab)?;
    assert!(
        short.sent > 0 && short.elapsed >= Duration::from_millis(200),
        "it ends by itself, not before: {short}"
    );

    let paced = Flood { rate: Some(20_000), frames: 10_000, ..endless.clone() }.run(&lab)?;
    assert_eq!(paced.sent, 10_000, "{paced}");
    assert!(paced.elapsed >= Duration::from_millis(499), "{paced}");

    // It would go on for ten minutes.
    let running = Flood { seconds: 600.0, ..endless }.spawn(&lab)?;
    until_so("frames arrive", || sink.frames().is_ok_and(|seen| seen > short.sent + paced.sent));
    let stopped = running.stop()?;
    assert!(stopped.sent > 0 && stopped.elapsed < PATIENCE, "{stopped}");
    Ok(())
}

#[test]
fn two_cpus_flood_side_by_side() -> Result<()> {
    let lab = Lab::new()?;
    let sink = Trivial::DropAll.attach(&lab.front, ATTACK_DEVICE)?;
    let flood =
        Flood { frames: u64::MAX, seconds: 0.5, ..Flood::new(targets()[0].0, Sources::Random) };
    let running = [0, 1].map(|cpu| Flood { cpu: Some(cpu), ..flood.clone() }.spawn(&lab));
    let mut sent = 0;
    for handle in running {
        let report = handle?.wait()?;
        println!("{report}");
        sent += report.sent;
    }
    until_so("nearly all arrive", || {
        sink.frames().is_ok_and(|arrived| arrived as f64 > 0.99 * sent as f64)
    });
    Ok(())
}

#[test]
fn a_flood_reaches_the_stack() -> Result<()> {
    let lab = Lab::new()?;
    let _server = Server::start(&lab)?;
    for (target, base) in targets() {
        let before = segments_received(&lab)?;
        Flood { frames: 100, rate: Some(10_000), ..Flood::new(target, Sources::One(base)) }
            .run(&lab)?;
        until_so("TCP takes all", || segments_received(&lab).is_ok_and(|all| all == before + 100));
    }
    Ok(())
}

/// Segments that the front end's TCP took in (Tcp: InSegs), less those with errors (InErrs).
fn segments_received(lab: &Lab) -> Result<u64> {
    let text =
        lab.front.run(|| fs::read_to_string("/proc/thread-self/net/snmp").context("no snmp"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let names = lines.next().context("no names")?.split(' ');
    let values = lines.next().context("no values")?.split(' ');
    let value = |wanted: &str| -> Result<u64> {
        let (_, value) = names
            .clone()
            .zip(values.clone())
            .find(|(name, _)| *name == wanted)
            .context("no value")?;
        Ok(value.parse()?)
    };
    Ok(value("InSegs")? - value("InErrs")?)
}
