//! The live view of `limiter watch`. It only reads: nothing here takes the lock or writes a map, so no key can change a limit.
//!
//! The way of the data: `source` (maps and history -> a reading) -> `model` (readings -> what happened over time, and what
//! `assess` says of it) -> `view` (model -> cells).
//! Only `source` touches the kernel and only `terminal` touches the terminal, so everything between them is tested without either.

mod choices;
mod marks;
mod model;
mod paint;
mod reading;
#[cfg(test)]
mod screens;
mod series;
mod source;
mod terminal;
mod view;

use std::time::Duration;

use anyhow::Result;

use crate::history::History;
use crate::kernel::Pins;

pub use choices::{Window, window};
pub use paint::{Paint, has_blocks};

/// How to watch.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time between two readings.
    pub interval: Duration,
    /// The time that the lines span at first.
    pub window: Window,
    /// What the terminal can show.
    pub paint: Paint,
}

/// Watches until a key or a signal ends it. The terminal is as before then.
///
/// # Errors
/// When limiter cannot be read from the start, or the terminal fails.
pub fn run(pins: &Pins, history: &History, options: &Options) -> Result<()> {
    let source = source::Source::new(pins.clone(), history.clone())?;
    terminal::run(source, options)
}
