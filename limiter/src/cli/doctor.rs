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
    after_help = "Exit codes: 0 no problem (there may be warnings), 1 at least one problem, 2 \
                  wrong usage."
)]
pub struct Doctor {
    /// Interfaces to examine [default: those that limiter is attached to, otherwise those that a
    /// default route uses].
    #[arg(value_name = "IFACE")]
    interfaces: Vec<String>,
    /// Find out whether the drivers accept the program: attach it for a moment to interfaces that
    /// run no XDP program. It passes everything, but some drivers drop the link for seconds.
    #[arg(long = "try")]
    attach: bool,
    /// The policy file: doctor examines the interfaces, the fleet and the auto budgets that it
    /// names.
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
