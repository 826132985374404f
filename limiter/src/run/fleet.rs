//! The node of a fleet that the daemon is, on a thread of its own, so that an engine that does not
//! answer holds up nothing.

use std::path::Path;

use anyhow::{Context as _, Result};
use limiter_policy::fleet::Fleet;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::record::Record;
use crate::fleet::profile::Note;
use crate::fleet::{self, site};
use crate::kernel::Pins;
use crate::report::fleet::Shared;

/// What of the daemon a node needs.
pub struct Place<'a> {
    /// The policy file.
    pub file: &'a Path,
    /// The limiter.
    pub pins: &'a Pins,
    /// What tells the history.
    pub record: &'a Record,
    /// Where the node notes what it knows.
    pub known: &'a Shared,
}

/// A thread that ends when this is dropped.
#[derive(Debug)]
pub struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    fn start(fleet: Fleet, place: &Place<'_>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let (stop, stopped) = oneshot::channel();
        let (pins, known) = (place.pins.clone(), place.known.clone());
        let (file, record) = (place.file.to_owned(), place.record.clone());
        let note = move || -> Note {
            let record = record.clone();
            Box::new(move |before, maps, changed| record.switched(before, maps, changed))
        };
        let thread = std::thread::Builder::new()
            .name("fleet".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = fleet::run(fleet, file, &pins, known, note) => {}
                    }
                });
                // A name that is being looked up must not hold up the daemon's end.
                runtime.shutdown_background();
            })
            .context("cannot start a thread")?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Follows what the policy file says of a fleet. Shares in force stay until they end, unless the
/// file has none any more.
pub fn follow(running: &mut Option<Thread>, said: Option<&Fleet>, place: &Place<'_>) {
    let was = running.take().is_some();
    place.known.clear();
    let Some(fleet) = said else {
        if was {
            info!("the policy file names no fleet any more: what it states is in force");
            if let Err(error) = site::end(place.pins) {
                warn!(error = format!("{error:#}"), "shares of the fleet end by themselves");
            }
        }
        return;
    };
    match Thread::start(fleet.clone(), place) {
        Ok(thread) => {
            info!(fleet = %fleet.name, "this machine is a node of its fleet");
            *running = Some(thread);
        }
        Err(error) => warn!(error = format!("{error:#}"), "this machine is no node of its fleet"),
    }
}
