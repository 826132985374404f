//! Owns people: each wants a visit of some pages, reads what comes, and reloads what does not.
//!
//! A page is a document, and then what it needs, all at once. A page that says "wait" (503 with
//! Retry-After) is asked for again when it says so, as a browser does by itself.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    crowd::{Answer, Request, ask},
    raise_file_limit, runtime,
};
use crate::topology::Lab;

/// How long a person waits before a reload, and how long one who was told no time does.
const RELOAD: Duration = Duration::from_secs(1);
/// Longest pause that is believed of Retry-After, in seconds.
const LONGEST: u64 = 60;

/// People, one behind each address.
#[derive(Clone, Debug)]
pub struct People {
    /// The server.
    pub target: SocketAddr,
    /// Their addresses.
    pub addresses: Vec<IpAddr>,
    /// They come in turn within this time.
    pub arrival: Duration,
    /// Whoever is there then gives up.
    pub ends: Duration,
    /// Pages of a visit. Who has them leaves.
    pub visit: u64,
    /// TCP connections of one page: the document's, then all others at once.
    pub connections_per_page: u32,
    /// How long a person waits for a page before a reload.
    pub patience: Duration,
    /// How long a person reads a page.
    pub reading: Duration,
}

/// What has come so far, of all of them.
#[derive(Debug, Default)]
pub struct Tally {
    /// Whole pages.
    pub pages: AtomicU64,
    /// Pages that say "wait".
    pub waits: AtomicU64,
    /// Pages that did not come, or not whole.
    pub broken: AtomicU64,
    /// People who have had their visit.
    pub done: AtomicU64,
}

/// What one person saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Person {
    /// Whole pages.
    pub pages: u64,
    /// Pages that say "wait".
    pub waits: u64,
    /// Pages that did not come, or not whole.
    pub broken: u64,
    /// From coming to the first page of either kind.
    pub first: Option<Duration>,
    /// From coming to the first whole page.
    pub served: Option<Duration>,
    /// From coming to the end of the visit.
    pub done: Option<Duration>,
}

/// People who are there.
pub struct PeopleHandle {
    thread: JoinHandle<Result<Vec<Person>>>,
    tally: Arc<Tally>,
}

impl PeopleHandle {
    /// What has come so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Waits until all have left; what each of them saw.
    ///
    /// # Errors
    /// When one of them could not act.
    pub fn wait(self) -> Result<Vec<Person>> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl People {
    /// They begin to come to the lab's crowd.
    ///
    /// # Errors
    /// When there is nobody, or no thread for them.
    pub fn spawn(&self, lab: &Lab) -> Result<PeopleHandle> {
        ensure!(!self.addresses.is_empty(), "people need addresses");
        raise_file_limit()?;
        let (people, tally) = (self.clone(), Arc::<Tally>::default());
        let counted = Arc::clone(&tally);
        let come = move || runtime()?.block_on(people.come(counted));
        Ok(PeopleHandle { thread: lab.crowd.spawn("lab-people", come)?, tally })
    }

    async fn come(self, tally: Arc<Tally>) -> Result<Vec<Person>> {
        let begun = Instant::now();
        let mut all = JoinSet::new();
        for (number, address) in (0..).zip(&self.addresses) {
            let comes = begun + self.arrival * number / self.addresses.len() as u32;
            let (people, tally, address) = (self.clone(), Arc::clone(&tally), *address);
            let ends = begun + self.ends;
            all.spawn(async move {
                sleep_until(comes).await;
                people.visit(address, ends, &tally).await
            });
        }
        let mut seen = Vec::with_capacity(self.addresses.len());
        while let Some(person) = all.join_next().await {
            seen.push(person.context("a person's task failed")?);
        }
        Ok(seen)
    }

    async fn visit(&self, address: IpAddr, ends: Instant, tally: &Tally) -> Person {
        let (came, mut person) = (Instant::now(), Person::default());
        while person.pages < self.visit && Instant::now() < ends {
            let limit = ends.min(Instant::now() + self.patience);
            let pause = match self.page(address, limit).await {
                Answer::Whole => {
                    person.pages += 1;
                    person.first.get_or_insert(came.elapsed());
                    person.served.get_or_insert(came.elapsed());
                    tally.pages.fetch_add(1, Ordering::Relaxed);
                    self.reading
                }
                Answer::Wait(seconds) => {
                    person.waits += 1;
                    person.first.get_or_insert(came.elapsed());
                    tally.waits.fetch_add(1, Ordering::Relaxed);
                    seconds.map_or(RELOAD, |seconds| Duration::from_secs(seconds.min(LONGEST)))
                }
                // The end cut it off: neither.
                Answer::None if Instant::now() >= ends => break,
                Answer::None => {
                    person.broken += 1;
                    tally.broken.fetch_add(1, Ordering::Relaxed);
                    RELOAD
                }
            };
            if person.pages == self.visit {
                person.done = Some(came.elapsed());
                tally.done.fetch_add(1, Ordering::Relaxed);
                break;
            }
            sleep(pause.min(ends - Instant::now().min(ends))).await;
        }
        person
    }

    /// One page: whole, or what its document said instead.
    async fn page(&self, address: IpAddr, limit: Instant) -> Answer {
        let request = Request::new(address, self.target, "/");
        let all = async {
            match ask(&request).await {
                Ok(Answer::Whole) => {}
                Ok(other) => return other,
                Err(_) => return Answer::None,
            }
            let mut others = JoinSet::new();
            for _ in 1..self.connections_per_page {
                let request = request.clone();
                others.spawn(async move { ask(&request).await });
            }
            let mut page = Answer::Whole;
            while let Some(other) = others.join_next().await {
                if !matches!(other, Ok(Ok(Answer::Whole))) {
                    page = Answer::None;
                }
            }
            page
        };
        timeout_at(limit, all).await.unwrap_or(Answer::None)
    }
}
