//! Owns the crowd: web clients that come when they come, whatever the server does.
//!
//! Arrivals are open-loop: page number n starts at n / rate seconds, however many are still waiting. A closed loop
//! would slow down with its server, and so hide what an overload does to people.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::{raise_file_limit, runtime};
use crate::topology::Lab;

/// Web clients.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// The server.
    pub target: SocketAddr,
    /// The path that they ask for.
    pub path: String,
    /// Their addresses, taken in turn, one for each page.
    pub addresses: Vec<IpAddr>,
    /// Pages begun per second.
    pub pages_per_second: f64,
    /// TCP connections of one page, all at once.
    pub connections_per_page: u32,
    /// How long pages are begun, in seconds.
    pub seconds: f64,
    /// How long a page may take, from its beginning.
    pub timeout: Duration,
}

/// What became of the pages.
#[derive(Clone, Debug, Default)]
pub struct PageReport {
    /// Pages begun.
    pub tried: u64,
    /// Pages of which every connection brought its whole body in time.
    pub ok: u64,
    /// Time to connect of every connection that was made, also of pages that failed later, in milliseconds.
    pub connect_ms: Vec<f64>,
    /// Time of every whole page, in milliseconds.
    pub page_ms: Vec<f64>,
}

impl PageReport {
    /// Share of pages that came whole, 0 to 1.
    pub fn share(&self) -> f64 {
        self.ok as f64 / self.tried as f64
    }

    /// Median time to connect in milliseconds; not a number when nobody connected.
    pub fn connect_p50(&self) -> f64 {
        percentile(&self.connect_ms, 0.50)
    }

    /// 99th percentile of the time to connect in milliseconds; not a number when nobody connected.
    pub fn connect_p99(&self) -> f64 {
        percentile(&self.connect_ms, 0.99)
    }

    /// Median time of a whole page in milliseconds; not a number when none came.
    pub fn page_p50(&self) -> f64 {
        percentile(&self.page_ms, 0.50)
    }

    /// 99th percentile of the time of a whole page in milliseconds; not a number when none came.
    pub fn page_p99(&self) -> f64 {
        percentile(&self.page_ms, 0.99)
    }
}

/// The nearest-rank percentile.
fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// A crowd that is fetching pages.
pub struct CrowdHandle {
    thread: JoinHandle<Result<PageReport>>,
}

impl CrowdHandle {
    /// Waits for the last page.
    pub fn wait(self) -> Result<PageReport> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// One page's outcome.
struct Page {
    connect_ms: Vec<f64>,
    whole_ms: Option<f64>,
}

impl Crowd {
    /// Ten pages a second for ten seconds, a connection and at most five seconds each.
    pub fn new(target: SocketAddr, addresses: Vec<IpAddr>) -> Self {
        Self {
            target,
            path: "/".to_owned(),
            addresses,
            pages_per_second: 10.0,
            connections_per_page: 1,
            seconds: 10.0,
            timeout: Duration::from_secs(5),
        }
    }

    /// Fetches pages from the lab's crowd until all have come or failed.
    pub fn run(&self, lab: &Lab) -> Result<PageReport> {
        self.spawn(lab)?.wait()
    }

    /// Starts fetching pages from the lab's crowd.
    pub fn spawn(&self, lab: &Lab) -> Result<CrowdHandle> {
        ensure!(!self.addresses.is_empty(), "a crowd needs addresses");
        ensure!(self.pages_per_second > 0.0, "a crowd needs a rate above 0");
        raise_file_limit()?;
        let crowd = self.clone();
        let thread =
            lab.crowd.spawn("lab-crowd", move || runtime()?.block_on(crowd.fetch_all()))?;
        Ok(CrowdHandle { thread })
    }

    async fn fetch_all(self) -> Result<PageReport> {
        let pages = (self.pages_per_second * self.seconds).round() as u64;
        let start = tokio::time::Instant::now();
        let mut report = PageReport::default();
        let mut running = JoinSet::new();
        for (number, address) in (0..pages).zip(self.addresses.iter().cycle()) {
            sleep_until(start + Duration::from_secs_f64(number as f64 / self.pages_per_second))
                .await;
            let request = Request::new(*address, self.target, &self.path);
            running.spawn(fetch_page(request, self.connections_per_page, self.timeout));
            report.tried += 1;
            while let Some(page) = running.try_join_next() {
                report.add(page.context("a page's task failed")?);
            }
        }
        while let Some(page) = running.join_next().await {
            report.add(page.context("a page's task failed")?);
        }
        Ok(report)
    }
}

impl PageReport {
    fn add(&mut self, page: Page) {
        self.connect_ms.extend(page.connect_ms);
        self.ok += u64::from(page.whole_ms.is_some());
        self.page_ms.extend(page.whole_ms);
    }
}

/// One connection of a client: where from, where to, and what it asks for.
#[derive(Clone)]
pub(super) struct Request {
    source: SocketAddr,
    target: SocketAddr,
    text: String,
}

impl Request {
    pub(super) fn new(address: IpAddr, target: SocketAddr, path: &str) -> Self {
        let text = format!("GET {path} HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n");
        Self { source: SocketAddr::new(address, 0), target, text }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let socket = if self.target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // One address may have many connections at once, to one server: the port may be taken by
        // another's.
        socket.set_reuseaddr(true)?;
        socket.bind(self.source)?;
        socket.connect(self.target).await
    }

    async fn answer(&self, mut stream: TcpStream) -> io::Result<Answer> {
        stream.write_all(self.text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(Answer::of(&answer))
    }
}

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A success, as long as it says.
    Whole,
    /// 503, and after how many seconds to come again.
    Wait(Option<u64>),
    /// Something else, or not all of it.
    None,
}

impl Answer {
    fn of(answer: &[u8]) -> Self {
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Self::None;
        };
        let Ok(head) = std::str::from_utf8(&answer[..end]) else { return Self::None };
        let number = |wanted: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(": "));
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?.1.parse::<u64>().ok()
        };
        if head.starts_with("HTTP/1.1 503 ") {
            Self::Wait(number("retry-after"))
        } else if head.starts_with("HTTP/1.1 200 ")
            && number("content-length") == Some((answer.len() - end - 4) as u64)
        {
            Self::Whole
        } else {
            Self::None
        }
    }
}

/// One connection and what came over it.
pub(super) async fn ask(request: &Request) -> io::Result<Answer> {
    request.answer(request.connect().await?).await
}

async fn fetch_page(request: Request, number: u32, patience: Duration) -> Page {
    let start = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..number {
        connections.spawn(fetch(request.clone(), patience));
    }
    let mut page = Page { connect_ms: Vec::new(), whole_ms: None };
    let mut whole = true;
    while let Some(result) = connections.join_next().await {
        let (connect, body) = result.unwrap_or((None, false));
        page.connect_ms.extend(connect);
        whole &= body;
    }
    page.whole_ms = whole.then(|| milliseconds(start));
    page
}

/// The time to connect, if it did, and whether the whole body came in time.
async fn fetch(request: Request, patience: Duration) -> (Option<f64>, bool) {
    let mut connect = None;
    let work = async {
        let start = Instant::now();
        let stream = request.connect().await?;
        connect = Some(milliseconds(start));
        request.answer(stream).await
    };
    let whole = matches!(timeout(patience, work).await, Ok(Ok(Answer::Whole)));
    (connect, whole)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
