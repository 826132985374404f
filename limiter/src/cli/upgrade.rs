//! `limiter upgrade`.

use anyhow::Result;
use serde::Serialize;

use super::{Context, settle};
use crate::kernel::{Maps, upgrade};
use crate::report;

#[derive(Serialize)]
struct Done {
    /// The kernel's tag of the program before, in hexadecimal.
    program_before: String,
    /// And of the one that runs now.
    program: String,
    interfaces: usize,
}

/// Puts this command's program behind every link.
pub fn run(context: &Context) -> Result<()> {
    let pins = &context.pins;
    pins.require()?;
    let _lock = context.lock()?;
    upgrade::add_maps(pins)?;
    let maps = Maps::open(&pins.root())?;
    let note = context.note(Some(&maps));
    let done = upgrade::upgrade(pins)?;
    let (before, after) = (format!("{:016x}", done.tags.0), format!("{:016x}", done.tags.1));
    let changed =
        if before == after { Vec::new() } else { vec![format!("program {before} -> {after}")] };
    note.record(Some(&maps), changed);
    settle::follow(pins, &maps, false)?;
    let done = Done { program_before: before, program: after, interfaces: done.interfaces };
    report::done(context.format, &done, describe);
    Ok(())
}

fn describe(done: &Done) -> String {
    let Done { program_before: before, program, interfaces } = done;
    let count = if *interfaces == 1 {
        "1 interface".to_owned()
    } else {
        format!("{interfaces} interfaces")
    };
    match before == program {
        true => format!("this program was already running ({program}), on {count}\n"),
        false => format!(
            "program {before} -> {program} on {count}, without a gap; policy, counters and tables are as they were\n"
        ),
    }
}
