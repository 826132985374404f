//! limiter, through its own command, on both devices and enforcing.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::shell::run;
use super::xdp_filter::{maps_below, memlock};
use super::{InForce, Limits, Memory};
use crate::bpffs::PrivateBpffs;
use crate::topology::{ATTACK_DEVICE, CROWD_DEVICE, Lab};

/// limiter, detached when dropped.
pub struct Limiter<'a> {
    lab: &'a Lab,
    bpffs: PrivateBpffs,
    binary: PathBuf,
    /// For how many sources it was attached, if that was said.
    entries: Option<u64>,
}

impl<'a> Limiter<'a> {
    pub fn attach(lab: &'a Lab, limits: &Limits, challenge: bool) -> Result<Self> {
        let limiter = Self {
            lab,
            bpffs: PrivateBpffs::new()?,
            binary: limiter_binary()?,
            entries: limits.entries.map(u64::from),
        };
        let mut line = format!("attach {ATTACK_DEVICE} {CROWD_DEVICE} --service web=*:80 --enforce");
        if let Some((rate, burst)) = limits.source {
            line += &format!(" --source-rate {rate}/s --source-burst {burst}");
        }
        if let Some((rate, burst)) = limits.budget {
            line += &format!(" --budget {rate}/s --budget-burst {burst}");
        }
        if let Some(entries) = limits.entries {
            line += &format!(" --sources {entries}");
        }
        if challenge {
            line += " --set-syncookies";
        }
        limiter.tool(&line)?;
        Ok(limiter)
    }

    fn tool(&self, line: &str) -> Result<String> {
        let mut command = self.lab.front.command(self.binary.to_str().context("a path that is not UTF-8")?)?;
        // What a bench changes is nothing to remember.
        command.args(line.split_whitespace()).env("LIMITER_HISTORY", "/dev/null");
        run(command.env("LIMITER_PINS", pins(&self.bpffs)))
    }
}

/// The tables of sources and of tickets have a word for each.
const HOW: &str = "memlock of its pinned maps: 16 bytes a source, the rest for any number";

fn pins(bpffs: &PrivateBpffs) -> PathBuf {
    bpffs.path().join("limiter")
}

impl InForce for Limiter<'_> {
    /// What was not admitted: challenged attempts too, which were answered and charged to nobody.
    fn refused(&self) -> Result<Option<u64>> {
        let service = status(&self.tool("status --quick --json")?)?;
        let number = |name: &str| service[name].as_u64().with_context(|| format!("status has no number {name}"));
        Ok(Some(number("attempts")? - number("admitted")?))
    }

    fn memory(&self) -> Result<Memory> {
        let bytes = maps_below(&pins(&self.bpffs))?.iter().filter_map(|path| memlock(path)).sum();
        Ok(Memory { bytes: Some(bytes), entries: self.entries, how: HOW })
    }
}

impl Drop for Limiter<'_> {
    fn drop(&mut self) {
        // The namespace goes with the lab; what follows in it would be measured behind it.
        if let Err(error) = self.tool("detach --all") {
            eprintln!("limiter is still attached: {error:#}");
        }
    }
}

/// The first service of `limiter status --json`.
///
/// # Errors
/// When the text is not of that form.
pub fn status(text: &str) -> Result<Value> {
    let status: Value = serde_json::from_str(text).context("`limiter status --json` printed no JSON")?;
    Ok(status["services"].get(0).context("`limiter status` knows no service")?.clone())
}

/// The limiter command: named by LIMITER_BIN, or where cargo puts it: beside this program, or above the directory of tests.
///
/// # Errors
/// When it is not there.
pub fn limiter_binary() -> Result<PathBuf> {
    let mine = std::env::current_exe().context("this program has no path")?;
    let beside = |directory: &Path| directory.join("limiter");
    let path = match std::env::var_os("LIMITER_BIN") {
        Some(path) => path.into(),
        None => mine.ancestors().skip(1).take(2).map(beside).find(|path| path.is_file()).unwrap_or_default(),
    };
    ensure!(path.is_file(), "the command is not there: build it with `cargo build --release --package limiter`");
    Ok(path)
}
