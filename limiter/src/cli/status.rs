//! `limiter status`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::Context;
use crate::kernel::Maps;
use crate::policy::text;
use crate::report::{self, human};

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct Status {
    /// Measure the rates of now over this time.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = text::duration)]
    measure: Duration,
    /// Do not measure rates: answer at once.
    #[arg(long, conflicts_with = "measure")]
    quick: bool,
}

impl Status {
    /// Takes a snapshot and prints it.
    pub fn run(&self, context: &Context) -> Result<()> {
        context.pins.require()?;
        let maps = Maps::open(&context.pins.root())?;
        let measure = if self.quick { Duration::ZERO } else { self.measure };
        let snapshot = report::take(&context.pins, &maps, measure)?;
        report::print(context.format, &snapshot, human::status)
    }
}
