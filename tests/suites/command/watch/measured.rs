//! What watching costs, and that it keeps up.

use std::time::{Duration, Instant};

use lab::Server;

use super::super::{Desk, binary, full};
use super::tmux::Terminal;
use super::{Stage, flood_from};

/// CPU time of a core that watching may take, in percent.
const MOST_CPU: f64 = 2.0;
/// How long that is measured, in seconds: ten looks, and 20 of the kernel's hundredths of a second would be too many.
const MEASURED: f64 = 10.0;

/// As many SYNs as two CPUs can send, from a hundred addresses.
#[test]
fn a_flood_costs_little() {
    let stage = Stage::new();
    let _server = Server::start(&stage.lab).expect("a server");
    stage.ok(
        "attach crowd0 attack0 --service web=*:80 --source-rate 20/s --budget 5000/s --enforce",
    );
    let terminal = stage.watch("--window 1m");
    let floods = [0, 1].map(|cpu| flood_from(&stage, cpu));
    terminal.wait_for("REFUSING");
    let cpu = cpu_while(terminal.process(), MEASURED);
    let clock = terminal.seconds_behind();
    let sent: f64 = floods.map(|flood| flood.stop().expect("the flood ends").rate()).iter().sum();
    println!(
        "watch took {cpu:.2}% of a core over {MEASURED} s, and its clock was {clock} s behind; {sent:.0} SYN/s"
    );
    assert!(cpu < MOST_CPU, "{cpu:.2}% of a core");
    assert!(clock <= 2.0, "{clock} s behind");
}

/// With the largest policy and long lists of bans there is more to read every second.
#[test]
fn the_largest_policy_costs_little() {
    let desk = Desk::new();
    let file = desk.policy();
    std::fs::write(&file, full::policy(full::FULL, 0)).expect("written");
    desk.ok(&format!("apply {}", file.display()));
    for part in 0..20 {
        let bans: Vec<String> =
            (0..1000).map(|n| format!("100.{part}.{}.{}", n / 250, n % 250)).collect();
        desk.ok(&format!("ban add {}", bans.join(" ")));
    }

    let binary = binary();
    let program = [binary.to_str().expect("a path"), "watch"];
    let terminal = Terminal::start(desk.program("tmux"), desk.state(), &program);
    terminal.wait_for("20,000 banned");
    let cpu = cpu_while(terminal.process(), MEASURED);
    println!("watch took {cpu:.2}% of a core over {MEASURED} s");
    assert!(cpu < MOST_CPU, "{cpu:.2}% of a core\n{}", terminal.screen());
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
    let ticks: u64 =
        fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    ticks as f64 / 100.0
}
