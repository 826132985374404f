//! Attaching the pinned program to interfaces, all of those asked for or none.

use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, Xdp};
use aya_obj::programs::XdpAttachType;
use limiter_common::names;

use super::interface::{self, Attachment, Interface};
use super::maps::pinned;
use super::pins::Pins;
use super::{capability, dispatcher, refusal};

/// What limiter is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Index of the interface.
    pub index: u32,
    /// Its name, unless it is gone or in another network namespace.
    pub name: Option<String>,
    /// Where the program runs; `None` also where the interface is here and another tool took the
    /// program from it.
    pub attachment: Option<Attachment>,
    /// Whether it runs there as a component of a dispatcher.
    pub in_dispatcher: bool,
}

/// Attaches the pinned program to `names`. `mode`: native, or generic if that was asked for.
///
/// # Errors
/// When one of them is missing, taken by another program, or refused by its driver. None is attached then.
pub fn attach(pins: &Pins, names: &[String], generic: bool) -> Result<Vec<Attached>> {
    let interfaces = interface::all()?;
    let wanted: Vec<&Interface> =
        names.iter().map(|name| interface::named(&interfaces, name)).collect::<Result<_>>()?;
    for interface in &wanted {
        check_kind(interface, &interfaces)?;
        check_free(pins, interface)?;
    }
    let mut program = program(pins)?;
    let mode = if generic { XdpMode::Skb } else { XdpMode::Driver };
    // A link that is not pinned goes when it is dropped: an error below leaves none attached by us.
    let mut links = Vec::new();
    for interface in &wanted {
        links.push((interface.index, create(&mut program, interface, mode)?));
    }
    pins.make_links()?;
    let mut pinned = Vec::new();
    for (index, link) in links {
        if is_dead(pins, index) {
            detach(pins, index)?;
        }
        match link.pin(pins.link(index)) {
            Ok(_) => pinned.push(index),
            Err(error) => {
                for index in pinned {
                    let _ = release(&pins.link(index));
                }
                return Err(error)
                    .with_context(|| format!("cannot pin the link to interface {index}"));
            }
        }
    }
    let attached = attached(pins)?;
    Ok(attached.into_iter().filter(|one| pinned.contains(&one.index)).collect())
}

/// Attaches to `names` as a component of their dispatchers, beside other XDP programs. `generic`: in
/// the generic path, where a dispatcher is to be made.
///
/// # Errors
/// When one of them is missing or cannot be joined. limiter is attached to none then.
pub fn join(pins: &Pins, names: &[String], generic: bool) -> Result<Vec<Attached>> {
    let interfaces = interface::all()?;
    let wanted: Vec<&Interface> =
        names.iter().map(|name| interface::named(&interfaces, name)).collect::<Result<_>>()?;
    for interface in &wanted {
        check_kind(interface, &interfaces)?;
        check_own(pins, interface)?;
    }
    dispatcher::join(
        pins,
        &wanted,
        if generic { Attachment::Generic } else { Attachment::Native },
    )?;
    for interface in wanted.iter().filter(|one| is_dead(pins, one.index)) {
        release(&pins.link(interface.index))?;
    }
    let attached = attached(pins)?;
    Ok(attached.into_iter().filter(|one| wanted.iter().any(|is| is.index == one.index)).collect())
}

/// Detaches from the interface with `index`.
///
/// # Errors
/// When its link cannot be removed, or its dispatcher not be replaced.
pub fn detach(pins: &Pins, index: u32) -> Result<()> {
    let pin = pins.link(index);
    if dispatcher::detach(pins, index)? && !pin.exists() {
        return Ok(());
    }
    release(&pin)
}

/// Removes a link's pin. The kernel has detached the link when this returns: without asking for that
/// the interface would run the program until the kernel gets round to it, and the next program would
/// be refused there.
fn release(pin: &Path) -> Result<()> {
    /// From linux/bpf.h: the call, and its attributes.
    const BPF_LINK_DETACH: libc::c_long = 34;
    #[repr(C)]
    struct Link(u32);
    // What is no link, or that of an interface which is gone, has nothing to detach. The pin goes
    // first: an interface with a pin and without a program is one that another tool took.
    let link = pinned(pin, 0);
    std::fs::remove_file(pin).with_context(|| format!("cannot remove {}", pin.display()))?;
    if let Ok(link) = link {
        let attributes = Link(link.as_raw_fd() as u32);
        // SAFETY: the attributes are those of this call, and the descriptor is open.
        let _ = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const attributes, size_of::<Link>())
        };
    }
    Ok(())
}

/// Detaches from everything, and removes all pins.
///
/// # Errors
/// When a dispatcher cannot be replaced, or a pin not be removed.
pub fn unload(pins: &Pins) -> Result<()> {
    // First: nothing else keeps limiter's program there from what is in the pins.
    for index in dispatcher::indices(pins) {
        dispatcher::detach(pins, index)?;
    }
    // What cannot be released here is told of next.
    for index in pins.links() {
        let _ = release(&pins.link(index));
    }
    pins.remove()
}

