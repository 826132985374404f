//! Budgets that follow their servers: a real one of a known capacity behind the real daemon.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lab::topology::FRONT_V4;
use lab::wait::{PATIENCE, until_so};
use lab::{Crowd, Desk, Flood, Lab, Server, ServerOptions, Sources, Workers};
use limiter::kernel::share::InForce;
use limiter::kernel::{Maps, Pins};

/// Two workers of 40 ms each.
const CAPACITY: u64 = 50;
const WORKERS: Workers = Workers { count: 2, time: Duration::from_millis(40) };
/// Connections that may wait to be accepted.
const QUEUE: u32 = 64;

/// A server behind a limiter whose daemon follows it.
struct Followed {
    lab: Lab,
    desk: Desk,
    daemon: Option<Child>,
    server: Server,
}

impl Followed {
    /// One whose policy states so many connections a second.
    fn new(stated: u64, mode: &str) -> Self {
        let lab = Lab::new().expect("a lab");
        let listen = vec![SocketAddr::new(FRONT_V4, 80)];
        let options = ServerOptions { listen, backlog: QUEUE, workers: Some(WORKERS) };
        let server = Server::with(&lab, options).expect("a server");
        let desk = Desk::new(&lab.front).expect("a desk");
        let policy = format!(
            "interfaces = [\"attack0\", \"crowd0\"]\nmode = \"{mode}\"\nsources = 4096\n\
             [service.web]\nlisten = \"*:80\"\nbudget = \"{stated}/s\"\nbudget_burst = 60\n\
             [auto.web]\nleast = \"10/s\"\nmost = \"200/s\"\n"
        );
        fs::write(desk.policy(), policy).expect("written");
        let log = File::create(desk.file("log")).expect("a file");
        let mut command = desk.command("run");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let daemon = Some(command.spawn().expect("it starts"));
        let followed = Self { lab, desk, daemon, server };
        until_so("limiter is loaded", || followed.maps().is_some());
        followed
    }

    fn maps(&self) -> Option<Maps> {
        Maps::open(&Pins::at(self.desk.pins().to_owned()).root()).ok()
    }

    fn share(&self) -> Option<InForce> {
        self.maps()?.shares().expect("shares").into_iter().find(|share| share.budget == "web")
    }

    /// What is in force, where the policy states `stated`.
    fn rate(&self, stated: u64) -> u64 {
        self.share().map_or(stated, |share| share.per_second.unwrap_or(0.0).round() as u64)
    }

    /// People ask for three times what the server can serve, in turns of so many seconds, until
    /// what is in force is `enough`.
    fn crowded(&self, stated: u64, seconds: u64, enough: impl Fn(u64) -> bool) {
        let crowd = Crowd {
            pages_per_second: 3.0 * CAPACITY as f64,
            seconds: seconds as f64,
            timeout: Duration::from_secs(5),
            ..Crowd::new(SocketAddr::new(FRONT_V4, 80), self.lab.clients_v4())
        };
        let (begun, mut rates) = (Instant::now(), Vec::new());
        while !rates.iter().any(|rate| enough(*rate)) {
            assert!(begun.elapsed() < 4 * PATIENCE, "it never came near: {rates:?}");
            std::thread::scope(|scope| {
                let crowd = scope.spawn(|| crowd.run(&self.lab).expect("a crowd"));
                while !crowd.is_finished() {
                    std::thread::sleep(Duration::from_secs(1));
                    rates.push(self.rate(stated));
                }
            });
        }
        println!("from {stated}/s: {rates:?}; {} were served", self.server.accepted());
    }

    fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("it is there");
            daemon.wait().expect("it ends");
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.desk.file("log")).unwrap_or_default());
        }
        self.kill();
    }
}

/// Three times what the server can take is stated: its queue is full, and the budget falls to what
/// it serves. When the daemon is killed, what is stated is in force again within half a minute.
#[test]
fn a_budget_that_is_too_large_falls() {
    let stated = 3 * CAPACITY;
    let mut followed = Followed::new(stated, "enforce");
    followed.crowded(stated, 60, |rate| rate <= CAPACITY * 3 / 2);
    followed.kill();
    let left = followed.share().expect("it is in force still").ends_in_seconds;
    assert!(left <= 30.0, "{left}");
}

/// Half of what the server can take is stated: people wait and the server is idle, so it rises.
#[test]
fn a_budget_that_is_too_small_rises() {
    let stated = CAPACITY / 2;
    let followed = Followed::new(stated, "enforce");
    followed.crowded(stated, 60, |rate| rate > stated);
}

/// Forged attempts spend the budget and make no connection: nothing follows from them.
#[test]
fn a_flood_leaves_the_budget() {
    let stated = 100;
    let followed = Followed::new(stated, "enforce");
    let flood = Flood {
        frames: u64::MAX,
        seconds: 600.0,
        rate: Some(20_000),
        ..Flood::new((FRONT_V4, 80).into(), Sources::Random)
    };
    let flood = flood.spawn(&followed.lab).expect("a flood");
    let mut rates = Vec::new();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_secs(1));
        rates.push(followed.rate(stated));
    }
    let sent = flood.stop().expect("it ends").sent;
    println!("beside {sent} forged attempts: {rates:?}");
    assert!(sent > 1000 && rates.iter().all(|rate| *rate == stated), "{rates:?}");
}

/// In observe mode all are let in, and nothing is put into force.
#[test]
fn an_observing_limiter_leaves_the_budget() {
    let stated = CAPACITY / 2;
    let followed = Followed::new(stated, "observe");
    followed.crowded(stated, 10, |rate| rate == stated);
    assert_eq!(followed.share(), None);
}
