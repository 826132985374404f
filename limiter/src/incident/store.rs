//! Where a recording is kept while it runs, and how it becomes an archive.
//!
//! A directory beside the archive, written line by line and synced every few seconds: a killed recorder, or a machine that goes down, loses
//! no more than that. At the end it is packed; only an archive that is whole on the disk replaces it. Nobody but its owner may read either:
//! they hold addresses of clients.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::series::Line;
use super::{anonymous, names};

/// Bytes of a series at which a recording ends by itself: a day of the largest policy stays below, and a reader needs a bound.
pub const LARGEST_SERIES: u64 = 1 << 30;

/// A recording on the disk.
#[derive(Debug)]
pub struct Store {
    archive: PathBuf,
    directory: PathBuf,
    series: File,
    anonymous: bool,
    /// Bytes of the series so far.
    pub bytes: u64,
}

impl Store {
    /// Makes the directory beside `archive`.
    ///
    /// # Errors
    /// When either is there already, or cannot be made.
    pub fn create(archive: &Path, anonymous: bool) -> Result<Self> {
        let directory = beside(archive)?;
        if archive.symlink_metadata().is_ok() {
            bail!(
                "{} is there already: nothing that was recorded is overwritten; name another with -o",
                archive.display()
            );
        }
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
                "{0} is there already: another recording runs, or one was killed; `limiter report {0}` reads it, then move it away",
                directory.display()
            ),
            made => made.with_context(|| format!("cannot make {}", directory.display()))?,
        }
        let series = file(&directory.join(names::SERIES));
        let series =
            series.with_context(|| format!("cannot write into {}", directory.display()))?;
        Ok(Self { archive: archive.to_owned(), directory, series, anonymous, bytes: 0 })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When the disk takes no more. What is there stays.
    pub fn append(&mut self, line: &Line) -> Result<()> {
        let mut text = self.text(&serde_json::to_string(line)?);
        text.push('\n');
        self.series.write_all(text.as_bytes()).with_context(|| self.kept("cannot write"))?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Waits until the disk has it.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn sync(&self) -> Result<()> {
        self.series.sync_data().with_context(|| self.kept("cannot write"))
    }

    /// Writes one of the other files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let text = self.text(&(serde_json::to_string_pretty(value)? + "\n"));
        let write = || {
            let mut file = file(&self.directory.join(name))?;
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        write().with_context(|| self.kept(&format!("cannot write {name}")))
    }

    /// Packs everything into the archive and removes the directory: bytes of the archive.
    ///
    /// # Errors
    /// When the archive cannot be written. The directory stays then.
    pub fn pack(self) -> Result<u64> {
        self.sync()?;
        let mut unfinished = self.archive.clone().into_os_string();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let packed = pack(&self.directory, &unfinished)
            .and_then(|()| fs::rename(&unfinished, &self.archive));
        if let Err(error) = packed {
            let _ = fs::remove_file(&unfinished);
            return Err(error)
                .with_context(|| self.kept(&format!("cannot write {}", self.archive.display())));
        }
        if let Some(parent) = self.archive.parent().and_then(|parent| File::open(parent).ok()) {
            let _ = parent.sync_all();
        }
        // Both are there then, and the same.
        let _ = fs::remove_dir_all(&self.directory);
        Ok(self.archive.metadata().map_or(0, |data| data.len()))
    }

    fn text(&self, text: &str) -> String {
        if self.anonymous { anonymous::cut(text) } else { text.to_owned() }
    }

    fn kept(&self, what: &str) -> String {
        format!(
            "{what}; what was recorded is kept: `limiter report {}` reads it",
            self.directory.display()
        )
    }
}

/// The directory that belongs to an archive: `incident.partial` beside `incident.tar.gz`.
fn beside(archive: &Path) -> Result<PathBuf> {
    let name = archive.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} names no file", archive.display()))?;
    let stem = name.strip_suffix(".tar.gz").or_else(|| name.strip_suffix(".tgz")).unwrap_or(name);
    Ok(archive.with_file_name(format!("{stem}.partial")))
}

fn file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// The same directory always makes the same bytes: names, owner, mode and time say nothing of who packed it.
fn pack(directory: &Path, archive: &Path) -> std::io::Result<()> {
    let compressed =
        flate2::GzBuilder::new().mtime(0).write(file(archive)?, flate2::Compression::default());
    let mut tar = tar::Builder::new(compressed);
    for name in names::ALL {
        let Ok(mut content) = File::open(directory.join(name)) else { continue };
        let mut header = tar::Header::new_ustar();
        header.set_size(content.metadata()?.len());
        header.set_mode(0o600);
        header.set_mtime(0);
        tar.append_data(&mut header, format!("{}/{name}", names::DIRECTORY), &mut content)?;
    }
    tar.into_inner()?.finish()?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::series::Note;
    use super::*;

    fn recorded(archive: &Path) -> Store {
        let mut store = Store::create(archive, true).expect("made");
        let note = Note { time: None, text: "from 192.0.2.77".to_owned() };
        store.append(&Line::Note(note)).expect("written");
        store.write(names::META, &["192.0.2.77"]).expect("written");
        store
    }

    #[test]
    fn an_archive_is_the_same_each_time_and_nobody_elses() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, two) = (directory.path().join("one.tar.gz"), directory.path().join("two.tgz"));
        let store = recorded(&one);
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(
            (mode(store.directory.as_path()), mode(&store.directory.join(names::SERIES))),
            (0o700, 0o600)
        );
        store.pack().expect("packed");
        assert_eq!(mode(&one), 0o600);
        recorded(&two).pack().expect("packed");
        assert_eq!(fs::read(&one).expect("read"), fs::read(&two).expect("read"));
        assert_eq!(
            fs::read_dir(directory.path()).expect("a directory").count(),
            2,
            "nothing else is left"
        );
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let archive = directory.path().join("incident.tar.gz");
        let store = recorded(&archive);
        let error = Store::create(&archive, false).expect_err("another one runs").to_string();
        assert!(error.contains("incident.partial") && error.contains("limiter report"), "{error}");
        store.pack().expect("packed");
        let error = Store::create(&archive, false).expect_err("it is there").to_string();
        assert!(error.contains("overwritten"), "{error}");
    }
}
