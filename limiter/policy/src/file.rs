//! The policy file: what it says, as one value that can be written as a file again without loss.
//!
//! `file/read` turns text into a document or into problems with their places, `file/write` turns it back.

mod auto;
mod fleet;
mod keys;
mod members;
mod problem;
mod read;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use limiter_common::switch::Mode;

pub use keys::FLEET as FLEET_KEYS;
pub use problem::Problems;
pub use settings::{DOCUMENT, Finding};

use super::auto::Auto;
use super::fleet::Fleet;
use super::settings::{CLASS, DEFAULTS, HOST, SERVICE, Settings, Style, apply};
use super::{Name, Policy};
use settings::{missing, note, path};

/// Where the policy file is unless another one is named.
pub const DEFAULT_FILE: &str = "/etc/limiter/policy.toml";
/// The profile that is the policy itself, in a file that does not say otherwise.
pub const NORMAL: &str = "normal";

/// The largest file that is read: some 200 bytes for each prefix that there may be.
const LARGEST: u64 = 16 << 20;

/// What a policy file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Interfaces to attach to; may be empty.
    pub interfaces: Vec<String>,
    /// Attach in the kernel's generic path.
    pub generic: bool,
    /// The mode; `None`: leave it as it is, observe when first loaded.
    pub mode: Option<Mode>,
    /// Sources that the table is made for, as `attach --sources`.
    pub sources: Option<u32>,
    /// Whether limiter may set net.ipv4.tcp_syncookies while it enforces.
    pub set_syncookies: bool,
    /// The policy without a profile. Listeners and members are sorted.
    pub policy: Policy,
    /// Named changes to it.
    pub profiles: Vec<Profile>,
    /// The fleet that this node is of.
    pub fleet: Option<Fleet>,
    /// Budgets that follow their servers while the daemon runs.
    pub auto: Vec<Auto>,
}

/// A named variation of the policy: only what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name, unique in the file.
    pub name: Name,
    /// The mode, if it differs.
    pub mode: Option<Mode>,
    /// Changes to the defaults and the global budget.
    pub host: Settings,
    /// Changes to services.
    pub services: Vec<(Name, Settings)>,
    /// Changes to classes.
    pub classes: Vec<(Name, Settings)>,
}

impl Document {
    /// Reads a policy file, and the lists of prefixes that it names.
    ///
    /// # Errors
    /// Everything that is wrong in it: file, line, column, and what to do.
    pub fn read(file: &Path) -> Result<Self> {
        let shown = file.display();
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
            .with_context(|| {
                format!(
                    "cannot read {shown}; `limiter policy show` prints the policy in force as such \
                     a file"
                )
            })?;
        ensure!(
            bytes.len() as u64 <= LARGEST,
            "{shown} is larger than 16 MiB; is it a policy file? Long lists of prefixes have files of their own (prefixes_from)"
        );
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
                bail!("{shown}:{line}: this is not UTF-8; save the file as UTF-8 text");
            }
        };
        Self::parse(&text, &shown.to_string(), file.parent().unwrap_or(Path::new("")))
    }

    /// Reads the text of a policy file. `name` is what it is called in errors; lists of prefixes with relative names are read from
    /// `directory`.
    ///
    /// # Errors
    /// Everything that is wrong in it: file, line, column, and what to do.
    pub fn parse(text: &str, name: &str, directory: &Path) -> Result<Self> {
        Ok(read::document(text, name, directory)?)
    }

    /// The policy with a profile, and the mode that goes with it. The profile `normal` is there even if the file does not name it.
    ///
    /// # Errors
    /// When there is no such profile: which there are. When the document did not come from a file: what cannot be.
    pub fn with_profile(&self, profile: Option<&Name>) -> Result<(Policy, Option<Mode>)> {
        let Some(name) = profile else { return Ok((self.policy.clone(), self.mode)) };
        let Some(profile) = self.profiles.iter().find(|profile| profile.name == *name) else {
            if name.as_str() == NORMAL {
                return Ok((self.policy.clone(), self.mode));
            }
            bail!("there is no profile {name}; there are: {}", self.profile_names().join(", "));
        };
        let mut findings = Vec::new();
        let policy = profile.apply(&self.policy, &mut findings);
        let found: Vec<_> =
            findings.iter().map(|finding| format!("{}: {}", finding.at, finding.message)).collect();
        ensure!(found.is_empty(), "{}", found.join("; "));
        Ok((policy, profile.mode.or(self.mode)))
    }

    /// Names of the profiles, `normal` first if the file does not name it.
    pub fn profile_names(&self) -> Vec<&str> {
        let names = self.profiles.iter().map(|profile| profile.name.as_str());
        let named = self.profiles.iter().any(|profile| profile.name.as_str() == NORMAL);
        (!named).then_some(NORMAL).into_iter().chain(names).collect()
    }

    /// A file that says the same, with every prefix in it.
    pub fn to_toml(&self) -> String {
        write::document(self)
    }
}

impl Profile {
    /// `base` with the changes of this profile. What cannot be is added to `findings`.
    pub fn apply(&self, base: &Policy, findings: &mut Vec<Finding>) -> Policy {
        let at = path("profile", self.name.as_str());
        let mut policy = base.clone();
        apply_to_host(&self.host, &mut policy, &at, findings);
        let defaults = policy.defaults();
        for (name, said) in &self.services {
            let at = path(&path(&at, "service"), name.as_str());
            match policy.services.iter_mut().find(|service| service.name == *name) {
                Some(service) => {
                    note(findings, &at, apply(&SERVICE, said, service, &defaults, Style::File))
                }
                None => findings.push(missing(
                    at,
                    "service",
                    name,
                    policy.services.iter().map(|one| &one.name),
                )),
            }
        }
        for (name, said) in &self.classes {
            let at = path(&path(&at, "class"), name.as_str());
            match policy.classes.iter_mut().find(|class| class.name == *name) {
                Some(class) => {
                    note(findings, &at, apply(&CLASS, said, class, &defaults, Style::File))
                }
                None => findings.push(missing(
                    at,
                    "class",
                    name,
                    policy.classes.iter().map(|one| &one.name),
                )),
            }
        }
        policy
    }
}

/// Says `said` about the host's part of `policy`. `at` is the table that holds `defaults` and `host`.
fn apply_to_host(said: &Settings, policy: &mut Policy, at: &str, findings: &mut Vec<Finding>) {
    for (rows, table) in [(&DEFAULTS[..], "defaults"), (&HOST, "host")] {
        note(
            findings,
            &path(at, table),
            apply(rows, said, policy, &Policy::default(), Style::File),
        );
    }
}
