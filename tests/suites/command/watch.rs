//! `limiter watch` in a real terminal (tmux), with real traffic: a calm, a crowd, a flood. What it shows is true, it keeps up, and it costs
//! little.
//!
//! LIMITER_SCREENS=write keeps what was on the screens in docs/watch.

mod life;
mod measured;
mod tmux;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lab::topology::FRONT_V4;
use lab::{Crowd, CrowdHandle, Flood, FloodHandle, Lab, Server, Sources};
use serde_json::Value;

use super::binary;
use tmux::{Terminal, per_second};

/// The lab, with a limiter of its own.
struct Stage {
    desk: lab::Desk,
    lab: Lab,
}

impl std::ops::Deref for Stage {
    type Target = lab::Desk;

    fn deref(&self) -> &lab::Desk {
        &self.desk
    }
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        Self { desk: lab::Desk::new(&lab.front).expect("a desk"), lab }
    }

    /// A terminal in the front end's namespace that runs limiter, or another program.
    fn terminal(&self, program: &[&str]) -> Terminal {
        Terminal::start(self.program("tmux"), self.state(), program)
    }

    fn watch(&self, arguments: &str) -> Terminal {
        let binary = binary();
        let words: Vec<&str> = [binary.to_str().expect("a path"), "watch"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect();
        self.terminal(&words)
    }

    /// Pages of the crowd.
    fn crowd(&self, pages_per_second: f64, seconds: f64) -> CrowdHandle {
        let crowd = Crowd {
            pages_per_second,
            seconds,
            timeout: Duration::from_secs(2),
            ..Crowd::new(SocketAddr::new(FRONT_V4, 80), self.lab.clients_v4())
        };
        crowd.spawn(&self.lab).expect("a crowd")
    }
}

/// What is on the terminal in both sizes as soon as these words are; kept as documentation when that
/// is asked for.
#[track_caller]
fn both_sizes(terminal: &Terminal, name: &str, says: [&[&str]; 2]) -> (String, String) {
    let [small, large] =
        [(says[0], (80, 24)), (says[1], (200, 50))].map(|(words, (width, height))| {
            terminal.resize(width, height);
            terminal.wait(&format!("{words:?}"), |screen| {
                screen.lines().count() == usize::from(height)
                    && screen.contains("only reads, changes no limit")
                    && words.iter().all(|word| screen.contains(word))
            })
        });
    terminal.resize(80, 24);
    println!("{small}\n{large}");
    if std::env::var_os("LIMITER_SCREENS").is_some_and(|value| value == "write") {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/watch");
        for (screen, size) in [(&small, "80x24"), (&large, "200x50")] {
            std::fs::write(directory.join(format!("{name}-{size}.txt")), screen).expect("written");
        }
    }
    (small, large)
}

/// Whether the rate in a row is one of these. What a moment shows is of that moment: a screen that shows it comes, if it is so.
fn within(screen: &str, label: &str, least: f64, most: f64) -> bool {
    per_second(screen, label).is_some_and(|rate| (least..=most).contains(&rate))
}

/// A few clients, and limits that none of them reaches.
#[test]
fn calm() {
    let stage = Stage::new();
    let _server = Server::start(&stage.lab).expect("a server");
    stage.ok(
        "attach crowd0 attack0 --service web=*:80 --source-rate 20/s --budget 1000/s --enforce",
    );
    let _crowd = stage.crowd(30.0, 600.0);
    let terminal = stage.watch("--window 1m");
    terminal.wait("thirty a second", |screen| {
        within(screen, "attempts", 27.0, 33.0) && within(screen, "admitted", 27.0, 33.0)
    });
    let words = [
        "ENFORCE",
        "CALM",
        "limiter lets in all of",
        "likely: nothing that limiter sees",
        "nothing refused in the last 1m",
        "crowd0 native",
        "attack0 native",
        "root: attached to",
        "whole host",
        "of 1000/s",
    ];
    let (small, large) =
        both_sizes(&terminal, "calm", [&words, &["listens on", "CALM", "20/s, burst 40", "*:80"]]);
    for screen in [&small, &large] {
        assert!(within(screen, "refused", 0.0, 0.0), "{screen}");
    }
}

