//! `limiter detach`.

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use super::Context;
use crate::kernel::{Maps, Pins, cookies, link};
use crate::report::{self, numbers};

/// Arguments of `detach`.
#[derive(Args, Debug)]
pub struct Detach {
    /// Interfaces to detach from, by name, or by index if they are gone.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "IFACE")]
    interfaces: Vec<String>,
    /// Detach from every interface and unload: policy, counters and lists are forgotten.
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Done {
    detached: Vec<String>,
    unloaded: bool,
    /// Entries of the ban and of the allow list that went with it.
    forgotten: Forgotten,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Forgotten {
    bans: usize,
    allowed: usize,
}

impl Detach {
    /// Detaches, and unloads with the last interface.
    pub fn run(&self, context: &Context) -> Result<()> {
        let pins = &context.pins;
        if !self.all {
            pins.require()?;
        }
        let _lock = context.lock()?;
        let attached =
            if pins.is_loaded().unwrap_or(false) { link::attached(pins)? } else { Vec::new() };
        let label =
            |one: &link::Attached| one.name.clone().unwrap_or_else(|| one.index.to_string());
        let wanted = if self.all {
            attached.iter().map(|one| one.index).collect()
        } else {
            self.wanted(&attached)?
        };
        // Maps that cannot be opened are of another version, or gone: nothing that this one set.
        let maps = Maps::open(&pins.root()).ok();
        let lists = maps.as_ref().and_then(|maps| maps.list_lengths().ok()).unwrap_or_default();
        let note = context.note(maps.as_ref());
        let had_pins = pins.base().read_dir().is_ok_and(|mut entries| entries.next().is_some());
        let result = self.take_away(pins, &wanted);
        // What was taken away is noted even when the rest could not be.
        let unloaded = matches!(result, Ok(true));
        let left = if unloaded { Vec::new() } else { link::indices(pins)? };
        let gone =
            attached.iter().filter(|one| wanted.contains(&one.index) && !left.contains(&one.index));
        let [allowed, bans] = if unloaded { lists } else { [0; 2] };
        let done = Done {
            detached: gone.map(label).collect(),
            unloaded,
            forgotten: Forgotten { bans, allowed },
        };
        if !done.detached.is_empty() || unloaded && had_pins {
            note.record(maps.as_ref().filter(|_| !unloaded), done.lines());
        }
        result?;
        report::done(context.format, &done, describe);
        Ok(())
    }

    /// Whether limiter is unloaded now.
    fn take_away(&self, pins: &Pins, wanted: &[u32]) -> Result<bool> {
        for index in wanted {
            link::detach(pins, *index)?;
        }
        let last = self.all || link::indices(pins)?.is_empty();
        if last {
            cookies::put_back(pins)?;
            link::unload(pins)?;
        }
        Ok(last)
    }

    /// Indices of what was asked for; all of them are attached, or none is detached.
    fn wanted(&self, attached: &[link::Attached]) -> Result<Vec<u32>> {
        let index = |name: &String| {
            let named = attached
                .iter()
                .find(|one| one.name.as_ref() == Some(name) || one.index.to_string() == *name);
            named.map(|one| one.index).with_context(|| {
                format!(
                    "limiter is not attached to {name} here; `limiter status` shows where it is"
                )
            })
        };
        let mut wanted: Vec<u32> = self.interfaces.iter().map(index).collect::<Result<_>>()?;
        wanted.sort_unstable();
        wanted.dedup();
        Ok(wanted)
    }
}

impl Done {
    fn lines(&self) -> Vec<String> {
        let detached = self.detached.iter().map(|name| format!("detached from {name}"));
        let unloaded =
            self.unloaded.then(|| "limiter is unloaded; nothing of it is left".to_owned());
        detached.chain(unloaded).chain(self.forgotten.line()).collect()
    }
}

impl Forgotten {
    fn line(self) -> Option<String> {
        let Self { bans, allowed } = self;
        let (bans, allowed) = (
            numbers::plural(bans as u64, ["ban", "bans"]),
            numbers::plural(allowed as u64, ["allowed", "allowed"]),
        );
        (self.bans + self.allowed > 0).then(|| {
            format!(
                "forgotten with it: {bans}, {allowed}; next time, `limiter ban save FILE` first \
                 keeps them for `limiter ban load FILE`"
            )
        })
    }
}

fn describe(done: &Done) -> String {
    done.lines().iter().map(|line| format!("{line}\n")).collect()
}
