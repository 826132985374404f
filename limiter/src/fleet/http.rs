//! JSON over HTTP/1, with or without TLS: one connection that is kept for questions, and one for
//! each stream of answers. It tries endpoints in turn and knows nothing of what it carries.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, DATE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use limiter_policy::fleet::{Certificates, Endpoint};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long a question may take, and a connection to come about.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer and longest line of a stream, in bytes: 10,000 nodes have some 6 MB.
const LONGEST: usize = 64 << 20;
/// A peer that is gone without a word is noticed after so long: it is asked twice.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(2), 2);

type Sender = SendRequest<Full<Bytes>>;

/// Whom to ask.
pub struct Client {
    endpoints: Vec<Endpoint>,
    tls: Option<TlsConnector>,
    /// Which endpoint is asked; it grows.
    turn: AtomicUsize,
    /// By how many seconds the clock of the last answer was ahead; [`i64::MIN`]: there was none.
    ahead: AtomicI64,
    kept: Mutex<Option<Sender>>,
}

/// No endpoint makes a connection: what each of them says.
#[derive(Debug)]
pub struct Unreached(String);

impl std::fmt::Display for Unreached {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "no etcd can be reached: {}", self.0)
    }
}

impl std::error::Error for Unreached {}

/// Lines of JSON as they come.
pub struct Lines {
    body: Incoming,
    bytes: Vec<u8>,
}

impl Client {
    /// One for these endpoints. Files with relative names are looked for in `directory`.
    ///
    /// # Errors
    /// When a file of the certificates cannot be read, or holds no such thing.
    pub fn new(
        endpoints: Vec<Endpoint>,
        certificates: Option<&Certificates>,
        directory: &Path,
    ) -> Result<Self> {
        let tls = certificates.map(|files| connector(files, directory)).transpose()?;
        let (turn, ahead) = (AtomicUsize::new(0), AtomicI64::new(i64::MIN));
        Ok(Self { endpoints, tls, turn, ahead, kept: Mutex::default() })
    }

    /// Asks; the answer. The connection is tried at each endpoint, the question itself once: it may
    /// have been taken when its answer is missing.
    ///
    /// # Errors
    /// When none of them answers in time, or what does says no.
    pub async fn ask(&self, path: &str, question: &Value) -> Result<Value> {
        let mut kept = self.kept.lock().await;
        let mut sender = match kept.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        let ask = async {
            let response = send(&mut sender, self.endpoint(), path, question).await?;
            let status = response.status();
            if let Some(ahead) = ahead(&response) {
                self.ahead.store(ahead, Ordering::Relaxed);
            }
            let mut lines = Lines { body: response.into_body(), bytes: Vec::new() };
            while lines.more().await? {}
            let answer = serde_json::from_slice(&lines.bytes);
            let answer: Value = answer.with_context(|| format!("it answers {status}"))?;
            refused(&answer)?;
            ensure!(status.is_success(), "it answers {status}");
            Ok(answer)
        };
        let answer = timeout(PATIENCE, ask)
            .await
            .unwrap_or_else(|_| Err(anyhow!("it does not answer within {} s", PATIENCE.as_secs())));
        match answer {
            Ok(answer) => {
                *kept = Some(sender);
                Ok(answer)
            }
            Err(error) => {
                let endpoint = self.endpoint().to_string();
                self.turn.fetch_add(1, Ordering::Relaxed);
                Err(error).with_context(|| format!("etcd at {endpoint}"))
            }
        }
    }

    /// By how many seconds the wall clock of what answered last is ahead of this machine's.
    pub fn ahead(&self) -> Option<i64> {
        Some(self.ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != i64::MIN)
    }

    /// Asks for a stream of answers, on a connection of its own.
    ///
    /// # Errors
    /// When no endpoint takes the question.
    pub async fn stream(&self, path: &str, question: &Value) -> Result<Lines> {
        let mut sender = self.connect().await?;
        let endpoint = self.endpoint();
        let response = timeout(PATIENCE, send(&mut sender, endpoint, path, question)).await;
        let response = response
            .map_err(|_| anyhow!("it does not answer within {} s", PATIENCE.as_secs()))
            .and_then(|response| response)
            .with_context(|| format!("etcd at {endpoint}"))?;
        ensure!(response.status().is_success(), "etcd at {endpoint}: {}", response.status());
        Ok(Lines { body: response.into_body(), bytes: Vec::new() })
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoints[self.turn.load(Ordering::Relaxed) % self.endpoints.len()]
    }

