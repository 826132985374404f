//! Where readings come from: the pinned maps, and the history when its file has changed. The only part that touches the kernel.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use limiter_common::record::List;

use super::reading::{ChangeMark, Reading};
use crate::assess::Facts;
use crate::history::{ENTRIES, Entry, History, Moment};
use crate::kernel::{Maps, Pins};
use crate::report;

/// How many times as long as counting the lists took they are not counted again: it takes a two-hundredth of a core at most.
const RARELY: u32 = 200;

/// Said while limiter is not loaded.
pub const NOT_LOADED: &str = "NOT LOADED; waiting: nothing is limited, nothing is counted";

/// The loaded limiter, opened.
struct Opened {
    maps: Maps,
    /// Inode of the pin directory: another one is another loading, whose maps are others.
    life: u64,
    /// Entries of the allow and the ban list.
    lists: [usize; 2],
    /// When they are counted again.
    count_at: Instant,
}

impl Opened {
    fn new(pins: &Pins, life: u64) -> Result<Self> {
        Ok(Self { maps: Maps::open(&pins.root())?, life, lists: [0; 2], count_at: Instant::now() })
    }

    /// Counts the lists anew, unless that was just done: of a quarter of a million entries each is asked for.
    fn count(&mut self) -> Result<()> {
        let start = Instant::now();
        if start >= self.count_at {
            self.lists = self.maps.list_lengths()?;
            self.count_at = start + start.elapsed() * RARELY;
        }
        Ok(())
    }
}

/// What is read.
pub struct Source {
    pins: Pins,
    history: History,
    start: Instant,
    opened: Option<Opened>,
    /// Inode, length and time of the history's file when it was read.
    noted: Option<(u64, u64, i64)>,
    entries: Vec<Entry>,
}

impl Source {
    /// A source that limiter need not be loaded for.
    ///
    /// # Errors
    /// When this limiter could not be read, however long one waits.
    pub fn new(pins: Pins, history: History) -> Result<Self> {
        if pins.is_loaded()? {
            Maps::open(&pins.root())?;
        } else if let Err(error) = pins.require()
            && fs::read_dir(pins.base())
                .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
        {
            return Err(error);
        }
        Ok(Self {
            pins,
            history,
            start: Instant::now(),
            opened: None,
            noted: None,
            entries: Vec::new(),
        })
    }

    /// Seconds since the watch began.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Reads everything; why not, if it cannot be done now.
    pub fn read(&mut self) -> Result<Reading, String> {
        match self.try_read() {
            Ok(Some(reading)) => Ok(reading),
            Ok(None) => Err(NOT_LOADED.to_owned()),
            Err(error) => {
                self.opened = None;
                // It may have gone while it was read.
                if self.pins.is_loaded().is_ok_and(|loaded| !loaded) {
                    return Err(NOT_LOADED.to_owned());
                }
                Err(format!("{error:#}"))
            }
        }
    }

    fn try_read(&mut self) -> Result<Option<Reading>> {
        if !self.pins.is_loaded()? {
            // Maps that are held stay in memory.
            self.opened = None;
            return Ok(None);
        }
        let life = fs::metadata(self.pins.root())?.ino();
        let mut opened = match self.opened.take() {
            Some(opened) if opened.life == life => opened,
            _ => Opened::new(&self.pins, life)?,
        };
        opened.count()?;
        let [allowed, banned] = opened.lists;
        let (at, now) = (self.seconds(), Moment::now());
        let snapshot = report::take_counting(&self.pins, &opened.maps, Duration::ZERO, |list| {
            Ok(if list == List::Allow { allowed } else { banned })
        })?;
        self.opened = Some(opened);
        self.read_history();
        let changes = self.entries.iter().filter_map(|entry| change(entry, at, now)).collect();
        let facts = Facts::of(&snapshot, &self.entries);
        Ok(Some(Reading::of(snapshot, at, life, changes, facts)))
    }

    /// Reads the history if it is another one than before. Without one there are no notes, which stops nobody from watching.
    fn read_history(&mut self) {
        let stamp = fs::metadata(self.history.path())
            .ok()
            .map(|file| (file.ino(), file.len(), file.mtime_nsec()));
        if stamp == self.noted {
            return;
        }
        self.noted = stamp;
        self.entries = self.history.read(ENTRIES).map(|read| read.entries).unwrap_or_default();
    }
}

/// An entry that changed something.
fn change(entry: &Entry, at: f64, now: Moment) -> Option<ChangeMark> {
    let first = entry.changed.first()?;
    let more = entry.changed.len() - 1;
    Some(ChangeMark {
        at: at - now.seconds_since(entry.time),
        clock: entry.time.local_beside(now),
        who: entry.who.to_string(),
        what: if more > 0 { format!("{first} (+{more} more)") } else { first.clone() },
    })
}
