//! `limiter run`: the daemon. It keeps a policy file in force and interfaces attached, and tells systemd and the log what happens.
//!
//! Limiting does not need it: everything that decides is in the kernel, and stays when the daemon ends or is killed. What it adds is that
//! somebody is there when a device comes back, when something went back by itself, and when somebody changes a setting of the kernel.
//!
//! ```text
//! events (news of interfaces, signals, time) -> interfaces, file, reverts -> apply, link, cookies (under the lock) -> log, history, systemd
//! ```

mod attach;
mod auto;
mod events;
mod exporter;
mod file;
mod fleet;
mod hindered;
mod interfaces;
pub mod log;
mod negotiation;
pub mod notify;
mod own;
mod record;
pub mod reverts;
mod thread;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use limiter_common::switch::{Mode, Switch};
use tracing::{error, info, warn};

use crate::auto::Caps;
use crate::hindrance::Watcher;
use crate::history::{History, State};
use crate::kernel::cookies::Charged;
use crate::kernel::link_events::LinkEvent;
use crate::kernel::lock::{DaemonLock, Lock};
use crate::kernel::{Maps, Pins, clock, cookies, link, open};
use crate::output;
use crate::policy::file::Document;
use crate::policy::{Name, diff, text};
use crate::report::fleet::Shared;
use events::{Event, Events};
use exporter::Exporter;
use interfaces::Interfaces;
use notify::Manager;
use record::Record;
use reverts::{Follower, WentBack};
use thread::Thread;

/// How long the daemon waits for a command that holds the lock, before it does something else and tries again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it reads the kernel's settings that a challenge depends on, and how often while proofs
/// pay: whoever changes them then cuts new clients off.
const SETTINGS: Duration = Duration::from_secs(60);
const SETTINGS_WHILE_ASKING: Duration = Duration::from_secs(1);

/// What the daemon is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The policy file.
    pub file: PathBuf,
    /// The profile of it to load.
    pub profile: Option<Name>,
    /// Where to serve metrics.
    pub listen: Option<SocketAddr>,
    /// Unload limiter when the daemon ends.
    pub detach_on_exit: bool,
    /// The words that it was started with, for the history.
    pub command: Vec<String>,
}

/// The daemon.
struct Daemon {
    pins: Pins,
    options: Options,
    record: Record,
    manager: Manager,
    exporter: Option<Exporter>,
    fleet: Option<Thread>,
    auto: Option<Thread>,
    caps: Caps,
    own: Option<Thread>,
    /// What its node of a fleet knows.
    known: Shared,
    interfaces: Interfaces,
    follower: Follower,
    /// What the file said when it was good last.
    document: Option<Document>,
    loaded: bool,
    /// When the settings were read; `None`: they are to be read now.
    settings: Option<Instant>,
    /// What keeps challenges from working.
    watcher: Watcher,
    /// The last failure, which is not told twice.
    failure: Option<String>,
    /// Lines of the log that were lost, as far as that was told.
    lost: u64,
    _place: DaemonLock,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot begin: another daemon is there, the file is bad and limiter not loaded, the kernel refuses,
/// metrics cannot be served. When it cannot hear of
/// interfaces any more. What is in force stays in every case.
pub fn run(pins: &Pins, history: History, options: Options) -> Result<()> {
    let mut events = Events::open()?;
    let lock = pins.lock_for_change()?;
    let place = pins.daemon(&lock)?;
    let known = Shared::default();
    let serve = |address| Exporter::open(address, pins, &known);
    let exporter = options.listen.map(serve).transpose()?;
    let mut daemon = Daemon {
        _place: place,
        pins: pins.clone(),
        record: Record::new(history, options.command.clone()),
        options,
        manager: Manager::of_environment(),
        exporter,
        fleet: None,
        auto: None,
        caps: Caps::default(),
        own: None,
        known,
        interfaces: Interfaces::default(),
        follower: Follower::default(),
        document: None,
        loaded: true,
        settings: Some(Instant::now()),
        watcher: Watcher::default(),
        failure: None,
        lost: 0,
    };
    daemon.start()?;
    drop(lock);
    if let Some(document) = daemon.document.take() {
        daemon.follow(document);
    }
    daemon.work(Event::Interfaces);
    daemon.own = own::follow(&daemon.pins);
    daemon.manager.ready();
    let signal = daemon.follow_events(&mut events);
    daemon.manager.stopping();
    daemon.end(signal?)
}

impl Daemon {
    /// Works until a signal ends it: which.
    fn follow_events(&mut self, events: &mut Events) -> Result<&'static str> {
        loop {
            let end = Instant::now() + self.nap();
            let event = events.next(end, |heard| match heard {
                LinkEvent::Interface(index, name) => {
                    self.interfaces.concerns(*index, name.as_deref())
                }
                LinkEvent::Lost => true,
            })?;
            if let Event::Stop(signal) = event {
                return Ok(signal);
            }
            self.work(event);
        }
    }

