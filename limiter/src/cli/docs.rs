//! `limiter docs`: man pages and shell completions, made from the definitions that the commands themselves are parsed with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Subcommand, ValueEnum};
use clap_complete::shells;
use clap_mangen::Man;

use super::{Command, Context};
use crate::output;
use crate::report;

/// Of administration.
const SECTION: &str = "8";
/// What the page of limiter says besides what clap knows.
const MANUAL: &str = include_str!("manual.roff");

/// What to make.
#[derive(Debug, Subcommand)]
pub enum Docs {
    /// Write man pages to a directory: one for limiter, and one for each command.
    Man {
        /// The directory to write to; the command creates it if it does not exist.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print the completions of a shell.
    Completions {
        /// `bash`, `zsh` or `fish`.
        #[arg(hide_possible_values = true)]
        shell: Shell,
    },
}

/// Shells that complete.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    /// For /usr/share/bash-completion/completions/limiter.
    Bash,
    /// For _limiter in a directory of $fpath.
    Zsh,
    /// For limiter.fish in a vendor_completions.d.
    Fish,
}

impl Docs {
    /// Makes it.
    pub fn run(&self, context: &Context) -> Result<()> {
        match self {
            Docs::Completions { shell } => {
                output::data(&completions(*shell))?;
            }
            Docs::Man { directory } => {
                let written = write_pages(directory)?;
                report::done(context.format, &written, |written| {
                    written.iter().map(|path| format!("{}\n", path.display())).collect()
                });
            }
        }
        Ok(())
    }
}

fn completions(shell: Shell) -> Vec<u8> {
    let generator = match shell {
        Shell::Bash => shells::Shell::Bash,
        Shell::Zsh => shells::Shell::Zsh,
        Shell::Fish => shells::Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(generator, &mut visible(), "limiter", &mut text);
    text
}

/// limiter with the commands that an operator types: the generators complete hidden ones too.
fn visible() -> clap::Command {
    let all = Command::command();
    let shown = all.get_subcommands().filter(|below| !below.is_hide_set()).cloned();
    let command = clap::Command::new("limiter")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true);
    command.args(all.get_arguments()).subcommands(shown)
}

/// Writes all pages; where they are.
fn write_pages(directory: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let mut command = Command::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    gather(&command, &mut pages)?;
    let mut written = Vec::new();
    for (name, page) in pages {
        let path = directory.join(name);
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// The pages of a command and of those below it, by file name.
fn gather(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    pages.push(page(command)?);
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| gather(below, pages))
}

fn page(command: &clap::Command) -> Result<(String, Vec<u8>)> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(SECTION)
        .date(date())
        .source(concat!("limiter ", env!("CARGO_PKG_VERSION")))
        .manual("limiter");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let rest = if name == "limiter" { MANUAL } else { ".SH SEE ALSO\n\\fBlimiter\\fR(8)\n" };
    page.extend_from_slice(rest.as_bytes());
    Ok((man.get_filename(), page))
}

/// The day of the source, which packagers give so that the same source makes the same package; else today.
fn date() -> String {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let day = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    let text = humantime::format_rfc3339_seconds(day.unwrap_or_else(SystemTime::now)).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}
