//! Counting open connections: the program on the root control group, what it counts, and taking
//! over what is older than it.
//!
//! It is attached while the policy in force bounds open connections, and its link is pinned beside
//! the others. A count is of one network namespace, that of the process that begins it, and of one
//! policy as far as that says what belongs together ([`shape`]): with another one it begins again,
//! from the connections that are there. While nothing counts nothing is refused for what is open:
//! the kernel side sees that by itself ([`limiter_common::open`]).

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{CgroupAttachMode, Iter, SockOps};
use aya::{Btf, Ebpf};
use limiter_common::names;
use limiter_common::open::{State, WORDS};
use limiter_common::record::{Counting, SERVICES};
use rustix::fs::statfs;
use rustix::net::{AddressFamily, SocketType};

use super::capability;
use super::link::told;
use super::maps::{Maps, Raw};
use super::object::{self, OBJECT};
use super::pins::Pins;
use super::words::Access;

/// Where the link is pinned until it takes the place of the one before.
const NEXT: &str = "limiter_open_next";
/// From asm-generic/socket.h (Linux 5.14).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Begins the count, ends it, or begins another one, as the policy in force needs it. The caller
/// holds the lock.
///
/// # Errors
/// When there is no control group to attach to, or the kernel refuses. The policy is in force all
/// the same, and what it says of open connections refuses nothing.
pub fn settle(pins: &Pins, maps: &mut Maps) -> Result<()> {
    if is_settled(pins, maps)? {
        return Ok(());
    }
    let counting = counting(maps)?;
    if !maps.policy(maps.selection()?.slot)?.counts_open() {
        return end(pins, maps, counting);
    }
    let (shape, namespace) = (shape(maps)?, namespace()?);
    let begun = begin(pins, maps, Counting { shape, namespace, ..counting });
    begun.context("open connections are not counted, so none is refused for them")
}

/// Whether [`settle`] would change nothing.
///
/// # Errors
/// When a map cannot be read.
pub fn is_settled(pins: &Pins, maps: &Maps) -> Result<bool> {
    let counting = counting(maps)?;
    if !maps.policy(maps.selection()?.slot)?.counts_open() {
        return Ok(counting.epoch == 0 && !pins.object(names::OPEN_PROGRAM).exists());
    }
    let (shape, namespace) = (shape(maps)?, namespace()?);
    Ok(counting.epoch != 0
        && (counting.shape, counting.namespace) == (shape, namespace)
        && is_attached(pins))
}

/// [`settle`], for who tells what hindered it in a sentence and goes on.
pub fn settled(pins: &Pins, maps: &mut Maps) -> Option<String> {
    settle(pins, maps).err().map(|error| format!("{error:#}"))
}

/// Counts anew with the program of this command, if anything counts.
///
/// # Errors
/// As [`settle`].
pub fn renew(pins: &Pins, maps: &mut Maps) -> Result<()> {
    let counting = counting(maps)?;
    end(pins, maps, counting)?;
    settle(pins, maps)
}

/// Whether the link is there, and was not detached by force.
pub fn is_attached(pins: &Pins) -> bool {
    let group = || -> Option<u32> {
        let link: FdLink = PinnedLink::from_pin(pins.object(names::OPEN_PROGRAM)).ok()?.into();
        told(link.info().ok()?.id(), "cgroup_id")
    };
    group().is_some_and(|group| group != 0)
}

/// What the host's line says of the count.
///
/// # Errors
/// When the map cannot be read.
pub fn state(maps: &Maps) -> Result<State> {
    let Raw(words) = maps.opens.get(&SERVICES, 0).context("cannot read the open connections")?;
    Ok(State::read(&words))
}

/// Whether connections are counted now.
///
/// # Errors
/// When a map cannot be read.
pub fn is_counted(pins: &Pins, maps: &Maps) -> Result<bool> {
    Ok(counting(maps)?.epoch != 0 && is_attached(pins))
}

/// Whether there is a control group to attach to.
pub fn has_group() -> bool {
    group().is_ok()
}

fn counting(maps: &Maps) -> Result<Counting> {
    Ok(maps.counting.get(&0, 0).context("cannot read what is counted of open connections")?.0)
}

fn write(maps: &mut Maps, counting: Counting) -> Result<()> {
    let written = maps.counting.set(0, Raw(counting), 0);
    written.context("cannot write what is to be counted of open connections")
}

/// Detaches, and forgets what was counted.
fn end(pins: &Pins, maps: &mut Maps, counting: Counting) -> Result<()> {
    let pin = pins.object(names::OPEN_PROGRAM);
    match fs::remove_file(&pin) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", pin.display()));
        }
        Err(_) if counting.epoch == 0 => return Ok(()),
        _ => {}
    }
    write(maps, Counting { epoch: 0, ..counting })?;
    clear(maps)
}

/// Attaches if nothing is, and counts from what is there.
fn begin(pins: &Pins, maps: &mut Maps, counting: Counting) -> Result<()> {
    // From here on nothing is counted, but what begins is noted at its socket.
    write(maps, Counting { epoch: 0, ..counting })?;
    let mut ebpf = object::open_over_pins(pins, OBJECT)?;
    if !is_attached(pins) {
        attach(pins, &mut ebpf)?;
    }
    Maps::settle();
    clear(maps)?;
    let epoch = counting.last.wrapping_add(1).max(1);
    write(maps, Counting { epoch, last: epoch, ..counting })?;
    adopt(&mut ebpf).context("the count leaves out connections that are older than it")
}

