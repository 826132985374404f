//! What limiter says of itself. One snapshot, rendered as text (`human`), JSON or OpenMetrics; only this module prints data.

mod exposition;
pub mod human;
mod lines;
pub mod openmetrics;
mod sample;
mod scrape;
mod share;
mod snapshot;

use anyhow::Result;
use serde::Serialize;

pub use exposition::Form;
pub use lines::Lines;
pub use sample::{ByReason, Sample, admitted, attempts, refused};
pub use scrape::Scrape;
pub use snapshot::{Service, Snapshot, take, take_counting};

pub use crate::policy::text::show_mode as mode;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// For programs: one JSON value on standard output.
    Json,
}

/// Prints bytes as they are.
///
/// # Errors
/// When standard output is gone.
pub fn print_raw(bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    Ok(std::io::stdout().lock().write_all(bytes)?)
}

/// Prints `value` as JSON, or what `text` makes of it.
///
/// # Errors
/// When standard output is gone.
pub fn print<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, value)?;
            out.write_all(b"\n")?;
        }
        Format::Human => out.write_all(text(value).as_bytes())?,
    }
    Ok(())
}
