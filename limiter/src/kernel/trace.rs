//! Tracing: for as long as it lasts, the program that logs stands behind the pinned links, over the same maps.

use anyhow::{Context as _, Result};
use aya::programs::Xdp;
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use aya_obj::programs::XdpAttachType;
use limiter_common::names;

use super::link;
use super::object::TRACING_OBJECT;
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
        let mut loader = EbpfLoader::new();
        for (name, ..) in names::MAPS {
            loader.map_pin_path(name, pins.object(name));
        }
        let sets = aya::maps::MapInfo::from_pin(pins.object(names::SOURCES))?.max_entries();
        let mut ebpf = loader
            .map_max_entries(names::SOURCES, sets)
            .map_max_entries(names::TICKETS, sets)
            .load(TRACING_OBJECT)
            .context("cannot load the tracing program")?;
        let logger =
            EbpfLogger::init_with_logger(&mut ebpf, to).context("cannot open the log of the tracing program")?;
        let program: &mut Xdp = ebpf.program_mut(names::PROGRAM).context("the object holds no program")?.try_into()?;
        program.load().context("cannot load the tracing program")?;
        let mut links = Vec::new();
        for index in pins.links() {
            let swapped = swap(program, link::open(pins, index)?);
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
    let mut program = Xdp::from_pin(pins.object(names::PROGRAM), XdpAttachType::Interface)
        .context("cannot open the program's pin")?;
    for index in links {
        let swapped = swap(&mut program, link::open(pins, *index)?);
        swapped.with_context(|| format!("cannot put the usual program back on interface {index}"))?;
    }
    Ok(())
}

fn swap(program: &mut Xdp, link: FdLink) -> Result<()> {
    let id = program.attach_to_link(XdpLink::try_from(link)?)?;
    // Taken and dropped: this closes our descriptor. The pin keeps the link.
    drop(program.take_link(id)?);
    Ok(())
}