    /// How long nothing needs to be looked at: no longer than until the switch goes back.
    fn nap(&self) -> Duration {
        let switch = Maps::open(&self.pins.root()).and_then(|maps| maps.switch()).ok();
        let nap = switch
            .map_or(self.manager.nap(), |switch| self.manager.nap().min(self.settings_due(switch)));
        let left = switch.and_then(|switch| reverts::left(switch, clock::now()));
        // The kernel side reads a clock that is up to a tick behind.
        left.map_or(nap, |left| nap.min(left + Duration::from_millis(10)))
    }

    /// How long the kernel's settings need not be read.
    fn settings_due(&self, switch: Switch) -> Duration {
        let pause = if switch.charges_proofs() { SETTINGS_WHILE_ASKING } else { SETTINGS };
        self.settings.map_or(Duration::ZERO, |read| pause.saturating_sub(read.elapsed()))
    }

    fn work(&mut self, event: Event) {
        if event == Event::Reload {
            self.reload();
        }
        match self.look_around(event) {
            Ok(()) => self.failure = None,
            Err(error) => {
                let failure = format!("{error:#}");
                if self.failure.as_ref() != Some(&failure) {
                    error!(error = %failure, "cannot do what is to be done; it is tried again");
                    self.failure = Some(failure);
                }
            }
        }
        self.tell_missing();
        if let Some(exporter) = &self.exporter {
            exporter.want(self.interfaces.expected());
        }
        if event == Event::Reload {
            // Only now: whoever waits for it finds the interfaces of the file attached.
            self.manager.ready();
        }
        self.tell_lost();
        self.manager.alive();
    }

    /// Says how many lines of the log were lost, as soon as it takes lines again.
    fn tell_lost(&mut self) {
        let lost = output::lost();
        if lost > self.lost {
            warn!(
                lines = lost - self.lost,
                "standard error did not take these lines of the log: they are lost"
            );
            // This line may be lost as well: then the next one counts it too.
            if output::lost() == lost {
                self.lost = lost;
            }
        }
    }

    fn reload(&mut self) {
        self.manager.reloading();
        if let Err(error) = self.apply_file() {
            error!(
                error = format!("{error:#}"),
                "the policy file is not applied: what is in force stays"
            );
        }
        // Whoever changed the file may have changed the settings that go with it.
        self.settings = None;
    }

    fn look_around(&mut self, event: Event) -> Result<()> {
        let loaded = self.pins.is_loaded()?;
        if loaded != self.loaded {
            self.loaded = loaded;
            match loaded {
                true => info!("another command loaded limiter"),
                false => {
                    self.interfaces.unloaded();
                    warn!(
                        "another command unloaded limiter: nothing is limited; reload (SIGHUP) loads the policy file"
                    );
                }
            }
        }
        if !loaded {
            self.manager.status("limiter is not loaded: nothing is limited".to_owned());
            return Ok(());
        }
        let changed = self.pins.links() != self.interfaces.pinned();
        // What failed before is tried again, such as waiting for a command that held the lock.
        let changed = changed || self.failure.is_some();
        if event != Event::Time || changed || self.interfaces.is_due(Instant::now()) {
            self.look_at_interfaces()?;
        }
        let maps = Maps::open(&self.pins.root())?;
        if let Some(went_back) = self.follower.look(maps.switch()?, clock::now()) {
            self.went_back(went_back)?;
        }
        if self.settings_due(maps.switch()?).is_zero() {
            self.settle(&maps)?;
            self.settings = Some(Instant::now());
            self.end_hindered(&maps)?;
        }
        self.tell_status(&maps)
    }

