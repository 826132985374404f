//! The next dispatcher of an interface: who will be in it, in which order, each linked and pinned.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::programs::links::FdLink;
use aya::programs::{Extension, ProgramFd};

use super::Intent;
use super::config::{Config, SLOTS, Terms};
use super::directory::{self, Pinned};
use super::object;
use super::running::Running;
use crate::kernel::interface::Interface;
use crate::kernel::pins::Pins;

/// A dispatcher with its components and their pins, which runs nowhere yet.
pub struct Next {
    /// Its directory.
    pub place: Pinned,
    /// Its program.
    pub program: ProgramFd,
}

/// Components in their order. `None`: limiter.
type Parts = Vec<(Terms, Option<Extension>)>;

impl Next {
    /// Makes it. `None`: no component is left for it.
    ///
    /// # Errors
    /// When there is no room, a pin is missing, or the kernel refuses a component. Nothing of it stays.
    pub fn build(
        pins: &Pins,
        interface: &Interface,
        old: Option<&Running>,
        change: &mut Intent<'_>,
    ) -> Result<Option<Self>> {
        let maps = directory::own_maps(pins);
        let mut parts = Parts::new();
        if matches!(change, Intent::Join(_)) {
            parts.push((object::TERMS, None));
        }
        for (slot, terms) in old.iter().flat_map(|old| old.config.components.iter().enumerate()) {
            let path = old.map(|old| old.place.program(slot)).unwrap_or_default();
            let kept = Extension::from_pin(&path).with_context(|| {
                format!(
                    "cannot open {}, a program of the dispatcher on {}",
                    path.display(),
                    interface.name
                )
            })?;
            if !directory::is_own(&kept.info()?, &maps) {
                parts.push((*terms, Some(kept)));
            }
        }
        ensure!(
            parts.len() <= SLOTS,
            "the dispatcher on {} has {SLOTS} programs, and room for no more",
            interface.name
        );
        if parts.is_empty() {
            return Ok(None);
        }
        // Those of one priority stay in their order.
        parts.sort_by_key(|(terms, _)| terms.priority);
        let version = old.map_or_else(installed, |old| old.config.version);
        let components = parts.iter().map(|(terms, _)| *terms).collect();
        let mut ebpf = object::dispatcher(&Config { version, components })?;
        let program = object::program(&mut ebpf)?;
        let place = Pinned { index: interface.index, id: program.info()?.id() };
        let next = Self { place, program: program.fd()?.try_clone()? };
        let linked = next.link(parts, change);
        if linked.is_err() {
            place.remove()?;
        }
        linked.map(|()| Some(next))
    }

    fn link(&self, parts: Parts, change: &mut Intent<'_>) -> Result<()> {
        let directory = self.place.path();
        std::fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        for (slot, (_, part)) in parts.into_iter().enumerate() {
            match (part, &mut *change) {
                (Some(mut kept), _) => self.put(slot, &mut kept)?,
                (None, Intent::Join(own)) => self.put(slot, own)?,
                (None, Intent::Leave) => {}
            }
        }
        Ok(())
    }

    fn put(&self, slot: usize, component: &mut Extension) -> Result<()> {
        let link = component.attach_to_program(&self.program, &format!("prog{slot}"))?;
        let link: FdLink = component.take_link(link)?.into();
        let path = self.place.link(slot);
        link.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
        let path = self.place.program(slot);
        component.pin(&path).with_context(|| format!("cannot pin {}", path.display()))
    }
}

/// The version that the libxdp of this machine speaks, which joins no other: 3 from 1.6 on. Without
/// one, the older.
fn installed() -> u8 {
    let roots = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/lib"];
    let names = roots.iter().flat_map(|root| names(Path::new(root)));
    version_of(names)
}

/// Names in a directory and in those of it that are called as a machine is.
fn names(directory: &Path) -> Vec<String> {
    let list = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let mut all = list(directory);
    let machines: Vec<_> =
        all.iter().filter(|name| name.ends_with("-linux-gnu")).cloned().collect();
    all.extend(machines.iter().flat_map(|name| list(&directory.join(name))));
    all
}

fn version_of(names: impl IntoIterator<Item = String>) -> u8 {
    let minor = |name: &String| -> Option<u32> {
        name.strip_prefix("libxdp.so.1.")?.split('.').next()?.parse().ok()
    };
    let newest = names.into_iter().filter_map(|name| minor(&name)).max();
    if newest.is_some_and(|minor| minor >= 6) { 3 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_libxdp_that_is_there() {
        let of = |names: &[&str]| version_of(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(of(&[]), 2);
        assert_eq!(of(&["libxdp.so.1", "libxdp.so.1.3.0", "libc.so.6"]), 2);
        assert_eq!(of(&["libxdp.so.1.3.0", "libxdp.so.1.6.3"]), 3);
        assert_eq!(of(&["libxdp.so.1.10.0"]), 3);
    }
}
