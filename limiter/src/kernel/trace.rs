//! Tracing: for as long as it lasts, the program that logs stands behind the pinned links, over the same maps.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::Xdp;
use aya_log::EbpfLogger;
use limiter_common::names;

use super::link;
use super::object::{TRACING_OBJECT, load_over_pins};
use super::pins::Pins;

/// Puts the tracing program in place until it is dropped; dropping puts the shipped one back.
pub struct Tracing {
    pins: Pins,
    links: Vec<u32>,
    logger: EbpfLogger<&'static dyn log::Log>,
    _program: Ebpf,
}

impl Tracing {
    /// Loads the tracing program over the pinned maps and swaps it in on every interface, without a gap.
    ///
    /// # Errors
    /// When it cannot be loaded or swapped in; what was swapped is swapped back.
    pub fn start(pins: &Pins, to: &'static dyn log::Log) -> Result<Self> {
        let mut ebpf = load_over_pins(pins, TRACING_OBJECT)?;
        let logger =
            EbpfLogger::init_with_logger(&mut ebpf, to).context("cannot open the log of the tracing program")?;
        let program: &mut Xdp = ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?;
        let mut links = Vec::new();
        for index in pins.links() {
            let swapped = link::swap(program, link::open(pins, index)?);
            if let Err(error) = swapped {
                restore(pins, &links)?;
                return Err(error).with_context(|| format!("cannot put the tracing program on interface {index}"));
            }
            links.push(index);
        }
        Ok(Self { pins: pins.clone(), links, logger, _program: ebpf })
    }

    /// Hands what was logged so far to the logger.
    pub fn flush(&mut self) {
        self.logger.flush();
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        if let Err(error) = restore(&self.pins, &self.links) {
            eprintln!("limiter: the tracing program is still attached ({error:#}); run `limiter trace --stop`");
        }
    }
}

/// Puts the pinned program back behind `links`.
///
/// # Errors
/// When a link cannot be opened or updated.
pub fn restore(pins: &Pins, links: &[u32]) -> Result<()> {
    let mut program = link::program(pins)?;
    for index in links {
        let swapped = link::swap(&mut program, link::open(pins, *index)?);
        swapped.with_context(|| format!("cannot put the usual program back on interface {index}"))?;
    }
    Ok(())
}
