//! `limiter room`: the waiting room. It answers clients whose turn has not come with a page that
//! says so and comes again by itself.
//!
//! The kernel side diverts their connections to the room's sockets, so a connection has the address
//! of the service at this end and that of the client at the other. The room knows nothing of
//! limits: who is diverted here the kernel side decides, and [`Places`] tells how long they wait.
//!
//! ```text
//! listener -> (TLS) -> head -> language and form -> page -> close
//! ```

mod accept;
mod adopt;
mod head;
mod open;
mod page;
mod privileges;
mod register;
mod server;
mod tls;
mod turns;
mod words;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

pub use adopt::{Adopted, Adoption};
pub use open::allow_open_files;
pub use page::{PAGE_BYTES, Pages, TEXT_BYTES, Turn};
pub use privileges::{USER, give_up};
pub use register::register;
pub use server::{Door, Room, Stats};
pub use tls::config as tls_config;
pub use words::Languages;

/// Connections that the kernel keeps for the room until it takes them.
const BACKLOG: i32 = 4096;

/// Connections that are open at once, unless the operator says otherwise.
pub const CONNECTIONS: u32 = 50_000;

/// Tells how long a client waits.
pub trait Places: Send + Sync {
    /// The place of `client` at `service`, the address and port that it wanted to reach; `None`
    /// when it has no place. IPv4 addresses come as such, never as mapped ones.
    fn turn(&self, client: SocketAddr, service: SocketAddr) -> Option<Turn>;
}

/// How the room serves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most connections that are open at once; one more closes the oldest. At least 1.
    pub connections: usize,
    /// How long a connection has for the head of its request, once TLS is done.
    pub head: Duration,
    /// How long it has for everything.
    pub whole: Duration,
    /// How long the client has to close its end after the answer, within `whole`.
    pub linger: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS as usize,
            head: Duration::from_secs(10),
            whole: Duration::from_secs(15),
            linger: Duration::from_secs(1),
        }
    }
}

/// A socket to which connections can be diverted: it listens on an unused port of 127.0.0.1, which
/// only this host reaches. It is one of IPv6 and serves both families, or one of IPv4 where the
/// kernel has no IPv6.
///
/// Its address is the mapped one of IPv4, `::ffff:127.0.0.1`: with `::1` the kernel sets
/// IPV6_V6ONLY, whatever was asked for (`inet6_bind`), and hands it no IPv4 connection.
///
/// # Errors
/// When the kernel gives no such socket.
pub fn listener() -> Result<TcpListener> {
    listener_of(AddressFamily::INET6)
        .or_else(|error| match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT) => listener_of(AddressFamily::INET),
            _ => Err(error),
        })
        .context("cannot listen on 127.0.0.1 for those who wait; is lo up (`ip link set lo up`)?")
}

fn listener_of(family: AddressFamily) -> io::Result<TcpListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    let address: SocketAddr = if family == AddressFamily::INET6 {
        // Whatever net.ipv6.bindv6only says.
        sockopt::set_ipv6_v6only(&socket, false)?;
        (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0).into()
    } else {
        (Ipv4Addr::LOCALHOST, 0).into()
    };
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests;
