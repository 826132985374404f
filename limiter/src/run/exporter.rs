//! `limiter run --listen`: answers `GET /metrics`, on a thread of its own, so that no scraper holds up the daemon.
//!
//! However many ask, limiter is looked at once a second at most, and so many connections are served at once; the others wait in the
//! kernel's queue. A connection is one question, and has a few seconds for it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::negotiation::form;
use crate::kernel::Pins;
use crate::report::fleet::Shared;
use crate::report::{Scrape, openmetrics};

/// How long what was seen is told again instead of looking anew.
const FRESH: Duration = Duration::from_secs(1);
/// Connections that are served at once.
const CONNECTIONS: usize = 16;
/// Connections that wait for that.
const BACKLOG: u32 = 64;
/// The time that a connection has for everything.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest request in bytes. What Prometheus sends has some hundred.
const REQUEST_BYTES: usize = 16_384;

/// A listener that answers; it ends with the process.
#[derive(Debug)]
pub struct Exporter {
    wanted: Arc<Mutex<BTreeSet<String>>>,
    /// Where it listens.
    address: SocketAddr,
}

impl Exporter {
    /// Listens on `address` and answers from now on; `fleet` is what the daemon knows of its own.
    ///
    /// # Errors
    /// When it cannot listen there: what to do.
    pub fn open(address: SocketAddr, pins: &Pins, fleet: &Shared) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // One look at a time.
            .max_blocking_threads(1)
            .build()
            .context("cannot start a runtime")?;
        let inside = runtime.enter();
        let listener = listen(address)?;
        drop(inside);
        let address = listener.local_addr().context("cannot see where metrics are served")?;
        if !address.ip().is_loopback() {
            warn!(%address, "metrics are open to everybody who reaches this address; let a firewall choose, or listen on 127.0.0.1");
        }
        let wanted = Arc::new(Mutex::new(BTreeSet::new()));
        let looks = Looks {
            pins: pins.clone(),
            wanted: Arc::clone(&wanted),
            fleet: fleet.clone(),
            last: tokio::sync::Mutex::default(),
        };
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || serve(&runtime, listener, looks))
            .context("cannot start a thread")?;
        let exporter = Self { wanted, address };
        info!(address = %exporter.address, "metrics are served");
        Ok(exporter)
    }

    /// The interfaces that limiter should be attached to.
    pub fn want(&self, interfaces: BTreeSet<String>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = interfaces;
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // The daemon starts before the network has its addresses.
        if address.is_ipv4() {
            rustix::net::sockopt::set_ip_freebind(&socket, true)?;
        } else {
            rustix::net::sockopt::set_ipv6_freebind(&socket, true)?;
        }
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!(
                    "another process listens there (`ss -ltnp sport = :{}` shows it); ",
                    address.port()
                )
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE; ".to_owned()
            }
            _ => String::new(),
        };
        let advice = format!(
            "cannot serve metrics on {address}: {advice}choose another address with --listen"
        );
        anyhow::Error::new(error).context(advice)
    })
}

fn serve(runtime: &Runtime, listener: TcpListener, looks: Looks) {
    let (looks, places) = (Arc::new(looks), Arc::new(Semaphore::new(CONNECTIONS)));
    runtime.block_on(async {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let looks = Arc::clone(&looks);
                    tokio::spawn(async move {
                        // A client that is slow or goes away is its own business.
                        let _ = tokio::time::timeout(PATIENCE, converse(stream, &looks)).await;
                        drop(place);
                    });
                }
                // Out of descriptors, most likely: let some connections end.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
}

async fn converse(stream: TcpStream, looks: &Looks) -> hyper::Result<()> {
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, looks).await) });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(REQUEST_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(request: &Request<Incoming>, looks: &Looks) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = say(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if request.uri().path() != "/metrics" {
        return say(StatusCode::NOT_FOUND, "limiter's metrics are at /metrics\n");
    }
    let Some(scrape) = looks.look().await else {
        return say(
            StatusCode::INTERNAL_SERVER_ERROR,
            "limiter cannot be looked at; the daemon's log says why\n",
        );
    };
    let accepts = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let form = form(accepts);
    let mut response = say(StatusCode::OK, openmetrics::text(&scrape, form));
    let kind = HeaderValue::from_static(form.content_type());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn say(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

/// Looks at limiter, which everybody who asks within a second shares.
struct Looks {
    pins: Pins,
    wanted: Arc<Mutex<BTreeSet<String>>>,
    fleet: Shared,
    last: tokio::sync::Mutex<Option<(Instant, Arc<Scrape>)>>,
}

impl Looks {
    /// The last one, or a new one; `None` if looking panicked.
    async fn look(&self) -> Option<Arc<Scrape>> {
        let mut last = self.last.lock().await;
        if let Some((at, scrape)) = &*last
            && at.elapsed() < FRESH
        {
            return Some(Arc::clone(scrape));
        }
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pins = self.pins.clone();
        let fleet = self.fleet.view();
        let take = move || Scrape::take(&pins, wanted, fleet);
        let scrape = tokio::task::spawn_blocking(take).await.ok()?;
        let before = last.take().and_then(|(_, scrape)| scrape.error.clone());
        if let Some(error) = scrape.error.as_ref().filter(|error| before.as_ref() != Some(*error)) {
            warn!(%error, "metrics lack what limiter does: its state cannot be read");
        }
        let scrape = Arc::new(scrape);
        *last = Some((Instant::now(), Arc::clone(&scrape)));
        Some(scrape)
    }
}

#[cfg(test)]
mod tests;
