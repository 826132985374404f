//! limiter beside other XDP programs: as a component of a dispatcher, by libxdp's protocol.
//!
//! A dispatcher is never changed. Whoever joins or leaves makes a new one, lets all components run in
//! both, and swaps them on the interface in one step; a component that is not linked to it anew is
//! gone from it. So no packet passes undecided, and a command that is killed leaves the old one whole
//! or the new one, and at most pins that the next one takes away. Only asked for by name: alone, a
//! link of its own is faster and is pinned.

mod config;
mod directory;
mod object;
mod swap;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, MapData, MapInfo};
use aya::programs::links::FdLink;
use aya::programs::{Extension, ProgramFd, ProgramInfo};

use super::interface::{self, Attachment, Interface};
use super::link::{self, Attached};
use super::lock::Lock;
use super::pins::Pins;
use config::{Config, SLOTS, Terms, Unknown, VERSIONS};
use directory::Place;
use swap::{Swapped, swap};

/// From linux/bpf.h: programs only read the map.
const BPF_F_RDONLY_PROG: u32 = 1 << 7;
/// How often a dispatcher that changes all the time is read again.
const TRIES: u32 = 10;

/// What is to become of limiter in a dispatcher.
enum Change<'a> {
    /// It runs there, by this program.
    Join(&'a mut Extension),
    /// It does not.
    Leave,
}

/// A dispatcher that runs on an interface.
struct Running {
    place: Place,
    program: ProgramFd,
    attachment: Attachment,
    config: Config,
}

/// Makes limiter a component of the dispatchers of interfaces, and makes one where there is none.
/// `generic`: in the kernel's generic path, where a dispatcher is to be made.
///
/// # Errors
/// When one of them cannot be joined: why. limiter is in none of them then.
pub fn attach(pins: &Pins, names: &[String], generic: bool) -> Result<Vec<Attached>> {
    let interfaces = interface::all()?;
    let place = if generic { Attachment::Generic } else { Attachment::Native };
    for name in names {
        let interface = interface::named(&interfaces, name)?;
        link::check_kind(interface, &interfaces)?;
        check(pins, interface, Running::on(interface)?.as_ref(), place)?;
    }
    // Before the lock is taken: the verifier's work takes long.
    let mut component = object::component(pins)?;
    let component = object::extension(&mut component)?;
    let lock = directory::lock()?;
    let mut joined = Vec::new();
    for name in names {
        let index = interface::named(&interfaces, name)?.index;
        let result = change(pins, index, Some(place), &mut Change::Join(component), &lock);
        if let Err(error) = result {
            for index in joined {
                change(pins, index, None, &mut Change::Leave, &lock)?;
            }
            return Err(error);
        }
        joined.push(index);
    }
    let attached = link::attached(pins)?;
    Ok(attached.into_iter().filter(|one| joined.contains(&one.index)).collect())
}

/// Takes limiter out of the dispatcher of the interface with an index, and leaves the others there;
/// whether there was one.
///
/// # Errors
/// When the dispatcher cannot be replaced: why. limiter is in it still.
pub fn detach(pins: &Pins, index: u32) -> Result<bool> {
    if !directory::places(pins).iter().any(|(place, _)| place.index == index) {
        return Ok(false);
    }
    let lock = directory::lock()?;
    change(pins, index, None, &mut Change::Leave, &lock)?;
    Ok(true)
}

/// Puts the program of this command in the place of the one that runs in dispatchers; in how many.
///
/// # Errors
/// When the kernel refuses. Those that have it keep it; limiter is in all of them all the time.
pub fn renew(pins: &Pins) -> Result<usize> {
    let interfaces = interface::all()?;
    let places = directory::places(pins);
    let running: Vec<_> =
        places.iter().filter(|(place, _)| interfaces.iter().any(|one| runs(one, *place))).collect();
    if running.is_empty() {
        return Ok(0);
    }
    let mut component = object::component(pins)?;
    let component = object::extension(&mut component)?;
    let lock = directory::lock()?;
    for (place, _) in &running {
        change(pins, place.index, None, &mut Change::Join(component), &lock)?;
    }
    Ok(running.len())
}

