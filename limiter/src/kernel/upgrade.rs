//! Putting the program of this command behind the pinned links, over the pinned maps: no packet passes undecided, and nothing is forgotten.
//!
//! Killed at any point it leaves interfaces with the old program or the new one, over the same maps; the next upgrade finishes.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use aya::programs::Xdp;
use limiter_common::names::{self, MAPS};
use limiter_common::record::Instance;

use super::maps::{self, Array, Maps, Raw};
use super::object::{OBJECT, load_over_pins, open_over_pins};
use super::pins::Pins;
use super::{clock, dispatcher, link, open, room};

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

/// Makes the maps that an older version of the same layout did not have. They are empty, which is
/// how it worked: what they are for is off. Killed at any point, it leaves some of them, and the next
/// upgrade makes the rest.
///
/// # Errors
/// When a pin is missing that was there before: an empty map in its place could lose the policy.
pub fn add_maps(pins: &Pins) -> Result<()> {
    let missing: Vec<_> =
        MAPS.iter().map(|row| row.name).filter(|name| !pins.object(name).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut instances: Array<Instance> = maps::open(&pins.root(), names::INSTANCE)?;
    let Raw(instance) = instances.get(&0, 0).context("cannot read the instance")?;
    ensure!(
        MAPS.len() - missing.len() >= instance.maps as usize,
        "pins were removed from {}, where {} should be: `limiter detach --all` and attach again",
        pins.root().display(),
        missing.join(", "),
    );
    drop(open_over_pins(pins, OBJECT)?);
    let jiffies_per_minute = clock::jiffies_per_minute();
    let instance = Instance { maps: MAPS.len() as u32, jiffies_per_minute, ..instance };
    instances.set(0, Raw(instance), 0).context("cannot write the instance")
}

/// Replaces the running program.
///
/// # Errors
/// When the kernel refuses the program or a link. The interfaces that have it keep it; all are limited all the time.
pub fn upgrade(pins: &Pins) -> Result<Upgraded> {
    let before = pinned(pins)?.info().context("cannot ask about the pinned program")?.tag();
    // Before anything is loaded, which takes long: with a pin that is another thing no interface is
    // changed.
    let links = pins.links().into_iter().map(|index| Ok((index, link::to_swap(pins, index)?)));
    let links = links.collect::<Result<Vec<_>>>()?;
    let mut ebpf = load_over_pins(pins, OBJECT)?;
    let program = program(&mut ebpf)?;
    let after = program.info().context("cannot ask about the new program")?.tag();
    let next = pins.object(NEXT);
    if next.exists() {
        fs::remove_file(&next).with_context(|| {
            format!("cannot remove {}, which a killed upgrade left", next.display())
        })?;
    }
    program.pin(&next).context("cannot pin the new program")?;
    let mut interfaces = 0;
    for (index, link) in links {
        match link::swap(program, link) {
            Ok(()) => interfaces += 1,
            Err(error) if link::is_gone(&error) => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot put the new program on interface {index}; run `limiter upgrade` again")
                });
            }
        }
    }
    interfaces += dispatcher::renew(pins)
        .context("cannot put the new program into dispatchers; run `limiter upgrade` again")?;
    fs::rename(&next, pins.object(names::PROGRAM))
        .context("cannot put the new program's pin in place of the old one")?;
    if room::standing(pins) == room::Standing::Here {
        room::attach(pins)?;
    }
    open::renew(pins, &mut Maps::open(&pins.root())?)?;
    Ok(Upgraded { tags: (before, after), interfaces })
}

fn pinned(pins: &Pins) -> Result<Xdp> {
    link::program(pins)
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program: &mut Xdp =
        ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?;
    Ok(program)
}
