//! The daemon: how it begins and ends, what it costs and tells, and that limits do not need it. `devices` and `file` have what is between.

mod devices;
mod file;
mod log;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lab::Namespace;
use lab::wait::{PATIENCE, until_so};
use limiter::kernel::{Maps, Pins};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Desk, binary};

const SERVER: &str = "10.79.0.1:80";
/// Ten connections of one source, and then one an hour.
const LIMITED: &str = "interfaces = [\"web0\"]\nmode = \"enforce\"\nsources = 4096\n[defaults]\nsource_rate = \"1/h\"\n\
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
        Self::of(desk, desk.command(line), furnish)
    }

    fn of(desk: &Desk, mut command: Command, furnish: impl FnOnce(&mut Command)) -> Self {
        let socket = desk.file("notify");
        let _ = fs::remove_file(&socket);
        let manager = UnixDatagram::bind(&socket).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        command.env("NOTIFY_SOCKET", &socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        furnish(&mut command);
        let mut child = command.spawn().expect("runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, kept) = (child.stderr.take(), Arc::clone(&lines));
        // None: a test gave it another place for its log.
        let reader = output.map(|output| {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    kept.lock().expect("no panic").push(line);
                }
            })
        });
        Self { child, lines, reader, manager }
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
            let mut holding =
                lines.iter().filter(|line| words.iter().all(|word| line.contains(word)));
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
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
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
    desk.policy()
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
    desk.front
        .ip(&["link", "add", "web0", "type", "veth", "peer", "name", "far0", "netns", peer])
        .expect("a veth");
    desk.front.ip_batch("addr add 10.79.0.1/24 dev web0\nlink set web0 up\n").expect("up");
    client.ip_batch("addr add 10.79.0.2/24 dev far0\nlink set far0 up\n").expect("up");
}

/// Connects until so many SYNs have reached the front end, whose kernel refuses them: nobody
/// listens. SYNs are counted there, because one whose answer is late is sent again, and pays again.
#[track_caller]
fn arrive(desk: &Desk, client: &Namespace, count: u64) {
    let before = refused(desk);
    until_so("they arrive", || {
        connect(client);
        refused(desk) - before >= count
    });
}

/// Asserts that a client has no connection left.
#[track_caller]
fn none_arrives(desk: &Desk, client: &Namespace) {
    let before = refused(desk);
    (0..3).for_each(|_| connect(client));
    assert_eq!(refused(desk) - before, 0);
}

/// A SYN that was dropped is sent again after a second.
fn connect(client: &Namespace) {
    let server: SocketAddr = SERVER.parse().expect("an address");
    let patience = Duration::from_millis(900);
    let connect = || Ok(TcpStream::connect_timeout(&server, patience).is_ok());
    assert!(!client.run(connect).expect("a thread"), "nobody listens");
}

/// SYNs that the kernel of the front end has refused.
fn refused(desk: &Desk) -> u64 {
    let read = || Ok(fs::read_to_string("/proc/thread-self/net/snmp")?);
    let text = desk.front.run(read).expect("counters");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut counters = names.split(' ').zip(values.split(' '));
    let found = counters.find(|(name, _)| *name == "OutRsts").expect("a counter");
    found.1.parse().expect("a number")
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
    assert_eq!(
        daemon.told("STATUS="),
        "STATUS=enforce: excess attempts are dropped; attached to web0\n"
    );
    daemon.told("READY=1");
    daemon.says(&["INFO", "the policy file is in force", "mode=\"enforce\"", "service web: new"]);
    assert!(desk.has_program("web0"));
    // It is limited from the first packet on.
    arrive(&desk, &client, 10);
    none_arrives(&desk, &client);
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
fn killed_it_leaves_all_in_force_and_the_next_one_takes_over() {
    let (desk, client) = wired();
    let daemon = Daemon::ready(&desk, "run");
    desk.ok("set --source-burst 11");
    desk.ok("arm --for 1h");
    let before = desk.json("status --quick");
    daemon.kill();
    // Limits stay.
    arrive(&desk, &client, 11);
    none_arrives(&desk, &client);
    let index = interfaces(&desk)[0]["index"].clone();
    let daemon = Daemon::ready(&desk, "run");
    daemon.says(&["loaded already", "stay"]);
    daemon.says(&["WARN", "says otherwise", "burst 11 -> 1/h, burst 10", "SIGHUP"]);
    let after = desk.json("status --quick");
    assert_eq!(
        (&after["generation"], &after["source_limit"]),
        (&before["generation"], &before["source_limit"])
    );
    assert_eq!(
        (&after["reverts"]["mode"], &after["interfaces"][0]["index"]),
        (&"observe".into(), &index)
    );
    none_arrives(&desk, &client);
    // What went while nobody was there.
    daemon.kill();
    desk.front.ip(&["link", "del", "web0"]).expect("deleted");
    lay(&desk, &client);
    // A new device has no limits.
    arrive(&desk, &client, 3);
    let daemon = Daemon::ready(&desk, "run");
    daemon.says(&["INFO", "attached", "interface=web0"]);
    none_arrives(&desk, &client);
    assert_eq!(interfaces(&desk).len(), 1);
    daemon.end();
}

/// While clients come, it sees what the kernel answers them, so that challenges say the same; without
/// CAP_NET_RAW it says that it cannot, once.
#[test]
fn what_the_kernel_answers_is_learnt() {
    let (desk, client) = wired();
    let _peer = lab::Trivial::Pass.attach(&client, "far0").expect("a program at the other end");
    desk.front.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
    write(
        &desk,
        "interfaces = [\"web0\"]\nmode = \"enforce\"\nsources = 4096\n[service.web]\n\
         listen = \"*:80\"\nbudget = \"1000/s\"\nchallenge = \"auto\"\n",
    );
    desk.front
        .ip_batch("route change 10.79.0.0/24 dev web0 src 10.79.0.1 advmss 1220\n")
        .expect("a route");
    let server: SocketAddr = SERVER.parse().expect("an address");
    let listener = desk.front.run(|| Ok(TcpListener::bind(server)?)).expect("a listener");
    let mut less = desk.program("setpriv");
    less.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"]).arg(binary()).arg("run");
    let confined = Daemon::of(&desk, less, |_| {});
    confined.says(&["WARN", "answers to challenges cannot follow", "CAP_NET_RAW"]);
    confined.end();
    let daemon = Daemon::ready(&desk, "run");
    let learnt = || {
        let address = client.run(|| Ok(TcpStream::connect(server)?));
        drop((address.expect("a connection"), listener.accept().expect("the same")));
        let maps = Maps::open(&Pins::at(desk.pins()).root()).expect("limiter is loaded");
        maps.own_answers().expect("they can be read")
    };
    let own = lab::wait::until("a look at what the kernel answers", || learnt().pop());
    assert_eq!((own.0.to_string(), own.1, own.2.mss()), ("web".to_owned(), false, Some(1220)));
    let doctor = desk.command("doctor").output().expect("runs");
    let text = String::from_utf8_lossy(&doctor.stdout);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("web over IPv4 say what the kernel says: MSS 1220"), "{text}");
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
    daemon.says(&["WARN", "another command unloaded limiter"]);
    refuse();
    assert!(desk.left().is_empty(), "{:?}", desk.left());
    daemon.kill();
    let daemon = Daemon::ready(&desk, "run");
    assert!(desk.has_program("web0"));
    daemon.end();
}

