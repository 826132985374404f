//! Owns the embedded web server: `GET /` answers a page, `GET /bytes/N` answers N bytes.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};

use super::{raise_file_limit, runtime};
use crate::{
    topology::{FRONT_V4, FRONT_V6, Lab},
    wait::PATIENCE,
};

/// Length of a page's body in bytes.
pub const PAGE_BYTES: usize = 1024;
/// Longest request in bytes.
const REQUEST_BYTES: usize = 4096;
/// Bytes written at once of a long answer.
const CHUNK: usize = 65_536;

/// How a server is made.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens, in the front end's namespace.
    pub listen: Vec<SocketAddr>,
    /// Length of each accept queue, in connections; `net.core.somaxconn` bounds it.
    pub backlog: u32,
    /// Without them it serves all at once.
    pub workers: Option<Workers>,
}

/// What bounds a server: so many connections at once, each for so long. Others wait in the accept
/// queue.
#[derive(Clone, Copy, Debug)]
pub struct Workers {
    /// Connections at once.
    pub count: usize,
    /// How long the work for one takes.
    pub time: Duration,
}

impl Workers {
    /// No bound.
    const MANY: Self = Self { count: Semaphore::MAX_PERMITS, time: Duration::ZERO };
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(FRONT_V4, 80), SocketAddr::new(FRONT_V6, 80)],
            backlog: 4096,
            workers: None,
        }
    }
}

/// A web server in the lab's front end, stopped when dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    accepted: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Starts a server on port 80 of both service addresses; it listens when this returns.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::with(lab, ServerOptions::default())
    }

    /// Starts a server; it listens when this returns.
    pub fn with(lab: &Lab, options: ServerOptions) -> Result<Self> {
        raise_file_limit()?;
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let accepted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&accepted);
        let thread = lab.front.spawn("lab-server", move || {
            runtime()?.block_on(async {
                let workers = options.workers.unwrap_or(Workers::MANY);
                let free = Arc::new(Semaphore::new(workers.count));
                // Connections are tasks of the runtime, and end with it.
                for address in &options.listen {
                    let listener = listen(*address, options.backlog)
                        .with_context(|| format!("cannot listen on {address}"))?;
                    let (counter, free) = (Arc::clone(&counter), Arc::clone(&free));
                    tokio::spawn(accept(listener, counter, free, workers.time));
                }
                // The starter waits for this or for our end.
                let _ = ready.send(());
                // An error means that the server was dropped without a word: the same.
                let _ = stopped.await;
                Ok(())
            })
        })?;
        let mut server = Self { stop: Some(stop), accepted, thread: Some(thread) };
        if is_ready.recv().is_err() {
            let thread = server.thread.take().context("a server without a thread")?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(server)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that a test would want to hear here.
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

async fn accept(
    listener: TcpListener,
    accepted: Arc<AtomicU64>,
    free: Arc<Semaphore>,
    time: Duration,
) {
    loop {
        // It is never closed.
        let worker = Arc::clone(&free).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    // A client that goes away is its own business.
                    let _ = serve(stream, time).await;
                    drop(worker);
                });
            }
            // Out of descriptors, most likely: let some connections end.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, time: Duration) -> io::Result<()> {
    let request = timeout(PATIENCE, head(&mut stream)).await??;
    if !time.is_zero() {
        sleep(time).await;
    }
    match length(&request) {
        Some(length) => answer(&mut stream, length).await?,
        None => {
            stream
                .write_all(
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .await?
        }
    }
    stream.shutdown().await
}

/// A request, to the end of its head.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES || stream.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(request)
}

/// Bytes of the body that the request asks for.
fn length(request: &[u8]) -> Option<usize> {
    let line = std::str::from_utf8(request).ok()?.lines().next()?;
    let path = line.strip_prefix("GET ")?.split(' ').next()?;
    match path.strip_prefix("/bytes/") {
        Some(number) => number.parse().ok(),
        None => Some(PAGE_BYTES),
    }
}

async fn answer(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    let mut left = length;
    // Head and page leave in one write, and so in one segment.
    while left > 0 || !bytes.is_empty() {
        let size = left.min(CHUNK);
        bytes.resize(bytes.len() + size, b'.');
        stream.write_all(&bytes).await?;
        bytes.clear();
        left -= size;
    }
    Ok(())
}
