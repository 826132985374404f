//! The node of a fleet that the daemon is, on a thread of its own.

use std::path::Path;

use limiter_policy::fleet::Fleet;
use tracing::{info, warn};

use super::record::Record;
use super::thread::Thread;
use crate::auto::Caps;
use crate::fleet::profile::Note;
use crate::fleet::{self, site};
use crate::kernel::Pins;
use crate::report::fleet::Shared;

/// What of the daemon a node needs.
pub struct Needs<'a> {
    /// The policy file.
    pub file: &'a Path,
    /// The limiter.
    pub pins: &'a Pins,
    /// What its servers can take.
    pub caps: &'a Caps,
    /// What tells the history.
    pub record: &'a Record,
    /// Where the node notes what it knows.
    pub known: &'a Shared,
}

/// Follows what the policy file says of a fleet. Shares in force stay until they end, unless the
/// file has none any more.
pub fn follow(running: &mut Option<Thread>, said: Option<&Fleet>, needs: &Needs<'_>) {
    let was = running.take().is_some();
    needs.known.clear();
    let Some(fleet) = said else {
        if was {
            info!("the policy file names no fleet any more: what it states is in force");
            if let Err(error) = site::end(needs.pins) {
                warn!(error = format!("{error:#}"), "shares of the fleet end by themselves");
            }
        }
        return;
    };
    let (said, file, known) = (fleet.clone(), needs.file.to_owned(), needs.known.clone());
    let (pins, caps, record) = (needs.pins.clone(), needs.caps.clone(), needs.record.clone());
    let note = move || -> Note {
        let record = record.clone();
        Box::new(move |before, maps, changed| record.switched(before, maps, changed))
    };
    let work = async move || fleet::run(said, &file, (&pins, &caps), known, note).await;
    match Thread::start("fleet", work) {
        Ok(thread) => {
            info!(fleet = %fleet.name, "this machine is a node of its fleet");
            *running = Some(thread);
        }
        Err(error) => warn!(error = format!("{error:#}"), "this machine is no node of its fleet"),
    }
}
