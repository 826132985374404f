//! Another server's listening socket as the waiting room: nginx or HAProxy shows the page itself,
//! and limiter keeps its socket in the kernel's map, which takes a socket out once it is closed.
//!
//! The socket is copied (`pidfd_getfd`, Linux 5.6), put into the map, and the copy is closed at once:
//! a copy that stayed would listen on after its server has ended, with nobody to accept.
//!
//! The process stays root, unlike a room that serves: the server may be restarted at any time, and
//! its new socket is found among the files of all processes. Nothing that a client sends comes here.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use rustix::fs::fstat;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tracing::{info, warn};

use crate::kernel::{Maps, Pins, listener, room, upgrade};

/// A socket of another server, and the port for which it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// Where the server listens.
    pub at: SocketAddr,
    /// The port of the service.
    pub port: u16,
}

impl FromStr for Adoption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').and_then(|(at, port)| {
            let (at, port): (SocketAddr, u16) = (at.parse().ok()?, port.parse().ok()?);
            (at.port() != 0 && port != 0).then_some(Self { at, port })
        });
        let adoption = parts.ok_or(
            "write ADDRESS:PORT=SERVICE_PORT, such as 127.0.0.1:8080=80 or [::1]:8080=80, with the \
             address as `ss -ltn` shows it",
        )?;
        if adoption.at.port() == adoption.port {
            return Err(format!(
                "who is refused at port {} would reach the same port: let the page be shown at \
                 another one",
                adoption.port
            ));
        }
        Ok(adoption)
    }
}

impl fmt::Display for Adoption {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}={}", self.at, self.port)
    }
}

impl Adoption {
    /// Whether its address is one of IPv6.
    pub fn is_v6(&self) -> bool {
        self.at.ip().to_canonical().is_ipv6()
    }
}

/// A socket that is kept in the map.
struct Kept {
    adoption: Adoption,
    /// For which families.
    families: Vec<bool>,
    /// Why it could not be adopted again: said once.
    trouble: Option<String>,
}

/// Sockets that are kept in the map.
pub struct Adopted {
    pins: Pins,
    kept: Vec<Kept>,
}

impl fmt::Debug for Adopted {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Adopted").field(&self.to_string()).finish()
    }
}

impl fmt::Display for Adopted {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Kept { adoption, trouble, .. }) in self.kept.iter().enumerate() {
            let (comma, is_kept) = (if at == 0 { "" } else { ", " }, trouble.is_none());
            write!(to, "{comma}{adoption} {}", if is_kept { "adopted" } else { "CLOSED" })?;
        }
        Ok(())
    }
}

impl Adopted {
    /// Adopts all of them, in place of whatever room was there.
    ///
    /// # Errors
    /// When limiter is not loaded, the kernel refuses the program, or one of the sockets cannot be
    /// adopted.
    pub fn new(pins: &Pins, adoptions: &[Adoption]) -> Result<Self> {
        let lock = pins.lock_for_change()?;
        room::attach(pins)?;
        drop(lock);
        let mut maps = Maps::open(&pins.root())?;
        let adopt = |adoption: &Adoption| {
            let families = adopt(&mut maps, *adoption, adoptions)?;
            Ok(Kept { adoption: *adoption, families, trouble: None })
        };
        let kept = adoptions.iter().map(adopt).collect::<Result<Vec<_>>>()?;
        Ok(Self { pins: pins.clone(), kept })
    }

