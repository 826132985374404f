//! Tells the kernel side which sockets take the connections of which ports.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::{Places, turns::Turns};
use crate::kernel::{Maps, Pins, room, upgrade};

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
