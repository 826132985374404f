//! `limiter watch`.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::{Context, Usage};
use crate::policy::text;
use crate::report::Format;
use crate::watch;

/// The shortest time between two readings: below it, reading would cost more than it shows.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest: beyond it the display is not live.
const LONGEST: Duration = Duration::from_secs(60);

/// Arguments of `watch`.
#[derive(Args, Debug)]
pub struct Watch {
    /// Read the counters this often, 200ms to 1m.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// The time that the plotted lines span at first: 1m, 5m, 30m or 2h.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = watch::window)]
    window: watch::Window,
    /// Draw with ASCII only, which is the default where the locale is not UTF-8, and on the Linux console.
    #[arg(long)]
    ascii: bool,
    /// No colour, which is the default when NO_COLOR is set.
    #[arg(long)]
    no_color: bool,
}

impl Watch {
    /// Watches until the operator has enough.
    pub fn run(&self, context: &Context) -> Result<()> {
        if context.format == Format::Json {
            bail!(Usage(
                "watch is for people and prints no JSON; programs ask `limiter status --json`"
                    .to_owned()
            ));
        }
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            bail!(Usage(
                "watch needs a terminal to draw on, and standard input or output is not one; use \
                 `limiter status`, or `limiter status --json`"
                    .to_owned()
            ));
        }
        let colour =
            !self.no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let options = watch::Options {
            interval: self.interval,
            window: self.window,
            paint: watch::Paint { colour, blocks: !self.ascii && watch::has_blocks() },
        };
        watch::run(&context.pins, &context.history, &options)
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = text::duration(text)?;
    if (SHORTEST..=LONGEST).contains(&interval) {
        Ok(interval)
    } else {
        Err("give a time from 200ms to 1m".to_owned())
    }
}
