//! `limiter detach`.

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use super::Context;
use crate::kernel::{Maps, link};
use crate::report;

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
}

impl Detach {
    /// Detaches, and unloads with the last interface.
    pub fn run(&self, context: &Context) -> Result<()> {
        let pins = &context.pins;
        if !self.all {
            pins.require()?;
        }
        let _lock = pins.lock_for_change()?;
        let attached = if pins.is_loaded().unwrap_or(false) { link::attached(pins)? } else { Vec::new() };
        let label = |one: &link::Attached| one.name.clone().unwrap_or_else(|| one.index.to_string());
        let wanted = if self.all { attached.iter().map(|one| one.index).collect() } else { self.wanted(&attached)? };
        for index in &wanted {
            link::detach(pins, *index)?;
        }
        let unloaded = self.all || pins.links().is_empty();
        if unloaded {
            // Maps that cannot be opened are of another version, or gone: nothing that this one set.
            if let Ok(mut maps) = Maps::open(&pins.root()) {
                maps.restore_cookies()?;
            }
            pins.remove()?;
        }
        let detached = attached.iter().filter(|one| wanted.contains(&one.index)).map(label).collect();
        report::print(context.format, &Done { detached, unloaded }, describe)
    }

    /// Indices of what was asked for; all of them are attached, or none is detached.
    fn wanted(&self, attached: &[link::Attached]) -> Result<Vec<u32>> {
        let index = |name: &String| {
            let named = attached.iter().find(|one| one.name.as_ref() == Some(name) || one.index.to_string() == *name);
            named
                .map(|one| one.index)
                .with_context(|| format!("limiter is not attached to {name} here; `limiter status` shows where it is"))
        };
        let mut wanted: Vec<u32> = self.interfaces.iter().map(index).collect::<Result<_>>()?;
        wanted.sort_unstable();
        wanted.dedup();
        Ok(wanted)
    }
}

fn describe(done: &Done) -> String {
    let mut text: String = done.detached.iter().map(|name| format!("detached from {name}\n")).collect();
    if done.unloaded {
        text.push_str("limiter is unloaded; nothing of it is left\n");
    }
    text
}