/// Where limiter is a component, or was on an interface that is not here.
pub(super) fn attached(pins: &Pins, interfaces: &[Interface]) -> Vec<Attached> {
    let mut all: Vec<Attached> = Vec::new();
    for (place, _) in directory::places(pins) {
        let here = interfaces.iter().find(|one| one.index == place.index);
        let attachment = here.filter(|one| runs(one, place)).and_then(|one| one.program);
        let attachment = attachment.map(|(_, attachment)| attachment);
        let name = here.map(|here| here.name.clone());
        let one = Attached { index: place.index, name, attachment, in_dispatcher: true };
        // A killed command may have left another one of the same interface.
        all.retain(|other| other.index != one.index || other.attachment.is_some());
        if !all.iter().any(|other| other.index == one.index) {
            all.push(one);
        }
    }
    all
}

/// Indices of the interfaces for whose dispatchers limiter is pinned as a component.
pub(super) fn indices(pins: &Pins) -> Vec<u32> {
    let mut indices: Vec<u32> =
        directory::places(pins).into_iter().map(|(place, _)| place.index).collect();
    indices.dedup();
    indices
}

/// What is to be said of a dispatcher: that limiter can join it, or why it cannot. `None`: the program
/// with this id is no dispatcher, or nobody may look at it.
pub fn described(id: u32) -> Option<Result<String, String>> {
    let program = program(id).filter(|one| one.name_as_str() == Some(object::NAME))?;
    Some(match read(&program)? {
        Ok(Config { version, components }) => {
            let programs = if components.len() == 1 { "program" } else { "programs" };
            Ok(format!("version {version}, {} {programs}", components.len()))
        }
        Err(unknown) => Err(unknown.to_string()),
    })
}

/// Whether limiter may join, on an interface that it is not on.
fn check(
    pins: &Pins,
    interface: &Interface,
    running: Option<&Running>,
    wanted: Attachment,
) -> Result<()> {
    let name = &interface.name;
    let ours = interface.program.map(|(id, _)| id);
    let is_linked = ours.is_some() && link::program_of(pins, interface.index) == ours;
    let is_there = running.is_some_and(|running| {
        directory::places(pins).iter().any(|(place, _)| *place == running.place)
    });
    ensure!(
        !is_linked && !is_there,
        "limiter is already attached to {name}; `limiter status` shows it, `limiter set` changes limits"
    );
    if let Some(running) = running {
        let (place, how) = match running.attachment {
            Attachment::Native => ("in its driver", "without"),
            Attachment::Generic => ("in the generic path", "with"),
            Attachment::Offloaded => {
                bail!("the dispatcher on {name} runs in the NIC; it stays as it is")
            }
        };
        ensure!(
            running.attachment == wanted,
            "the dispatcher on {name} runs {place}, and limiter joins it there: attach {how} `--generic`"
        );
    }
    Ok(())
}

/// Makes the next dispatcher of an interface, and puts it there. `fresh`: where, if there is none.
fn change(
    pins: &Pins,
    index: u32,
    fresh: Option<Attachment>,
    change: &mut Change<'_>,
    _lock: &Lock,
) -> Result<()> {
    for _ in 0..TRIES {
        let interfaces = interface::all()?;
        let Some(interface) = interfaces.iter().find(|one| one.index == index) else {
            return sweep(pins, index, None);
        };
        let running = match Running::on(interface) {
            Ok(running) => running,
            // Something else has come in the place of the dispatcher.
            Err(_) if matches!(change, Change::Leave) => None,
            Err(error) => return Err(error),
        };
        let (old, place) = match (&running, fresh, &change) {
            (Some(running), _, _) => (Some(running), running.attachment),
            (None, Some(place), Change::Join(_)) => (None, place),
            (None, _, _) => return sweep(pins, index, None),
        };
        let new = Next::build(pins, interface, old, change)?;
        let program = new.as_ref().map(|new| &new.program);
        let swapped = swap(interface, place, old.map(|old| &old.program), program);
        if !matches!(swapped, Ok(Swapped::Done)) {
            if let Some(new) = new {
                new.place.remove()?;
            }
            swapped?;
            continue;
        }
        if let Some(old) = old {
            old.place.remove()?;
        }
        return sweep(pins, index, new.map(|new| new.place));
    }
    bail!("the XDP program on interface {index} changes all the time; try again when it rests")
}