fn attach(pins: &Pins, ebpf: &mut Ebpf) -> Result<()> {
    let program: &mut SockOps = ebpf
        .program_mut(names::OPEN_PROGRAM)
        .context("the object holds no program that counts open connections")?
        .try_into()?;
    program.load().map_err(|error| object::explain(error.into()))?;
    let path = group()?;
    let group = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let refused = || {
        let (path, advice) = (path.display(), capability::advice());
        format!("the kernel did not let limiter count connections at {path}: {advice}")
    };
    // A link always shares the group with others; to say so again is an error to the kernel.
    let link = program.attach(group, CgroupAttachMode::Single).with_context(refused)?;
    let link: FdLink = program.take_link(link)?.try_into()?;
    let next = pins.object(NEXT);
    if next.exists() {
        fs::remove_file(&next).with_context(|| format!("cannot remove {}", next.display()))?;
    }
    link.pin(&next).context("cannot pin the link of the program that counts open connections")?;
    fs::rename(&next, pins.object(names::OPEN_PROGRAM))
        .context("cannot put the link of the program that counts open connections in its place")
}

/// CGROUP2_SUPER_MAGIC of linux/magic.h.
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// What to do where it is not mounted.
pub const MOUNT_GROUP: &str = concat!(
    "`mount -t cgroup2 none /sys/fs/cgroup`, or, where control groups of version 1 are there, ",
    "`mkdir -p /sys/fs/cgroup/unified` and `mount -t cgroup2 none /sys/fs/cgroup/unified`",
);

/// The root of the control groups, version 2.
fn group() -> Result<PathBuf> {
    let mounts =
        fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let paths = mounts.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (path, kind) = (words.nth(1)?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    // Another mount may hide it, as `ip netns exec` does with a /sys of its own.
    let is_seen = |path: &PathBuf| statfs(path).is_ok_and(|it| it.f_type == CGROUP2_MAGIC);
    match paths.into_iter().find(is_seen) {
        Some(path) => Ok(path),
        None => bail!(
            "no cgroup v2 is mounted; {MOUNT_GROUP}, and limiter counts from its next change on"
        ),
    }
}

/// Empties the table and the totals.
fn clear(maps: &mut Maps) -> Result<()> {
    for id in 0..=SERVICES {
        maps.opens.set(id, Raw([0; WORDS]), 0).context("cannot clear the open connections")?;
    }
    let words = maps.open.words(Access::Write)?;
    for index in 0..words.len() {
        if words.get(index) != Some(0) {
            words.store(index, 0);
        }
    }
    Ok(())
}

/// Has the kernel show every socket of this network namespace to the program that takes it over.
fn adopt(ebpf: &mut Ebpf) -> Result<()> {
    let program: &mut Iter = ebpf
        .program_mut(names::ADOPT_PROGRAM)
        .context("the object holds no program that takes connections over")?
        .try_into()?;
    let types = Btf::from_sys_fs().context("the kernel shows no types (CONFIG_DEBUG_INFO_BTF)")?;
    program.load("tcp", &types).map_err(|error| object::explain(error.into()))?;
    let link = program.attach().context("the kernel does not show its sockets")?;
    let mut shown = program.take_link(link)?.into_file()?;
    // Nothing comes: reading is what makes it run.
    let mut nothing = [0; 4096];
    while shown.read(&mut nothing).context("the kernel stopped showing its sockets")? > 0 {}
    Ok(())
}

/// The cookie of the network namespace of this thread.
fn namespace() -> Result<u64> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)
        .context("cannot make a socket")?;
    let (mut cookie, mut size) = (0_u64, size_of::<u64>() as libc::socklen_t);
    // SAFETY: the kernel writes at most `size` bytes there.
    let refused = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if refused != 0 {
        let error = std::io::Error::last_os_error();
        return Err(error).context("the kernel does not name network namespaces (Linux 5.14)");
    }
    Ok(cookie)
}

/// A digest of what the policy in force counts together: where services listen, what makes a source,
/// and what a network where those are counted.
fn shape(maps: &Maps) -> Result<u64> {
    let slot = maps.selection()?.slot;
    let mut digest = DefaultHasher::new();
    for (id, service) in maps.services(slot)? {
        let mask = service.mask;
        (id, service.number, mask.v4, mask.v6_high, mask.v6_low).hash(&mut digest);
    }
    let mut listeners: Vec<_> = maps.listeners()?.into_iter().collect();
    listeners.retain(|(key, _)| u32::from(key.slot) == slot);
    listeners.sort_unstable_by_key(|(key, id)| (key.address, key.port, *id));
    for (key, id) in listeners {
        (key.address, key.port, id).hash(&mut digest);
    }
    for (id, class) in maps.classes(slot)? {
        (id, class.own_mask, class.mask.v4, class.mask.v6_high, class.mask.v6_low)
            .hash(&mut digest);
    }
    for (index, network) in maps.networks(slot)?.into_iter().filter(|(_, one)| one.open != 0) {
        let mask = network.mask;
        (index, mask.v4, mask.v6_high, mask.v6_low).hash(&mut digest);
    }
    for prefix in maps.class_prefixes(slot)? {
        (prefix.address, prefix.class, prefix.length).hash(&mut digest);
    }
    Ok(digest.finish())
}
