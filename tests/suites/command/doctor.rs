//! doctor on a machine where all is well, and on machines with one thing wrong each.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::{Command, Output};
use std::time::Duration;

use lab::Trivial;
use lab::wait::{PATIENCE, until_so};
use serde_json::Value;

use super::{Desk, binary, live};

const ATTACH: &str = "attach web0 --service web=*:80 --source-rate 20/s";

/// What doctor found, and its exit code.
pub struct Found {
    all: Vec<Value>,
    code: Option<i32>,
}

impl Found {
    fn of(output: &Output) -> Self {
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        Self {
            all: serde_json::from_slice(&output.stdout).expect("a list"),
            code: output.status.code(),
        }
    }

    /// The one finding that says `words`: its level, and area, words and advice in one text.
    #[track_caller]
    fn one(&self, words: &str) -> (&str, String) {
        let says =
            |finding: &&Value| finding["what"].as_str().is_some_and(|what| what.contains(words));
        let found: Vec<_> = self.all.iter().filter(says).collect();
        assert_eq!(found.len(), 1, "one `{words}` in {:#?}", self.all);
        let text = |key: &str| found[0][key].as_str().unwrap_or_default();
        (text("level"), format!("{}: {}; {}", text("area"), text("what"), text("advice")))
    }

    /// Asserts one finding: its level, the words that it says, and what is in it as a whole.
    #[track_caller]
    fn says(&self, level: &str, words: &str, also: &[&str]) {
        let (is, text) = self.one(words);
        assert_eq!(is, level, "{text}");
        assert!(also.iter().all(|word| text.contains(word)), "{text}: expected {also:?}");
    }

    pub fn has(&self, words: &str) -> bool {
        self.all
            .iter()
            .any(|finding| finding["what"].as_str().is_some_and(|what| what.contains(words)))
    }

    fn count(&self, level: &str) -> usize {
        self.all.iter().filter(|finding| finding["level"] == level).count()
    }
}

pub fn doctor(desk: &Desk, arguments: &str) -> Found {
    Found::of(&desk.output(&format!("doctor --json {arguments}")))
}

/// A socket of the front end that listens on port 80, with room for `backlog` connections.
pub fn listen(desk: &Desk, backlog: i32) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let make = || {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 80)))?;
        listen(&socket, backlog)?;
        Ok(socket)
    };
    desk.front.run(make).expect("a listener")
}

#[test]
fn not_loaded() {
    let desk = Desk::new();
    let found = doctor(&desk, "web0");
    assert_eq!((found.code, found.count("problem")), (Some(0), 0), "{:#?}", found.all);
    found.says("ok", "not loaded", &["limiter attach IFACE"]);
    found.says("ok", "takes the program", &["kernel"]);
    found.says("ok", "free, and the driver (veth) runs XDP programs", &["interface web0"]);
    assert!(desk.left().is_empty() && desk.becomes_free("web0"), "it changes nothing");
    let found = doctor(&desk, "web0 nosuch0");
    assert_eq!(found.code, Some(1));
    found.says("problem", "no such interface", &["interface nosuch0", "web0"]);
    // Nothing leads out and nothing is attached: all that are up.
    let found = doctor(&desk, "");
    assert!(
        ["web0", "far1"]
            .iter()
            .all(|name| found.all.iter().any(|one| one["area"] == format!("interface {name}")))
    );
    let text = desk.ok("doctor");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("no problems"), "{text}");
}

#[test]
fn loaded_and_attached() {
    let desk = Desk::new();
    desk.ok(&format!("{ATTACH} --budget 1000/s --budget-burst 2000"));
    let _server = listen(&desk, 4096);
    let found = doctor(&desk, "");
    assert_eq!((found.code, found.count("problem")), (Some(0), 0), "{:#?}", found.all);
    found.says("ok", "mode observe, 1 service", &["limiter"]);
    found.says("ok", "is the one of this command", &[]);
    found.says("ok", "limiter runs in the driver (veth)", &["interface web0"]);
    found.says("ok", "0.0.0.0:80: 0 of 4,096 places", &["service web"]);
    found.says("ok", "0 of 524,288 entries", &["source table"]);
    found.says("ok", "the host's budget", &["budgets"]);
    assert!(
        !found.all.iter().any(|one| one["area"] == "interface web1"),
        "only where it is attached"
    );
    let text = desk.ok("doctor");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    desk.ok("detach --all");
    desk.ok(&format!("{ATTACH} --generic"));
    doctor(&desk, "").says(
        "warning",
        "slow generic path",
        &["could run it itself", "limiter detach web0"],
    );
}

