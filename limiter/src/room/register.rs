//! Tells the kernel side which sockets take the connections of which ports.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use limiter_common::record::Refuse;
use tracing::warn;

use super::{Places, turns::Turns};
use crate::kernel::{Maps, Pins, room, upgrade};
use crate::policy::Service;

/// Registers each listener for the port of its service, and opens what tells the places. A listener
/// of IPv6 takes both families.
///
/// It is called as root. What it returns is used after root is given up, so it holds everything
/// open that it reads.
///
/// # Errors
/// When limiter is not loaded, or the kernel refuses a socket or the program.
pub fn register(pins: &Pins, listeners: &[(u16, &TcpListener)]) -> Result<Arc<dyn Places>> {
    let lock = pins.lock_for_change()?;
    upgrade::add_maps(pins)?;
    room::attach(pins)?;
    let mut maps = Maps::open(&pins.root())?;
    let (policy, taken) = (maps.policy(maps.selection()?.slot)?, room::ports(&maps)?);
    for (port, _) in listeners {
        if taken.contains(port) {
            warn!(
                port,
                "another room had this port, and is shown to nobody there from now on; it does not \
                 come back when this one ends"
            );
        }
        let at_port = |one: &&Service| one.listeners.iter().any(|at| at.port() == *port);
        let mut services = policy.services.iter().filter(at_port);
        match services.clone().next() {
            None => warn!(port, "no service is at this port, so nobody is sent to this room there"),
            Some(first) if services.all(|one| one.admission.refuse != Refuse::Room) => {
                let advice = format!("limiter set --service {} --refuse room", first.name);
                warn!(port, advice, "the service at this port sends nobody to a waiting room");
            }
            Some(_) => {}
        }
    }
    for (port, listener) in listeners {
        let address = listener.local_addr().context("cannot see where the room listens")?;
        let families: &[bool] = if address.is_ipv6() { &[false, true] } else { &[false] };
        for is_v6 in families {
            room::open(&mut maps, *port, *is_v6, *listener)?;
        }
    }
    drop(lock);
    Ok(Arc::new(Turns::of(Maps::look(&pins.root())?)?))
}
