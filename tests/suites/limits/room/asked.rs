//! A waiting room that only says that all is full, and clients who note which answered them: the
//! server, the room or nobody.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use limiter::kernel::room;
use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType};

use super::super::Front;

/// A listener that says that all is full, where only diverted connections can come.
pub struct Room {
    seen: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    threads: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Room {
    pub fn open(front: &mut Front) -> Self {
        Self::open_for(front, 80)
    }

    /// For the service at another port.
    pub fn open_for(front: &mut Front, port: u16) -> Self {
        let Front { lab, maps, pins, .. } = front;
        lab.front.run(|| room::attach(pins)).expect("the program attaches");
        let mut room = Self { seen: Arc::default(), ends: Arc::default(), threads: Vec::new() };
        for (address, is_v6) in [("127.0.0.1:0", false), ("[::1]:0", true)] {
            let listener = lab.front.run(|| Ok(TcpListener::bind(address)?)).expect("a listener");
            room::open(maps, port, is_v6, &listener).expect("the room opens");
            room.answer(listener);
        }
        room
    }

    fn answer(&mut self, listener: TcpListener) {
        let address = listener.local_addr().expect("an address");
        let (count, end) = (Arc::clone(&self.seen), Arc::clone(&self.ends));
        let answer = move || {
            for connection in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut connection) = connection else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 512];
                let _ = connection.read(&mut request);
                let _ = connection.write_all(b"HTTP/1.1 503 Full\r\nConnection: close\r\n\r\n");
            }
        };
        self.threads.push((address, std::thread::spawn(answer)));
    }

    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// Closes the listener.
    pub fn close(self, front: &Front) {
        self.ends.store(true, Ordering::SeqCst);
        for (address, thread) in self.threads {
            let _ = front.lab.front.run(|| Ok(TcpStream::connect(address)?));
            thread.join().expect("it ends");
        }
    }
}

/// What became of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The server answered.
    pub served: u64,
    /// The room answered.
    pub shown: u64,
    /// Nothing came.
    pub nothing: u64,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Server,
    Room,
    Nobody,
}

/// One connection of a client of this thread's namespace, and one request.
pub fn request(client: IpAddr, target: IpAddr, patience: Duration) -> By {
    request_from(SocketAddr::new(client, 0), SocketAddr::new(target, 80), patience)
}

/// The same from this port.
pub fn request_from(client: SocketAddr, target: SocketAddr, patience: Duration) -> By {
    let request = || -> std::io::Result<String> {
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        for timeout in [Timeout::Send, Timeout::Recv] {
            set_socket_timeout(&socket, timeout, Some(patience))?;
        }
        set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &client)?;
        rustix::net::connect(&socket, &target)?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(String::from_utf8_lossy(&head).into_owned())
    };
    match request().as_deref() {
        Ok("HTTP/1.1 200") => By::Server,
        Ok("HTTP/1.1 503") => By::Room,
        _ => By::Nobody,
    }
}

/// What `each` says of every client, all at once, each on a thread in the crowd's namespace.
pub fn at_once<T: Send>(
    front: &Front,
    clients: &[IpAddr],
    each: impl Fn(IpAddr) -> T + Sync,
) -> Vec<T> {
    std::thread::scope(|scope| {
        let run = |client| front.lab.crowd.run(|| Ok(each(client))).expect("a namespace");
        let threads: Vec<_> =
            clients.iter().map(|client| scope.spawn(move || run(*client))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
    })
}

/// Each client asks in turn, all of them at once.
pub fn ask(
    front: &Front,
    target: IpAddr,
    clients: &[IpAddr],
    times: usize,
    patience: Duration,
) -> Answers {
    let each = |client| (0..times).map(|_| request(client, target, patience)).collect::<Vec<_>>();
    let all = at_once(front, clients, each).concat();
    let by = |who| all.iter().filter(|by| **by == who).count() as u64;
    Answers { served: by(By::Server), shown: by(By::Room), nothing: by(By::Nobody) }
}
