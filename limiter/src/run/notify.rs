//! What systemd is told: that the daemon is ready, reloads, stops, lives, and how things stand. Without systemd nobody is told.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::warn;

/// The longest time between two looks at what has no news of its own, such as the switch.
const LONGEST: Duration = Duration::from_secs(1);

/// The service manager.
#[derive(Debug)]
pub struct Manager {
    /// How often it wants to hear that the daemon lives.
    watchdog: Option<Duration>,
    heard: Instant,
    status: String,
    /// Whether it could not be told; said once.
    deaf: bool,
}

impl Manager {
    /// The one in the environment, if there is any.
    pub fn of_environment() -> Self {
        let watchdog = sd_notify::watchdog_enabled().filter(|time| !time.is_zero());
        Self { watchdog, heard: Instant::now(), status: String::new(), deaf: false }
    }

    /// The time that the daemon may sleep.
    pub fn nap(&self) -> Duration {
        self.watchdog.map_or(LONGEST, |time| LONGEST.min(time / 4))
    }

    /// It is at work, for the first time or again after [`Manager::reloading`].
    pub fn ready(&mut self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// It reads the file again.
    pub fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => warn!(%error, "cannot read the clock for systemd"),
        }
    }

    /// It ends.
    pub fn stopping(&mut self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// It lives. Passed on four times in the time that systemd waits for it: a look around may take a while.
    pub fn alive(&mut self) {
        if self.watchdog.is_some_and(|time| self.heard.elapsed() >= time / 4) {
            self.heard = Instant::now();
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// How things stand, for `systemctl status`.
    pub fn status(&mut self, status: String) {
        if self.status != status {
            self.tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states)
            && !self.deaf
        {
            warn!(%error, "cannot tell systemd (NOTIFY_SOCKET) how things stand");
            self.deaf = true;
        }
    }
}
