//! `limiter report`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::Context;
use crate::incident;
use crate::incident::report::Report as Page;
use crate::output;
use crate::report;

/// Arguments of `report`.
#[derive(Args, Debug)]
pub struct Report {
    /// A record of `limiter record`: an archive, or the directory that a killed one left behind.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write a page with plots, in one file that needs no network.
    #[arg(short, long, value_name = "HTML")]
    output: Option<PathBuf>,
    /// Print the text as well when a page is written.
    #[arg(long)]
    text: bool,
}

impl Report {
    /// Reads the record and tells what happened.
    pub fn run(&self, context: &Context) -> Result<()> {
        let record = incident::read(&self.file)?;
        let page = Page::of(&record);
        if let Some(path) = &self.output {
            write(path, &page.html())
                .with_context(|| format!("cannot write {}", path.display()))?;
            output::note(format_args!("wrote {}", path.display()));
        }
        if self.output.is_none() || self.text {
            report::print(context.format, &page, Page::text)?;
        }
        Ok(())
    }
}

/// Nobody else may read it, unless the file was there and says otherwise: it may name clients.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.flush()
}
