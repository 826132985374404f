//! The daemon: how it begins and ends, what it costs and tells, and that limits do not need it.
//! `devices` and `file` have what is between; tests start it by `daemon`, on the `front`.

mod daemon;
mod devices;
mod file;
mod front;
mod log;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::wait::{PATIENCE, until_so};
use limiter::kernel::{Maps, Pins};
use serde_json::{Value, json};

use super::{Desk, binary};
use daemon::Daemon;
use front::{SERVER, arrive, interfaces, lay, none_arrives, policy, wired, write};

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
    let words = ["WARN", "another process changed net.ipv4.tcp_syncookies", "was=1", "is=2"];
    // What settles after `arm` may be there before it, and sets it again without a word.
    until_so("the daemon sets it again", || {
        let lines = daemon.said();
        let is_said = lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
        if !is_said && super::cookies::syncookies(&desk) == "2" {
            desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
        }
        is_said
    });
    until_so("it is set again", || super::cookies::syncookies(&desk) == "2");
    let took = start.elapsed();
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
