//! Recording: a line each second until the time is over or somebody ends it, then everything packed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::machine;
use super::series::{Heavy, Limiter, Line, Note, PolicyLine, Tick, Top};
use super::store::{LARGEST_SERIES, Store};
use super::{End, Meta, VERSION, names};
use crate::doctor::{self, Tree};
use crate::history::{Entry, History, Moment};
use crate::kernel::{Maps, Pins, clock};
use crate::policy::diff;
use crate::policy::file::Document;
use crate::report::{self, Snapshot};
use crate::tcp;

/// The longest recording.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Time between two lines.
const SECOND: Duration = Duration::from_secs(1);
/// Lines between two waits for the disk, which is what a crash of the machine can cost.
const SYNC: u64 = 5;
/// Lines between two lists of the sources that come most.
const TOP: u64 = 10;

/// What is to be recorded.
pub struct Options {
    /// The limiter.
    pub pins: Pins,
    /// Its history.
    pub history: History,
    /// The archive.
    pub output: PathBuf,
    /// For how long.
    pub time: Duration,
    /// Whether addresses are cut.
    pub anonymous: bool,
    /// The words that were typed.
    pub command: Vec<String>,
    /// What is enforced, as a policy file.
    pub enforced: fn(&Pins, &Maps) -> Result<Document>,
}

/// What was recorded.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The archive.
    pub archive: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Lines of seconds in it.
    pub seconds: u64,
    /// Bytes that each of them took before it was packed.
    pub bytes_per_second: u64,
    /// Why it ended.
    pub why: String,
}

/// Records until the time is over, a signal comes, or the disk takes no more.
///
/// # Errors
/// When it cannot begin, or something cannot be written: what was recorded stays beside the archive then.
pub fn record(options: Options) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start tokio")?;
    // Before anything is written: whoever ends it then finds it packed.
    let mut signals =
        runtime.block_on(async { Signals::new() }).context("cannot wait for signals")?;
    let mut recorder = Recorder::begin(options)?;
    loop {
        // Outside of the runtime: listing interfaces brings its own.
        recorder.second()?;
        if let Some(why) = recorder.is_over() {
            return recorder.end(why.to_owned());
        }
        if let Some(why) = runtime.block_on(signals.until(recorder.next())) {
            return recorder.end(why.to_owned());
        }
    }
}

/// What ends a recording from outside.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the moment: which signal came before it, in words.
    async fn until(&mut self, moment: Instant) -> Option<&'static str> {
        tokio::select! {
            _ = self.interrupt.recv() => Some("Ctrl-C"),
            _ = self.terminate.recv() => Some("SIGTERM"),
            _ = self.hangup.recv() => Some("the terminal was closed"),
            () = tokio::time::sleep_until(moment.into()) => None,
        }
    }
}

struct Recorder {
    options: Options,
    store: Store,
    tree: Tree,
    start: Instant,
    since: Moment,
    /// Lines of seconds so far.
    lines: u64,
    missed: u64,
    policy: Option<(u64, Document)>,
    /// Entries of the history that are recorded.
    entries: Vec<Entry>,
    /// Length of the history's file when it was read last.
    history: Option<u64>,
    /// What could not be read, which is noted once.
    failure: Option<String>,
    doctor: Option<std::thread::JoinHandle<Result<Vec<doctor::Finding>>>>,
}

