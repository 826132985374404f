//! The file of the history: appending whole lines, keeping it bounded, reading what is whole.
//!
//! An entry is one write(2) with O_APPEND, then fsync. Commands that change one limiter hold the lock of its pin directory meanwhile;
//! limiters with pins of their own may share the file, so a writer also locks the file itself, and looks whether the file that it
//! locked is still the one at the path.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, fchown,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Entry;

/// Bytes that the file may hold, and as many more for changes of lists in a file beside it. An
/// entry that does not fit any more drops the older half.
pub const BOUND: u64 = 1 << 20;

/// How long a writer waits for others of which none gets on: each holds the lock for one write, or
/// for rewriting half of [`BOUND`].
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it waits in all. Hundreds of commands at once write one after another, in no order.
const MOST_PATIENCE: Duration = Duration::from_secs(30);

/// A history, by its path. The file need not exist.
#[derive(Clone, Debug)]
pub struct History {
    path: PathBuf,
    /// Whether a line waits until the disk has it.
    synced: bool,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
    /// Lines of the whole file that are no entry: a crash cuts the last one off.
    pub skipped: usize,
}

impl History {
    /// The history in the file at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), synced: true }
    }

    /// Where changes of lists are: thousands of bans leave the other changes in place. What is lost
    /// of them in a crash is lost with the bans themselves, so that no ban waits for the disk.
    fn of_lists(&self) -> Self {
        let mut name = self.path.clone().into_os_string();
        name.push(".lists");
        // What is no file has no other beside it.
        let is_file = !self.path.exists() || self.path.is_file();
        Self { path: if is_file { name.into() } else { self.path.clone() }, synced: false }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an entry and waits until the disk has it, unless it is of a list.
    ///
    /// # Errors
    /// When the file cannot be made, locked or written. It holds what it held before then.
    pub fn append(&self, entry: &Entry) -> Result<()> {
        if entry.is_of_lists() { self.of_lists().write(entry) } else { self.write(entry) }
    }

    fn write(&self, entry: &Entry) -> Result<()> {
        let mut line =
            serde_json::to_vec(&entry.shortened()).context("an entry cannot be written as JSON")?;
        line.push(b'\n');
        let mut file = self.locked()?;
        if length(&file)? + line.len() as u64 > BOUND {
            file = self
                .without_older_half(&file)
                .with_context(|| format!("cannot shorten {}", self.path.display()))?;
        }
        let before = length(&file)?;
        if is_torn(&file, before) {
            // What a crash cut off stays a line of its own.
            line.insert(0, b'\n');
        }
        let written = write_once(&mut file, &line)
            .and_then(|()| if self.synced { sync(&file) } else { Ok(()) });
        if before == 0 {
            self.sync_directory();
        }
        if written.is_err() {
            // Half a line would be skipped by every reader, and nothing is lost by its absence.
            let _ = file.set_len(before);
        }
        written.with_context(|| format!("cannot write to {}", self.path.display()))
    }

    /// The last `limit` entries. A file that does not exist has none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, limit: usize) -> Result<Read> {
        let mut read = self.read_all()?;
        let lists = self.of_lists();
        if lists.path != self.path {
            let more = lists.read_all()?;
            read.skipped += more.skipped;
            read.entries.extend(more.entries);
            read.entries.sort_by_key(|entry| entry.time);
        }
        read.entries.drain(..read.entries.len().saturating_sub(limit));
        Ok(read)
    }

    fn read_all(&self) -> Result<Read> {
        let bytes = match self.bytes() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Read::default()),
            bytes => bytes.with_context(|| format!("cannot read {}", self.path.display()))?,
        };
        let lines: Vec<&[u8]> =
            bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let entries: Vec<Entry> =
            lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let skipped = lines.len() - entries.len();
        Ok(Read { entries, skipped })
    }

    fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        // A line that is just being written would look torn; but reading never waits for long.
        let start = Instant::now();
        while file.try_lock_shared().is_err() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The file at the path, made if need be, and locked for writing.
    fn locked(&self) -> Result<File> {
        if let Some(directory) =
            self.path.parent().filter(|directory| !directory.as_os_str().is_empty())
        {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o755);
            builder
                .create(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let mut waits = Waits::default();
        loop {
            let file =
                open(&self.path).with_context(|| format!("cannot open {}", self.path.display()))?;
            self.wait_for(&file, &mut waits)?;
            // Another writer may have put a shorter file in its place meanwhile.
            if is_at(&file, &self.path) {
                return Ok(file);
            }
        }
    }

    fn wait_for(&self, file: &File, waits: &mut Waits) -> Result<()> {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if waits.are_worth_it(file) => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(TryLockError::WouldBlock) => {
                    bail!(
                        "{} has been locked by another process for {} s",
                        self.path.display(),
                        waits.since.elapsed().as_secs()
                    );
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error)
                        .with_context(|| format!("cannot lock {}", self.path.display()));
                }
            }
        }
    }

    /// Puts a file with the newer half in the place of `file`, which is locked; the new one, locked too.
    fn without_older_half(&self, file: &File) -> Result<File> {
        let mut bytes = vec![0; length(file)? as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let half = bytes.len() / 2;
        let kept = bytes[half..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |end| half + end + 1);
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new_path = PathBuf::from(name);
        let mut new = open(&new_path)?;
        // Before it is in place, so that nobody writes to it first.
        new.lock()?;
        new.set_len(0)?;
        let owner = file.metadata()?;
        new.set_permissions(owner.permissions())?;
        // Only root can give it to another owner, and only root can have found such a file here.
        let _ = fchown(&new, Some(owner.uid()), Some(owner.gid()));
        new.write_all(&bytes[kept..])?;
        sync(&new)?;
        fs::rename(&new_path, &self.path)?;
        self.sync_directory();
        Ok(new)
    }

    /// So that a new file is found after a crash. One that is not found then is no more than an empty history.
    fn sync_directory(&self) {
        if let Some(directory) = self.path.parent().and_then(|directory| File::open(directory).ok())
        {
            let _ = directory.sync_all();
        }
    }
}