    /// Adopts again what is gone from the map: the server was restarted, or limiter was. What cannot
    /// be adopted is said once, and tried again with the next call.
    pub fn keep(&mut self) {
        let opened = self.open();
        let adoptions: Vec<_> = self.kept.iter().map(|kept| kept.adoption).collect();
        let (mut maps, taken) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let error = format!("{error:#}");
                return self.kept.iter_mut().for_each(|kept| kept.fails(&error));
            }
        };
        for kept in &mut self.kept {
            let port = kept.adoption.port;
            if kept.families.iter().all(|is_v6| taken.contains(&(port, *is_v6))) {
                // Another room's, maybe: it has taken this one's place.
                kept.trouble = None;
                continue;
            }
            match adopt(&mut maps, kept.adoption, &adoptions) {
                Ok(families) => (kept.families, kept.trouble) = (families, None),
                Err(error) => kept.fails(&format!("{error:#}")),
            }
        }
    }

    /// The maps, with the program attached, and what rooms take now. They are opened anew, because
    /// limiter may have been loaded anew.
    fn open(&self) -> Result<(Maps, BTreeSet<(u16, bool)>)> {
        self.pins.require()?;
        if room::standing(&self.pins) == room::Standing::Nowhere {
            let _lock = self.pins.lock_for_change()?;
            self.pins.require()?;
            upgrade::add_maps(&self.pins)?;
            room::attach(&self.pins)?;
        }
        let maps = Maps::open(&self.pins.root())?;
        let taken = room::taken(&maps)?;
        Ok((maps, taken))
    }
}

impl Kept {
    fn fails(&mut self, error: &str) {
        if self.trouble.as_deref() != Some(error) {
            warn!(socket = %self.adoption, error, "the waiting room is closed; trying every second");
            self.trouble = Some(error.to_owned());
        }
    }
}

/// Puts the socket into the map, and says for which families: both for one of IPv6 that takes both,
/// but none that another adoption for the same port is for.
fn adopt(maps: &mut Maps, adoption: Adoption, all: &[Adoption]) -> Result<Vec<bool>> {
    let found = find(adoption.at)?;
    let first = &found[0];
    let inodes = found.iter().map(|one| u64::from(one.inode)).collect();
    let Copied { socket, process } =
        copy(&inodes).with_context(|| format!("cannot adopt the socket at {}", adoption.at))?;
    let is_others = |is_v6: bool| {
        all.iter().any(|one| one.port == adoption.port && *one != adoption && one.is_v6() == is_v6)
    };
    let families: Vec<bool> = match (first.address.is_ipv6(), first.only_v6) {
        (false, _) => vec![false],
        (true, true) => vec![true],
        (true, false) => [false, true].into_iter().filter(|is_v6| !is_others(*is_v6)).collect(),
    };
    for is_v6 in &families {
        room::open(maps, adoption.port, *is_v6, &socket)?;
    }
    info!(socket = %adoption, process, "the waiting room is open");
    Ok(families)
}

/// The sockets that listen at this address: of reuseport there are several, and each stands for all,
/// because the kernel chooses among them after the room's program has chosen one
/// (`inet_lookup_run_sk_lookup`).
fn find(at: SocketAddr) -> Result<Vec<listener::Listener>> {
    let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
    let all = listener::all()?;
    let elsewhere = all.iter().find(|one| one.address.port() == at.port()).map(|one| one.address);
    let found: Vec<_> =
        all.into_iter().filter(|one| canonical(one.address) == canonical(at)).collect();
    match (found.is_empty(), elsewhere) {
        (false, _) => Ok(found),
        (true, Some(other)) => bail!(
            "no server listens at {at}, but one does at {other}: name the address as `ss -ltn` \
             shows it"
        ),
        (true, None) => bail!(
            "no server listens at {at} in this network namespace: start the one that shows the \
             page (`ss -ltn` shows all)"
        ),
    }
}

/// A copy of another process's socket.
struct Copied {
    socket: OwnedFd,
    /// Whose it is: "nginx (pid 7)".
    process: String,
}

