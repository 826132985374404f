//! Tracing: for as long as it lasts, the program that logs stands behind the pinned links, over the
//! same maps.
//!
//! The pins are locked only while programs are put in place, at its beginning and at its end, so that
//! other commands work meanwhile. Whoever puts another program behind the links, or takes the links
//! away, ends it.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::Xdp;
use aya_log::EbpfLogger;
use limiter_common::names;

use super::link;
use super::lock::Lock;
use super::object::{TRACING_OBJECT, load_over_pins};
use super::pins::Pins;
use crate::output;

/// Keeps the tracing program in place until it is dropped; dropping puts the shipped one back.
pub struct Tracing {
    pins: Pins,
    /// The kernel's id of the tracing program.
    id: u32,
    logger: EbpfLogger<&'static dyn log::Log>,
    _program: Ebpf,
}

impl Tracing {
    /// Loads the tracing program over the pinned maps and swaps it in on every interface, without a
    /// gap. `_lock`: that of `pins`.
    ///
    /// # Errors
    /// When it cannot be loaded or swapped in; what was swapped is swapped back.
    pub fn start(pins: &Pins, to: &'static dyn log::Log, _lock: &Lock) -> Result<Self> {
        let mut ebpf = load_over_pins(pins, TRACING_OBJECT)?;
        let logger = EbpfLogger::init_with_logger(&mut ebpf, to)
            .context("cannot open the log of the tracing program")?;
        let program: &mut Xdp =
            ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?;
        let id = program.info().context("cannot ask about the tracing program")?.id();
        for index in pins.links() {
            let swapped = link::to_swap(pins, index).and_then(|link| link::swap(program, link));
            if let Err(error) = swapped {
                restore(pins, &standing(pins, id))?;
                return Err(error).with_context(|| {
                    format!("cannot put the tracing program on interface {index}")
                });
            }
        }
        Ok(Self { pins: pins.clone(), id, logger, _program: ebpf })
    }

    /// Hands what was logged so far to the logger.
    pub fn flush(&mut self) {
        self.logger.flush();
    }

    /// Whether the tracing program stands behind any link yet.
    pub fn stands(&self) -> bool {
        !standing(&self.pins, self.id).is_empty()
    }

    /// Puts the shipped program back, where no other command has put one since.
    fn end(&self) -> Result<()> {
        if !self.stands() {
            return Ok(());
        }
        let _lock = self.pins.lock_for_change()?;
        restore(&self.pins, &standing(&self.pins, self.id))
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            output::note(format_args!(
                "limiter: the tracing program is still attached ({error:#}); run `limiter trace --stop`"
            ));
        }
    }
}

/// The links behind which the program with `id` stands.
fn standing(pins: &Pins, id: u32) -> Vec<u32> {
    pins.links().into_iter().filter(|index| link::program_of(pins, *index) == Some(id)).collect()
}

/// Puts the pinned program back behind `links`; one whose device is gone needs none. The caller holds
/// the lock of `pins`.
///
/// # Errors
/// When a link cannot be opened or updated.
pub fn restore(pins: &Pins, links: &[u32]) -> Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let mut program = link::program(pins)?;
    for index in links {
        match link::to_swap(pins, *index).and_then(|link| link::swap(&mut program, link)) {
            Err(error) if !link::is_gone(&error) => {
                return Err(error).with_context(|| {
                    format!("cannot put the usual program back on interface {index}")
                });
            }
            _ => {}
        }
    }
    Ok(())
}
