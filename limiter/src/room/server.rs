//! Takes connections, answers each once and closes it. Whatever clients do, their connections are
//! bounded in number, time and memory: when all are taken, a new one closes the oldest.
//!
//! Heads are read and answers written here and not by hyper, which sets aside 16 KiB for each
//! connection that has sent a byte: 50,000 slow clients would be 800 MB.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::head::{self, Head};
use super::page::{Answer, Pages};
use super::{Options, Places};

/// What is read and thrown away of a body, in bytes. To close a socket that holds unread bytes
/// resets the connection, and the client may lose the answer: small forms are worth the reading.
const REST_BYTES: usize = 16_384;
/// How long nothing is taken when the kernel has no memory or files left.
const PAUSE: Duration = Duration::from_millis(10);

/// A socket that listens, and what is spoken there.
#[derive(Debug)]
pub struct Door {
    /// The socket.
    pub listener: TcpListener,
    /// With it HTTPS, without HTTP.
    pub tls: Option<Arc<ServerConfig>>,
}

/// What the room has done since it began, and has open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Answers that the kernel took whole.
    pub pages: u64,
    /// Clients that spoke no TLS, or none that the room speaks, or went away before its end.
    pub handshakes_failed: u64,
    /// Connections that were closed because their time was over.
    pub slow: u64,
    /// Connections that were closed because a newer one came and so many were open.
    pub displaced: u64,
    /// Connections that are open now.
    pub open: u64,
}

impl fmt::Display for Stats {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pages, handshakes_failed, slow, displaced, open } = self;
        write!(
            to,
            "{open} connections open; {pages} pages; {handshakes_failed} TLS handshakes failed, \
             {slow} slow connections closed, {displaced} closed for newer ones"
        )
    }
}

/// The server. A clone is the same one.
#[derive(Clone)]
pub struct Room(Arc<Inner>);

struct Inner {
    pages: Pages,
    places: Arc<dyn Places>,
    options: Options,
    answered: AtomicU64,
    handshakes_failed: AtomicU64,
    slow: AtomicU64,
    displaced: AtomicU64,
    open: Mutex<Open>,
}

/// The tasks of connections, oldest first.
#[derive(Default)]
struct Open {
    next: u64,
    /// `None` while the task is being made.
    tasks: BTreeMap<u64, Option<AbortHandle>>,
}

impl fmt::Debug for Room {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Room").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Room {
    /// A server that takes nothing yet.
    pub fn new(pages: Pages, places: Arc<dyn Places>, options: Options) -> Self {
        Self(Arc::new(Inner {
            pages,
            places,
            options,
            answered: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            displaced: AtomicU64::new(0),
            open: Mutex::default(),
        }))
    }

    /// What it has done.
    pub fn stats(&self) -> Stats {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Stats {
            pages: load(&self.0.answered),
            handshakes_failed: load(&self.0.handshakes_failed),
            slow: load(&self.0.slow),
            displaced: load(&self.0.displaced),
            open: self.0.open().tasks.len() as u64,
        }
    }

    /// Serves within a runtime of tokio, with timers and sockets, until it is dropped.
    ///
    /// # Errors
    /// When a socket cannot be used, and when the room can take no connections any more.
    pub async fn serve(&self, doors: Vec<Door>) -> Result<()> {
        let mut loops = JoinSet::new();
        for Door { listener, tls } in doors {
            listener.set_nonblocking(true).context("cannot use a socket that listens")?;
            let listener = tokio::net::TcpListener::from_std(listener)
                .context("cannot wait for connections")?;
            let inner = Arc::clone(&self.0);
            loops.spawn(async move { inner.take(listener, tls.map(TlsAcceptor::from)).await });
        }
        match loops.join_next().await {
            Some(Err(error)) => Err(error).context("the room takes no connections any more"),
            Some(Ok(never)) => match never {},
            None => bail!("the room has no socket to serve"),
        }
    }
}

