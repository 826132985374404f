//! Owns wires that are no veth pairs: with `LAB_WIRE=nic` the lab takes NICs of the caller's namespace, and gives them back.
//!
//! A wire's end is the NIC that has the end's MAC address already. `cargo xtask kernels` boots machines that have such NICs.

use std::{
    fs,
    path::Path,
    process::{self, Command},
};

use anyhow::{Context as _, Result, ensure};

use crate::netns::{Namespace, succeed};

/// The variable that asks for them.
const VARIABLE: &str = "LAB_WIRE";
/// What they are called while nobody uses them, and the end of their address. A name such as eth0 could be taken when they come back.
const IDLE: &str = "nic";

/// Whether the lab's wires are NICs, rather than veth pairs.
///
/// # Errors
/// When the variable has another value than `nic` or `veth`.
pub(crate) fn wanted() -> Result<bool> {
    match std::env::var(VARIABLE).as_deref() {
        Ok("nic") => Ok(true),
        Err(_) | Ok("veth") => Ok(false),
        Ok(other) => anyhow::bail!("{VARIABLE}={other}: it is `veth` or `nic`"),
    }
}

/// A NIC in a namespace of the lab; dropped, it goes back to the namespace of this process.
#[derive(Debug)]
pub(crate) struct Nic {
    namespace: String,
    device: &'static str,
    /// Its name elsewhere.
    idle: String,
}

impl Nic {
    /// Moves the NIC with this MAC address into the namespace and calls it `device`.
    ///
    /// # Errors
    /// When there is none, or it cannot be moved.
    pub(crate) fn take(mac: &str, namespace: &Namespace, device: &'static str) -> Result<Self> {
        let name = named(mac)?;
        succeed(Command::new("ip").args(["link", "set", "dev", &name, "netns", namespace.name()]))?;
        let idle = format!("{IDLE}{}", mac.replace(':', "").get(8..).unwrap_or_default());
        let nic = Self { namespace: namespace.name().to_owned(), device, idle };
        namespace.ip(&["link", "set", "dev", &name, "name", device])?;
        Ok(nic)
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        let Self { namespace, device, idle } = self;
        // It stands for our own namespace.
        let pid = process::id().to_string();
        let down = ["link", "set", "dev", device, "down"];
        let rename = ["link", "set", "dev", device, "name", idle];
        let back = ["link", "set", "dev", idle, "netns", &pid];
        for arguments in [&down[..], &rename, &back] {
            // Nothing to do about a failure here: the next lab says that the NIC is missing.
            let _ = succeed(Command::new("ip").args(["-netns", namespace]).args(arguments));
        }
    }
}

/// The name of the NIC with this MAC address.
fn named(mac: &str) -> Result<String> {
    let directory = Path::new("/sys/class/net");
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = names.find(|name| {
        fs::read_to_string(directory.join(name).join("address"))
            .is_ok_and(|address| address.trim() == mac)
    });
    let name = name.with_context(|| {
        format!("no NIC has the address {mac}: {VARIABLE}=nic needs one for each end")
    })?;
    ensure!(!directory.join(&name).join("master").exists(), "{name} belongs to another device");
    Ok(name)
}