/// One of the policy file that another operator took limiter off.
#[test]
fn an_interface_of_the_file_is_not_attached() {
    let desk = Desk::new();
    let policy = "interfaces = [\"web0\", \"web1\"]\n[service.web]\nlisten = \"*:80\"\n";
    std::fs::write(desk.policy(), policy).expect("a policy");
    desk.ok("apply");
    assert!(!doctor(&desk, "").has("the policy file names"));
    desk.ok("detach web1");
    let found = doctor(&desk, "");
    assert_eq!(found.code, Some(1));
    let words = "the policy file names web1, and limiter is not attached to it";
    found.says("problem", words, &["`limiter attach web1`"]);
}

#[test]
fn somebody_else_is_on_the_interface() {
    let desk = Desk::new();
    let _other = Trivial::Pass.attach(&desk.front, "web1").expect("a foreign program");
    let found = doctor(&desk, "web1");
    assert_eq!(found.code, Some(1));
    found.says(
        "problem",
        "another XDP program",
        &["interface web1", "`pass`", "ip link set dev web1 xdp off"],
    );
}

#[test]
fn a_challenge_and_what_it_needs() {
    let desk = Desk::new();
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    desk.ok(ATTACH);
    doctor(&desk, "").says("ok", "tcp_syncookies is 1", &[]);
    desk.ok("set --service web --challenge auto");
    let found = doctor(&desk, "");
    found.says("warning", "NOBODY IS CHALLENGED", &["settings", "--set-syncookies yes"]);
    found.says("warning", "tcp_timestamps is not 2", &["window scaling"]);
    found.says("problem", "do not leave web0", &["far0", "the other end of this veth", "attach"]);
    let _program = Trivial::Pass.attach(&desk.front, "far0").expect("a program");
    doctor(&desk, "").says("ok", "nothing was found that keeps a challenge from working", &[]);
    desk.front.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
    desk.front.sysctl("ipv4/tcp_timestamps", "2").expect("the namespace's own setting");
    let found = doctor(&desk, "");
    found.says("ok", "tcp_syncookies is 2", &[]);
    found.says(
        "problem",
        "have changed since limiter looked",
        &["`limiter set --set-syncookies no`"],
    );
    desk.ok("set --set-syncookies no");
    doctor(&desk, "").says("ok", "tcp_timestamps is 2", &[]);
    // What limiter set itself, and somebody took away.
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    desk.ok("set --set-syncookies yes");
    doctor(&desk, "").says("ok", "tcp_syncookies is 1; limiter sets it", &[]);
    desk.ok("arm");
    desk.front.sysctl("ipv4/tcp_syncookies", "0").expect("the namespace's own setting");
    doctor(&desk, "").says(
        "problem",
        "NOBODY IS CHALLENGED",
        &["`limiter set --set-syncookies yes`"],
    );
    let status = desk.ok("status --quick");
    assert!(status.contains("NOBODY IS CHALLENGED: another process changed it"), "{status}");
    desk.ok("set --set-syncookies yes");
    doctor(&desk, "").says("ok", "tcp_syncookies is 2", &[]);
}

#[test]
fn servers() {
    let desk = Desk::new();
    desk.ok(&format!("{ATTACH} --budget 100/s --budget-burst 200"));
    doctor(&desk, "").says(
        "warning",
        "no server listens on *:80",
        &["service web", "start the server"],
    );
    let server = listen(&desk, 16);
    let found = doctor(&desk, "");
    assert!(!found.has("no server listens"));
    found.says("warning", "0 of 16 places", &["lets 200 in at once", "backlog"]);
    // Nobody accepts: seventeen are connected, and the others find no room.
    let connect = || {
        let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80));
        let connect = |number: u32| {
            let patience = if number < 17 { PATIENCE } else { Duration::from_millis(300) };
            std::net::TcpStream::connect_timeout(&address, patience).ok()
        };
        Ok((0..20).map(connect).collect::<Vec<_>>())
    };
    let _clients = desk.front.run(connect).expect("clients");
    until_so("the kernel sees them", || {
        let found = doctor(&desk, "");
        found.has("17 of 16 places") && found.has("ListenOverflows")
    });
    let found = doctor(&desk, "");
    assert_eq!(found.code, Some(1));
    found.says("problem", ":80: 17 of 16 places", &["hardly accepts"]);
    found.one("ListenOverflows");
    drop(server);
}