/// How long a writer has waited for the lock, and whether others get on meanwhile.
struct Waits {
    begun: Instant,
    /// Since when the file is as it is.
    since: Instant,
    length: u64,
}

impl Default for Waits {
    fn default() -> Self {
        Self { begun: Instant::now(), since: Instant::now(), length: 0 }
    }
}

impl Waits {
    fn are_worth_it(&mut self, file: &File) -> bool {
        let length = length(file).unwrap_or(self.length);
        if length != self.length {
            (self.length, self.since) = (length, Instant::now());
        }
        self.since.elapsed() < PATIENCE && self.begun.elapsed() < MOST_PATIENCE
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

fn length(file: &File) -> Result<u64> {
    Ok(file.metadata()?.len())
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(here), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (here.dev(), here.ino()) == (there.dev(), there.ino())
}

/// Whether the last line of a file of `length` bytes has no end.
fn is_torn(file: &File, length: u64) -> bool {
    let mut last = [b'\n'];
    length > 0 && file.read_exact_at(&mut last, length - 1).is_ok() && last != [b'\n']
}

/// One write(2): another writer's line never comes in between.
fn write_once(file: &mut File, line: &[u8]) -> std::io::Result<()> {
    match file.write(line)? {
        written if written == line.len() => Ok(()),
        _ => Err(ErrorKind::StorageFull.into()),
    }
}

/// What is no file on a disk, such as /dev/null, has nothing to wait for.
fn sync(file: &File) -> std::io::Result<()> {
    match file.sync_data() {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_waits_while_others_get_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("history.jsonl");
        fs::write(&path, "{}\n").expect("written");
        let file = open(&path).expect("opened");
        let ago = |seconds| Instant::now() - Duration::from_secs(seconds);
        let worth = |begun, since, length| {
            Waits { begun: ago(begun), since: ago(since), length }.are_worth_it(&file)
        };
        assert!(worth(3, 3, 0), "another line since it looked last");
        assert!(!worth(3, 3, 3), "none for three seconds");
        assert!(!worth(31, 0, 0), "but not for ever");
    }
}
