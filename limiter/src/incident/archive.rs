//! Reading a record, which may come from anybody: nothing is unpacked to the disk, everything is bounded, and what is broken is left out
//! and said.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::points::Series;
use super::series::{Line, Note, PolicyLine, Top};
use super::store::LARGEST_SERIES;
use super::{End, Meta, VERSION, names};
use crate::history::Entry;

/// Bytes that an archive may unpack to: the series and a little.
const LARGEST: u64 = LARGEST_SERIES + (64 << 20);
/// Bytes of a line: a policy of 65,536 prefixes is below.
const LONGEST_LINE: u64 = 4 << 20;
/// Bytes of a file other than the series.
const LARGEST_FILE: u64 = 8 << 20;
/// Bytes of lines other than ticks that are kept.
const KEPT: usize = 64 << 20;
/// Lines of any kind; a day has 86,400 seconds.
const MOST_LINES: u64 = 400_000;

/// What one check of doctor found, as it was recorded.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// What it is about.
    pub area: String,
    /// `ok`, `warning` or `problem`.
    pub level: String,
    /// What is.
    pub what: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// A record that was read.
#[derive(Debug, Default)]
pub struct Record {
    /// Where and how it was recorded.
    pub meta: Option<Meta>,
    /// How it ended; `None`: the recording was killed.
    pub end: Option<End>,
    /// The counters, as rates.
    pub series: Series,
    /// The policies, oldest first.
    pub policies: Vec<PolicyLine>,
    /// The lists of sources that came most.
    pub tops: Vec<Top>,
    /// What was changed, by the history.
    pub changes: Vec<Entry>,
    /// What the recorder had to say.
    pub notes: Vec<Note>,
    /// What doctor found, at the start and at the end.
    pub doctor: [Option<Vec<Found>>; 2],
    /// What status showed, at the start and at the end.
    pub status: [Option<Value>; 2],
    /// What could not be read.
    pub problems: Vec<String>,
    /// Names of the files that were there.
    seen: Vec<&'static str>,
}

/// Reads an archive, or the directory of a recording that was killed or still runs.
///
/// # Errors
/// When it is neither, or holds nothing of a record. What is broken in part is read in part, and [`Record::problems`] says so.
pub fn read(path: &Path) -> Result<Record> {
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    let mut record = Record::default();
    if metadata.is_dir() {
        record.read_directory(path);
    } else {
        ensure!(
            metadata.is_file(),
            "{shown} is neither an archive of `limiter record` nor its directory"
        );
        record.read_archive(File::open(path).with_context(|| format!("cannot read {shown}"))?);
    }
    if !record.seen.contains(&names::SERIES) {
        let why =
            record.problems.first().map_or_else(String::new, |problem| format!(" ({problem})"));
        bail!("{shown} holds no record of limiter{why}: give what `limiter record` wrote");
    }
    record.check();
    Ok(record)
}

impl Record {
    fn read_directory(&mut self, path: &Path) {
        for name in names::ALL {
            let file = path.join(name);
            // No symbolic link to somewhere else, and nothing that would never end.
            match file.symlink_metadata() {
                Ok(data) if data.is_file() => match File::open(&file) {
                    Ok(file) => self.read_file(name, file),
                    Err(error) => self.problems.push(format!("{name} cannot be read: {error}")),
                },
                Ok(_) => self.problems.push(format!("{name} is not an ordinary file")),
                Err(_) => {}
            }
        }
    }

    /// Reads an archive, whatever its bytes are.
    pub fn read_archive(&mut self, file: impl Read) {
        let unpacked = flate2::read::GzDecoder::new(BufReader::new(file)).take(LARGEST);
        let mut archive = tar::Archive::new(unpacked);
        let entries = match archive.entries() {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(format!("it cannot be unpacked: {error}")),
        };
        let mut foreign = 0;
        // Raw: none of tar's extensions, with which an archive could ask for any amount of memory.
        for entry in entries.raw(true) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.problems.push(format!("the archive is cut off or damaged: {error}"));
                    break;
                }
            };
            let path = entry.path_bytes().into_owned();
            let known = |name: &&&str| path == format!("{}/{name}", names::DIRECTORY).as_bytes();
            match names::ALL.iter().find(known) {
                Some(name)
                    if entry.header().entry_type().is_file() && !self.seen.contains(name) =>
                {
                    self.read_file(name, entry);
                }
                _ => foreign += 1,
            }
        }
        if foreign > 0 {
            self.problems.push(format!(
                "left out {foreign} files that do not belong to a record, or are there twice"
            ));
        }
    }

    fn read_file(&mut self, name: &'static str, file: impl Read) {
        self.seen.push(name);
        match name {
            names::SERIES => self.read_series(BufReader::with_capacity(1 << 16, file)),
            names::META => self.meta = self.json(name, file),
            names::END => self.end = self.json(name, file),
            _ if name == names::DOCTOR[0] => self.doctor[0] = self.json(name, file),
            _ if name == names::DOCTOR[1] => self.doctor[1] = self.json(name, file),
            _ if name == names::STATUS[0] => self.status[0] = self.json(name, file),
            _ => self.status[1] = self.json(name, file),
        }
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str, file: impl Read) -> Option<T> {
        let mut bytes = Vec::new();
        if let Err(error) = file.take(LARGEST_FILE).read_to_end(&mut bytes) {
            self.problems.push(format!("{name} is cut off: {error}"));
        }
        let parsed = serde_json::from_slice(&bytes);
        parsed.map_err(|error| self.problems.push(format!("{name} cannot be read: {error}"))).ok()
    }

    fn read_series(&mut self, mut file: impl BufRead) {
        let (mut broken, mut lines, mut kept, mut line) = (0, 0, 0, Vec::new());
        loop {
            line.clear();
            match file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    self.problems.push(format!("the series is cut off: {error}"));
                    break;
                }
            }
            lines += 1;
            if lines > MOST_LINES {
                self.problems.push(format!(
                    "the series has more than {MOST_LINES} lines: the rest is left out"
                ));
                break;
            }
            let parsed = if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            } else {
                serde_json::from_slice(&line)
            };
            match parsed {
                Ok(Line::Tick(tick)) => self.series.push(*tick),
                Ok(_) if kept + line.len() > KEPT => broken += 1,
                Ok(other) => {
                    kept += line.len();
                    self.keep(other);
                }
                Err(_) => broken += 1,
            }
        }
        if broken > 0 {
            let noun = if broken == 1 { "line" } else { "lines" };
            self.problems
                .push(format!("left out {broken} {noun} of the series that cannot be read"));
        }
    }

    fn keep(&mut self, line: Line) {
        match line {
            Line::Tick(_) => {}
            Line::Top(top) => self.tops.push(top),
            Line::Policy(policy) => self.policies.push(policy),
            Line::Change(change) => self.changes.push(change.entry),
            Line::Note(note) => self.notes.push(note),
        }
    }

    /// What a reader should know of the whole.
    fn check(&mut self) {
        match &self.meta {
            Some(meta) if meta.version > VERSION => self.problems.push(format!(
                "it was recorded by a newer limiter ({}): what this one does not know is left out",
                meta.limiter
            )),
            Some(_) => {}
            None => self.problems.push("where and how it was recorded is not in it".to_owned()),
        }
        if self.end.is_none() {
            self.problems.push(
                "the recording still runs, or was killed: its last seconds may be missing"
                    .to_owned(),
            );
        }
        for reason in self.series.unknown() {
            self.problems
                .push(format!("the reason {reason:?} is not known to this limiter, and left out"));
        }
    }
}
