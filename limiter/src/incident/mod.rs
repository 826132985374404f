//! The record of an incident: what limiter, the kernel and the machine counted, second by second, and what it says afterwards.
//!
//! ```text
//! record (maps, /proc) -> series (a line a second) -> archive (a directory, packed at the end)
//! archive (from anywhere, believed in nothing) -> points (rates) -> story (calm, surge, evidence, changes) -> report (text, HTML)
//! ```

mod anonymous;
pub mod archive;
mod machine;
mod points;
pub mod record;
pub mod report;
pub mod series;
mod store;
mod story;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use archive::{Record, read};
pub use record::{Options, Outcome};
pub use story::{Judgement, Pattern};

use crate::history::Moment;

/// What a record of these seconds would be said to show.
pub fn verdict(ticks: impl IntoIterator<Item = series::Tick>) -> Judgement {
    let mut record = Record::default();
    ticks.into_iter().for_each(|tick| record.series.push(tick));
    story::tell(&record).verdict
}

/// Version of the files in a record. It rises when a field changes its meaning.
pub const VERSION: u32 = 1;

/// Names of the files in a record, and of the directory that holds them in an archive.
pub mod names {
    /// The directory in the archive.
    pub const DIRECTORY: &str = "incident";
    /// What was recorded, where and since when: [`super::Meta`].
    pub const META: &str = "meta.json";
    /// One JSON object a line: [`super::series::Line`].
    pub const SERIES: &str = "series.jsonl";
    /// How it ended: [`super::End`]. Missing when the recording was killed.
    pub const END: &str = "end.json";
    /// What `limiter doctor` found at the start and at the end.
    pub const DOCTOR: [&str; 2] = ["doctor-start.json", "doctor-end.json"];
    /// What `limiter status` showed at the start and at the end.
    pub const STATUS: [&str; 2] = ["status-start.json", "status-end.json"];
    /// All of them, in the order of the archive.
    pub const ALL: [&str; 7] = [META, DOCTOR[0], STATUS[0], SERIES, DOCTOR[1], STATUS[1], END];
}

/// Where and how it was recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// [`VERSION`] of whoever wrote it.
    pub version: u32,
    /// Version of limiter.
    #[serde(default)]
    pub limiter: String,
    /// Name of the machine.
    #[serde(default)]
    pub host: String,
    /// Release of its kernel.
    #[serde(default)]
    pub kernel: String,
    /// Number of its CPUs.
    #[serde(default)]
    pub cpus: usize,
    /// When it began.
    pub started: Moment,
    /// Seconds that the machine's time zone was ahead of UTC then.
    #[serde(default)]
    pub utc_offset_seconds: i64,
    /// Whether addresses were cut to /24 and /48.
    #[serde(default)]
    pub anonymous: bool,
    /// The words that were typed behind `limiter`.
    #[serde(default)]
    pub command: Vec<String>,
}

/// How it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub ended: Moment,
    /// Why, in words.
    pub why: String,
    /// Seconds of which nothing is recorded, because the machine did not let the recorder run.
    pub missed: u64,
}
