//! `cargo xtask demo --only flood`: a web server is flooded, first without limiter, then with it,
//! while ordinary clients fetch pages.

mod phase;
mod table;

use anyhow::Result;
use clap::ValueEnum;

use phase::{Phase, Stage};

/// What it floods with.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// 64 addresses.
    Sources,
    /// A new random address for every SYN.
    Random,
}

/// What an operator types before the flood.
const ATTACH: &str =
    "attach attack0 crowd0 --service web=*:80 --source-rate 5/s --budget 1000/s --enforce";

/// Shows it.
pub fn run(flood: Kind, seconds: u64, json: bool) -> Result<()> {
    let stage = Stage::set(flood == Kind::Random, seconds as f64)?;
    eprintln!("calm: {} pages/s by {} clients, no flood", phase::PAGES_PER_SECOND, phase::CLIENTS);
    let calm = stage.calm()?;
    eprintln!("flooding without limiter, {seconds} s ...");
    let without = stage.play(&calm, |_| Ok(()))?;
    let phases = match flood {
        Kind::Sources => vec![("without", without), ("with", with(&stage, &calm)?)],
        Kind::Random => random(&stage, &calm, without)?,
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&table::json(&calm, &phases))?);
    } else {
        print!("{}", table::text(&calm, &phases));
    }
    Ok(())
}

/// The main job: limits per source, with a live change in the middle.
fn with(stage: &Stage, calm: &Phase) -> Result<Phase> {
    stage.type_in(ATTACH)?;
    eprintln!("flooding with limiter, {} s ...", stage.seconds);
    let phase = stage.play(calm, |stage| stage.type_in("set --source-rate 2/s"))?;
    stage.type_in("detach --all")?;
    Ok(phase)
}

/// Random sources spend any budget that counts SYNs; the challenge charges only sources that are
/// there.
fn random(stage: &Stage, calm: &Phase, without: Phase) -> Result<Vec<(&'static str, Phase)>> {
    stage.type_in(ATTACH)?;
    stage.type_in("set --service web --line no")?;
    eprintln!("flooding with limiter, budget only, {} s ...", stage.seconds);
    let budget = stage.play(calm, |_| Ok(()))?;
    stage.type_in("set --set-syncookies yes")?;
    stage.type_in("set --service web --line yes --challenge auto")?;
    eprintln!("flooding with limiter, sources challenged, {} s ...", stage.seconds);
    let challenge = stage.play(calm, |_| Ok(()))?;
    stage.type_in("detach --all")?;
    Ok(vec![("without", without), ("budget", budget), ("challenge", challenge)])
}
