//! Putting the program of this command behind the pinned links, over the pinned maps: no packet passes undecided, and nothing is forgotten.
//!
//! Killed at any point it leaves interfaces with the old program or the new one, over the same maps; the next upgrade finishes.

use std::fs;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::Xdp;
use limiter_common::names;

use super::link;
use super::object::{OBJECT, load_over_pins};
use super::pins::Pins;

/// Where the new program is pinned until every link has it.
const NEXT: &str = "next";

/// What an upgrade did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The kernel's tag of the program that was pinned, and of the one that is.
    pub tags: (u64, u64),
    /// Interfaces that have it now.
    pub interfaces: usize,
}

/// Replaces the running program.
///
/// # Errors
/// When the kernel refuses the program or a link. The interfaces that have it keep it; all are limited all the time.
pub fn upgrade(pins: &Pins) -> Result<Upgraded> {
    let before = pinned(pins)?.info().context("cannot ask about the pinned program")?.tag();
    let mut ebpf = load_over_pins(pins, OBJECT)?;
    let program = program(&mut ebpf)?;
    let after = program.info().context("cannot ask about the new program")?.tag();
    let next = pins.object(NEXT);
    if next.exists() {
        fs::remove_file(&next)
            .with_context(|| format!("cannot remove {}, which a killed upgrade left", next.display()))?;
    }
    program.pin(&next).context("cannot pin the new program")?;
    let mut interfaces = 0;
    for index in pins.links() {
        match link::swap(program, link::open(pins, index)?) {
            Ok(()) => interfaces += 1,
            Err(error) if link::is_gone(&error) => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot put the new program on interface {index}; run `limiter upgrade` again")
                });
            }
        }
    }
    fs::rename(&next, pins.object(names::PROGRAM))
        .context("cannot put the new program's pin in place of the old one")?;
    Ok(Upgraded { tags: (before, after), interfaces })
}

fn pinned(pins: &Pins) -> Result<Xdp> {
    link::program(pins)
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program: &mut Xdp = ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?;
    Ok(program)
}