    /// Follows what the kernel side did by itself.
    fn went_back(&mut self, went_back: WentBack) -> Result<()> {
        let _lock = self.lock()?;
        let mut maps = Maps::open(&self.pins.root())?;
        maps.settle_cookies()?;
        self.count_open(&mut maps);
        let WentBack { at, from, to } = went_back;
        let [old, new] = [from.mode, to.mode].map(text::show_mode);
        let mut changed = Vec::new();
        if from.slot != to.slot {
            changed.push("the policy before decides again".to_owned());
            changed.extend(diff::changes(&maps.policy(from.slot)?, &maps.policy(to.slot)?));
        }
        if from.mode != to.mode || changed.is_empty() {
            changed.push(format!("mode {old} -> {new}"));
        }
        let profile = maps.origin(from.slot)?.profile.map(|name| name.to_string());
        let changes = changed.join("; ");
        self.record.went_back(at, State { mode: old.to_owned(), profile }, &maps, changed);
        info!(mode = new, %changes, "went back by itself");
        self.follower.told(went_back);
        Ok(())
    }

    /// Notices what somebody changed of the kernel's settings that a challenge depends on.
    fn settle(&self, maps: &Maps) -> Result<()> {
        if maps.is_settled()? && open::is_settled(&self.pins, maps)? {
            return Ok(());
        }
        let (before, options) = (maps.cookies()?, maps.noted_options()?);
        let _lock = self.lock()?;
        let mut maps = Maps::open(&self.pins.root())?;
        maps.settle_cookies()?;
        self.count_open(&mut maps);
        let (after, now) = (maps.cookies()?, maps.noted_options()?);
        let (was, is) = (before.syncookies, after.syncookies);
        if was != is {
            warn!(
                was,
                is,
                "another process changed net.ipv4.tcp_syncookies; it is set again as the policy needs it"
            );
        } else if before.charged == Charged::Proofs && after.charged != before.charged {
            warn!(
                is,
                "another process changed net.ipv4.tcp_syncookies, and limiter may not set it: NOBODY IS CHALLENGED; \
                 `limiter set --set-syncookies yes` lets it"
            );
        }
        if options != now {
            warn!(was = %options, is = %now, "another process changed TCP settings: answers to challenges follow them from now on");
        }
        Ok(())
    }

    /// Counts open connections as the policy in force needs it. The caller holds the lock.
    fn count_open(&self, maps: &mut Maps) {
        if let Some(failure) = open::settled(&self.pins, maps) {
            warn!("{failure}");
        }
    }

    fn tell_status(&mut self, maps: &Maps) -> Result<()> {
        let selection = maps.selection()?;
        let mode = match selection.mode {
            Mode::Enforce => "enforce: excess attempts are dropped",
            Mode::Observe => "observe: nothing is dropped",
        };
        let profile = maps
            .origin(selection.slot)?
            .profile
            .map_or_else(String::new, |name| format!(", profile {name}"));
        let (attached, missing) = self.interfaces.standings();
        let list =
            |names: &[&str]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let lacks = if missing.is_empty() {
            String::new()
        } else {
            format!("; MISSING: {}", missing.join(", "))
        };
        let status = format!("{mode}{profile}; attached to {}{lacks}", list(&attached));
        self.manager.status(status);
        Ok(())
    }

    fn lock(&self) -> Result<Lock> {
        self.pins.lock_within(PATIENCE)
    }

    /// Ends. Enforcement stays, unless it was to be different.
    fn end(&self, signal: &str) -> Result<()> {
        if !self.options.detach_on_exit {
            info!(signal, "the daemon ends; what is in force stays");
            return Ok(());
        }
        let _lock = self.pins.lock_for_change()?;
        if self.pins.is_loaded()? {
            let before = Maps::open(&self.pins.root()).ok().as_ref().and_then(State::of);
            cookies::put_back(&self.pins)?;
            link::unload(&self.pins)?;
            self.record.happened(
                before,
                None,
                vec!["limiter is unloaded; nothing of it is left".to_owned()],
            );
        }
        info!(signal, "the daemon ends, and limiter is detached and unloaded");
        Ok(())
    }
}