/// The journal has the time and takes the level from the line; systemd hears that the daemon lives.
#[test]
fn under_systemd() {
    let (desk, _client) = wired();
    let log = desk.file("journal");
    let journal = fs::File::create(&log).expect("a file");
    let stream =
        journal.metadata().map(|file| format!("{}:{}", file.dev(), file.ino())).expect("metadata");
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
    furnish(
        command
            .env("LIMITER_POLICY", policy(&desk))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(journal),
    );
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
    let value: Value =
        serde_json::from_str(line.strip_prefix("<6>").expect("a level")).expect("JSON");
    assert!(value["timestamp"].is_null() && value["level"] == "INFO", "{line}");
}

/// While proofs pay, another process that changes `tcp_syncookies` cuts new clients off.
#[test]
fn a_setting_that_is_changed_in_a_challenge_is_set_again() {
    set_again();
}

/// How long it takes.
fn set_again() -> Duration {
    let (desk, client) = wired();
    // Without a program there no answer would arrive, and the daemon would end the challenge.
    let _program = lab::Trivial::Pass.attach(&client, "far0").expect("a program");
    let daemon = Daemon::ready(&desk, "run");
    desk.ok("set --set-syncookies yes");
    desk.ok("set --service web --challenge always");
    desk.ok("arm");
    assert_eq!(super::cookies::syncookies(&desk), "2");
    let start = Instant::now();
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    until_so("it is set again", || super::cookies::syncookies(&desk) == "2");
    let took = start.elapsed();
    daemon.says(&["WARN", "another process changed net.ipv4.tcp_syncookies", "was=1", "is=2"]);
    daemon.end();
    took
}

/// After a minute of rest it notices what somebody changed of the kernel's settings.
#[test]
fn a_minute_of_rest() {
    let (desk, _client) = wired();
    desk.front.sysctl("ipv4/tcp_timestamps", "1").expect("the namespace's own setting");
    let daemon = Daemon::ready(&desk, "run");
    desk.front.sysctl("ipv4/tcp_timestamps", "2").expect("the namespace's own setting");
    daemon.says(&[
        "WARN",
        "another process changed TCP settings",
        "timestamps no",
        "timestamps yes",
    ]);
    assert_eq!(desk.json("status --quick")["cookies"]["keeps_options"], true);
    daemon.end();
}

mod measured {
    use super::*;

    /// The daemon looks every second then; in calm once a minute.
    #[test]
    fn a_setting_that_is_changed_in_a_challenge_is_set_again_at_once() {
        let took = set_again();
        assert!(took < Duration::from_secs(30), "{took:?}");
    }

    #[test]
    fn a_minute_of_rest_uses_next_to_no_time() {
        let (desk, _client) = wired();
        let daemon = Daemon::ready(&desk, "run");
        let ticks = || {
            let stat =
                fs::read_to_string(format!("/proc/{}/stat", daemon.child.id())).expect("it runs");
            let fields: Vec<&str> =
                stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
            let number = |field: usize| fields[field].parse::<f64>().expect("a number");
            number(11) + number(12)
        };
        let (start, before) = (Instant::now(), ticks());
        std::thread::sleep(Duration::from_secs(62));
        let (used, passed) = (ticks() - before, start.elapsed().as_secs_f64());
        let used = used / rustix::param::clock_ticks_per_second() as f64;
        let share = 100.0 * used / passed;
        println!("{used:.2} s of CPU in {passed:.1} s: {share:.3}% of a core");
        assert!(share < 0.5, "{share}%");
        daemon.end();
    }
}
