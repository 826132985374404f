//! A crowd of real TCP clients, six connections a page, at a server that can take a fifth of them: each of their attempts is decided as
//! the simulation of the same algorithms decides it, which goes on to sizes that fit no lab (`limiter-common/tests/admission`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lab::topology::FRONT_V4;
use lab::wait::PATIENCE;
use lab::{Crowd, Server};
use limiter::observe::Ring;
use limiter::policy::Admission;
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::sighting::{Sighting, What};
use limiter_common::switch::Mode;

use super::simulation::{CONNECTIONS, SECONDS, budget};
use super::world::{World, is};
use super::{Front, limit, policy};

/// So few that limiter notes all of their attempts, and not a sample.
const USERS: u32 = 20;
/// Attempts that may be decided otherwise. What is noted is the tick of the clock before an attempt, and a budget is drawn from by the precise
/// one: what comes in the tick in which a token does may have it or not, and then another has not.
const BETWEEN_TICKS: usize = 10;

/// Users who were let in with each of their connections.
fn whole_pages(attempts: &[(Sighting, bool)]) -> usize {
    let mut admitted = BTreeMap::<u64, u32>::new();
    for (attempt, _) in attempts.iter().filter(|(_, admitted)| *admitted) {
        *admitted.entry(attempt.low).or_default() += 1;
    }
    admitted.values().filter(|connections| **connections >= CONNECTIONS).count()
}

/// Each attempt that was made, in order, and whether limiter admitted it.
fn real(tickets: bool) -> Vec<(Sighting, bool)> {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].budget = limit(budget(USERS), 2 * budget(USERS));
    if tickets {
        policy.services[0].admission =
            Admission { challenge: Challenge::Off, fair_share: false, ..Admission::usual() };
    }
    let front = Front::new(&policy, Mode::Enforce);
    // A refused SYN is sent again after 1, 3, 7 and 15 seconds; newer kernels begin with four tries a second apart.
    front.lab.crowd.sysctl("ipv4/tcp_syn_linear_timeouts", "0").expect("a setting");
    front.lab.crowd.sysctl("ipv4/tcp_syn_retries", "3").expect("a setting");
    let _server = Server::start(&front.lab).expect("a server");
    let mut clients = front.lab.clients_v4();
    clients.truncate(USERS as usize);
    let crowd = Crowd {
        pages_per_second: f64::from(USERS) / SECONDS as f64,
        seconds: SECONDS as f64,
        connections_per_page: CONNECTIONS,
        timeout: PATIENCE,
        ..Crowd::new(SocketAddr::new(FRONT_V4, 80), clients)
    };
    let pages = crowd.run(&front.lab).expect("a crowd");
    println!("tickets {tickets}: {} of {} pages came", pages.ok, pages.tried);
    let mut seen = Ring::attempts().look(&front.maps).expect("attempts").seen;
    let decided: u64 = front.service(0).decided.iter().sum();
    assert!(seen.iter().all(|attempt| What(attempt.what).halvings() == 0), "a sample, not all");
    assert_eq!(seen.len() as u64, decided, "each was noted");
    // Claims of two CPUs may stand in another order than their times.
    seen.sort_by_key(|attempt| attempt.time);
    let is_admitted = |attempt: &Sighting| What(attempt.what).reason() == Reason::Admitted as u8;
    seen.into_iter().map(|attempt| (attempt, is_admitted(&attempt))).collect()
}

/// The same attempts at the same times, in the simulation.
fn simulated(attempts: &[(Sighting, bool)], tickets: bool) -> Vec<(Sighting, bool)> {
    let mut world = World::new(budget(USERS), 2 * budget(USERS), Challenge::Off, false);
    if !tickets {
        (world.service.admission.ticket_life, world.service.admission.floor) = (0, 0);
    }
    let judge = |(attempt, _): &(Sighting, bool)| {
        world.syn(attempt.low as u32, attempt.time) == is(Reason::Admitted)
    };
    attempts.iter().map(|attempt| (attempt.0, judge(attempt))).collect()
}

/// Which of two attempts within a tick of the clock comes first depends on the machine, and with it
/// who is let in.
mod measured {
    use super::*;

    #[test]
    fn each_attempt_of_a_crowd_is_decided_as_simulated() {
        // At once, each in a lab of its own.
        let (plain, with_tickets) = std::thread::scope(|scope| {
            let plain = scope.spawn(|| real(false));
            let tickets = real(true);
            (plain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), tickets)
        });
        for (tickets, real) in [(false, plain), (true, with_tickets)] {
            let simulated = simulated(&real, tickets);
            let admitted = |attempts: &[(Sighting, bool)]| {
                attempts.iter().filter(|(_, admitted)| *admitted).count()
            };
            let different = real
                .iter()
                .zip(&simulated)
                .filter(|(real, simulated)| real.1 != simulated.1)
                .count();
            let (let_in, would_be) = (admitted(&real), admitted(&simulated));
            println!(
                "tickets {tickets}: of {} attempts {let_in} admitted, simulated {would_be}, {different} decided otherwise; \
                 {} of {USERS} pages whole, simulated {}",
                real.len(),
                whole_pages(&real),
                whole_pages(&simulated)
            );
            assert!(let_in > 0 && let_in < real.len(), "some are admitted, some are not");
            assert!(different <= BETWEEN_TICKS, "{different} of {} decided otherwise", real.len());
            assert!(let_in.abs_diff(would_be) <= 2, "{let_in} admitted, simulated {would_be}");
        }
    }
}