impl Recorder {
    fn begin(options: Options) -> Result<Self> {
        let store = Store::create(&options.output, options.anonymous)?;
        let since = Moment::now();
        let system = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let meta = Meta {
            version: VERSION,
            limiter: env!("CARGO_PKG_VERSION").to_owned(),
            host: text(system.nodename()),
            kernel: text(system.release()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            started: since,
            utc_offset_seconds: since.utc_offset(),
            anonymous: options.anonymous,
            command: options.command.clone(),
        };
        store.write(names::META, &meta)?;
        // It takes more than a second, which the series must not wait for.
        let doctor = Some(spawn_doctor(&options.pins));
        Ok(Self {
            tree: Tree::at("/"),
            start: Instant::now(),
            lines: 0,
            missed: 0,
            policy: None,
            entries: Vec::new(),
            history: None,
            failure: None,
            doctor,
            since,
            store,
            options,
        })
    }

    /// Records what is now.
    fn second(&mut self) -> Result<()> {
        let read = self.read();
        let failure = read.as_ref().err().map(|error| format!("{error:#}"));
        if failure != self.failure {
            let text = failure.clone().unwrap_or_else(|| "limiter can be read again".to_owned());
            self.note(text)?;
            self.failure = failure;
        }
        let read = read.ok().flatten();
        if self.lines == 0 {
            self.status(0, read.as_ref().map(|(snapshot, _)| snapshot))?;
        }
        let names: Vec<String> = match &read {
            Some((snapshot, _)) => {
                snapshot.interfaces.iter().filter_map(|one| one.name.clone()).collect()
            }
            None => Vec::new(),
        };
        let tick = Tick {
            time: Some(Moment::now()),
            monotonic: clock::now() as f64 / 1e9,
            limiter: read.as_ref().map(|(snapshot, _)| Limiter::of(snapshot)),
            tcp: tcp::counters(&self.tree),
            cpu: machine::cpu(&self.tree),
            nics: machine::nics(&self.tree, &names),
        };
        self.store.append(&Line::Tick(Box::new(tick)))?;
        if let Some((snapshot, maps)) = read {
            self.look_at_policy(&snapshot, &maps)?;
            if self.lines.is_multiple_of(TOP) {
                let refused = snapshot.refused_most.iter().filter_map(Heavy::of).collect();
                self.store.append(&Line::Top(Top { time: Some(Moment::now()), refused }))?;
            }
        }
        self.look_at_history()?;
        self.look_at_doctor(0, false)?;
        if self.lines.is_multiple_of(SYNC) {
            self.store.sync()?;
        }
        self.lines += 1;
        Ok(())
    }

    /// What limiter counts; `None` while it is not loaded.
    fn read(&self) -> Result<Option<(Snapshot, Maps)>> {
        let pins = &self.options.pins;
        if !pins.is_loaded()? {
            return Ok(None);
        }
        // Each time anew: it may have been unloaded and loaded again.
        let maps = Maps::open(&pins.root())?;
        Ok(Some((report::take(pins, &maps, Duration::ZERO)?, maps)))
    }

    fn look_at_policy(&mut self, snapshot: &Snapshot, maps: &Maps) -> Result<()> {
        if self.policy.as_ref().is_some_and(|(generation, _)| *generation == snapshot.generation) {
            return Ok(());
        }
        let document = match (self.options.enforced)(&self.options.pins, maps) {
            Ok(document) => document,
            Err(error) => return self.note(format!("the policy cannot be read: {error:#}")),
        };
        let changed = match &self.policy {
            Some((_, before)) => diff::changes(&before.policy, &document.policy),
            None => Vec::new(),
        };
        let time = Some(Moment::now());
        let line =
            PolicyLine { time, generation: snapshot.generation, text: document.to_toml(), changed };
        self.policy = Some((snapshot.generation, document));
        self.store.append(&Line::Policy(line))
    }

    /// Records what was noted in the history since the recording began.
    fn look_at_history(&mut self) -> Result<()> {
        let length = std::fs::metadata(self.options.history.path()).ok().map(|data| data.len());
        if length == self.history {
            return Ok(());
        }
        self.history = length;
        let read = match self.options.history.read(usize::MAX) {
            Ok(read) => read,
            Err(error) => return self.note(format!("the history cannot be read: {error:#}")),
        };
        for entry in read.entries.into_iter().filter(|entry| entry.time >= self.since) {
            if !self.entries.contains(&entry) {
                self.store.append(&Line::Change(Box::new(super::series::HistoryEntry {
                    entry: entry.clone(),
                })))?;
                self.entries.push(entry);
            }
        }
        Ok(())
    }

    /// Writes what doctor found, if it is ready or worth waiting for.
    fn look_at_doctor(&mut self, which: usize, wait: bool) -> Result<()> {
        let Some(doctor) = self.doctor.take_if(|doctor| wait || doctor.is_finished()) else {
            return Ok(());
        };
        match doctor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Ok(findings) => self.store.write(names::DOCTOR[which], &findings),
            Err(error) => self.note(format!("doctor cannot look: {error:#}")),
        }
    }

    fn status(&self, which: usize, snapshot: Option<&Snapshot>) -> Result<()> {
        self.store.write(names::STATUS[which], &snapshot)
    }

    fn note(&mut self, text: String) -> Result<()> {
        self.store.append(&Line::Note(Note { time: Some(Moment::now()), text }))
    }

    fn is_over(&self) -> Option<&'static str> {
        if self.start.elapsed() >= self.options.time {
            return Some("the time was over");
        }
        (self.store.bytes >= LARGEST_SERIES).then_some("the record became too large")
    }

    /// When the next line is due. Seconds that are over already are missed.
    fn next(&mut self) -> Instant {
        let elapsed = self.start.elapsed();
        let due = self.lines + self.missed;
        self.missed += elapsed.as_secs().saturating_sub(due);
        (self.start + SECOND * u32::try_from(self.lines + self.missed).unwrap_or(u32::MAX))
            .min(self.start + self.options.time)
    }

    fn end(mut self, why: String) -> Result<Outcome> {
        self.look_at_doctor(0, true)?;
        let snapshot = self.read().ok().flatten();
        self.status(1, snapshot.as_ref().map(|(snapshot, _)| snapshot))?;
        self.doctor = Some(spawn_doctor(&self.options.pins));
        self.look_at_doctor(1, true)?;
        self.store.write(
            names::END,
            &End { ended: Moment::now(), why: why.clone(), missed: self.missed },
        )?;
        let (archive, seconds) = (self.options.output.clone(), self.lines);
        let bytes_per_second = self.store.bytes / self.lines.max(1);
        Ok(Outcome { archive, bytes: self.store.pack()?, seconds, bytes_per_second, why })
    }
}

fn spawn_doctor(pins: &Pins) -> std::thread::JoinHandle<Result<Vec<doctor::Finding>>> {
    let pins = pins.clone();
    std::thread::spawn(move || {
        doctor::examine(
            &Tree::at("/"),
            &doctor::Question {
                pins: &pins,
                interfaces: &[],
                named: &[],
                attach: false,
                auto: &[],
                fleet: None,
                history: None,
            },
        )
    })
}
