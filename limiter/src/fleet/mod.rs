//! This machine as a node of a fleet: one budget over many front ends, kept by etcd. What is
//! decided is in `limiter-fleet`; here are the messages, and what of the machine they are about.
//!
//! ```text
//! http -> etcd (the engine) -> keys -> node (reports, takes shares) -> site (the kernel's words)
//!                                         demand (how much is wanted)  quota (places)
//!                                   -> lead (one of the nodes: divides the budgets)
//!                                   -> lists (bans and allows: what is believed, and put into force)
//!                                   -> profile (the fleet's, which each node has in its own file)
//!                                   -> top (the sources that weigh most here, for all to see)
//! ```

pub mod certificate;
mod demand;
pub mod etcd;
pub mod http;
pub mod keys;
pub mod lead;
pub mod lists;
pub mod node;
#[cfg(test)]
mod pace;
pub mod profile;
mod quota;
pub mod site;
#[cfg(test)]
mod tests;
pub mod top;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use limiter_policy::fleet::Fleet;
use tracing::warn;

use crate::auto::Caps;
use crate::kernel::{Pins, clock};
use crate::report::fleet::Shared;
use etcd::Etcd;
use http::Client;
use keys::Keys;
use lists::Taker;
use node::Node;
use site::Machine;

/// How long after a failure to begin it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What to do about an engine that cannot be reached.
pub const GONE: &str = "is etcd up, and has its disk room? `systemctl status etcd` on its machine says \
                        what ended it; free what it lacks, and `systemctl start etcd`";

/// The engine of a fleet. Files with relative names are looked for in `directory`, the one of the
/// policy file.
///
/// # Errors
/// When certificates cannot be read.
pub fn engine(fleet: &Fleet, directory: &Path) -> Result<Etcd> {
    let certificates = fleet.certificates.as_ref();
    Ok(Etcd::new(Client::new(fleet.endpoints.clone(), certificates, directory)?))
}

/// What the engine of a fleet says of itself.
///
/// # Errors
/// When it does not answer.
pub fn health(fleet: &Fleet, directory: &Path) -> Result<etcd::Health> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let health = engine(fleet, directory)
        .and_then(|engine| runtime.block_on(async { engine.health().await }));
    runtime.shutdown_background();
    health
}

/// The name of this node.
///
/// # Errors
/// When the machine's name is no name of a node.
pub fn node_name(fleet: &Fleet) -> Result<String> {
    if let Some(node) = &fleet.node {
        return Ok(node.to_string());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let short = host.split('.').next().unwrap_or_default();
    let name: Result<limiter_policy::Name, _> = short.parse();
    let name = name.map_err(|message| anyhow::anyhow!("{message}"));
    Ok(name.context("the machine's name names no node; add `node` to [fleet]")?.to_string())
}

/// Is a node, for ever; drop it to end that. Shares that are in force end by themselves. It wants
/// no more of a budget than `caps` says. `file` is the policy file, `known` where the node notes
/// what it knows, and `note` tells the history what the fleet brings into force.
pub async fn run(
    fleet: Fleet,
    file: &Path,
    (pins, caps): (&Pins, &Caps),
    known: Shared,
    note: impl Fn() -> profile::Note,
) {
    let directory = file.parent().unwrap_or(Path::new(""));
    let mut told = String::new();
    loop {
        let begin = || {
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .context("cannot read which start of this machine it is")?;
            // Each loop waits for its own connection alone.
            let engine = || engine(&fleet, directory);
            let engines = [engine()?, engine()?, engine()?];
            Ok::<_, anyhow::Error>((engines, node_name(&fleet)?, boot.trim().to_owned()))
        };
        match begin() {
            Ok(([reports, grants, others], name, boot)) => {
                let keys = Keys::of(&fleet.name);
                let site = Machine::new(pins, &fleet, caps.clone());
                let now = || Duration::from_nanos(clock::now());
                known.change(|_| ());
                let profiles = profile::Taker {
                    pins: pins.clone(),
                    file: file.to_owned(),
                    takes: fleet.profiles.clone(),
                    longest: fleet.takes.longest,
                    boot: boot.clone(),
                    known: known.clone(),
                    note: note(),
                };
                let node = Node::telling(&reports, &keys, &name, boot, site, known.clone());
                let taker = Taker::new(pins, fleet.takes, fleet.endpoints.clone(), known.clone());
                let budgets = async {
                    if fleet.takes.budgets {
                        tokio::join!(node.run(), lead::run(&grants, &keys, &name, &known, now));
                    }
                };
                let lists = async {
                    if fleet.takes.bans || fleet.takes.allow {
                        lists::run(&others, &keys, taker).await;
                    }
                };
                let profiles = profile::run(&others, &keys, &name, profiles);
                tokio::join!(budgets, lists, profiles, top::run(&others, &keys, &name, pins));
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != told {
                    warn!(%error, "this machine is no node of its fleet: what the policy states is in force");
                    told = error;
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
