//! `limiter watch` in a real terminal (tmux), with real traffic: a calm, a crowd, a flood. What it shows is true, it keeps up, and it costs
//! little.
//!
//! LIMITER_SCREENS=write keeps what was on the screens in docs/watch.

mod life;
mod tmux;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::topology::FRONT_V4;
use lab::{Crowd, CrowdHandle, Directory, Flood, FloodHandle, Lab, PrivateBpffs, Server, Sources};
use serde_json::Value;

use super::{Desk, binary, full};
use tmux::{Terminal, per_second};

/// CPU time of a core that watching may take, in percent.
const MOST_CPU: f64 = 2.0;
/// How long that is measured, in seconds: ten looks, and 20 of the kernel's hundredths of a second would be too many.
const MEASURED: f64 = 10.0;

/// The lab, with a limiter of its own.
struct Stage {
    lab: Lab,
    bpffs: PrivateBpffs,
    state: Directory,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        Self { lab, bpffs: PrivateBpffs::new().expect("a bpffs"), state: Directory::new().expect("a directory") }
    }

    fn furnish<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LIMITER_PINS", self.bpffs.path().join("limiter"));
        command.env("LIMITER_HISTORY", self.state.path().join("history.jsonl")).env_remove("SSH_CONNECTION")
    }

    fn limiter(&self, line: &str) -> Command {
        let mut command = self.lab.front.command(binary().to_str().expect("a path")).expect("a command");
        self.furnish(command.args(line.split_whitespace()));
        command
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.limiter(line).output().expect("the command runs");
        assert!(output.status.success(), "limiter {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// A terminal in the front end's namespace that runs limiter, or another program.
    fn terminal(&self, program: &[&str]) -> Terminal {
        let mut tmux = self.lab.front.command("tmux").expect("a command");
        self.furnish(&mut tmux);
        Terminal::start(tmux, self.state.path(), program)
    }

    fn watch(&self, arguments: &str) -> Terminal {
        let binary = binary();
        let words: Vec<&str> =
            [binary.to_str().expect("a path"), "watch"].into_iter().chain(arguments.split_whitespace()).collect();
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

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.limiter("detach --all").output();
    }
}

/// What is on the terminal in both sizes; kept as documentation when that is asked for.
fn both_sizes(terminal: &Terminal, name: &str) -> (String, String) {
    let small = terminal.screen();
    terminal.resize(200, 50);
    let large = terminal.wait_for("fair share");
    terminal.resize(80, 24);
    println!("{small}\n{large}");
    if std::env::var_os("LIMITER_SCREENS").is_some_and(|value| value == "write") {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/watch");
        for (screen, size) in [(&small, "80x24"), (&large, "200x50")] {
            std::fs::write(directory.join(format!("{name}-{size}.txt")), screen).expect("written");
        }
    }
    assert_eq!((small.lines().count(), large.lines().count()), (24, 50), "{small}{large}");
    for screen in [&small, &large] {
        assert!(screen.contains("only reads, changes no limit"), "{screen}");
    }
    (small, large)
}

#[track_caller]
fn says(screen: &str, words: &[&str]) {
    for word in words {
        assert!(screen.contains(word), "{word} is not in\n{screen}");
    }
}

#[track_caller]
fn within(screen: &str, label: &str, least: f64, most: f64) {
    let rate = per_second(screen, label);
    assert!((least..=most).contains(&rate), "{label}: {rate} is not {least} to {most}\n{screen}");
}

/// A few clients, and limits that none of them reaches.
#[test]
fn calm() {
    let stage = Stage::new();
    let _server = Server::start(&stage.lab).expect("a server");
    stage.ok("attach crowd0 attack0 --service web=*:80 --source-rate 20/s --budget 1000/s --enforce");
    let crowd = stage.crowd(30.0, 22.0);
    let terminal = stage.watch("--window 1m");
    std::thread::sleep(Duration::from_secs(16));
    let (small, large) = both_sizes(&terminal, "calm");
    says(&small, &["ENFORCE", "CALM", "all admitted", "limiter refuses nobody", "nothing refused in the last 1m"]);
    says(&small, &["crowd0 native", "attack0 native", "root: attached to", "whole host", "of 1000/s"]);
    says(&large, &["CALM", "20/s, burst 40", "*:80"]);
    for screen in [&small, &large] {
        within(screen, "attempts", 27.0, 33.0);
        within(screen, "admitted", 27.0, 33.0);
        within(screen, "refused", 0.0, 0.0);
    }
    crowd.wait().expect("a crowd");
}

/// More people than the budget has room for, each of them modest; limits are raised meanwhile, which helps.
#[test]
fn crowd() {
    let stage = Stage::new();
    let _server = Server::start(&stage.lab).expect("a server");
    stage.ok("attach crowd0 attack0 --service web=*:80 --source-rate 20/s --enforce");
    stage.ok("set --service web --budget 50/s");
    let crowd = stage.crowd(200.0, 36.0);
    let terminal = stage.watch("--window 1m");
    std::thread::sleep(Duration::from_secs(16));
    let before = terminal.screen();
    println!("{before}");
    says(&before, &["REFUSING", "service_budget", "More than the budget", "of 50/s"]);
    within(&before, "admitted", 47.0, 54.0);
    // Who was refused asks again.
    within(&before, "attempts", 150.0, 1500.0);
    stage.ok("set --service web --budget 120/s");
    std::thread::sleep(Duration::from_secs(12));
    let (small, large) = both_sizes(&terminal, "crowd");
    says(&small, &["REFUSING", "service_budget", "service web budget: 50/s", "-> 120/s", "▲ 3 changes"]);
    says(&large, &["dropped", "limit of a source", "none -> 50/s"]);
    within(&small, "admitted", 112.0, 125.0);
    let effect = small.lines().find(|line| line.contains("let through")).expect("an effect");
    let rates: Vec<f64> = effect.split("let through ").nth(1).expect("rates").split(" -> ").map(tmux::number).collect();
    assert!((47.0..55.0).contains(&rates[0]) && (110.0..130.0).contains(&rates[1]), "{effect}");
    crowd.wait().expect("a crowd");
}

/// As many SYNs as two CPUs can send, from a hundred addresses; somebody arms.
#[test]
fn flood() {
    let stage = Stage::new();
    let _server = Server::start(&stage.lab).expect("a server");
    stage.ok("attach crowd0 attack0 --service web=*:80 --source-rate 20/s --budget 5000/s");
    let crowd = stage.crowd(20.0, 38.0);
    let terminal = stage.watch("--window 1m");
    std::thread::sleep(Duration::from_secs(6));
    let floods = [0, 1].map(|cpu| flood_from(&stage, cpu));
    std::thread::sleep(Duration::from_secs(8));
    let observed = terminal.screen();
    println!("{observed}");
    says(&observed, &["OBSERVE: nothing is dropped", "NOTHING IS DROPPED; enforcing would refuse", "would refuse"]);
    stage.ok("arm --for 30m");
    std::thread::sleep(Duration::from_secs(4));
    let cpu = cpu_while(terminal.process(), MEASURED);
    let (small, large) = both_sizes(&terminal, "flood");
    let status: Value = serde_json::from_str(&stage.ok("status --json")).expect("JSON");
    let clock = terminal.seconds_behind();
    let sent: f64 = floods.map(|flood| flood.stop().expect("the flood ends").rate()).iter().sum();
    println!("watch took {cpu:.2}% of a core over {MEASURED} s, and its clock was {clock} s behind; {sent:.0} SYN/s");
    says(&small, &["ENFORCE: excess is DROPPED", "REFUSING", "source_limit", "goes back to observe by itself in 29m"]);
    says(&small, &["Sources that come too often", "root: mode observe -> enforce", "▲ 2 changes"]);
    says(&large, &["source is over its limit", "dropped 0 -> "]);
    let truth = status["services"][0]["attempts_per_second"].as_f64().expect("a rate");
    within(&small, "attempts", truth * 0.5, truth * 2.0);
    within(&small, "attempts", sent * 0.5, sent * 2.0);
    // A hundred sources of 20/s, beside the crowd.
    within(&small, "admitted", 1900.0, 2300.0);
    assert!(cpu < MOST_CPU, "{cpu:.2}% of a core");
    assert!(clock <= 2.0, "{clock} s behind");
    crowd.wait().expect("a crowd");
}

/// With the largest policy and long lists of bans there is more to read every second.
#[test]
fn the_largest_policy_costs_little() {
    let desk = Desk::new();
    let file = desk.state.path().join("policy.toml");
    std::fs::write(&file, full::policy(full::FULL, 0)).expect("written");
    desk.ok(&format!("apply {}", file.display()));
    for part in 0..20 {
        let bans: Vec<String> = (0..1000).map(|n| format!("100.{part}.{}.{}", n / 250, n % 250)).collect();
        desk.ok(&format!("ban add {}", bans.join(" ")));
    }
    let mut tmux = desk.front.command("tmux").expect("a command");
    desk.furnish(&mut tmux);
    let binary = binary();
    let program = [binary.to_str().expect("a path"), "watch"];
    let terminal = Terminal::start(tmux, desk.state.path(), &program);
    terminal.wait_for("20,000 banned");
    let cpu = cpu_while(terminal.process(), MEASURED);
    println!("watch took {cpu:.2}% of a core over {MEASURED} s");
    assert!(cpu < MOST_CPU, "{cpu:.2}% of a core\n{}", terminal.screen());
}

fn flood_from(stage: &Stage, cpu: usize) -> FloodHandle {
    let sources = Sources::Many { base: "11.1.0.1".parse().expect("an address"), count: 100 };
    let target = SocketAddr::new(FRONT_V4, 80);
    let flood = Flood { frames: u64::MAX, seconds: 60.0, cpu: Some(cpu), ..Flood::new(target, sources) };
    flood.spawn(&stage.lab).expect("a flood")
}

/// User and system time that a process takes meanwhile, in percent of a core.
fn cpu_while(process: u32, seconds: f64) -> f64 {
    let (start, before) = (Instant::now(), cpu_seconds(process));
    std::thread::sleep(Duration::from_secs_f64(seconds));
    100.0 * (cpu_seconds(process) - before) / start.elapsed().as_secs_f64()
}

fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    // utime and stime, in hundredths of a second: the 14th and 15th field, of which two stand before the bracket.
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    ticks as f64 / 100.0
}