/// More people than the budget has room for, each of them modest, and no line; limits are raised
/// meanwhile, which helps.
#[test]
fn crowd() {
    let stage = Stage::new();
    let _server = Server::start(&stage.lab).expect("a server");
    stage.ok("attach crowd0 attack0 --service web=*:80 --source-rate 20/s --enforce");
    stage.ok("set --service web --budget 50/s --line no");
    let _crowd = stage.crowd(200.0, 600.0);
    let terminal = stage.watch("--window 1m");
    let before = terminal.wait("fifty a second of more", |screen| {
        within(screen, "admitted", 47.0, 54.0)
            && within(screen, "attempts", 100.0, 2000.0)
            && ["REFUSING", "service_budget", "of 50/s"].iter().all(|word| screen.contains(word))
    });
    println!("{before}");
    // 252 addresses are no few; that a budget was just set, which refuses most, is known.
    terminal.wait("why they are refused", |screen| {
        screen.contains("likely: our own limit, changed")
            && screen.contains("`limiter rollback`")
            && !screen.contains("ban add")
    });
    // So that the effect is that of two times that both are long enough.
    terminal.wait_for_readings(10);
    stage.ok("set --service web --budget 120/s");
    terminal.wait("what it did", |screen| {
        within(screen, "admitted", 112.0, 125.0) && has_effect(screen)
    });
    let small = ["REFUSING", "service_budget", "service web budget: 50/s", "-> 120/s"];
    let large = ["listens on", "dropped", "limit of a source", "none -> 50/s"];
    both_sizes(&terminal, "crowd", [&small, &large]);
}

/// Whether the screen says how many were let in before and after the change. Before it clients may
/// have been held up, or have come all at once: that stays on the screen.
fn has_effect(screen: &str) -> bool {
    let Some(effect) = screen.lines().find(|line| line.contains("let through")) else {
        return false;
    };
    let rates: Vec<f64> = effect
        .split("let through ")
        .nth(1)
        .expect("rates")
        .split(" -> ")
        .map(tmux::number)
        .collect();
    (1.0..70.0).contains(&rates[0]) && (105.0..130.0).contains(&rates[1])
}

/// As many SYNs as two CPUs can send, from a hundred addresses; somebody arms.
#[test]
fn flood() {
    let stage = Stage::new();
    let _server = Server::start(&stage.lab).expect("a server");
    stage.ok("attach crowd0 attack0 --service web=*:80 --source-rate 20/s --budget 5000/s");
    let _crowd = stage.crowd(20.0, 600.0);
    let terminal = stage.watch("--window 1m");
    terminal.wait("the calm before", |screen| within(screen, "admitted", 15.0, 25.0));
    let floods = [0, 1].map(|cpu| flood_from(&stage, cpu));
    let observed = terminal.wait_for_all(&[
        "NOTHING IS DROPPED; enforcing would refuse",
        "OBSERVE: nothing is dropped",
    ]);
    println!("{observed}");
    stage.ok("arm --for 30m");
    // A hundred sources of 20/s, beside the crowd.
    terminal.wait("the flood held back", |screen| within(screen, "admitted", 1900.0, 2300.0));
    // What it shows is what others are told.
    terminal.wait("the truth", |screen| {
        let status: Value = serde_json::from_str(&stage.ok("status --json")).expect("JSON");
        let truth = status["services"][0]["attempts_per_second"].as_f64().expect("a rate");
        within(screen, "attempts", truth * 0.5, truth * 2.0)
    });
    let small = [
        "ENFORCE: excess is DROPPED",
        "REFUSING",
        "source_limit",
        "goes back to observe by itself in 2",
        "likely: a flood from forged addresses",
        "mode observe -> enforce",
    ];
    let large = ["listens on", "source is over its limit", "dropped "];
    both_sizes(&terminal, "flood", [&small, &large]);
    let sent: f64 = floods.map(|flood| flood.stop().expect("the flood ends").rate()).iter().sum();
    println!("{sent:.0} SYN/s");
}

fn flood_from(stage: &Stage, cpu: usize) -> FloodHandle {
    let sources = Sources::Many { base: "11.1.0.1".parse().expect("an address"), count: 100 };
    let target = SocketAddr::new(FRONT_V4, 80);
    let flood =
        Flood { frames: u64::MAX, seconds: 600.0, cpu: Some(cpu), ..Flood::new(target, sources) };
    flood.spawn(&stage.lab).expect("a flood")
}