#[test]
fn what_killed_commands_left() {
    let desk = Desk::new();
    // No process has a number above the kernel's limit of 2^22.
    std::fs::create_dir_all(desk.pins().join("staging-99999999")).expect("a directory");
    let found = doctor(&desk, "web0");
    found.says("warning", "staging-99999999", &["killed", "sweeps"]);
    assert_eq!(desk.left(), ["staging-99999999"], "it changes nothing");
    desk.ok(ATTACH);
    assert!(!doctor(&desk, "").has("staging"), "swept");
    std::fs::create_dir_all(desk.pins().join("v999")).expect("a directory");
    doctor(&desk, "").says("warning", "layout v999", &[]);
    let root = limiter::kernel::Pins::at(desk.pins()).root();
    std::fs::remove_file(root.join("HOST")).expect("removed");
    let found = doctor(&desk, "");
    assert_eq!(found.code, Some(1));
    found.says("problem", "cannot be used", &["HOST", "detach --all"]);
    std::fs::remove_dir_all(root.join("links")).expect("removed");
    std::fs::rename(&root, desk.pins().join("v998")).expect("renamed");
    doctor(&desk, "").says("problem", "of another version", &["v998", "detach --all"]);
}

#[test]
fn a_device_that_is_gone() {
    let desk = Desk::new();
    desk.ok("attach web0 web1 --service web=*:80");
    let index = desk.json("status --quick")["interfaces"][0]["index"].as_u64().expect("an index");
    desk.front.ip(&["link", "del", "web0"]).expect("deleted");
    let found = doctor(&desk, "");
    assert_eq!(found.code, Some(1));
    let gone = format!("interface with index {index} is gone");
    found.says("problem", &gone, &[&format!("`limiter detach {index}`"), "limiter attach"]);
    found.says("ok", "limiter runs in the driver", &["interface web1"]);
    desk.ok(&format!("detach {index}"));
    assert!(!doctor(&desk, "").has(&gone));
    // Another namespace's is there, and not ours to judge.
    let other = Desk::new();
    let there = lab::Desk::over(&other.front, desk.pins().to_owned()).expect("a desk");
    let found = Found::of(&there.output("doctor --json"));
    found.says("warning", "of another network namespace", &["nsenter"]);
    assert!(!found.has(&gone));
}

#[test]
fn a_trace_that_was_killed() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    assert!(!doctor(&desk, "").has("tracing"));
    let mut trace = live::trace(&desk);
    trace.kill().expect("killed");
    trace.wait().expect("ended");
    doctor(&desk, "").says("warning", "runs the tracing program", &["limiter trace --stop"]);
    desk.ok("trace --stop");
    assert!(!doctor(&desk, "").has("tracing"));
}

#[test]
fn bans_that_have_expired() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    desk.ok("ban add 198.51.100.7 --for 1s");
    until_so("it expires", || doctor(&desk, "").has("have expired"));
    doctor(&desk, "").says(
        "warning",
        "1 bans have expired",
        &["lists", "limiter ban add 192.0.2.1 --for 1s"],
    );
    // As it says, but for longer than until the next command.
    desk.ok("ban add 192.0.2.1 --for 1h");
    desk.ok("ban del 192.0.2.1");
    doctor(&desk, "").says("ok", "0 entries, 0 bans", &[]);
}

#[test]
fn on_trial() {
    let desk = Desk::new();
    desk.front.ip(&["link", "add", "dull0", "type", "bridge"]).expect("a bridge");
    let found = doctor(&desk, "web0 dull0");
    found.says("warning", "runs no XDP program itself", &["interface dull0", "--generic"]);
    found.says("warning", "is down", &["interface dull0"]);
    let found = doctor(&desk, "web0 dull0 --try");
    assert_eq!(found.code, Some(1));
    found.says("ok", "takes the program: it was tried", &["interface web0"]);
    found.says("problem", "tried: the driver of dull0 runs no XDP", &["interface dull0"]);
    assert!(desk.becomes_free("web0") && desk.becomes_free("dull0") && desk.left().is_empty());
}

/// It works for everybody, and says what it could not see.
#[test]
fn as_nobody() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let copy = std::env::temp_dir().join(format!("limiter-doctor-{}", std::process::id()));
    std::fs::copy(binary(), &copy).expect("a copy");
    let nobody = |desk: &Desk, arguments: &[&str]| {
        let mut command: Command = desk.front.command("setpriv").expect("a command");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&copy);
        command
            .arg("doctor")
            .args(arguments)
            .env("LIMITER_PINS", desk.pins())
            .output()
            .expect("runs")
    };
    let found = Found::of(&nobody(&desk, &["web0", "--json"]));
    assert_eq!((found.code, found.count("problem")), (Some(0), 0), "{:#?}", found.all);
    found.says("warning", "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF", &["this user", "root"]);
    let parts = ["whether the kernel takes the program", "what is loaded", "XDP program on web0"];
    found.says(
        "warning",
        "whether the kernel takes",
        &[&parts[..], &["not looked at", "as root"]].concat(),
    );
    found.says("ok", "tcp_syncookies", &["settings"]);
    let text = nobody(&desk, &[]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("not looked at"));
    assert!(desk.has_program("web0"));
    std::fs::remove_file(&copy).expect("removed");
}
