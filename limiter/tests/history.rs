//! The history's file: bounded, whole lines only, whoever writes at the same time and whatever a crash leaves.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use limiter::history::{BOUND, Entry, History, Moment, SWITCH, State, Totals, Who};

/// A directory of its own, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("limiter-history-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("state").join("history.jsonl")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(writer: usize, number: usize) -> Entry {
    let state = |mode: &str| Some(State { mode: mode.to_owned(), profile: None });
    Entry {
        time: Moment::now(),
        who: Who { uid: 0, user: Some("root".to_owned()), ..Who::default() },
        command: vec!["arm".to_owned(), format!("{writer}"), format!("{number}")],
        changed: vec!["mode observe -> enforce".to_owned(), "x".repeat(200)],
        before: state("observe"),
        after: state("enforce"),
        goes_back_at: Some(Moment::now()),
        decides: vec![SWITCH.to_owned()],
        counters: Some(Totals { attempts: 3, admitted: 2, refused: 1 }),
    }
}

/// The writer and the number of an entry.
fn numbers(entry: &Entry) -> (usize, usize) {
    let number = |index: usize| entry.command[index].parse().expect("a number");
    (number(1), number(2))
}

fn append_bytes(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new()
        .append(true)
        .open(path)
        .expect("open")
        .write_all(bytes)
        .expect("written");
}

/// The zone is TZ's, with its summer time, however the machine is set.
#[test]
fn local_time_is_that_of_the_time_zone() {
    let scratch = Scratch::new("zone");
    for (seconds, zone, local) in [
        (1_795_617_125, "UTC0", "2026-11-25 14:32:05"),
        (1_795_617_125, "IST-5:30", "2026-11-25 20:02:05"),
        (1_795_617_125, "CET-1CEST,M3.5.0,M10.5.0/3", "2026-11-25 15:32:05"),
        (1_782_916_325, "CET-1CEST,M3.5.0,M10.5.0/3", "2026-07-01 16:32:05"),
    ] {
        let time = Moment::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let _ = fs::remove_file(scratch.file());
        History::at(scratch.file()).append(&Entry { time, ..entry(0, 0) }).expect("appended");
        let mut command = Command::new(env!("CARGO_BIN_EXE_limiter"));
        let output =
            command.arg("history").env("LIMITER_HISTORY", scratch.file()).env("TZ", zone).output();
        let said = String::from_utf8(output.expect("it runs").stdout).expect("text");
        assert!(said.starts_with(local), "{zone}: {said}");
    }
}

#[test]
fn what_was_appended_is_read_back() {
    let scratch = Scratch::new("plain");
    let history = History::at(scratch.file());
    assert!(history.read(10).expect("no file is an empty history").entries.is_empty());
    let written: Vec<Entry> = (0..5).map(|n| entry(0, n)).collect();
    written.iter().for_each(|entry| history.append(entry).expect("appended"));
    assert_eq!(history.read(usize::MAX).expect("read").entries, written);
    assert_eq!(history.read(2).expect("read").entries, written[3..]);
    assert!(history.read(0).expect("read").entries.is_empty());
    let mode = fs::metadata(scratch.file()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "addresses and commands are not for everybody");
}

/// Half a line at the end, and bytes that are no text: left out and counted, and the next entry is not drawn in.
#[test]
fn a_torn_line_is_skipped() {
    let scratch = Scratch::new("torn");
    let history = History::at(scratch.file());
    history.append(&entry(0, 1)).expect("appended");
    let whole = fs::read(scratch.file()).expect("a file");
    append_bytes(&scratch.file(), &whole[..whole.len() / 2]);
    let read = history.read(usize::MAX).expect("read");
    assert_eq!((read.entries.len(), read.skipped), (1, 1));
    history.append(&entry(0, 2)).expect("appended");
    append_bytes(&scratch.file(), b"\xff\xfe\0\n{}\n");
    history.append(&entry(0, 3)).expect("appended");
    let read = history.read(usize::MAX).expect("read");
    assert_eq!(read.entries.iter().map(|entry| numbers(entry).1).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(read.skipped, 3);
}

/// What a later version adds, and what an earlier one did not have yet.
#[test]
fn another_versions_entries_are_read() {
    let scratch = Scratch::new("version");
    let history = History::at(scratch.file());
    history.append(&entry(0, 1)).expect("appended");
    let line = r#"{"time":"2026-11-24T14:02:05Z","who":{"uid":7,"user":null},"command":["arm"],"changed":[],
        "before":null,"after":{"mode":"observe"},"weather":"fine"}"#;
    append_bytes(&scratch.file(), format!("{}\n", line.replace('\n', "")).as_bytes());
    let read = history.read(usize::MAX).expect("read");
    assert_eq!((read.entries.len(), read.skipped), (2, 0));
    // In the order of their times.
    assert_eq!(read.entries[0].who.to_string(), "uid 7");
}

