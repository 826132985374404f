//! The daemon: what it brings into force, what it leaves alone, and that limits need neither it nor the device that they began on.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lab::Namespace;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::Desk;

const PATIENCE: Duration = Duration::from_secs(15);
const SERVER: &str = "10.79.0.1:80";
/// Ten connections of one source, and then one a minute.
const LIMITED: &str = "interfaces = [\"web0\"]\nmode = \"enforce\"\nsources = 4096\n[defaults]\nsource_rate = \"1/min\"\n\
                       source_burst = 10\n[service.web]\nlisten = \"*:80\"\n";

/// A daemon that runs, and what it said so far.
struct Daemon {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    manager: UnixDatagram,
}

impl Daemon {
    fn start(desk: &Desk, line: &str) -> Self {
        Self::with(desk, line, |_| {})
    }

    fn with(desk: &Desk, line: &str, furnish: impl FnOnce(&mut Command)) -> Self {
        let socket = desk.state.path().join("notify");
        let _ = fs::remove_file(&socket);
        let manager = UnixDatagram::bind(&socket).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut command = desk.command(line);
        command.env("LIMITER_POLICY", policy(desk)).env("NOTIFY_SOCKET", &socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        furnish(&mut command);
        let mut child = command.spawn().expect("runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, kept) = (child.stderr.take().expect("a pipe"), Arc::clone(&lines));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                kept.lock().expect("no panic").push(line);
            }
        });
        Self { child, lines, reader: Some(reader), manager }
    }

    fn ready(desk: &Desk, line: &str) -> Self {
        let daemon = Self::start(desk, line);
        daemon.told("READY=1");
        daemon
    }

    /// Waits until the service manager is told something that begins so; the datagram.
    #[track_caller]
    fn told(&self, words: &str) -> String {
        let start = Instant::now();
        let mut heard = Vec::new();
        let mut bytes = [0; 4096];
        while start.elapsed() < PATIENCE {
            let Ok(length) = self.manager.recv(&mut bytes) else { break };
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(words)) {
                return text;
            }
            heard.push(text);
        }
        panic!("never told {words}, but {heard:?}; it said {:#?}", self.said());
    }

    fn said(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// Waits for a line that holds all of `words`.
    #[track_caller]
    fn says(&self, words: &[&str]) -> String {
        self.says_times(1, words)
    }

    /// Waits until so many lines hold all of `words`; the last one.
    #[track_caller]
    fn says_times(&self, times: usize, words: &[&str]) -> String {
        let start = Instant::now();
        loop {
            let lines = self.said();
            let mut holding = lines.iter().filter(|line| words.iter().all(|word| line.contains(word)));
            if let Some(line) = holding.nth(times - 1) {
                return line.clone();
            }
            assert!(start.elapsed() < PATIENCE, "never said {words:?} {times} times: {lines:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Tells it to read the file again, and waits until it did.
    fn reload(&self) {
        self.signal(Signal::HUP);
        let text = self.told("RELOADING=1");
        assert!(text.contains("MONOTONIC_USEC="), "{text}");
        self.told("READY=1");
    }

    /// Waits until it ends by itself; its exit code.
    #[track_caller]
    fn code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it does not end: {:#?}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as systemd would; what it said.
    fn end(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        self.told("STOPPING=1");
        assert_eq!(self.code(), Some(0));
        self.reader.take().expect("once").join().expect("no panic");
        self.said()
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn policy(desk: &Desk) -> PathBuf {
    desk.state.path().join("policy.toml")
}

fn write(desk: &Desk, text: &str) {
    fs::write(policy(desk), text).expect("written");
}

/// A front end whose web0 leads to a client.
fn wired() -> (Desk, Namespace) {
    let (desk, client) = (Desk::new(), Namespace::new().expect("a namespace"));
    desk.front.ip(&["link", "del", "web0"]).expect("deleted");
    lay(&desk, &client);
    write(&desk, LIMITED);
    (desk, client)
}

fn lay(desk: &Desk, client: &Namespace) {
    let peer = client.name();
    desk.front.ip(&["link", "add", "web0", "type", "veth", "peer", "name", "far0", "netns", peer]).expect("a veth");
    desk.front.ip_batch("addr add 10.79.0.1/24 dev web0\nlink set web0 up\n").expect("up");
    client.ip_batch("addr add 10.79.0.2/24 dev far0\nlink set far0 up\n").expect("up");
}

/// How many of `count` connections reach the front end, whose kernel refuses them: nobody listens.
fn arrive(client: &Namespace, count: usize) -> usize {
    let server: SocketAddr = SERVER.parse().expect("an address");
    let arrives = |_: &usize| {
        let result = TcpStream::connect_timeout(&server, Duration::from_millis(100));
        result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    client.run(|| Ok((0..count).filter(arrives).count())).expect("a thread")
}

fn interfaces(desk: &Desk) -> Vec<Value> {
    desk.json("status --quick")["interfaces"].as_array().cloned().expect("a list")
}

fn generation(desk: &Desk) -> Value {
    desk.json("status --quick")["generation"].clone()
}

#[test]
fn the_first_start_loads_attaches_and_tells_systemd() {
    let (desk, client) = wired();
    let daemon = Daemon::start(&desk, "run");
    assert_eq!(daemon.told("STATUS="), "STATUS=enforce: excess attempts are dropped; attached to web0\n");
    daemon.told("READY=1");
    daemon.says(&["INFO", "the policy file is in force", "mode=\"enforce\"", "service web: new"]);
    assert!(desk.has_program("web0"));
    assert_eq!(arrive(&client, 13), 10, "limited from the first packet on");
    let history = desk.json("history");
    assert_eq!((&history[0]["command"], &history[0]["before"]), (&json!(["run"]), &Value::Null));
    assert_eq!(history[1]["changed"], json!(["attached to web0"]));
    desk.ok("disarm");
    assert_eq!(daemon.told("STATUS="), "STATUS=observe: nothing is dropped; attached to web0\n");
    let said = daemon.end();
    assert!(said.iter().any(|line| line.contains("what is in force stays")), "{said:#?}");
    assert!(desk.has_program("web0"), "limits need no daemon");
}

#[test]
fn a_start_that_cannot_be_fails_and_leaves_nothing() {
    let desk = Desk::new();
    write(&desk, "sorces = 8\n");
    let mut daemon = Daemon::start(&desk, "run");
    assert_eq!(daemon.code(), Some(1));
    daemon.says(&["policy.toml:1:1", "did you mean `sources`?"]);
    assert!(desk.left().is_empty());
}

#[test]
fn a_reload_applies_what_changed_and_nothing_else() {
    let (desk, _client) = wired();
    let daemon = Daemon::ready(&desk, "run");
    daemon.reload();
    daemon.says(&["says what is in force already"]);
    assert_eq!(generation(&desk), 1, "no new slot");
    write(&desk, &LIMITED.replace("1/min", "7/min"));
    daemon.reload();
    daemon.says(&["is in force", "host source limit: 1/min, burst 10 -> 7/min, burst 10"]);
    assert_eq!(
        (generation(&desk), desk.json("status --quick")["source_limit"].clone()),
        (2.into(), "7/min, burst 10".into())
    );
    // A bad file.
    write(&desk, "interfaces = [\"web0\"]\nmode = \"enforced\"\n");
    daemon.reload();
    daemon.says(&["ERROR", "what is in force stays", "policy.toml:2:", "enforced"]);
    assert_eq!((generation(&desk), desk.json("status --quick")["mode"].clone()), (2.into(), "enforce".into()));
    assert_eq!(desk.json("history")[2]["changed"], json!(["host source limit: 1/min, burst 10 -> 7/min, burst 10"]));
    daemon.end();
}

/// What an operator did counts more than a file that says what it said before.
#[test]
fn a_reload_leaves_alone_what_an_operator_did() {
    let (desk, _client) = wired();
    let profile = "[profile.siege.service.web]\nbudget = \"70/s\"\n";
    write(&desk, &format!("{LIMITED}{profile}"));
    let daemon = Daemon::ready(&desk, "run");
    desk.ok("disarm");
    write(&desk, &format!("{}{profile}", LIMITED.replace("1/min", "7/min")));
    daemon.reload();
    let status = desk.json("status --quick");
    assert_eq!((&status["mode"], &status["source_limit"]), (&"observe".into(), &"7/min, burst 10".into()));
    // What the file says anew counts.
    write(&desk, &format!("{}{profile}", LIMITED.replace("enforce", "observe")));
    daemon.reload();
    desk.ok("arm");
    write(&desk, &format!("{LIMITED}{profile}"));
    daemon.reload();
    assert_eq!(desk.json("status --quick")["mode"], "enforce");
    // The profile stays.
    let file = policy(&desk);
    desk.ok(&format!("profile use siege {}", file.display()));
    write(&desk, &format!("{}{profile}", LIMITED.replace("1/min", "9/min")));
    daemon.reload();
    let status = desk.json("status --quick");
    assert_eq!((&status["profile"], &status["source_limit"]), (&"siege".into(), &"9/min, burst 10".into()));
    assert_eq!(status["services"][0]["budget"], "70/s, burst 140");
    // A trial is not overtaken.
    desk.ok(&format!("profile use normal {} --confirm 1h", file.display()));
    let before = generation(&desk);
    write(&desk, &format!("{LIMITED}{profile}"));
    daemon.reload();
    daemon.says(&["ERROR", "on trial", "limiter confirm"]);
    let status = desk.json("status --quick");
    assert_eq!((&status["generation"], &status["source_limit"]), (&before, &"9/min, burst 10".into()));
    assert_eq!(status["reverts"]["policy"], true);
    daemon.end();
}

/// Issue 4, "must show" 6.
#[test]
fn a_device_that_comes_back_is_limited_within_a_second() {
    let (desk, client) = wired();
    let daemon = Daemon::ready(&desk, "run");
    assert_eq!(arrive(&client, 13), 10);
    let mut worst = Duration::ZERO;
    for round in 1..=5 {
        let index = interfaces(&desk)[0]["index"].clone();
        desk.front.ip(&["link", "del", "web0"]).expect("deleted");
        daemon.says_times(round, &["WARN", "gone", "interface=web0"]);
        let gone = &interfaces(&desk)[0];
        assert_eq!((&gone["name"], &gone["index"]), (&Value::Null, &index), "status shows that it is gone");
        let start = Instant::now();
        lay(&desk, &client);
        while !desk.has_program("web0") {
            assert!(start.elapsed() < Duration::from_secs(1), "not limited after a second");
            std::thread::sleep(Duration::from_millis(2));
        }
        worst = worst.max(start.elapsed());
        assert_eq!(arrive(&client, 3), 0, "the table remembers the source");
        let line = daemon.says_times(round + 1, &["INFO", "attached", "interface=web0"]);
        println!("round {round}: {:.1} ms after it was made; {line}", start.elapsed().as_secs_f64() * 1e3);
        let all = interfaces(&desk);
        assert_eq!((all.len(), &all[0]["name"], &all[0]["attachment"]), (1, &"web0".into(), &"native".into()));
    }
    println!("at most {:.1} ms from making the device to a program on it", worst.as_secs_f64() * 1e3);
    assert!(worst < Duration::from_secs(1));
    let attached = |entry: &&Value| entry["changed"] == json!(["attached to web0"]);
    assert_eq!(desk.json("history").as_array().expect("a list").iter().filter(attached).count(), 6);
    daemon.end();
}

#[test]
fn a_device_that_never_comes_back_is_reported() {
    let (desk, _client) = wired();
    write(&desk, &LIMITED.replace("[\"web0\"]", "[\"web0\", \"web1\", \"dmz0\"]"));
    let daemon = Daemon::start(&desk, "run");
    daemon.told("STATUS=enforce: excess attempts are dropped; attached to web0, web1; MISSING: dmz0");
    daemon.told("READY=1");
    daemon.says(&["WARN", "missing", "interface=dmz0"]);
    assert!(desk.has_program("web0") && desk.has_program("web1"), "one that is missing does not keep the others");
    desk.front.ip(&["link", "del", "web1"]).expect("deleted");
    let at_once = Instant::now();
    daemon.says(&["WARN", "gone", "interface=web1"]);
    assert!(at_once.elapsed() < Duration::from_secs(1));
    daemon.told("STATUS=enforce: excess attempts are dropped; attached to web0; MISSING: dmz0, web1");
    daemon.says(&["WARN", "missing", "interface=web1"]);
    daemon.says_times(2, &["WARN", "missing", "interface=dmz0"]);
    // One that was never there is attached when it comes.
    desk.front.ip(&["link", "add", "dmz0", "type", "veth", "peer", "name", "far9"]).expect("a veth");
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
        .ip(&["link", "add", "dummy7", "index", &index.to_string(), "type", "veth", "peer", "name", "dummy8"])
        .expect("the index is taken");
    elsewhere.ip(&["link", "set", "web0", "netns", desk.front.name()]).expect("moved back");
    daemon.says(&["INFO", "under another index"]);
    let all = interfaces(&desk);
    assert_eq!((all.len(), &all[0]["name"], &all[0]["attachment"]), (1, &"web0".into(), &"native".into()));
    assert_ne!(all[0]["index"], index);
    // What is detached by hand stays detached, until the file is read again.
    desk.ok("attach web1");
    daemon.says(&["INFO", "watched", "interface=web1"]);
    desk.ok("detach web0");
    daemon.says(&["WARN", "detached by somebody", "interface=web0"]);
    desk.front.ip(&["link", "set", "web0", "down"]).expect("down");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!desk.has_program("web0"));
    daemon.reload();
    assert!(desk.has_program("web0"));
    daemon.end();
}

#[test]
fn killed_it_leaves_all_in_force_and_the_next_one_takes_over() {
    let (desk, client) = wired();
    let daemon = Daemon::ready(&desk, "run");
    desk.ok("set --source-burst 11");
    desk.ok("arm --for 1h");
    let before = desk.json("status --quick");
    daemon.kill();
    assert_eq!(arrive(&client, 13), 11, "limits stay");
    let index = interfaces(&desk)[0]["index"].clone();
    let daemon = Daemon::ready(&desk, "run");
    daemon.says(&["loaded already", "stay"]);
    daemon.says(&["WARN", "says otherwise", "burst 11 -> 1/min, burst 10", "SIGHUP"]);
    let after = desk.json("status --quick");
    assert_eq!((&after["generation"], &after["source_limit"]), (&before["generation"], &before["source_limit"]));
    assert_eq!((&after["reverts"]["mode"], &after["interfaces"][0]["index"]), (&"observe".into(), &index));
    assert_eq!(arrive(&client, 3), 0, "without a gap");
    // What went while nobody was there.
    daemon.kill();
    desk.front.ip(&["link", "del", "web0"]).expect("deleted");
    lay(&desk, &client);
    assert_eq!(arrive(&client, 3), 3, "a new device has no limits");
    let daemon = Daemon::ready(&desk, "run");
    daemon.says(&["INFO", "attached", "interface=web0"]);
    assert_eq!((arrive(&client, 3), interfaces(&desk).len()), (0, 1));
    daemon.end();
}

/// A command that takes long, such as `limiter trace`, delays the daemon and does not stop it.
#[test]
fn a_lock_that_is_held_for_long_is_waited_for() {
    let (desk, client) = wired();
    let daemon = Daemon::ready(&desk, "run");
    let lock = fs::File::open(desk.pins()).expect("a directory");
    lock.lock().expect("locked");
    desk.front.ip(&["link", "del", "web0"]).expect("deleted");
    lay(&desk, &client);
    daemon.says(&["ERROR", "is changing limiter", "tried again"]);
    assert!(!desk.has_program("web0"));
    std::thread::sleep(Duration::from_secs(3));
    drop(lock);
    daemon.says(&["INFO", "attached", "missing_seconds", "interface=web0"]);
    daemon.says_times(2, &["INFO", "attached", "interface=web0"]);
    assert_eq!(daemon.said().iter().filter(|line| line.contains("ERROR")).count(), 1, "{:#?}", daemon.said());
    daemon.end();
}

#[test]
fn a_second_one_is_refused() {
    let (desk, _client) = wired();
    let daemon = Daemon::ready(&desk, "run");
    let pid = daemon.child.id();
    let (pins, text) = (desk.pins(), format!("process {pid} (limiter)"));
    let refuse = || {
        let mut second = Daemon::start(&desk, "run");
        assert_eq!(second.code(), Some(1));
        second.says(&[&text, "is already the daemon of", pins.to_str().expect("a path"), "--pins"]);
    };
    refuse();
    // Unloading takes away the pins, and not the place.
    desk.ok("detach --all");
    daemon.says(&["WARN", "unloaded by somebody else"]);
    refuse();
    assert!(desk.left().is_empty(), "{:?}", desk.left());
    daemon.kill();
    let daemon = Daemon::ready(&desk, "run");
    assert!(desk.has_program("web0"));
    daemon.end();
}

#[test]
fn unloaded_by_hand_it_waits_to_be_told() {
    let (desk, _client) = wired();
    let daemon = Daemon::ready(&desk, "run --detach-on-exit");
    desk.ok("detach --all");
    daemon.says(&["WARN", "unloaded by somebody else", "SIGHUP"]);
    daemon.told("STATUS=limiter is not loaded");
    desk.front.ip(&["link", "set", "web0", "down"]).expect("down");
    std::thread::sleep(Duration::from_millis(1200));
    assert!(!desk.has_program("web0"));
    daemon.reload();
    assert!(desk.has_program("web0"));
    assert_eq!(desk.json("status --quick")["mode"], "enforce");
    daemon.end();
    assert!(desk.left().is_empty() && !desk.has_program("web0"), "--detach-on-exit");
    let last = desk.json("history --last 1");
    assert_eq!(
        (&last[0]["changed"][0], &last[0]["after"]),
        (&"limiter is unloaded; nothing of it is left".into(), &Value::Null)
    );
}

#[test]
fn what_goes_back_by_itself_is_followed() {
    let (desk, _client) = wired();
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    let challenge = format!(
        "set_syncookies = true\n{}challenge = \"always\"\ntickets = \"15m\"\n",
        LIMITED.replace("enforce", "observe")
    );
    write(&desk, &challenge);
    let daemon = Daemon::ready(&desk, "run");
    desk.ok("arm --for 1s");
    daemon.says(&["INFO", "went back by itself", "mode enforce -> observe"]);
    let history = desk.json("history");
    let entries = history.as_array().expect("a list");
    let last = entries.last().expect("an entry");
    assert_eq!(last["changed"], json!(["went back by itself: mode enforce -> observe"]));
    assert_eq!((&last["before"]["mode"], &last["after"]["mode"]), (&"enforce".into(), &"observe".into()));
    assert_eq!(entries[entries.len() - 2]["back"], "done");
    // A policy on trial, with nobody but the daemon to put the setting back.
    write(&desk, &challenge.replace("1/min", "7/min").replace("observe", "enforce"));
    desk.ok(&format!("apply {} --confirm 1s", policy(&desk).display()));
    let read = || desk.front.run(|| Ok(fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies")?)).expect("the setting");
    assert_eq!(read(), "2\n");
    daemon.says(&["INFO", "went back by itself", "the policy before decides again", "7/min, burst 10 -> 1/min"]);
    let entries = desk.json("history").as_array().expect("a list").len();
    assert_eq!(read(), "1\n");
    // The next daemon does not tell it again, and finds what nobody told.
    daemon.end();
    let daemon = Daemon::ready(&desk, "run");
    daemon.end();
    assert_eq!(desk.json("history").as_array().expect("a list").len(), entries);
    desk.ok("arm --for 100ms");
    std::thread::sleep(Duration::from_millis(200));
    let daemon = Daemon::ready(&desk, "run");
    daemon.says(&["went back by itself"]);
    assert_eq!(desk.json("history").as_array().expect("a list").len(), entries + 2);
    daemon.end();
}

/// The journal has the time and takes the level from the line; systemd hears that the daemon lives.
#[test]
fn under_systemd() {
    let (desk, _client) = wired();
    let log = desk.state.path().join("journal");
    let journal = fs::File::create(&log).expect("a file");
    let stream = journal.metadata().map(|file| format!("{}:{}", file.dev(), file.ino())).expect("metadata");
    let furnish = |command: &mut Command| {
        command.env("JOURNAL_STREAM", &stream).env("WATCHDOG_USEC", "400000");
    };
    // A pipe that is not the journal's stream.
    let daemon = Daemon::with(&desk, "run --log json", furnish);
    daemon.told("READY=1");
    daemon.told("WATCHDOG=1");
    daemon.told("WATCHDOG=1");
    let line = daemon.says(&["is in force"]);
    let value: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&value["level"], &value["mode"]), (&"INFO".into(), &"enforce".into()));
    assert!(value["timestamp"].is_string(), "{line}");
    daemon.end();
    let mut command = desk.command("run --log json");
    furnish(command.env("LIMITER_POLICY", policy(&desk)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal));
    let mut child = command.spawn().expect("runs");
    let (start, said) = (Instant::now(), || fs::read_to_string(&log).expect("text"));
    while !said().contains("loaded already") {
        assert!(start.elapsed() < PATIENCE, "{}", said());
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let text = said();
    let line = text.lines().next().expect("a line");
    let value: Value = serde_json::from_str(line.strip_prefix("<6>").expect("a level")).expect("JSON");
    assert!(value["timestamp"].is_null() && value["level"] == "INFO", "{line}");
}

/// In a minute of rest it uses next to no time, and then notices what somebody changed of the kernel's settings.
#[test]
fn a_minute_of_rest() {
    let (desk, _client) = wired();
    desk.front.sysctl("ipv4/tcp_timestamps", "1").expect("the namespace's own setting");
    let daemon = Daemon::ready(&desk, "run");
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.child.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let number = |field: usize| fields[field].parse::<f64>().expect("a number");
        number(11) + number(12)
    };
    let (start, before) = (Instant::now(), ticks());
    desk.front.sysctl("ipv4/tcp_timestamps", "2").expect("the namespace's own setting");
    std::thread::sleep(Duration::from_secs(62));
    let used = (ticks() - before) / rustix::param::clock_ticks_per_second() as f64;
    let share = 100.0 * used / start.elapsed().as_secs_f64();
    println!("{used:.2} s of CPU in {:.1} s: {share:.3}% of a core", start.elapsed().as_secs_f64());
    assert!(share < 0.5, "{share}%");
    daemon.says(&["WARN", "somebody changed settings of TCP", "timestamps no", "timestamps yes"]);
    assert_eq!(desk.json("status --quick")["cookies"]["keeps_options"], true);
    daemon.end();
}