/// Everything that limiter is attached to, by its pinned links and in dispatchers.
///
/// # Errors
/// When interfaces or pins cannot be read.
pub fn attached(pins: &Pins) -> Result<Vec<Attached>> {
    let interfaces = interface::all()?;
    let links = pins.links().into_iter().map(|index| {
        // An interface with this index may be another one: of another network namespace, or made since. The program tells.
        let ours = program_of(pins, index);
        let here = interfaces.iter().find(|interface| interface.index == index);
        let place = here.and_then(|here| {
            here.program.filter(|(id, _)| Some(*id) == ours).map(|(_, place)| place)
        });
        // A link without a device was detached by force where an interface of its index is here:
        // the kernel counts indices up.
        let name =
            here.filter(|_| place.is_some() || is_dead(pins, index)).map(|here| here.name.clone());
        Attached { index, name, attachment: place, in_dispatcher: false }
    });
    let mut attached: Vec<Attached> = links.collect();
    attached.extend(dispatcher::members(pins)?.into_iter().map(|member| {
        let dispatcher::Member { index, name, attachment } = member;
        Attached { index, name, attachment, in_dispatcher: true }
    }));
    Ok(attached)
}

/// Indices of everything that limiter is attached to, or was when its device was there.
///
/// # Errors
/// When interfaces or pins cannot be read.
pub fn indices(pins: &Pins) -> Result<Vec<u32>> {
    Ok(attached(pins)?.into_iter().map(|one| one.index).collect())
}

/// A pinned link, to put another program behind it.
///
/// # Errors
/// When its pin cannot be opened, or is that of something else.
pub fn to_swap(pins: &Pins, index: u32) -> Result<XdpLink> {
    XdpLink::try_from(open(pins, index)?).with_context(|| {
        let path = pins.link(index);
        format!("{} holds no XDP link: `limiter detach --all` and attach again", path.display())
    })
}

/// What is pinned as a link.
///
/// # Errors
/// When its pin cannot be opened.
pub(super) fn open(pins: &Pins, index: u32) -> Result<FdLink> {
    let path = pins.link(index);
    let pinned =
        PinnedLink::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(pinned.into())
}

/// The pinned program.
///
/// # Errors
/// When its pin cannot be opened.
pub fn program(pins: &Pins) -> Result<Xdp> {
    Xdp::from_pin(pins.object(names::PROGRAM), XdpAttachType::Interface)
        .context("cannot open the program's pin")
}

/// Puts `program` behind a link, in place of the one that is there.
///
/// # Errors
/// When the kernel refuses.
pub fn swap(program: &mut Xdp, link: XdpLink) -> Result<()> {
    let id = program.attach_to_link(link)?;
    // Taken and dropped: this closes our descriptor. The pin keeps the link.
    drop(program.take_link(id)?);
    Ok(())
}

/// Whether an error says that the device of a link is gone (ENOLINK): there is nothing to put a program on.
pub fn is_gone(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.into_iter().any(|io| io.raw_os_error() == Some(libc::ENOLINK))
}

/// Id of the program behind a pinned link, unless its device is gone.
pub(super) fn program_of(pins: &Pins, index: u32) -> Option<u32> {
    open(pins, index).ok()?.info().ok().map(|info| info.program_id())
}

/// Refuses interfaces on which limiter would see nothing, or not all.
fn check_kind(interface: &Interface, all: &[Interface]) -> Result<()> {
    let Interface { name, .. } = interface;
    ensure!(
        interface.ethernet,
        "{name} carries no Ethernet frames, as tun, WireGuard and IP tunnels do not: limiter would see no IP there and limit nothing; \
         attach to an interface that carries Ethernet, such as the one that the tunnel's packets arrive on"
    );
    let bond = all
        .iter()
        .find(|one| interface.above == Some(one.index) && one.kind.as_deref() == Some("bond"));
    if let Some(bond) = bond {
        bail!(
            "{name} is a part of the bond {0}, whose other parts would not be limited: attach to {0}",
            bond.name
        );
    }
    Ok(())
}

/// Refuses an interface that limiter is on already, or was in another network namespace.
fn check_own(pins: &Pins, interface: &Interface) -> Result<()> {
    let name = &interface.name;
    let index = interface.index;
    let (ours, here) = (program_of(pins, index), interface.program.map(|(id, _)| id));
    ensure!(
        !dispatcher::is_on(pins, interface) && (ours.is_none() || ours != here),
        "limiter is already attached to {name}; `limiter status` shows it, `limiter set` changes limits"
    );
    ensure!(
        ours.is_none() || is_dead(pins, index),
        "{} belongs to an interface with the index of {name} that is gone or in another network namespace; free it with \
         `limiter detach {index}`, or keep the limiter of each namespace in a --pins directory of its own",
        pins.link(index).display()
    );
    Ok(())
}