impl Inner {
    async fn take(
        self: Arc<Self>,
        listener: tokio::net::TcpListener,
        tls: Option<TlsAcceptor>,
    ) -> std::convert::Infallible {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match &tls {
                    Some(tls) => self.begin(|inner| inner.https(stream, tls.clone())),
                    None => self.begin(|inner| inner.http(stream)),
                },
                Err(error) => {
                    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                        self.displace(&mut self.open());
                    }
                    // A client that has gone away already is no reason to wait.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the oldest connection.
    fn displace(&self, open: &mut Open) {
        if let Some((_, task)) = open.tasks.pop_first() {
            self.displaced.fetch_add(1, Ordering::Relaxed);
            // Without a handle it is being made, and `begin` ends it when its entry is gone.
            if let Some(task) = task {
                task.abort();
            }
        }
    }

    /// Begins the task of a connection.
    fn begin<F>(self: &Arc<Self>, serve: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let number = {
            let mut open = self.open();
            while open.tasks.len() >= self.options.connections.max(1) {
                self.displace(&mut open);
            }
            open.next += 1;
            let number = open.next;
            open.tasks.insert(number, None);
            number
        };
        let place = OpenEntry { inner: Arc::clone(self), number };
        let serve = serve(Arc::clone(self));
        // Not under the lock: a runtime that ends drops the task here, and so its place.
        let task = tokio::spawn(async move {
            let _place = place;
            serve.await;
        });
        let task = task.abort_handle();
        match self.open().tasks.get_mut(&number) {
            Some(entry) => *entry = Some(task),
            None => task.abort(),
        }
    }

    async fn http(self: Arc<Self>, mut stream: TcpStream) {
        let Ok(ends) = Ends::of(&stream) else { return };
        self.within_time(self.converse(&mut stream, ends)).await;
    }

    async fn https(self: Arc<Self>, stream: TcpStream, tls: TlsAcceptor) {
        let Ok(ends) = Ends::of(&stream) else { return };
        let conversation = async {
            // On the heap, where it is once: the state of a task has room for each step.
            match Box::pin(tls.accept(stream)).await.map(Box::new) {
                Ok(mut stream) => self.converse(&mut *stream, ends).await,
                Err(_) => {
                    self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        self.within_time(conversation).await;
    }

    async fn within_time(&self, conversation: impl Future<Output = ()>) {
        if timeout(self.options.whole, conversation).await.is_err() {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One question and its answer.
    async fn converse(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), ends: Ends) {
        let Ok(head) = timeout(self.options.head, head::read(stream)).await else {
            self.slow.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let Some(head) = head else { return };
        let turn = self.places.turn(ends.client, ends.service);
        let answer = response(&head, &self.pages.answer(&head, turn));
        drop(head);
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        drop(answer);
        self.answered.fetch_add(1, Ordering::Relaxed);
        if stream.shutdown().await.is_ok() {
            let _ = timeout(self.options.linger, throw_away(stream)).await;
        }
    }
}

/// Both ends of a connection.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    service: SocketAddr,
}

impl Ends {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        // A socket of IPv6 calls an IPv4 address a mapped one.
        let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        Ok(Self { client: plain(stream.peer_addr()?), service: plain(stream.local_addr()?) })
    }
}

/// The entry of an open connection, which goes with it.
struct OpenEntry {
    inner: Arc<Inner>,
    number: u64,
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        self.inner.open().tasks.remove(&self.number);
    }
}

/// Reads until the client closes its end, or enough.
async fn throw_away(stream: &mut (impl AsyncRead + Unpin)) {
    let (mut rest, mut left) = (vec![0; 1024], REST_BYTES);
    while let Ok(read @ 1..) = stream.read(&mut rest).await
        && read < left
    {
        left -= read;
    }
}

/// An answer as it goes over the wire.
fn response(head: &Head, answer: &Answer) -> String {
    let Answer { body, kind, language, again } = answer;
    let length = body.len();
    let language =
        language.as_ref().map_or_else(String::new, |tag| format!("Content-Language: {tag}\r\n"));
    let body = if head.bodiless { "" } else { body };
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         {language}Retry-After: {again}\r\nCache-Control: no-store\r\nConnection: close\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; img-src data:\r\n\
         X-Content-Type-Options: nosniff\r\n\r\n{body}"
    )
}
