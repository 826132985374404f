//! What limiter says of itself. One snapshot, rendered as text (`human`), JSON or OpenMetrics; only this module prints data.

mod counts;
mod exposition;
pub mod fleet;
mod fullness;
pub mod human;
mod lines;
pub mod numbers;
pub mod openmetrics;
mod sample;
mod scrape;
mod shadow;
mod snapshot;
mod take;

use anyhow::Result;
use serde::Serialize;

use crate::output;

pub use counts::{Counts, Rates, percent, rate, refusals};
pub use exposition::Form;
pub use lines::Lines;
pub use sample::{ByReason, Sample, admitted, attempts, refused};
pub use scrape::Scrape;
pub use shadow::Shadow;
pub use snapshot::{Open, Room, Service, Snapshot};
pub use take::{take, take_counting, waiting_room};

pub use crate::policy::text::show_mode as mode;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// For programs: one JSON value on standard output.
    Json,
}

/// Prints `value`, which was asked for, as JSON, or what `text` makes of it. For a reader that is
/// gone it does nothing.
///
/// # Errors
/// When standard output does not take it.
pub fn print<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<()> {
    output::data(&rendered(format, value, text)?)?;
    Ok(())
}

/// Prints `value`, which tells what a change did. The change is done, so this cannot fail:
/// [`output::done`].
pub fn done<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) {
    // Values of this crate have texts for keys, so that they are JSON always.
    output::done(&rendered(format, value, text).unwrap_or_default());
}

fn rendered<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<Vec<u8>> {
    let mut bytes = match format {
        Format::Json => serde_json::to_vec_pretty(value)?,
        Format::Human => return Ok(text(value).into_bytes()),
    };
    bytes.push(b'\n');
    Ok(bytes)
}