fn check_free(pins: &Pins, interface: &Interface) -> Result<()> {
    let name = &interface.name;
    check_own(pins, interface)?;
    let Some((id, _)) = interface.program else { return Ok(()) };
    let other = match dispatcher::described(id) {
        Some(Ok(which)) => bail!(
            "{name} runs a dispatcher of libxdp (id {id}; {which}), which runs several XDP programs: \
             `limiter attach {name} --dispatcher` joins them"
        ),
        Some(Err(unknown)) => {
            format!("`xdp_dispatcher`, which is {unknown}, so that limiter cannot join")
        }
        None => name_of(id),
    };
    bail!(
        "{name} already runs the XDP program {other} (id {id}); remove it with the tool that put it there, or with \
         `ip link set dev {name} xdp off`, and attach again"
    )
}

/// The name of the program with `id`, for messages.
pub(crate) fn name_of(id: u32) -> String {
    let info = aya::programs::loaded_programs().flatten().find(|info| info.id() == id);
    let name = info.as_ref().and_then(|info| info.name_as_str()).filter(|name| !name.is_empty());
    name.map_or_else(|| "of another tool".to_owned(), |name| format!("`{name}`"))
}

pub(super) fn create(program: &mut Xdp, interface: &Interface, mode: XdpMode) -> Result<FdLink> {
    let name = &interface.name;
    let id = match program.attach_to_if_index(interface.index, mode) {
        Ok(id) => id,
        Err(error) => {
            let sentence = refusal::sentence(program, interface.index, mode);
            return Err(explain(error, name, mode, sentence.as_deref()));
        }
    };
    // aya answers EINVAL with an attachment over netlink, which cannot be pinned and would end with this process.
    let link = program.take_link(id)?;
    match FdLink::try_from(link) {
        Ok(link) => Ok(link),
        Err(_) => bail!(
            "the kernel made no XDP link for {name} (it needs Linux 5.9 or newer); nothing was attached"
        ),
    }
}

/// What the kernel says of a driver that runs no XDP program at all.
const NO_XDP: &str = "Underlying driver does not support XDP in native mode";

/// `sentence`: the kernel's own reason.
fn explain(
    error: ProgramError,
    name: &str,
    mode: XdpMode,
    sentence: Option<&str>,
) -> anyhow::Error {
    let errno = match &error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    let advice = match errno {
        Some(libc::ENOSPC | libc::ENOMEM | libc::EINVAL | libc::ERANGE | libc::EOPNOTSUPP)
            if sentence.is_some_and(|sentence| sentence != NO_XDP) =>
        {
            let other = if mode == XdpMode::Driver {
                "; put that right, or attach with `--generic`, which is slower"
            } else {
                ""
            };
            format!(
                "{name} refused the program, and the kernel says why: \"{}\"{other}",
                sentence.unwrap_or_default()
            )
        }
        Some(libc::EOPNOTSUPP | libc::ENOTSUP) if mode == XdpMode::Driver => format!(
            "the driver of {name} runs no XDP program itself; `--generic` attaches in the kernel's slower generic path"
        ),
        Some(libc::EBUSY | libc::EEXIST) => {
            format!("{name} already runs another XDP program; remove it and attach again")
        }
        Some(libc::EPERM | libc::EACCES) => {
            format!("the kernel did not let us attach to {name}: {}", capability::advice())
        }
        Some(libc::ENOSPC | libc::ENOMEM) => {
            format!(
                "{name} has too few queues or memory for XDP in its driver; `--generic` may work"
            )
        }
        _ => format!(
            "the driver of {name} refused the program (an MTU too large, or LRO switched on, are common reasons)"
        ),
    };
    anyhow::Error::new(error).context(advice)
}

/// Whether the pinned link of an index has no device any more: it is gone, or the link was detached
/// by force.
fn is_dead(pins: &Pins, index: u32) -> bool {
    let Ok(link) = open(pins, index) else { return false };
    link.info().is_ok_and(|info| device_of(info.id()) == Some(0))
}

/// The index of the device of a link that this process has open.
pub(super) fn device_of(link: u32) -> Option<u32> {
    told(link, "ifindex")
}

/// A number that the kernel tells of a link that this process has open, and only there.
pub(super) fn told(link: u32, key: &str) -> Option<u32> {
    let entries = std::fs::read_dir("/proc/self/fdinfo").ok()?;
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    texts
        .into_iter()
        .find(|text| number(text, "link_id") == Some(link))
        .and_then(|text| number(&text, key))
}

fn number(text: &str, key: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_link() {
        let text = "pos:\t0\nflags:\t02000002\nlink_type:\txdp\nlink_id:\t12\nprog_tag:\t1234\nprog_id:\t7\nifindex:\t0\n";
        assert_eq!((number(text, "link_id"), number(text, "ifindex")), (Some(12), Some(0)));
        assert_eq!(number("pos:\t0\n", "ifindex"), None);
    }
}
