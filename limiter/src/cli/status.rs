//! `limiter status`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::Context;
use crate::assess::{self, Assessment, Facts, assess};
use crate::history::ENTRIES;
use crate::kernel::Maps;
use crate::policy::file::{DEFAULT_FILE, Document};
use crate::policy::text;
use crate::report::{self, Snapshot, human};

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct Status {
    /// Measure the current rates over this time.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = text::duration)]
    measure: Duration,
    /// Do not measure rates: answer at once.
    #[arg(long, conflicts_with = "measure")]
    quick: bool,
    /// The policy file: status says if limiter is not attached to an interface that it names.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, env = "LIMITER_POLICY")]
    policy: PathBuf,
}

/// What `status` says.
#[derive(Serialize)]
struct Shown {
    /// What is likely wrong, and what comes next.
    assessment: Assessment,
    #[serde(flatten)]
    snapshot: Snapshot,
}

impl Status {
    /// Takes a snapshot and prints it.
    pub fn run(&self, context: &Context) -> Result<()> {
        context.pins.require()?;
        let maps = Maps::open(&context.pins.root())?;
        let measure = if self.quick { Duration::ZERO } else { self.measure };
        let snapshot = report::take(&context.pins, &maps, measure)?;
        // Without a history it is not known what is usual, which stops no status.
        let entries = context.history.read(ENTRIES).map(|read| read.entries).unwrap_or_default();
        // A bad file is `limiter policy check`'s business.
        let named = Document::read(&self.policy).unwrap_or_default().interfaces;
        let facts = Facts::of(&snapshot, &entries).named(&snapshot, &named);
        let shown = Shown { assessment: assess(&facts), snapshot };
        report::print(context.format, &shown, |shown| {
            format!("{}\n{}", assess::text(&shown.assessment), human::status(&shown.snapshot))
        })
    }
}
