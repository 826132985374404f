//! Idle connections, a server with few places, and users.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::topology::FRONT_V4;
use lab::{Lab, Namespace};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
use serde::Serialize;

use super::ways::Way;

/// Sources that hold connections.
pub const SOURCES: usize = 10;
/// Connections that each wants.
pub const IDLE: usize = 1000;
/// Connections that the server can have.
pub const PLACES: usize = 2000;
const USERS: usize = 100;
/// How long idle connections have to be made, and a user waits for a page.
const PATIENCE: Duration = Duration::from_secs(4);
const PORT: u16 = 80;

/// What came of it.
#[derive(Serialize)]
pub struct Served {
    /// Places that are held when the users come.
    pub held: usize,
    pub users: usize,
    pub users_served: usize,
}

/// Serves users beside slow readers, in one way.
pub fn serve(way: Way) -> Result<Served> {
    let lab = Lab::new()?;
    let _way = way.set_up(&lab)?;
    let listener = lab.front.run(server)?;
    let clients = lab.clients_v4();
    let (ends, held) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (ends, held) = (&ends, &held);
        scope.spawn(move || places(&listener, ends, held));
        let done = || -> Result<Served> {
            let idle = lab.crowd.run(|| hold(&clients[..SOURCES]))?;
            std::thread::sleep(PATIENCE);
            let held = held.load(Ordering::SeqCst);
            let users_served = users(&lab.crowd, &clients[SOURCES..SOURCES + USERS])?;
            drop(idle);
            Ok(Served { held, users: USERS, users_served })
        };
        let served = done();
        ends.store(true, Ordering::SeqCst);
        served
    })
}

fn server() -> Result<TcpListener> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    bind(&socket, &SocketAddr::new(FRONT_V4, PORT)).context("cannot bind the server")?;
    listen(&socket, 128)?;
    Ok(TcpListener::from(socket))
}

/// A place is taken until its client has asked. Without a free one nothing is accepted.
fn places(listener: &TcpListener, ends: &AtomicBool, held: &AtomicUsize) {
    let mut places: Vec<TcpStream> = Vec::new();
    while !ends.load(Ordering::SeqCst) {
        while places.len() < PLACES
            && let Ok((stream, _)) = listener.accept()
        {
            if stream.set_nonblocking(true).is_ok() {
                places.push(stream);
            }
        }
        places.retain_mut(|stream| match stream.read(&mut [0; 64]) {
            Ok(0) => false,
            Ok(_) => {
                let _ = stream.write_all(b"here you are");
                false
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
        held.store(places.len(), Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Begins all idle connections. The kernel goes on with those that have no answer yet.
fn hold(sources: &[IpAddr]) -> Result<Vec<rustix::fd::OwnedFd>> {
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        for source in sources {
            let socket =
                socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)
                    .context("a socket for an idle connection")?;
            bind(&socket, &SocketAddr::new(*source, 0))?;
            match connect(&socket, &SocketAddr::new(FRONT_V4, PORT)) {
                Ok(()) | Err(Errno::INPROGRESS) => idle.push(socket),
                Err(error) => return Err(error).context("cannot begin an idle connection"),
            }
        }
    }
    Ok(idle)
}

/// Users that get a page, all at once.
fn users(crowd: &Namespace, clients: &[IpAddr]) -> Result<usize> {
    let ask = |client: IpAddr| -> Result<bool> {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::empty(), None)?;
        for timeout in [Timeout::Send, Timeout::Recv] {
            set_socket_timeout(&socket, timeout, Some(PATIENCE))?;
        }
        bind(&socket, &SocketAddr::new(client, 0))?;
        connect(&socket, &SocketAddr::new(FRONT_V4, PORT))?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(b"a page, please")?;
        Ok(stream.read(&mut [0; 64])? > 0)
    };
    std::thread::scope(|scope| {
        let run = |client: IpAddr| crowd.run(|| Ok(ask(client).unwrap_or(false)));
        let threads: Vec<_> =
            clients.iter().map(|client| scope.spawn(move || run(*client))).collect();
        let mut served = 0;
        for thread in threads {
            let is_served = thread.join().map_err(|_| anyhow::anyhow!("a user panicked"))??;
            served += usize::from(is_served);
        }
        Ok(served)
    })
}
