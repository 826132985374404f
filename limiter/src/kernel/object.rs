//! The object file: loading it, and making the pins from it.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};
use limiter_common::hash::Key;
use limiter_common::names::{self, MapKind, Row};
use limiter_common::record::Instance;
use limiter_common::switch::{Mode, Selection};

use super::maps::{Maps, Raw};
use super::pins::Pins;
use super::slots::Origin;
use super::{capability, clock};
use crate::policy::{Policy, sets_for};

/// The shipped object.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/limiter"));
/// The object that logs sampled decisions.
pub static TRACING_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/limiter-trace"));

/// Loads the object with a table for at least `sources` sources, writes `policy` and whether
/// limiter may set `tcp_syncookies` (`consent`), turns the switch on, and pins all of it. It is
/// attached to nothing yet.
///
/// # Errors
/// When the kernel refuses: why, and what to do. Nothing stays then.
pub fn load(
    pins: &Pins,
    sources: u32,
    policy: &Policy,
    origin: &Origin,
    mode: Mode,
    consent: bool,
) -> Result<()> {
    let sets = sets_for(sources);
    let mut ebpf =
        sized(&mut EbpfLoader::new(), sets).load(OBJECT).map_err(|error| explain(error.into()))?;
    let program: &mut Xdp =
        ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?;
    program.load().map_err(|error| explain(error.into()))?;
    let staging = pins.stage()?;
    let program: &mut Xdp =
        ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?;
    program.pin(staging.join(names::PROGRAM)).context("cannot pin the program")?;
    prepare(&ebpf, &staging, policy, origin, mode)?.let_set_syncookies(consent)?;
    pins.publish(&staging)
}

/// A loader that gives every table this many sets.
pub(super) fn sized<'a>(
    loader: &'a mut EbpfLoader<'static>,
    sets: u32,
) -> &'a mut EbpfLoader<'static> {
    for row in names::MAPS.iter().filter(|row| row.kind == MapKind::Table) {
        loader.map_max_entries(row.name, sets);
    }
    loader
}

/// Loads an object's program over the pinned maps, attached to nothing.
///
/// # Errors
/// When the kernel refuses, or a map is not what the object expects.
pub fn load_over_pins(pins: &Pins, object: &[u8]) -> Result<Ebpf> {
    let mut ebpf = open_over_pins(pins, object)?;
    let program: &mut Xdp =
        ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?;
    program.load().map_err(|error| explain(error.into()))?;
    Ok(ebpf)
}

/// The same without its program. A map whose pin is missing is made and pinned.
pub(super) fn open_over_pins(pins: &Pins, object: &[u8]) -> Result<Ebpf> {
    over_pins(&mut EbpfLoader::new(), pins, object)
}

/// The same, as a loader says.
pub(super) fn over_pins(
    loader: &mut EbpfLoader<'static>,
    pins: &Pins,
    object: &[u8],
) -> Result<Ebpf> {
    for row in names::MAPS {
        loader.map_pin_path(row.name, pins.object(row.name));
    }
    let sets = aya::maps::MapInfo::from_pin(pins.object(names::SOURCES))?.max_entries();
    sized(loader, sets).load(object).map_err(|error| explain(error.into()))
}

/// Pins the maps of a loaded object in `directory`, writes `policy` into them and turns the switch on. A bench does this to
/// programs of its own.
///
/// # Errors
/// When the policy cannot be kept, or the kernel refuses.
pub fn prepare(
    ebpf: &Ebpf,
    directory: &Path,
    policy: &Policy,
    origin: &Origin,
    mode: Mode,
) -> Result<Maps> {
    for Row { name, .. } in names::MAPS {
        let map = ebpf.map(name).with_context(|| format!("the object holds no map {name}"))?;
        map.pin(directory.join(name)).with_context(|| format!("cannot pin map {name}"))?;
    }
    let mut maps = Maps::open(directory)?;
    let (sets, count) = (maps.sets(), names::MAPS.len() as u32);
    let instance = Instance {
        key: secret()?,
        sets,
        layout: names::LAYOUT,
        maps: count,
        jiffies_per_minute: clock::jiffies_per_minute(),
        room: [0; 8],
    };
    maps.instance.set(0, Raw(instance), 0).context("cannot write the instance")?;
    let staged = maps.stage_policy(policy, origin)?;
    let selection = Selection { mode, ..staged.fallback() };
    maps.set_switch(staged.select(selection))?;
    Ok(maps)
}

/// A secret for the hash, from the kernel's random numbers.
fn secret() -> Result<Key> {
    let mut bytes = [0_u8; 16];
    let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("cannot draw a secret")?;
    ensure!(drawn == bytes.len(), "the kernel gave {drawn} random bytes of {}", bytes.len());
    let whole = u128::from_ne_bytes(bytes);
    Ok([(whole >> 64) as u64, whole as u64])
}

/// The kernel's refusals in words that help.
pub(super) fn explain(error: anyhow::Error) -> anyhow::Error {
    let denied = capability::is_refusal(&error);
    if denied && capability::missing().is_some() {
        // What the verifier says to a program with fewer rights is long, and about something else.
        return anyhow!("the kernel did not let us load BPF: {}", capability::advice());
    }
    let refused = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(ProgramError::LoadError { verifier_log, .. }) => Some(verifier_log.to_string()),
        _ => None,
    });
    match refused {
        Some(log) if !log.trim().is_empty() => error.context(
            "the kernel's verifier refused the program; please report this with the kernel's version (uname -r) and the lines above",
        ),
        _ if denied => error.context(format!("the kernel did not let us load BPF: {}", capability::advice())),
        _ => error.context("cannot load the BPF object"),
    }
}
