//! How a server fares: how full its accept queues are, whether the kernel dropped what did not fit,
//! and how long its own page takes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use limiter_common::auto::WHOLE;
use limiter_common::reason::Reason;
use limiter_common::record::Counters;
use limiter_policy::auto::Probe;

use super::probe;
use crate::kernel::listener::{self, Listener, Queue};
use crate::tcp;
use crate::tree::Tree;

/// What is seen of all servers at once.
#[derive(Debug)]
pub struct Servers {
    listeners: Vec<Listener>,
    lost: u64,
    /// Connections that the kernel made for any listener: no forged attempt comes so far.
    pub made: u64,
}

impl Servers {
    /// Looks.
    ///
    /// # Errors
    /// When the kernel does not say who listens.
    pub fn now() -> Result<Self> {
        let counters = tcp::counters(&Tree::at("/"));
        let count = |name| counters.get(name).copied().unwrap_or(0);
        let (lost, made) = (count("ListenOverflows"), count("PassiveOpens"));
        Ok(Self { listeners: listener::all()?, lost, made })
    }
}

/// One server, as it was seen until now.
#[derive(Debug)]
pub struct Server {
    probe: Option<Probe>,
    /// How long the last answer took; [`Err`]: there was none, and why.
    answer: Option<Result<Duration, String>>,
    lost: Option<u64>,
}

/// How it fares.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// The worst of what is below, of [`WHOLE`]; `None`: nothing is known.
    pub load: Option<u64>,
    /// Whether the kernel dropped connections while its queue was full.
    pub lost: bool,
    /// The fullest accept queue; `None`: no process listens here.
    pub queue: Option<Queue>,
    /// What the probe met.
    pub answer: Option<Result<Duration, String>>,
}

impl Server {
    /// One that answers a probe, if there is one.
    pub fn new(probe: Option<Probe>) -> Self {
        Self { probe, answer: None, lost: None }
    }

    /// Asks for the page of the probe.
    pub async fn ask(&mut self) {
        if let Some(probe) = &self.probe {
            self.answer = Some(probe::ask(probe).await);
        }
    }

    /// How it fares, where it listens on `addresses`.
    pub fn health(&mut self, addresses: &[SocketAddr], seen: &Servers) -> Health {
        let queue = listener::fullest(addresses, &seen.listeners);
        let before = self.lost.replace(seen.lost).unwrap_or(seen.lost);
        let full = queue.map(|queue| queue.waiting * WHOLE / queue.room.max(1));
        let late = self.answer.as_ref().zip(self.probe.as_ref()).map(|(answer, probe)| {
            // An answer that takes just as long as it may is half of the whole.
            answer.as_ref().map_or(WHOLE, |took| {
                let part = took.as_micros() * u128::from(WHOLE / 2);
                u64::try_from(part / probe.slow.as_micros().max(1)).unwrap_or(WHOLE)
            })
        });
        let load = [full, late].into_iter().flatten().max().map(|load| load.min(WHOLE));
        // The kernel counts for the whole machine; who overflows has a full queue.
        let lost = seen.lost > before && full.is_some_and(|full| full >= WHOLE / 2);
        Health { load, lost, queue, answer: self.answer.clone() }
    }
}

/// Connections that were let in, of the counters of a service.
pub fn admitted(counters: &Counters) -> u64 {
    let reasons = Reason::ALL.iter().filter(|reason| reason.admits());
    reasons.fold(0, |sum, reason| sum.wrapping_add(counters.decided[*reason as usize]))
}

impl fmt::Display for Health {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.queue {
            Some(Queue { waiting, room }) => write!(to, "{waiting} of {room} in the accept queue")?,
            None => write!(to, "no process listens here")?,
        }
        match &self.answer {
            Some(Ok(took)) => write!(to, "; its page takes {} ms", took.as_millis()),
            Some(Err(error)) => write!(to, "; the probe has no answer: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: ([u8; 4], u16) = ([0; 4], 80);

    fn seen(waiting: u32, lost: u64) -> Servers {
        let one = |waiting, room| Listener {
            address: PLACE.into(),
            only_v6: false,
            waiting,
            room,
            inode: 0,
            device: 0,
        };
        // Two sockets share the address; a third one on another port does not count.
        let other = Listener { address: ([0; 4], 81).into(), ..one(100, 100) };
        Servers { listeners: vec![one(waiting, 64), one(0, 64), other], lost, made: 0 }
    }

    #[test]
    fn the_worst_of_queue_and_probe_is_the_load() {
        let probe = Probe::parse("http://127.0.0.1/").expect("a probe");
        let mut server = Server::new(Some(probe));
        let health = |server: &mut Server, seen: &Servers| server.health(&[PLACE.into()], seen);
        assert_eq!(health(&mut server, &seen(32, 0)).load, Some(WHOLE / 4));
        server.answer = Some(Ok(Probe::SLOW));
        assert_eq!(health(&mut server, &seen(32, 0)).load, Some(WHOLE / 2));
        server.answer = Some(Err("refused".to_owned()));
        assert_eq!(health(&mut server, &seen(0, 0)).load, Some(WHOLE));
        let nobody = server.health(&[], &seen(0, 0));
        assert_eq!((nobody.queue, nobody.load), (None, Some(WHOLE)));
        assert_eq!(Server::new(None).health(&[], &seen(0, 0)).load, None);
    }

    #[test]
    fn who_overflows_has_a_full_queue() {
        let mut server = Server::new(None);
        let mut lost = |waiting, count| server.health(&[PLACE.into()], &seen(waiting, count)).lost;
        assert!(!lost(64, 5), "what was lost before the first look");
        assert!(lost(64, 6));
        assert!(!lost(64, 6));
        assert!(!lost(1, 9), "another server's");
    }
}
