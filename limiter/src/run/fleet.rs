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

/// Follows what the policy file says of a fleet. Shares in force stay until they end, unless the
/// file has none any more.
pub fn follow(
    running: &mut Option<Thread>,
    said: Option<&Fleet>,
    file: &Path,
    (pins, caps): (&Pins, &Caps),
    record: &Record,
) {
    let was = running.take().is_some();
    let Some(fleet) = said else {
        if was {
            info!("the policy file names no fleet any more: what it states is in force");
            if let Err(error) = site::end(pins) {
                warn!(error = format!("{error:#}"), "shares of the fleet end by themselves");
            }
        }
        return;
    };
    let (said, file, pins, caps) = (fleet.clone(), file.to_owned(), pins.clone(), caps.clone());
    let record = record.clone();
    let note = move || -> Note {
        let record = record.clone();
        Box::new(move |before, maps, changed| record.switched(before, maps, changed))
    };
    let work = async move || fleet::run(said, &file, (&pins, &caps), note).await;
    match Thread::start("fleet", work) {
        Ok(thread) => {
            info!(fleet = %fleet.name, "this machine is a node of its fleet");
            *running = Some(thread);
        }
        Err(error) => warn!(error = format!("{error:#}"), "this machine is no node of its fleet"),
    }
}
