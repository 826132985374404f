//! limiter beside other XDP programs: as a component of a dispatcher, by libxdp's protocol.
//!
//! A dispatcher is never changed. Whoever joins or leaves makes a new one, lets all components run in
//! both, and swaps them on the interface in one step; a component that is not linked to it anew is
//! gone from it. So no packet passes undecided, and a command that is killed leaves the old one whole
//! or the new one, and at most pins that the next one takes away. Only asked for by name: alone, a
//! link of its own is faster and is pinned.

mod config;
mod directory;
mod next;
mod object;
mod running;
mod swap;

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use aya::programs::Extension;

use super::interface::{self, Attachment, Interface};
use super::lock::Lock;
use super::pins::Pins;
use directory::Pinned;
use next::Next;
use running::Running;
pub use running::described;
use swap::{Swapped, swap};

/// How often a dispatcher that changes all the time is read again, to change it and to look at it.
const TRIES: u32 = 10;
const LOOKS: u32 = 3;

/// What is to become of limiter in a dispatcher.
enum Intent<'a> {
    /// It runs there, by this program.
    Join(&'a mut Extension),
    /// It does not.
    Leave,
}

/// What limiter is a component of.
pub(super) struct Member {
    /// Index of the interface.
    pub index: u32,
    /// Its name, unless it is not here.
    pub name: Option<String>,
    /// Where the dispatcher runs, if it does.
    pub attachment: Option<Attachment>,
}

/// Makes limiter a component of the dispatchers of interfaces, and makes one where there is none.
/// `place`: where that one runs.
///
/// # Errors
/// When one of them cannot be joined: why. limiter is in none of them then.
pub(super) fn join(pins: &Pins, interfaces: &[&Interface], place: Attachment) -> Result<()> {
    for interface in interfaces {
        if let Some(running) = Running::on(interface)? {
            check_place(interface, running.attachment, place)?;
        }
    }
    // Before the lock is taken: the verifier's work takes long.
    let mut component = object::component(pins)?;
    let component = object::extension(&mut component)?;
    let lock = directory::lock()?;
    for (joined, interface) in interfaces.iter().enumerate() {
        let result =
            change(pins, interface.index, Some(place), &mut Intent::Join(component), &lock);
        if let Err(error) = result {
            for before in &interfaces[..joined] {
                change(pins, before.index, None, &mut Intent::Leave, &lock)?;
            }
            return Err(error);
        }
    }
    Ok(())
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
    change(pins, index, None, &mut Intent::Leave, &lock)?;
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
        change(pins, place.index, None, &mut Intent::Join(component), &lock)?;
    }
    Ok(running.len())
}

/// Where limiter is a component, or was on an interface that is not here.
///
/// # Errors
/// When netlink does not answer.
pub(super) fn members(pins: &Pins) -> Result<Vec<Member>> {
    let mut found = BTreeMap::new();
    // Another process may make the next dispatcher between one look and the other.
    for _ in 0..LOOKS {
        found.clear();
        let interfaces = interface::all()?;
        for (place, _) in directory::places(pins) {
            let here = interfaces.iter().find(|one| one.index == place.index);
            let attachment = here.filter(|one| runs(one, place)).and_then(|one| one.program);
            let name = here.map(|here| here.name.clone());
            let attachment = attachment.map(|(_, attachment)| attachment);
            let one = Member { index: place.index, name, attachment };
            // A killed command may have left another one of the same interface.
            if one.attachment.is_some() || !found.contains_key(&one.index) {
                found.insert(one.index, one);
            }
        }
        if found.values().all(|one| one.attachment.is_some() || one.name.is_none()) {
            break;
        }
    }
    Ok(found.into_values().collect())
}

/// Whether limiter is a component of the dispatcher on an interface.
pub(super) fn is_on(pins: &Pins, interface: &Interface) -> bool {
    directory::places(pins).iter().any(|(place, _)| runs(interface, *place))
}

/// Indices of the interfaces for whose dispatchers limiter is pinned as a component.
pub(super) fn indices(pins: &Pins) -> Vec<u32> {
    let mut indices: Vec<u32> =
        directory::places(pins).into_iter().map(|(place, _)| place.index).collect();
    indices.dedup();
    indices
}

/// limiter joins a dispatcher where it runs, and not otherwise than it was asked for.
fn check_place(interface: &Interface, runs: Attachment, wanted: Attachment) -> Result<()> {
    let name = &interface.name;
    let (place, how) = match runs {
        Attachment::Native => ("in its driver", "without"),
        Attachment::Generic => ("in the generic path", "with"),
        Attachment::Offloaded => {
            bail!("the dispatcher on {name} runs in the NIC; it stays as it is")
        }
    };
    ensure!(
        runs == wanted,
        "the dispatcher on {name} runs {place}, and limiter joins it there: attach {how} `--generic`"
    );
    Ok(())
}

/// Makes the next dispatcher of an interface, and puts it there. `fresh`: where, if there is none.
fn change(
    pins: &Pins,
    index: u32,
    fresh: Option<Attachment>,
    change: &mut Intent<'_>,
    _lock: &Lock,
) -> Result<()> {
    for _ in 0..TRIES {
        let interfaces = interface::all()?;
        let Some(interface) = interfaces.iter().find(|one| one.index == index) else {
            return sweep(pins, index, None);
        };
        // What runs there may be others' by now.
        if matches!(change, Intent::Leave) && !is_on(pins, interface) {
            return sweep(pins, index, None);
        }
        let running = Running::on(interface)?;
        let (old, place) = match (&running, fresh, &change) {
            (Some(running), _, _) => (Some(running), running.attachment),
            (None, Some(place), Intent::Join(_)) => (None, place),
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
    bail!(
        "the XDP program on interface {index} keeps changing; try again when it has stopped \
         changing"
    )
}

/// Takes away what killed commands left of limiter in dispatchers of an interface that do not run.
fn sweep(pins: &Pins, index: u32, running: Option<Pinned>) -> Result<()> {
    let is_here = interface::all()?.iter().any(|one| one.index == index);
    for (place, is_alone) in directory::places(pins) {
        if place.index != index || Some(place) == running {
            continue;
        }
        ensure!(
            is_here || is_alone,
            "{} belongs to an interface that is not here, and limiter is not alone in it: run this \
             in that interface's network namespace, or `xdp-loader clean` if the interface is gone",
            place.path().display()
        );
        place.remove()?;
    }
    Ok(())
}

/// Whether a dispatcher runs on an interface.
fn runs(interface: &Interface, place: Pinned) -> bool {
    interface.index == place.index && interface.program.is_some_and(|(id, _)| id == place.id)
}