/// Takes away what killed commands left of limiter in dispatchers of an interface that do not run.
fn sweep(pins: &Pins, index: u32, running: Option<Place>) -> Result<()> {
    let is_here = interface::all()?.iter().any(|one| one.index == index);
    for (place, is_alone) in directory::places(pins) {
        if place.index != index || Some(place) == running {
            continue;
        }
        ensure!(
            is_here || is_alone,
            "{} is of an interface that is not here, and limiter is not alone in it: run this in the \
             network namespace of that, or `xdp-loader clean` if it is gone",
            place.path().display()
        );
        place.remove()?;
    }
    Ok(())
}

/// Whether a dispatcher runs on an interface.
fn runs(interface: &Interface, place: Place) -> bool {
    interface.index == place.index && interface.program.is_some_and(|(id, _)| id == place.id)
}

impl Running {
    /// The one on an interface, if there is any program.
    ///
    /// # Errors
    /// When what is there is no dispatcher, or one that limiter does not know: which.
    fn on(interface: &Interface) -> Result<Option<Self>> {
        let name = &interface.name;
        let Some((id, attachment)) = interface.program else { return Ok(None) };
        let program =
            program(id).with_context(|| format!("cannot look at XDP program {id} on {name}"))?;
        let config =
            if program.name_as_str() == Some(object::NAME) { read(&program) } else { None };
        let config = match config {
            Some(Ok(config)) => config,
            Some(Err(unknown)) => bail!(
                "the dispatcher on {name} (id {id}) is {unknown}, and limiter speaks versions {} and {}: it \
                 stays as it is; unload it with the tool that put it there, and attach again",
                VERSIONS[0],
                VERSIONS[1]
            ),
            None => bail!(
                "{name} already runs the XDP program {} (id {id}), which is no dispatcher of libxdp: it stays \
                 as it is; remove it with the tool that put it there, and attach again",
                link::name_of(id)
            ),
        };
        let place = Place { index: interface.index, id };
        Ok(Some(Self { place, program: program.fd()?, attachment, config }))
    }
}

/// A dispatcher with its components and their pins, which runs nowhere yet.
struct Next {
    place: Place,
    program: ProgramFd,
}

/// A component of it: of the old one, or limiter.
enum Part<'a> {
    Kept(Extension),
    Own(&'a mut Extension),
}

impl Next {
    /// `None`: nobody is left for it.
    fn build(
        pins: &Pins,
        interface: &Interface,
        old: Option<&Running>,
        change: &mut Change<'_>,
    ) -> Result<Option<Self>> {
        let maps = directory::own_maps(pins);
        let mut parts: Vec<(Terms, Part<'_>)> = Vec::new();
        if let Change::Join(own) = change {
            parts.push((object::TERMS, Part::Own(own)));
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
                parts.push((*terms, Part::Kept(kept)));
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
        let place = Place { index: interface.index, id: program.info()?.id() };
        let next = Self { place, program: program.fd()?.try_clone()? };
        let linked = next.link(parts);
        if linked.is_err() {
            place.remove()?;
        }
        linked.map(|()| Some(next))
    }

    fn link(&self, parts: Vec<(Terms, Part<'_>)>) -> Result<()> {
        let directory = self.place.path();
        std::fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        for (slot, (_, part)) in parts.into_iter().enumerate() {
            match part {
                Part::Own(own) => self.put(slot, own)?,
                Part::Kept(mut kept) => self.put(slot, &mut kept)?,
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

fn program(id: u32) -> Option<ProgramInfo> {
    aya::programs::loaded_programs().flatten().find(|one| one.id() == id)
}

/// What a program with a dispatcher's name says of itself. `None`: it has not the one map that every
/// dispatcher has.
fn read(program: &ProgramInfo) -> Option<Result<Config, Unknown>> {
    let &[id] = program.map_ids().ok()??.as_slice() else { return None };
    let map = MapInfo::from_id(id).ok()?;
    if map.map_flags() & BPF_F_RDONLY_PROG == 0 || map.max_entries() != 1 {
        return None;
    }
    let map = || MapData::from_id(id).ok().map(aya::maps::Map::Array);
    let bytes = match MapInfo::from_id(id).ok()?.value_size() {
        // Of version 1, or of none.
        84 => value::<84>(map()?),
        124 => value::<124>(map()?),
        128 => value::<128>(map()?),
        _ => return Some(Err(Unknown::Layout)),
    };
    Some(Config::read(&bytes?))
}

fn value<const BYTES: usize>(map: aya::maps::Map) -> Option<Vec<u8>> {
    let array: Array<MapData, [u8; BYTES]> = map.try_into().ok()?;
    Some(array.get(&0, 0).ok()?.to_vec())
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
