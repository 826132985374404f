//! Putting a dispatcher on an interface in the place of the one that was read, in one step: over
//! netlink, as libxdp does. Whoever changed it meanwhile is noticed, not overwritten.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Result, anyhow, bail};
use aya::programs::ProgramFd;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::link::LinkXdp;

use crate::kernel::interface::{Attachment, Interface};
use crate::kernel::refusal::{
    XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, XDP_FLAGS_UPDATE_IF_NOEXIST, ask, said,
};

/// include/uapi/linux/if_link.h: only in the place of the program that is expected there.
const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// It is there.
    Done,
    /// Something else is there than was expected: to be read again.
    Changed,
}

/// Puts `new` there, or nothing, in the place of `old`, or of nothing.
///
/// # Errors
/// When the driver refuses `new`, or what is there is held by a link: in the kernel's own words.
pub fn swap(
    interface: &Interface,
    place: Attachment,
    old: Option<&ProgramFd>,
    new: Option<&ProgramFd>,
) -> Result<Swapped> {
    let name = &interface.name;
    let mode = match place {
        Attachment::Native => XDP_FLAGS_DRV_MODE,
        Attachment::Generic => XDP_FLAGS_SKB_MODE,
        Attachment::Offloaded => bail!("{name} runs its dispatcher in the NIC; it stays as it is"),
    };
    let number = |program: &ProgramFd| program.as_fd().as_raw_fd();
    let how = if old.is_some() { XDP_FLAGS_REPLACE } else { XDP_FLAGS_UPDATE_IF_NOEXIST };
    let mut attributes = vec![LinkXdp::Fd(new.map_or(-1, number)), LinkXdp::Flags(mode | how)];
    attributes.extend(old.map(|old| LinkXdp::ExpectedFd(number(old) as u32)));
    let answer = ask(interface.index, attributes)
        .ok_or_else(|| anyhow!("netlink does not answer about {name}"))?;
    let NetlinkPayload::Error(error) = &answer.payload else {
        bail!("netlink gave an unexpected answer")
    };
    let Some(code) = error.code else { return Ok(Swapped::Done) };
    let error = io::Error::from_raw_os_error(code.get().abs());
    let sentence = said(&answer).unwrap_or_default();
    match error.raw_os_error() {
        Some(libc::EBUSY) if sentence.contains("BPF XDP link") => bail!(
            "the dispatcher on {name} is held by a BPF link, as bpfman holds its own, and belongs to that \
             tool alone; nothing was changed"
        ),
        Some(libc::EEXIST | libc::EBUSY) => Ok(Swapped::Changed),
        _ if sentence.is_empty() => {
            Err(anyhow!(error).context(format!("{name} refused the dispatcher; nothing was changed")))
        }
        _ => Err(anyhow!(error).context(format!(
            "{name} refused the dispatcher, and the kernel says why: \"{sentence}\"; nothing was changed"
        ))),
    }
}
