//! What the daemon waits for: news of interfaces, signals, the time. Between two events it does its work without a runtime.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::kernel::link_events::{LinkEvent, LinkEvents};

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Look at the interfaces.
    Interfaces,
    /// Read the policy file again: SIGHUP.
    Reload,
    /// End: the signal that said so.
    Stop(&'static str),
    /// Nothing happened.
    Time,
}

/// The sources of events. What happens while nobody waits is kept.
pub struct Events {
    runtime: Runtime,
    news: LinkEvents,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Events {
    /// Opens them. From now on the signals do not end the process.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let inside = runtime.enter();
        let catch = |kind, name| signal(kind).with_context(|| format!("cannot catch {name}"));
        let (news, hangup) = (LinkEvents::open()?, catch(SignalKind::hangup(), "SIGHUP")?);
        let (terminate, interrupt) =
            (catch(SignalKind::terminate(), "SIGTERM")?, catch(SignalKind::interrupt(), "SIGINT")?);
        drop(inside);
        Ok(Self { runtime, news, hangup, terminate, interrupt })
    }

    /// Waits for the next one, until `end`. News of interfaces that are not `ours` are no event.
    ///
    /// # Errors
    /// When news can be heard no longer.
    pub fn next(&mut self, end: Instant, ours: impl Fn(&LinkEvent) -> bool) -> Result<Event> {
        let Self { runtime, news, hangup, terminate, interrupt } = self;
        runtime.block_on(async {
            let end = tokio::time::sleep_until(end.into());
            tokio::pin!(end);
            loop {
                tokio::select! {
                    // In this order, so that a machine whose interfaces never rest starves nothing.
                    biased;
                    _ = terminate.recv() => return Ok(Event::Stop("SIGTERM")),
                    _ = interrupt.recv() => return Ok(Event::Stop("SIGINT")),
                    _ = hangup.recv() => return Ok(Event::Reload),
                    () = &mut end => return Ok(Event::Time),
                    heard = news.next() => {
                        if heard?.iter().any(&ours) {
                            return Ok(Event::Interfaces);
                        }
                    }
                }
            }
        })
    }
}
