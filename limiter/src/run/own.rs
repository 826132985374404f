//! What the kernel says in its own SYN-ACKs, so that a challenge says the same: looked at for a
//! moment every few seconds, on a thread of its own.

use std::time::Duration;

use anyhow::Result;
use tracing::{info, warn};

use super::thread::Thread;
use crate::hindrance;
use crate::kernel::{Maps, Pins, interface, link, own};

/// Between two looks, and how long one takes at most: packets that leave are copied meanwhile.
const PAUSE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);

/// Looks from now on, until this is dropped.
pub fn follow(pins: &Pins) -> Option<Thread> {
    let pins = pins.clone();
    let work = async move || {
        let mut trouble = None;
        loop {
            let pins = pins.clone();
            // It waits for packets and asks the kernel, which must not hold up the end of this.
            let looked = tokio::task::spawn_blocking(move || learn(&pins)).await;
            tell(looked.unwrap_or_else(|error| Err(error.into())), &mut trouble);
            tokio::time::sleep(PAUSE).await;
        }
    };
    match Thread::start("own-answers", work) {
        Ok(thread) => Some(thread),
        Err(error) => {
            warn!(error = format!("{error:#}"), "what the kernel answers is not looked at");
            None
        }
    }
}

fn learn(pins: &Pins) -> Result<()> {
    if !pins.is_loaded()? {
        return Ok(());
    }
    let maps = Maps::open(&pins.root())?;
    let policy = maps.policy(maps.selection()?.slot)?;
    if hindrance::ports(&policy).is_empty() {
        return Ok(());
    }
    let seen = own::listen(&link::indices(pins)?, LOOK)?;
    if seen.is_empty() {
        return Ok(());
    }
    let own = interface::addresses()?.into_iter().map(|ip| ip.to_canonical()).collect();
    let _lock = pins.lock_for_change()?;
    Maps::open(&pins.root())?.learn_own_answers(&seen, &own)
}

/// Says a trouble once, and that it is over.
fn tell(looked: Result<()>, trouble: &mut Option<String>) {
    let now = looked.err().map(|error| format!("{error:#}"));
    match (&now, &trouble) {
        (Some(error), before) if before.as_ref() != Some(error) => {
            warn!(
                %error,
                "answers to challenges cannot follow what the kernel answers; they say the \
                 device's MTU and the kernel's usual window"
            );
        }
        (None, Some(_)) => info!("answers to challenges follow what the kernel answers again"),
        _ => {}
    }
    *trouble = now;
}
