//! `limiter record`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{Context, Usage, policy};
use crate::incident::{self, record};
use crate::output;
use crate::policy::text;
use crate::report;
use crate::report::numbers::count;

/// Arguments of `record`.
#[derive(Args, Debug)]
#[command(
    after_help = "While it runs, the command keeps everything in a directory beside FILE whose \
                  name ends in .partial. If it is killed, that directory stays, and `limiter \
                  report` reads it too. With one service, a second takes 1 to 2 KB there, and a \
                  sixth of that in the archive.\n\nThe record holds addresses of clients, so only \
                  its owner may read it."
)]
pub struct Record {
    /// Stop after this time, at most a day [default: until Ctrl-C or SIGTERM, or a day].
    #[arg(long = "for", value_name = "TIME", value_parser = text::duration)]
    time: Option<Duration>,
    /// The archive to write. It must not exist yet.
    #[arg(short, long, value_name = "FILE", default_value = "incident.tar.gz")]
    output: PathBuf,
    /// Cut every address to its /24 or /48, so that you can share the record. It still holds the
    /// name of this machine.
    #[arg(long)]
    anonymize: bool,
}

impl Record {
    /// Records, and says what was recorded.
    pub fn run(&self, context: &Context) -> Result<()> {
        if self.time.is_some_and(|time| time > record::LONGEST) {
            return Err(Usage(
                "--for is at most 24h: for longer, record one day after another".to_owned(),
            )
            .into());
        }
        let options = incident::Options {
            pins: context.pins.clone(),
            history: context.history.clone(),
            output: self.output.clone(),
            time: self.time.unwrap_or(record::LONGEST),
            anonymous: self.anonymize,
            command: context.typed.clone(),
            enforced: policy::enforced,
        };
        if !context.pins.is_loaded()? {
            output::note(format_args!(
                "limiter: limiter is not loaded: only the kernel's own counters are recorded until it is"
            ));
        }
        let until = self.time.map_or_else(
            || "Ctrl-C ends it".to_owned(),
            |time| format!("for {}", humantime::format_duration(time)),
        );
        output::note(format_args!("recording to {}; {until}", self.output.display()));
        let outcome = record::record(options)?;
        report::done(context.format, &outcome, |outcome| {
            format!(
                "{} holds {} seconds in {} bytes; {}\n`limiter report {}` tells what happened, with `-o report.html` as a page\n",
                outcome.archive.display(),
                count(outcome.seconds),
                count(outcome.bytes),
                outcome.why,
                outcome.archive.display()
            )
        });
        Ok(())
    }
}
