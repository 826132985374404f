//! `limiter metrics`: the metrics once, on standard output or as a file for a textfile collector.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::Context;
use crate::report::{self, Form, Format, Scrape, openmetrics};

/// Arguments of `metrics`.
#[derive(Args, Debug)]
pub struct Metrics {
    /// Write the metrics to this file, whole or not at all, readable by every user. For
    /// node_exporter's textfile collector its name must end in `.prom`.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Use OpenMetrics 1.0 instead of Prometheus' older text format, which textfile collectors and
    /// `promtool check metrics` expect.
    #[arg(long)]
    openmetrics: bool,
}

impl Metrics {
    /// Takes them, and prints or writes them.
    pub fn run(&self, context: &Context) -> Result<()> {
        // Else nobody could say whether limiter is loaded.
        context.pins.check_access()?;
        let scrape = Scrape::take(&context.pins, BTreeSet::new(), None);
        let form = if self.openmetrics { Form::OpenMetrics } else { Form::Classic };
        let Some(path) = &self.output else {
            return report::print(context.format, &scrape, |scrape| {
                openmetrics::text(scrape, form)
            });
        };
        let text = match context.format {
            Format::Human => openmetrics::text(&scrape, form),
            Format::Json => serde_json::to_string(&scrape)? + "\n",
        };
        replace(path, &text, 0o644).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Writes a file with these permissions beside the old one and puts it in its place: whoever reads
/// it finds one of them, whole.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let name = path.file_name().context("it names no file")?.display();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = fs::write(&new, text)
        .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What failed is told; there may be nothing to remove.
        let _ = fs::remove_file(&new);
    }
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("limiter.prom");
        replace(&path, "one\n", 0o644).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("permissions");
        replace(&path, "two\n", 0o644).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "two\n");
        assert_eq!(
            fs::metadata(&path).expect("a file").permissions().mode() & 0o777,
            0o644,
            "for everybody to read"
        );
        fs::create_dir(directory.path().join("taken.prom")).expect("a directory");
        replace(&directory.path().join("taken.prom"), "x", 0o644)
            .expect_err("a directory is in its place");
        let names = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(names, 2, "nothing half written stays");
        replace(Path::new("/"), "x", 0o644).expect_err("no file");
    }
}
