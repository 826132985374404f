//! `limiter trace`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use super::Context;
use crate::kernel::Maps;
use crate::kernel::trace::{self, Tracing};
use crate::output::{self, Reader};
use crate::policy::text;
use crate::report::{self, Lines};

/// Arguments of `trace`.
#[derive(Args, Debug)]
pub struct Trace {
    /// Stop after this time.
    #[arg(long = "for", value_name = "TIME", value_parser = text::duration)]
    time: Option<Duration>,
    /// Only put the usual program back: after a trace was killed, or to end a running one.
    #[arg(long, conflicts_with = "time")]
    stop: bool,
}

impl Trace {
    /// Traces until Ctrl-C, a SIGTERM, or the time is over; then the usual program stands there again.
    pub fn run(&self, context: &Context) -> Result<()> {
        let pins = &context.pins;
        pins.require()?;
        let lock = pins.lock_for_change()?;
        let maps = Maps::open(&pins.root())?;
        if self.stop {
            trace::restore(pins, &pins.links())?;
            report::done(context.format, &"stopped", |_| {
                "the usual program is in place\n".to_owned()
            });
            return Ok(());
        }
        ensure!(
            !pins.links().is_empty(),
            "limiter is attached to no interface by a link of its own, so there is nothing to \
             trace; trace cannot reach a limiter that runs in a dispatcher"
        );
        let lines: &'static Lines = Box::leak(Box::new(Lines::new(context.format, &maps)?));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            let end = self.time.map(|time| Instant::now() + time);
            let mut tracing = Tracing::start(pins, lines, &lock)?;
            // Other commands may change what they like while it traces.
            drop(lock);
            output::note(format_args!("tracing one decision in 64; Ctrl-C ends it"));
            while tracing.stands() {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => break,
                    _ = terminate.recv() => break,
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
                // As the program that decides meanwhile: names are those of now.
                lines.follow(&maps)?;
                tracing.flush();
                if lines.reader()? == Reader::Gone {
                    return Ok(());
                }
                if end.is_some_and(|end| Instant::now() >= end) {
                    return Ok(());
                }
            }
            if !tracing.stands() {
                output::note(format_args!(
                    "another command put the usual program back, or detached limiter: the trace ends"
                ));
            }
            tracing.flush();
            Ok(())
        })
    }
}
