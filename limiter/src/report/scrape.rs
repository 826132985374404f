//! What a scrape finds: the snapshot, or that there is none. It never fails: that limiter is not loaded is a measurement too.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::fleet::View;
use super::snapshot::Snapshot;
use super::take::take;
use crate::kernel::{Maps, Pins};

/// One look at limiter, without rates.
#[derive(Clone, Debug, Serialize)]
pub struct Scrape {
    /// When it was taken, in seconds since 1970.
    pub at: f64,
    /// How long that took, in seconds.
    pub took_seconds: f64,
    /// Whether limiter is loaded.
    pub loaded: bool,
    /// Why its state could not be read, if it could not.
    pub error: Option<String>,
    /// Interfaces that it is to be attached to, by name, as far as that is known.
    pub wanted: BTreeSet<String>,
    /// What the daemon knows of its fleet, if it is of one; a command knows nothing of that.
    pub fleet: Option<View>,
    /// Its state, if it is loaded.
    pub snapshot: Option<Snapshot>,
}

impl Scrape {
    /// Looks.
    pub fn take(pins: &Pins, wanted: BTreeSet<String>, fleet: Option<View>) -> Self {
        let start = Instant::now();
        let taken = look(pins);
        // Whoever unloaded it meanwhile is no error.
        let taken = if taken.is_err() && pins.is_loaded().is_ok_and(|loaded| !loaded) {
            look(pins)
        } else {
            taken
        };
        let (snapshot, error) = match taken {
            Ok(snapshot) => (snapshot, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        // Pins of another version cannot be read, and are there.
        let loaded = snapshot.is_some() || pins.is_loaded().unwrap_or(true);
        let took_seconds = start.elapsed().as_secs_f64();
        Self { at, took_seconds, loaded, error, wanted, fleet, snapshot }
    }
}

fn look(pins: &Pins) -> anyhow::Result<Option<Snapshot>> {
    if !pins.is_loaded()? {
        pins.check_access()?;
        return Ok(None);
    }
    let maps = Maps::open(&pins.root())?;
    Ok(Some(take(pins, &maps, Duration::ZERO)?))
}