    /// A connection to the first endpoint that makes one.
    async fn connect(&self) -> Result<Sender> {
        let mut failed = Vec::new();
        for _ in &self.endpoints {
            let endpoint = self.endpoint();
            match timeout(PATIENCE, self.connect_to(endpoint)).await {
                Ok(Ok(sender)) => return Ok(sender),
                Ok(Err(error)) => failed.push(format!("{endpoint}: {error:#}")),
                Err(_) => {
                    failed.push(format!("{endpoint}: no connection in {} s", PATIENCE.as_secs()));
                }
            }
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        Err(Unreached(failed.join("; ")).into())
    }

    async fn connect_to(&self, endpoint: &Endpoint) -> Result<Sender> {
        let stream = TcpStream::connect((&*endpoint.host, endpoint.port)).await?;
        stream.set_nodelay(true)?;
        let (idle, between, times) = KEEPALIVE;
        rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
        rustix::net::sockopt::set_tcp_keepidle(&stream, idle)?;
        rustix::net::sockopt::set_tcp_keepintvl(&stream, between)?;
        rustix::net::sockopt::set_tcp_keepcnt(&stream, times)?;
        if !endpoint.tls {
            return handshake(stream).await;
        }
        let tls = self.tls.as_ref().context("no certificates are named")?;
        let name = ServerName::try_from(endpoint.host.clone())?;
        handshake(tls.connect(name, stream).await.context("TLS")?).await
    }
}

impl Lines {
    /// The next line.
    ///
    /// # Errors
    /// When the stream ends, or says no.
    pub async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                let value = serde_json::from_slice(&line).context("etcd's stream is no JSON")?;
                refused(&value)?;
                return Ok(value);
            }
            ensure!(self.more().await?, "etcd ended the stream");
        }
    }

    /// Reads on; false: that was all.
    async fn more(&mut self) -> Result<bool> {
        let Some(frame) = self.body.frame().await else { return Ok(false) };
        if let Some(data) = frame?.data_ref() {
            ensure!(self.bytes.len() + data.len() <= LONGEST, "it answers more than 64 MiB");
            self.bytes.extend_from_slice(data);
        }
        Ok(true)
    }
}

/// etcd's words where it says no.
fn refused(answer: &Value) -> Result<()> {
    let error = answer.get("error").unwrap_or(&Value::Null);
    let words = error.as_str().or_else(|| error.get("message")?.as_str());
    match words {
        Some(words) => bail!("it says: {words}"),
        None => Ok(()),
    }
}

async fn send(
    sender: &mut Sender,
    endpoint: &Endpoint,
    path: &str,
    question: &Value,
) -> Result<Response<Incoming>> {
    let request = Request::post(path)
        .header(HOST, endpoint.authority())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(question)?)))?;
    sender.ready().await?;
    Ok(sender.send_request(request).await?)
}

/// By how many seconds the clock of an answer is ahead.
fn ahead(response: &Response<Incoming>) -> Option<i64> {
    let date = response.headers().get(DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(theirs.as_second() - jiff::Timestamp::now().as_second())
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Sender> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends when nobody sends or reads any more.
    tokio::spawn(connection);
    Ok(sender)
}

/// TLS 1.2 and 1.3, in which both sides show certificates.
fn connector(files: &Certificates, directory: &Path) -> Result<TlsConnector> {
    let read = |file: &str| {
        let path = directory.join(file);
        let bytes = std::fs::read(&path);
        bytes.with_context(|| format!("cannot read {}, which [fleet] names", path.display()))
    };
    let certificates = |file: &str| {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
        let chain = chain.with_context(|| format!("{file} is no PEM file"))?;
        ensure!(!chain.is_empty(), "{file} holds no certificate");
        Ok(chain)
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.authority)? {
        let added = roots.add(certificate);
        added.with_context(|| format!("{} cannot be trusted", files.authority))?;
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?);
    let key = key.with_context(|| format!("{} holds no key that can be read", files.key))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS has no version that it could speak")?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&files.own)?, key)
        .with_context(|| format!("{} and {} show etcd nothing", files.own, files.key))?;
    Ok(TlsConnector::from(Arc::new(config)))
}
