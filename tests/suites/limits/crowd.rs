//! A crowd of real TCP clients, six connections a page, at a server that can take a fifth of them; beside it the simulation of the same
//! algorithms, which goes on to sizes that fit no lab.

use std::net::SocketAddr;
use std::time::Duration;

use lab::topology::FRONT_V4;
use lab::{Crowd, PageReport, Server};
use limiter::policy::Admission;
use limiter_common::challenge::Challenge;
use limiter_common::switch::Mode;

use super::simulation::{CONNECTIONS, SECONDS, budget, crowd};
use super::{Front, limit, policy};

const USERS: u32 = 250;

fn real(tickets: bool) -> PageReport {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].budget = limit(budget(USERS), 2 * budget(USERS));
    if tickets {
        policy.services[0].admission = Admission { challenge: Challenge::Off, fair_share: false, ..Admission::usual() };
    }
    let front = Front::new(&policy, Mode::Enforce);
    // A refused SYN is sent again after 1, 3, 7 and 15 seconds; newer kernels begin with four tries a second apart.
    front.lab.crowd.sysctl("ipv4/tcp_syn_linear_timeouts", "0").expect("a setting");
    let _server = Server::start(&front.lab).expect("a server");
    let mut clients = front.lab.clients_v4();
    clients.truncate(USERS as usize);
    let crowd = Crowd {
        pages_per_second: f64::from(USERS) / SECONDS as f64,
        seconds: SECONDS as f64,
        connections_per_page: CONNECTIONS,
        timeout: Duration::from_secs(17),
        ..Crowd::new(SocketAddr::new(FRONT_V4, 80), clients)
    };
    crowd.run(&front.lab).expect("a crowd")
}

#[test]
fn tickets_give_whole_pages_and_the_simulation_agrees() {
    // At once, each in a lab of its own: together they are 500 pages in 20 seconds.
    let (plain, tickets) = std::thread::scope(|scope| {
        let plain = scope.spawn(|| real(false));
        let tickets = real(true);
        (plain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), tickets)
    });
    let simulated = [crowd(USERS, false), crowd(USERS, true)];
    for (name, real, simulated) in [("plain budget", &plain, &simulated[0]), ("tickets", &tickets, &simulated[1])] {
        println!(
            "{name}: {} of {USERS} whole pages, median {:.1} s; simulated {}, {:.1} s",
            real.ok,
            real.page_p50() / 1000.0,
            simulated.whole_pages,
            simulated.median_wait
        );
    }
    assert!(tickets.ok >= 3 * plain.ok.max(1), "{} against {}", tickets.ok, plain.ok);
    let ratio = tickets.ok as f64 / simulated[1].whole_pages as f64;
    assert!((0.75..=1.33).contains(&ratio), "real against simulated: {ratio:.2}");
}
