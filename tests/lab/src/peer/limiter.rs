//! limiter, through its own command, on both devices and enforcing.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::xdp_filter::{maps_below, memlock};
use super::{InForce, Limits, Memory};
use crate::desk::Desk;
use crate::topology::{ATTACK_DEVICE, CROWD_DEVICE, Lab};

/// limiter, detached when dropped.
pub struct Limiter {
    desk: Desk,
    /// For how many sources it was attached, if that was said.
    entries: Option<u64>,
}

impl Limiter {
    pub fn attach(lab: &Lab, limits: &Limits, challenge: bool) -> Result<Self> {
        let desk = Desk::new(&lab.front)?;
        let mut line =
            format!("attach {ATTACK_DEVICE} {CROWD_DEVICE} --service web=*:80 --enforce");
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
        desk.run(&line)?;
        if !challenge {
            desk.run("set --service web --line no")?;
        }
        Ok(Self { desk, entries: limits.entries.map(u64::from) })
    }
}

/// The tables of sources and of visits have a word for each.
const HOW: &str = "memlock of its pinned maps: 16 bytes a source, the rest for any number";

impl InForce for Limiter {
    /// What was not admitted: challenged attempts too, which were answered and charged to nobody.
    fn refused(&self) -> Result<Option<u64>> {
        let service = status(&self.desk.run("status --quick --json")?)?;
        let number = |name: &str| {
            service[name].as_u64().with_context(|| format!("status has no number {name}"))
        };
        Ok(Some(number("attempts")? - number("admitted")?))
    }

    fn memory(&self) -> Result<Memory> {
        let bytes = maps_below(self.desk.pins())?.iter().filter_map(|path| memlock(path)).sum();
        Ok(Memory { bytes: Some(bytes), entries: self.entries, how: HOW })
    }
}

/// The first service of `limiter status --json`.
///
/// # Errors
/// When the text is not of that form.
pub fn status(text: &str) -> Result<Value> {
    let status: Value =
        serde_json::from_str(text).context("`limiter status --json` printed no JSON")?;
    Ok(status["services"].get(0).context("`limiter status` knows no service")?.clone())
}
