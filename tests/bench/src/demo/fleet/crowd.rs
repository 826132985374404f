//! The crowd: clients that connect, want a page, and give up after a while.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, connect, recv, socket_with,
};

use super::stage::{CLIENTS, SERVICE, Stage};

/// Who has no page by then gives up, before his kernel asks once more.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often clients come.
const STEP: Duration = Duration::from_millis(10);

/// Clients that come until they are told to end.
pub struct Crowd {
    is_over: Arc<AtomicBool>,
    pages: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Crowd {
    /// So many a second come from now on.
    pub fn come(stage: &Stage, rate: u64) -> Result<Self> {
        let (is_over, pages) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (over, got) = (Arc::clone(&is_over), Arc::clone(&pages));
        let thread = stage.crowd.spawn("crowd", move || go_on(rate, &over, &got))?;
        Ok(Self { is_over, pages, thread })
    }

    /// Ends it, and says how many pages came.
    pub fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        // What it failed at has shown in what came.
        let _ = self.thread.join();
        self.pages.load(Ordering::Relaxed)
    }
}

fn go_on(rate: u64, is_over: &AtomicBool, pages: &AtomicU64) -> Result<()> {
    let service = SocketAddr::new(SERVICE.parse().context("an address")?, 80);
    let (start, mut come) = (Instant::now(), 0_u64);
    let mut waiting: VecDeque<(Instant, OwnedFd)> = VecDeque::new();
    while !is_over.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        // What this machine had no time for does not come later all at once.
        come = come.max(due.saturating_sub(rate / 20));
        while come < due {
            come += 1;
            let client = Ipv4Addr::new(10, 78, 0, (come % u64::from(CLIENTS)) as u8 + 1);
            if let Ok(socket) = begin(SocketAddr::new(client.into(), 0), service) {
                waiting.push_back((Instant::now(), socket));
            }
        }
        while waiting.front().is_some_and(|(since, _)| since.elapsed() > PATIENCE) {
            if let Some((_, socket)) = waiting.pop_front() {
                let mut page = [0; 8];
                let got = recv(&socket, &mut page[..], RecvFlags::DONTWAIT);
                pages
                    .fetch_add(u64::from(got.is_ok_and(|(bytes, _)| bytes > 0)), Ordering::Relaxed);
                // No TIME_WAIT: ports are few.
                let _ = set_socket_linger(&socket, Some(Duration::ZERO));
            }
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

fn begin(client: SocketAddr, service: SocketAddr) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    bind(&socket, &client)?;
    match connect(&socket, &service) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}
