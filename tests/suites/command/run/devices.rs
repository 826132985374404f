//! Devices that go, come back, never come back, or come back while somebody else holds the lock.

use std::fs;
use std::time::{Duration, Instant};

use lab::Namespace;
use lab::wait::PATIENCE;
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::front::{LIMITED, arrive, interfaces, lay, none_arrives, wired, write};

#[test]
fn a_device_that_comes_back_is_limited_again() {
    come_back();
}

/// How long it takes from making the device to a program on it, five times.
fn come_back() -> Vec<Duration> {
    let (desk, client) = wired();
    let daemon = Daemon::ready(&desk, "run");
    arrive(&desk, &client, 10);
    none_arrives(&desk, &client);
    let mut times = Vec::new();
    for round in 1..=5 {
        let index = interfaces(&desk)[0]["index"].clone();
        desk.front.ip(&["link", "del", "web0"]).expect("deleted");
        daemon.says_times(round, &["WARN", "gone", "interface=web0"]);
        let gone = &interfaces(&desk)[0];
        assert_eq!(
            (&gone["name"], &gone["index"]),
            (&Value::Null, &index),
            "status shows that it is gone"
        );
        let start = Instant::now();
        lay(&desk, &client);
        while !desk.has_program("web0") {
            assert!(start.elapsed() < PATIENCE, "not limited");
            std::thread::sleep(Duration::from_millis(2));
        }
        times.push(start.elapsed());
        // The table remembers the source.
        none_arrives(&desk, &client);
        let line = daemon.says_times(round + 1, &["INFO", "attached", "interface=web0"]);
        println!(
            "round {round}: {:.1} ms after it was made; {line}",
            start.elapsed().as_secs_f64() * 1e3
        );
        let all = interfaces(&desk);
        assert_eq!(
            (all.len(), &all[0]["name"], &all[0]["attachment"]),
            (1, &"web0".into(), &"native".into())
        );
    }
    let attached = |entry: &&Value| entry["changed"] == json!(["attached to web0"]);
    assert_eq!(desk.json("history").as_array().expect("a list").iter().filter(attached).count(), 6);
    daemon.end();
    times
}

#[test]
fn a_device_that_never_comes_back_is_reported() {
    let (desk, _client) = wired();
    write(&desk, &LIMITED.replace("[\"web0\"]", "[\"web0\", \"web1\", \"dmz0\"]"));
    let daemon = Daemon::start(&desk, "run");
    daemon
        .told("STATUS=enforce: excess attempts are dropped; attached to web0, web1; MISSING: dmz0");
    daemon.told("READY=1");
    daemon.says(&["WARN", "missing", "interface=dmz0"]);
    assert!(
        desk.has_program("web0") && desk.has_program("web1"),
        "one that is missing does not keep the others"
    );
    desk.front.ip(&["link", "del", "web1"]).expect("deleted");
    daemon.says(&["WARN", "gone", "interface=web1"]);
    daemon
        .told("STATUS=enforce: excess attempts are dropped; attached to web0; MISSING: dmz0, web1");
    daemon.says(&["WARN", "missing", "interface=web1"]);
    daemon.says_times(2, &["WARN", "missing", "interface=dmz0"]);
    // One that was never there is attached when it comes.
    desk.front
        .ip(&["link", "add", "dmz0", "type", "veth", "peer", "name", "far9"])
        .expect("a veth");
    daemon.says(&["INFO", "attached", "interface=dmz0"]);
    assert!(desk.has_program("dmz0"));
    daemon.end();
}

/// A device in another namespace keeps its program, and so it does when it comes back, also under another index.
#[test]
fn a_device_that_is_moved_and_comes_back() {
    let (desk, _client) = wired();
    let elsewhere = Namespace::new().expect("a namespace");
    let daemon = Daemon::ready(&desk, "run");
    let index = interfaces(&desk)[0]["index"].as_u64().expect("a number");
    desk.front.ip(&["link", "set", "web0", "netns", elsewhere.name()]).expect("moved");
    daemon.says(&["WARN", "gone", "interface=web0"]);
    desk.front
        .ip(&[
            "link",
            "add",
            "dummy7",
            "index",
            &index.to_string(),
            "type",
            "veth",
            "peer",
            "name",
            "dummy8",
        ])
        .expect("the index is taken");
    elsewhere.ip(&["link", "set", "web0", "netns", desk.front.name()]).expect("moved back");
    daemon.says(&["INFO", "under another index"]);
    let all = interfaces(&desk);
    assert_eq!(
        (all.len(), &all[0]["name"], &all[0]["attachment"]),
        (1, &"web0".into(), &"native".into())
    );
    assert_ne!(all[0]["index"], index);
    // What is detached by hand stays detached, until the file is read again.
    desk.ok("attach web1");
    daemon.says(&["INFO", "watched", "interface=web1"]);
    desk.ok("detach web0");
    daemon.says(&["WARN", "detached by another command", "interface=web0"]);
    desk.front.ip(&["link", "set", "web0", "down"]).expect("down");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(desk.becomes_free("web0"));
    daemon.reload();
    assert!(desk.has_program("web0"));
    daemon.end();
}

/// A command that takes long delays the daemon and does not stop it.
#[test]
fn a_lock_that_is_held_for_long_is_waited_for() {
    let (desk, client) = wired();
    let daemon = Daemon::ready(&desk, "run");
    let lock = fs::File::open(desk.pins()).expect("a directory");
    lock.lock().expect("locked");
    desk.front.ip(&["link", "del", "web0"]).expect("deleted");
    lay(&desk, &client);
    daemon.says(&["ERROR", "is changing limiter", "tried again"]);
    assert!(desk.becomes_free("web0"));
    std::thread::sleep(Duration::from_secs(3));
    drop(lock);
    daemon.says(&["INFO", "attached", "missing_seconds", "interface=web0"]);
    daemon.says_times(2, &["INFO", "attached", "interface=web0"]);
    assert_eq!(
        daemon.said().iter().filter(|line| line.contains("ERROR")).count(),
        1,
        "{:#?}",
        daemon.said()
    );
    daemon.end();
}

mod measured {
    use super::*;

    /// The promised second is a hundred times what it takes. A process that had no CPU meanwhile is
    /// no fault of the daemon, in two of five.
    #[test]
    fn a_device_that_comes_back_is_limited_within_a_second() {
        let mut times = come_back();
        times.sort();
        println!("from making the device to a program on it: {times:.1?}");
        assert!(times[2] < Duration::from_secs(1), "{times:.1?}");
    }
}
