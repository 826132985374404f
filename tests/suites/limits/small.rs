//! A small budget with real TCP: while people wait it is used.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::Server;
use lab::wait::PATIENCE;
use limiter::policy::{Admission, Policy};
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;
use rustix::net::getpeername;

use super::open::dial_without_waiting;
use super::{Front, decided, limit, policy};

const PEOPLE: usize = 200;
/// Connections per second.
const BUDGET: u64 = 20;
/// How often each tries, and how often the counters are read.
const AGAIN: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_millis(100);

/// What was let in while at least twice as many asked as the budget had.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    seconds: f64,
    let_in: u64,
}

fn web() -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].budget = limit(BUDGET, BUDGET);
    policy.services[0].admission = Admission { line: true, ..policy.services[0].admission };
    policy
}

impl Asked {
    /// People who come at once, each with an address of his own and for one connection, and try
    /// again until they are let in. What a stalled machine did not ask for is not counted.
    fn of(front: &Front) -> Result<Self> {
        let mut waiting: Vec<IpAddr> = front.lab.clients_v4();
        waiting.truncate(PEOPLE);
        let (mut tried, mut asked) = (BTreeMap::<IpAddr, OwnedFd>::new(), Self::default());
        let begun = Instant::now();
        let mut window = (Instant::now(), 0, 0);
        while waiting.len() > PEOPLE / 8 {
            assert!(begun.elapsed() < PATIENCE, "{} still wait, {asked:?}", waiting.len());
            let pause = AGAIN / waiting.len() as u32;
            let mut still = Vec::new();
            for client in std::mem::take(&mut waiting) {
                if tried.get(&client).is_some_and(|socket| getpeername(socket).is_ok()) {
                    continue;
                }
                tried.insert(client, dial_without_waiting(client));
                still.push(client);
                std::thread::sleep(pause);
                if window.0.elapsed() >= WINDOW {
                    window = asked.count(front, window);
                }
            }
            waiting = still;
        }
        Ok(asked)
    }

    /// Counts one window: when it began, and what had been let in and refused by then.
    fn count(&mut self, front: &Front, before: (Instant, u64, u64)) -> (Instant, u64, u64) {
        let (counters, now) = (front.service(0), Instant::now());
        let let_in = decided(&counters, Reason::Admitted);
        let came = let_in + decided(&counters, Reason::InLine);
        let seconds = (now - before.0).as_secs_f64();
        let is_asked = (came - before.2) as f64 >= 2.0 * BUDGET as f64 * seconds;
        if is_asked && seconds < 2.0 * WINDOW.as_secs_f64() {
            self.seconds += seconds;
            self.let_in += let_in - before.1;
        }
        (now, let_in, came)
    }
}

/// Sources with one connection each: at first the line takes each for a page of six, and lets in a
/// sixth of what the budget has, until it has seen some.
#[test]
fn a_small_budget_is_used_while_people_wait() {
    let (mut all, begun) = (Asked::default(), Instant::now());
    while all.seconds < 4.0 {
        assert!(begun.elapsed() < 4 * PATIENCE, "never asked for enough: {all:?}");
        let front = Front::new(&web(), Mode::Enforce);
        let _server = Server::start(&front.lab).expect("a server");
        let asked = front.lab.crowd.run(|| Asked::of(&front)).expect("people");
        println!("{asked:?} of {} by {BUDGET}/s", (asked.seconds * BUDGET as f64).round());
        all.seconds += asked.seconds;
        all.let_in += asked.let_in;
    }
    let possible = all.seconds * BUDGET as f64;
    assert!(all.let_in as f64 >= 0.6 * possible, "{} of {possible}", all.let_in);
}
