//! The pin directory: what of limiter lives in the kernel while no command runs.
//!
//! `BASE/vLAYOUT/` holds the maps, `program`, and `links/IFINDEX`. It is made whole under another name and then renamed, so that a
//! command that is killed leaves all of it or nothing. Names must not contain dots (bpffs refuses them), hence the index.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use limiter_common::names::LAYOUT;

use super::lock::{self, DaemonLock, Lock, PATIENCE, SettlerLock};

const BPF_MAGIC: u64 = 0xcafe_4a11;

/// The pin directory of one limiter. There may be several; every command names one.
#[derive(Clone, Debug)]
pub struct Pins {
    base: PathBuf,
}

impl Pins {
    /// The directory, which need not exist.
    pub fn at(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into() }
    }

    /// Where it is.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Where maps and program are pinned.
    pub fn root(&self) -> PathBuf {
        self.base.join(format!("v{LAYOUT}"))
    }

    /// The pin of a map or of the program.
    pub fn object(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The pins of a map in every layout that is there, this one or another.
    pub fn every(&self, name: &str) -> Vec<PathBuf> {
        entries(&self.base)
            .iter()
            .map(|layout| self.base.join(layout).join(name))
            .filter(|path| path.exists())
            .collect()
    }

    /// The pin of the link to an interface.
    pub fn link(&self, index: u32) -> PathBuf {
        self.root().join("links").join(index.to_string())
    }

    /// Makes the directory of links, if a killed `detach --all` has come so far as to take it away.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn make_links(&self) -> Result<()> {
        let links = self.root().join("links");
        fs::create_dir_all(&links).with_context(|| format!("cannot make {}", links.display()))
    }

    /// Interfaces with a pinned link, by index.
    pub fn links(&self) -> Vec<u32> {
        let names = entries(&self.root().join("links"));
        let mut links: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        links.sort_unstable();
        links
    }

    /// Whether limiter is loaded. Another layout's pins are an error.
    ///
    /// # Errors
    /// When another version of limiter is loaded: which, and what to do.
    pub fn is_loaded(&self) -> Result<bool> {
        if self.root().is_dir() {
            return Ok(true);
        }
        match entries(&self.base).into_iter().find(|name| name.starts_with('v')) {
            None => Ok(false),
            Some(other) => bail!(
                "{} holds pins of layout {other}, and this limiter speaks v{LAYOUT}: use the version that loaded them, \
                 or give up its state with `limiter detach --all` and attach again",
                self.base.display()
            ),
        }
    }

    /// The same, but an error when it is not loaded.
    ///
    /// # Errors
    /// Also when limiter is not loaded.
    pub fn require(&self) -> Result<()> {
        if self.is_loaded()? {
            return Ok(());
        }
        self.check_access()?;
        bail!(
            "limiter is not loaded ({} has no pins); load it with `limiter apply`, which reads the policy file, or with \
             `limiter attach IFACE --service web=*:80,*:443 --source-rate 20/s`",
            self.base.display()
        )
    }

    /// Whether it can be seen at all if limiter is loaded.
    ///
    /// # Errors
    /// When the directory is closed to us.
    pub fn check_access(&self) -> Result<()> {
        if is_denied(&self.base) {
            bail!("cannot look into {}: run it as root", self.base.display());
        }
        Ok(())
    }

    /// Makes the directory, takes its lock, and sweeps what killed commands left.
    ///
    /// # Errors
    /// When there is no bpffs, no privilege, or another command holds the lock: what to do.
    pub fn lock_for_change(&self) -> Result<Lock> {
        self.lock_within(PATIENCE)
    }

    /// The same, but waiting no longer than `patience` for another command.
    ///
    /// # Errors
    /// The same.
    pub fn lock_within(&self, patience: Duration) -> Result<Lock> {
        self.check_bpffs()?;
        fs::create_dir_all(&self.base).with_context(|| {
            format!(
                "cannot make {}; run it as root, or name a directory that you may make with --pins",
                self.base.display()
            )
        })?;
        let lock = lock::lock(&self.base, patience)?;
        for name in entries(&self.base) {
            if name.starts_with("staging-") || name.starts_with("trash-") {
                remove_tree(&self.base.join(name))?;
            }
        }
        Ok(lock)
    }

    /// Holds changes off while it lives, for who reads what one of them may be writing anew; `None`:
    /// one is under way.
    pub fn between_changes(&self) -> Option<Lock> {
        lock::shared(&self.base)
    }

    /// The lock of whoever changes a list. It waits for no other change, and no other change waits
    /// for it.
    ///
    /// # Errors
    /// When limiter is not loaded, or another command holds the lock: what to do.
    pub fn lock_lists(&self) -> Result<Lock> {
        lock::lock(&self.root(), PATIENCE)
    }

    /// Takes the place of the one daemon of this directory.
    ///
    /// # Errors
    /// When another one has it.
    pub fn daemon(&self, lock: &Lock) -> Result<DaemonLock> {
        lock::place(&self.base, lock)
    }

    /// Marks this process as the one that settles the kernel's settings once limits have gone back.
    ///
    /// # Errors
    /// As [`lock::mark_settler`].
    pub fn mark_settler(&self) -> Result<SettlerLock> {
        lock::mark_settler(&self.base)
    }

    /// Whether there is such a process.
    pub fn has_settler(&self) -> bool {
        lock::has_settler(&self.base)
    }

    /// A directory to pin into before [`Pins::publish`].
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn stage(&self) -> Result<PathBuf> {
        let staging = self.base.join(format!("staging-{}", std::process::id()));
        fs::create_dir_all(staging.join("links"))
            .with_context(|| format!("cannot make {}", staging.display()))?;
        Ok(staging)
    }

    /// Renames a staged directory to what every command opens: one step.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn publish(&self, staging: &Path) -> Result<()> {
        fs::rename(staging, self.root()).with_context(|| {
            format!("cannot rename {} to {}", staging.display(), self.root().display())
        })
    }

    /// Removes everything, whatever its layout: links are detached, maps and program go when nobody else holds them.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self) -> Result<()> {
        for name in entries(&self.base) {
            let from = self.base.join(&name);
            // Links first, while maps and program are in place; then out of sight in one step, then away.
            remove_tree(&from.join("links"))?;
            let trash = self.base.join(format!("trash-{}-{name}", std::process::id()));
            fs::rename(&from, &trash)
                .with_context(|| format!("cannot rename {}", from.display()))?;
            remove_tree(&trash)?;
        }
        Ok(())
    }

    /// Whether pins could be kept there.
    ///
    /// # Errors
    /// When there is no bpffs: what to do.
    pub(super) fn check_bpffs(&self) -> Result<()> {
        let existing = self.base.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
        let kind = rustix::fs::statfs(existing)
            .with_context(|| format!("cannot look at {}", existing.display()))?;
        if kind.f_type as u64 == BPF_MAGIC {
            return Ok(());
        }
        let mount = self.base.parent().unwrap_or(&self.base).display();
        bail!(
            "{mount} is no BPF file system, so nothing could stay loaded; mount one with `mount -t bpf bpf {mount}`"
        )
    }
}

fn is_denied(path: &Path) -> bool {
    matches!(fs::read_dir(path), Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied)
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Removes a directory of pins; one that is not there is removed already.
fn remove_tree(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
