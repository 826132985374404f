//! `limiter doctor`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::{Context, Said};
use crate::doctor::{self, Level, Question, Tree};
use crate::policy::file::{DEFAULT_FILE, Document};
use crate::report;

/// Arguments of `doctor`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 no problem (there may be warnings), 1 some problem, 2 wrong usage."
)]
pub struct Doctor {
    /// Interfaces to look at [default: those that limiter is attached to, else those that lead out].
    #[arg(value_name = "IFACE")]
    interfaces: Vec<String>,
    /// Find out whether the drivers take the program, by attaching it to interfaces that are free for a moment; it passes everything.
    /// Some drivers drop the link for seconds then.
    #[arg(long = "try")]
    attach: bool,
    /// The policy file, for the interfaces, the fleet and the auto budgets that it may name.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, env = "LIMITER_POLICY")]
    policy: PathBuf,
}

impl Doctor {
    /// Examines and prints.
    pub fn run(&self, context: &Context) -> Result<()> {
        // A bad file is `limiter policy check`'s business.
        let document = Document::read(&self.policy).unwrap_or_default();
        let directory = self.policy.parent().unwrap_or(Path::new(""));
        let question = Question {
            pins: &context.pins,
            interfaces: &self.interfaces,
            named: &document.interfaces,
            attach: self.attach,
            auto: &document.auto,
            fleet: document.fleet.as_ref().map(|fleet| (fleet, directory)),
            history: Some(&context.history),
        };
        let found = doctor::examine(&Tree::at("/"), &question)?;
        report::print(context.format, &found, |found| doctor::text(found))?;
        if found.iter().any(|finding| finding.level == Level::Problem) {
            return Err(Said.into());
        }
        Ok(())
    }
}