/// Never more than the bound; what is dropped is the oldest; what is left is whole and in order; the file keeps its mode.
#[test]
fn the_file_is_bounded() {
    let scratch = Scratch::new("bound");
    let history = History::at(scratch.file());
    history.append(&entry(0, 0)).expect("appended");
    let line = fs::read(scratch.file()).expect("a file");
    fs::set_permissions(scratch.file(), fs::Permissions::from_mode(0o600)).expect("a mode");
    // Quicker than appending each: fsync takes its time.
    let full = BOUND as usize / line.len();
    append_bytes(&scratch.file(), &line.repeat(full - 1));
    for n in 1..=3 {
        history.append(&entry(0, n)).expect("appended");
        assert!(fs::metadata(scratch.file()).expect("a file").len() <= BOUND);
    }
    let read = history.read(usize::MAX).expect("read");
    assert_eq!(read.skipped, 0);
    let last: Vec<usize> =
        read.entries.iter().rev().take(4).map(|entry| numbers(entry).1).collect();
    assert_eq!(last, [3, 2, 1, 0]);
    let kept = read.entries.len();
    assert!(kept > full / 2 - 2 && kept < full / 2 + 5, "{kept} of {full} entries");
    assert_eq!(fs::metadata(scratch.file()).expect("a file").permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(scratch.0.join("state")).expect("a directory").collect();
    assert_eq!(names.len(), 1, "nothing else stays: {names:?}");
}

/// Threads that do not know of each other: every line is whole, none is lost but to the bound, also while the file is replaced.
#[test]
fn writers_at_the_same_time() {
    let scratch = Scratch::new("threads");
    let history = History::at(scratch.file());
    history.append(&entry(9, 0)).expect("appended");
    let line = fs::read(scratch.file()).expect("a file");
    let full = BOUND as usize / line.len();
    append_bytes(&scratch.file(), &line.repeat(full - 60));
    let write = |writer: usize| {
        for n in 0..40 {
            // It gives up where the others seem to hang.
            while let Err(error) = history.append(&entry(writer, n)) {
                assert!(format!("{error:#}").contains("has been locked"), "{error:#}");
            }
        }
    };
    std::thread::scope(|scope| {
        for writer in 0..4 {
            scope.spawn(move || write(writer));
        }
    });
    let read = history.read(usize::MAX).expect("read");
    assert_eq!(read.skipped, 0);
    for writer in 0..4 {
        let theirs = read.entries.iter().map(numbers).filter(|(from, _)| *from == writer);
        assert_eq!(
            theirs.map(|(_, n)| n).collect::<Vec<_>>(),
            (0..40).collect::<Vec<_>>(),
            "writer {writer}"
        );
    }
    assert!(read.entries.len() < full, "the file was replaced meanwhile");
}

/// Who waited for the lock while the file was replaced writes to the new one.
#[test]
fn a_file_that_is_replaced_meanwhile() {
    let scratch = Scratch::new("replaced");
    let history = History::at(scratch.file());
    let appended = loop {
        history.append(&entry(0, 0)).expect("appended");
        let old = fs::File::open(scratch.file()).expect("a file");
        old.lock().expect("locked");
        let start = Instant::now();
        let (appended, held) = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| history.append(&entry(0, 1)));
            std::thread::sleep(Duration::from_millis(200));
            let new = scratch.file().with_extension("other");
            fs::write(&new, "").expect("written");
            fs::rename(&new, scratch.file()).expect("renamed");
            old.unlock().expect("unlocked");
            let held = start.elapsed();
            (waiting.join().expect("no panic"), held)
        });
        // A writer gives up after two seconds.
        if held < Duration::from_millis(1500) {
            break appended;
        }
    };
    appended.expect("appended");
    let entries = history.read(usize::MAX).expect("read").entries;
    assert_eq!(entries.iter().map(numbers).collect::<Vec<_>>(), [(0, 1)]);
}

/// A command over ten thousand prefixes leaves an entry, not a tenth of the file.
#[test]
fn a_long_entry_is_shortened() {
    let scratch = Scratch::new("long");
    let history = History::at(scratch.file());
    let changed = (0..10_000).map(|n| format!("banned 2001:db8::{n:x} until removed")).collect();
    history.append(&Entry { changed, ..entry(0, 1) }).expect("appended");
    assert!(fs::metadata(scratch.file()).expect("a file").len() < 60 << 10);
    let last = history.read(1).expect("read").entries[0].changed.last().cloned().expect("a line");
    assert!(last.starts_with("... and ") && last.ends_with(" more"), "{last}");
}

#[test]
fn what_cannot_be_written_is_an_error_that_names_the_file() {
    for path in ["/dev/full", "/dev/null/history.jsonl"] {
        let error = History::at(path).append(&entry(0, 1)).expect_err(path);
        assert!(format!("{error:#}").contains("/dev/"), "{error:#}");
    }
    History::at("/dev/null").append(&entry(0, 1)).expect("nowhere is a place too");
}
