//! Budgets that follow their servers, on a thread of their own.

use limiter_policy::auto::Auto;
use tracing::warn;

use super::thread::Thread;
use crate::auto::{self, Caps};
use crate::kernel::Pins;

/// Follows what the policy file says of them; `in_fleet`: this node takes budgets of a fleet. Rates
/// in force stay until they end.
pub fn follow(
    running: &mut Option<Thread>,
    said: &[Auto],
    in_fleet: bool,
    (pins, caps): (&Pins, &Caps),
) {
    drop(running.take());
    caps.clear();
    if said.is_empty() {
        return;
    }
    let (said, pins, caps) = (said.to_vec(), pins.clone(), caps.clone());
    match Thread::start("auto", async move || auto::run(said, in_fleet, &pins, &caps).await) {
        Ok(thread) => *running = Some(thread),
        Err(error) => {
            warn!(error = format!("{error:#}"), "budgets do not follow their servers");
        }
    }
}
