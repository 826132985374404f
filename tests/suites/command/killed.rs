//! Kill -9 at any point leaves a working limiter or none, never half of one.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::Desk;

const OLD: &str = "20/s, burst 40";
const NEW: &str = "5/s, burst 50";
const ATTACH: &str = "attach web0 web1 --service web=*:80 --source-rate 20/s --enforce";

/// Starts a command and kills it after `delay`, or lets it come to its end.
pub fn kill_after(desk: &Desk, line: &str, delay: Option<Duration>) {
    let mut child = desk.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
    if let Some(delay) = delay {
        std::thread::sleep(delay);
        child.kill().expect("killed");
    }
    child.wait().expect("ended");
}

/// Delays that sweep over the life of a command, which is run once to learn how long it takes: from its start, when it has done nothing, to its
/// end, however late that is.
fn delays(desk: &Desk, line: &str) -> impl Iterator<Item = Option<Duration>> {
    let start = Instant::now();
    desk.ok(line);
    let life = start.elapsed();
    (0..30).map(move |step| Some(life * step / 24)).chain([None])
}

/// The state is whole, and what is attached is pinned. `None` if limiter is not loaded.
fn whole(desk: &Desk) -> Option<serde_json::Value> {
    let output = desk.output("status --quick --json");
    let programs = ["web0", "web1"].map(|name| desk.has_program(name));
    if output.status.success() {
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let attached = |name: &str| {
            let interfaces = status["interfaces"].as_array().expect("a list");
            interfaces.iter().any(|interface| interface["name"] == name && interface["attachment"] == "native")
        };
        assert_eq!(["web0", "web1"].map(attached), programs, "what runs is what is pinned");
        assert_eq!(status["services"].as_array().map(Vec::len), Some(1));
        return Some(status);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not loaded"), "{said}");
    assert!(["web0", "web1"].iter().all(|name| desk.becomes_free(name)), "nothing runs that is not pinned");
    None
}

#[test]
fn killed_while_attaching() {
    let desk = Desk::new();
    let (mut absent, mut loaded) = (0, 0);
    let delays = delays(&desk, ATTACH);
    desk.ok("detach --all");
    for delay in delays {
        kill_after(&desk, ATTACH, delay);
        match whole(&desk) {
            None => absent += 1,
            Some(status) => {
                loaded += 1;
                assert_eq!((&status["source_limit"], &status["mode"]), (&OLD.into(), &"enforce".into()));
            }
        }
        // Whatever was left, the way on is open.
        desk.ok("detach --all");
        assert!(desk.left().is_empty(), "{:?}", desk.left());
    }
    desk.ok(ATTACH);
    println!("{absent} times absent, {loaded} times loaded");
    assert!(absent > 0 && loaded > 0, "the delays cover both ends: {absent} absent, {loaded} loaded");
}

#[test]
fn killed_while_setting() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let (mut old, mut new) = (0, 0);
    const CHANGE: &str = "set --source-rate 5/s --source-burst 50 --budget 7000/s";
    for delay in delays(&desk, CHANGE) {
        desk.ok("set --source-rate 20/s --source-burst 40 --budget none");
        kill_after(&desk, CHANGE, delay);
        let status = whole(&desk).expect("it stays loaded");
        let shown = (status["source_limit"].as_str(), status["budget"].as_str());
        match shown {
            (Some(OLD), Some("none")) => old += 1,
            (Some(NEW), Some("7000/s, burst 14000")) => new += 1,
            mixed => panic!("half a policy: {mixed:?}"),
        }
    }
    println!("{old} times the old policy, {new} times the new one");
    assert!(old > 0 && new > 0, "the delays cover both ends: {old} old, {new} new");
}

#[test]
fn killed_while_detaching() {
    let desk = Desk::new();
    let (mut absent, mut loaded) = (0, 0);
    desk.ok(ATTACH);
    for delay in delays(&desk, "detach --all") {
        if whole(&desk).is_none() {
            desk.ok(ATTACH);
        }
        kill_after(&desk, "detach --all", delay);
        match whole(&desk) {
            None => absent += 1,
            Some(status) => {
                loaded += 1;
                assert_eq!((&status["source_limit"], &status["mode"]), (&OLD.into(), &"enforce".into()));
                desk.ok("detach --all");
            }
        }
    }
    println!("{absent} times absent, {loaded} times loaded");
    assert!(absent > 0 && loaded > 0, "the delays cover both ends: {absent} absent, {loaded} loaded");
}

#[test]
fn killed_while_banning() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    for (index, delay) in delays(&desk, "ban add 198.18.0.0/15").enumerate() {
        kill_after(&desk, &format!("ban add 192.0.2.{index} 198.51.{index}.0/24"), delay);
        whole(&desk).expect("it stays loaded");
        desk.ok(&format!("ban add 203.0.113.{index}"));
        let list = desk.json("ban list");
        let holds = |prefix: &str| list.as_array().expect("a list").iter().any(|entry| entry["prefix"] == prefix);
        assert!(holds(&format!("203.0.113.{index}")));
    }
}
