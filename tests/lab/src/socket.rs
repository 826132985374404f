//! Owns the sending of given frames through a packet socket: slower than a flood, but by any driver's own way, and without loss.
//!
//! The socket waits for its device; a flood does not. And on Linux 6.1 a virtio NIC does not survive a flood: BPF_PROG_TEST_RUN hands frames on
//! without putting back what the driver did to them, until one is empty and the device stops (QEMU: `virtio-net nothing to send`).

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};

use crate::{flood::device_index, netns::Namespace};

/// Sends `count` frames from a device of the namespace: these, in turn.
///
/// # Errors
/// When the device is not there or refuses one of them.
pub fn send(namespace: &Namespace, device: &str, frames: &[Vec<u8>], count: usize) -> Result<()> {
    namespace.run(|| {
        let socket = open(device, 0)?;
        for frame in frames.iter().cycle().take(count) {
            let sent = rustix::io::write(&socket, frame)
                .with_context(|| format!("cannot send from {device}"))?;
            ensure!(sent == frame.len(), "{device} took {sent} bytes of {}", frame.len());
        }
        Ok(())
    })
}

/// A socket for whole frames of a device of this thread's namespace: it sends any, and receives
/// those of an EtherType; of 0 none, and all of `ETH_P_ALL` (linux/if_ether.h).
pub(crate) fn open(device: &str, ethertype: u16) -> Result<OwnedFd> {
    let index = device_index(device)?;
    // SAFETY: the call takes numbers and returns one.
    let descriptor =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    ensure!(descriptor >= 0, "cannot make a packet socket: {}", io::Error::last_os_error());
    // SAFETY: the descriptor is new, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = index as i32;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address outlives the call, which reads as many bytes as it has.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    ensure!(bound == 0, "cannot send from {device}: {}", io::Error::last_os_error());
    Ok(socket)
}