/// Copies the first socket with one of these inodes that a process has open.
fn copy(inodes: &BTreeSet<u64>) -> Result<Copied> {
    const ROOT: &str = "run it as root, with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";
    let (mut closed, mut refused) = (None, None);
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let name = entry.context("cannot read /proc")?.file_name();
        let Some(pid) = number(&name).and_then(Pid::from_raw) else { continue };
        match look(pid, inodes) {
            Ok(None) => {}
            Ok(Some(Ok(socket))) => return Ok(Copied { socket, process: process(pid) }),
            Ok(Some(Err(error))) => refused = Some((pid, error)),
            Err(error) => match error.raw_os_error() {
                // It has ended meanwhile.
                Some(libc::ENOENT | libc::ESRCH) => {}
                _ => closed = Some((pid, error)),
            },
        }
    }
    if let Some((pid, error)) = refused {
        return Err(error).with_context(|| {
            format!(
                "the kernel hands out no socket of {}: {ROOT}; with kernel.yama.ptrace_scope=3, or \
                 without pidfd_getfd in SystemCallFilter=, no process gets any",
                process(pid)
            )
        });
    }
    match closed {
        Some((pid, error)) => Err(error)
            .with_context(|| format!("cannot see which files {} has open: {ROOT}", process(pid))),
        None => bail!(
            "no process here has it open: has its server just ended, or is it in another PID \
             namespace, where this must run too?"
        ),
    }
}

/// The socket of this process with one of these inodes, copied, if it has one.
fn look(pid: Pid, inodes: &BTreeSet<u64>) -> io::Result<Option<io::Result<OwnedFd>>> {
    let mut refused = None;
    for entry in fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))? {
        let entry = entry?;
        let target = match fs::read_link(entry.path()) {
            Ok(target) => target,
            // It was closed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let inode = target.to_str().and_then(|target| {
            target.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
        });
        let (Some(inode), Some(file)) = (inode, number(&entry.file_name())) else { continue };
        if !inodes.contains(&inode) {
            continue;
        }
        match take(pid, file) {
            // The number may be another file's by now, and the process another one.
            Ok(socket) if fstat(socket.as_fd()).is_ok_and(|file| file.st_ino == inode) => {
                return Ok(Some(Ok(socket)));
            }
            Ok(_) => {}
            Err(error) => refused = Some(Err(error)),
        }
    }
    Ok(refused)
}

fn take(pid: Pid, file: i32) -> io::Result<OwnedFd> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, file, PidfdGetfdFlags::empty())?)
}

fn number(name: &OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
}

/// A process for people.
fn process(pid: Pid) -> String {
    let pid = pid.as_raw_nonzero();
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (pid {pid})", name.trim_end()),
        Err(_) => format!("pid {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn words() {
        let adoption: Adoption = "[::1]:8080=80".parse().expect("an adoption");
        assert_eq!((adoption.to_string().as_str(), adoption.is_v6()), ("[::1]:8080=80", true));
        let adoption: Adoption = "127.0.0.1:8443=443".parse().expect("an adoption");
        assert_eq!((adoption.port, adoption.is_v6()), (443, false));
        for text in ["", "80", "127.0.0.1=80", "127.0.0.1:8080=", ":8080=80", "1.1.1.1:0=80"] {
            let said = text.parse::<Adoption>().expect_err(text);
            assert!(said.contains("127.0.0.1:8080=80"), "{text}: {said}");
        }
        let said = "0.0.0.0:80=80".parse::<Adoption>().expect_err("the service itself");
        assert!(said.contains("the same port"), "{said}");
    }

    #[test]
    fn a_socket_is_found_and_copied() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
        let at = socket.local_addr().expect("an address");
        let found = find(at).expect("it listens");
        assert_eq!(found.len(), 1);
        let inodes = BTreeSet::from([u64::from(found[0].inode)]);
        let Copied { socket: copied, process } = copy(&inodes).expect("this process has it");
        assert_eq!(TcpListener::from(copied).local_addr().expect("an address"), at);
        assert!(process.ends_with(&format!("(pid {})", std::process::id())), "{process}");
        let other = SocketAddr::new([127, 0, 0, 2].into(), at.port());
        let said = find(other).expect_err("nothing listens there").to_string();
        assert!(said.contains(&format!("one does at {at}")), "{said}");
        drop(socket);
        let said = find(at).expect_err("it is closed, and no copy keeps it").to_string();
        assert!(said.contains("start the one that shows the page"), "{said}");
    }
}
