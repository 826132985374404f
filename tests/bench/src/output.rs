//! Where results go: to standard output as a table or as JSON, and with `--keep` into files, both forms beside their plots.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use super::bars::Plot;

/// Where the project keeps what was measured: docs/bench of what this was built from.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bench");

/// Where results go.
#[derive(Args, Default)]
pub struct Output {
    /// Print JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Keep the table, the JSON and the plots in docs/bench, or in DIR.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = KEPT)]
    keep: Option<PathBuf>,
}

impl Output {
    /// Prints a report, and keeps it under `name`.
    pub fn give<T: Serialize>(
        &self,
        name: &str,
        report: &T,
        text: &str,
        plots: &[(String, Plot)],
    ) -> Result<()> {
        let json = serde_json::to_string_pretty(report)? + "\n";
        print!("{}", if self.json { &json } else { text });
        let Some(directory) = &self.keep else { return Ok(()) };
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        write(&directory.join(format!("{name}.json")), &json)?;
        write(&directory.join(format!("{name}.txt")), text)?;
        for (name, plot) in plots {
            write(&directory.join(format!("{name}.svg")), &plot.to_svg())?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
