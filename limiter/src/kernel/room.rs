//! The waiting room's place in the kernel: the program that hands diverted connections over, and the
//! sockets that take them.
//!
//! The link of the program is pinned beside the others, so that a room may end and another begin: in
//! between a diverted connection is refused and never reaches the server. The sockets are not
//! pinned: the kernel takes one out of the map when its process closes it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use aya::programs::SkLookup;
use aya::programs::links::{FdLink, PinnedLink};
use limiter_common::{names, room};

use super::Maps;
use super::link::told;
use super::maps::Raw;
use super::object::{self, OBJECT};
use super::pins::Pins;

/// The network namespace of this thread.
const NAMESPACE: &str = "/proc/thread-self/ns/net";
/// Where the link is pinned until it takes the place of the one before.
const NEXT: &str = "limiter_room_next";

/// Attaches the program to the network namespace of this process, in place of one that an earlier
/// room left.
///
/// # Errors
/// When limiter is not loaded, or the kernel refuses.
pub fn attach(pins: &Pins) -> Result<()> {
    pins.require()?;
    let mut ebpf = object::open_over_pins(pins, OBJECT)?;
    let program: &mut SkLookup = ebpf
        .program_mut(names::ROOM_PROGRAM)
        .context("the object holds no program for a waiting room")?
        .try_into()?;
    program.load().map_err(|error| object::explain(error.into()))?;
    let namespace = File::open(NAMESPACE).with_context(|| format!("cannot open {NAMESPACE}"))?;
    let link = program.attach(namespace).context(
        "the kernel did not let limiter choose listeners (sk_lookup, Linux 5.9); run it as root",
    )?;
    let link: FdLink = program.take_link(link)?.into();
    let next = pins.object(NEXT);
    if next.exists() {
        fs::remove_file(&next).with_context(|| format!("cannot remove {}", next.display()))?;
    }
    link.pin(&next).context("cannot pin the link of the waiting room")?;
    // Until here both are attached, and the last one chooses.
    fs::rename(&next, pins.object(names::ROOM_PROGRAM))
        .context("cannot put the link of the waiting room in place of the one before")
}

/// Where the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nowhere: there is no link, or it was detached by force.
    Nowhere,
    /// To the network namespace of this process.
    Here,
    /// To another one.
    Elsewhere,
}

/// Where the program is attached.
pub fn standing(pins: &Pins) -> Standing {
    let namespace = || -> Option<u32> {
        let link: FdLink = PinnedLink::from_pin(pins.object(names::ROOM_PROGRAM)).ok()?.into();
        told(link.info().ok()?.id(), "netns_ino")
    };
    match (namespace(), fs::metadata(NAMESPACE)) {
        (None | Some(0), _) => Standing::Nowhere,
        (Some(there), Ok(here)) if u64::from(there) == here.ino() => Standing::Here,
        _ => Standing::Elsewhere,
    }
}

/// Lets `socket`, which listens, take the diverted connections of its family to `port`, in place of
/// another.
///
/// # Errors
/// When the kernel refuses: it does not listen.
pub fn open(maps: &mut Maps, port: u16, is_v6: bool, socket: &impl AsRawFd) -> Result<()> {
    maps.room
        .insert(Raw(room::key(port, is_v6)), socket.as_raw_fd(), 0)
        .with_context(|| format!("cannot open the waiting room for port {port}"))
}

/// What a room takes now: the ports, and whether it is their IPv6.
///
/// # Errors
/// When the map cannot be read.
pub fn taken(maps: &Maps) -> Result<BTreeSet<(u16, bool)>> {
    let keys = maps.room.keys().map(|key| Ok(key.map(|Raw(key)| room::parts(key))?));
    keys.collect::<Result<_>>().context("cannot read the waiting room")
}

/// The ports whose diverted connections a room takes now, of either family.
///
/// # Errors
/// When the map cannot be read.
pub fn ports(maps: &Maps) -> Result<Vec<u16>> {
    let ports: BTreeSet<u16> = taken(maps)?.into_iter().map(|(port, _)| port).collect();
    Ok(ports.into_iter().collect())
}
