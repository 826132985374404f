//! What the systemd unit leaves to limiter is enough, and what it leaves away is missed with a clear word.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use lab::wait::until_so;
use limiter::kernel::room::ports;
use limiter::kernel::{Maps, Pins};

use super::{Desk, binary};

const UNIT: &str = include_str!("../../../packaging/limiter.service");
const ROOM: &str = include_str!("../../../packaging/limiter-room.service");
const ADOPT: &str = include_str!("../../../packaging/limiter-room.adopt.conf");
const ATTACH: &str =
    "attach web0 --service web=*:80 --source-rate 20/s --budget 100/s --set-syncookies";

/// The value of a key of the unit.
fn unit(key: &str) -> Vec<&'static str> {
    value(UNIT, key)
}

/// The value of a key of a unit or drop-in.
fn value(text: &'static str, key: &str) -> Vec<&'static str> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the unit has no {key}")).split_whitespace().collect()
}

/// The unit's capabilities as setpriv writes them, without one of them.
fn bounding(without: &str) -> String {
    let all = unit("CapabilityBoundingSet").into_iter().filter(|name| *name != without);
    set(all)
}

/// Capabilities as setpriv writes them.
fn set<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let names = all.map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()));
    format!("-all{}", names.collect::<String>())
}

/// The file system as the unit shows it: read-only but for the paths that it names.
const SANDBOX: &str = r#"
    state=$1; shift
    mount --bind "$state" "$state"
    for path in /sys /proc/sys; do mount --bind $path $path; done
    setting=/proc/sys/net/ipv4/tcp_syncookies
    mount --bind $setting $setting
    for path in / /sys /proc/sys; do mount -o remount,bind,ro $path; done
    exec "$@"
"#;

impl Desk {
    /// A command with no more than these capabilities, in the unit's file system.
    fn confined(&self, bounding: &str, line: &str) -> Output {
        self.confining(bounding, line).output().expect("runs")
    }

    fn confining(&self, bounding: &str, line: &str) -> Command {
        let mut command = self.front.command("unshare").expect("a command");
        command.args(["--mount", "sh", "-ec", SANDBOX, "sh"]).arg(self.state());
        command.args([
            "setpriv",
            "--inh-caps=-all",
            "--no-new-privs",
            &format!("--bounding-set={bounding}"),
        ]);
        self.furnish(command.arg(binary()).args(line.split_whitespace()));
        command
    }
}

#[test]
fn the_units_capabilities_are_enough() {
    let desk = Desk::new();
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    assert_eq!(
        unit("ReadWritePaths"),
        ["/sys/fs/bpf", "-/proc/sys/net/ipv4/tcp_syncookies"],
        "as the sandbox has it"
    );
    let all = bounding("");
    assert_eq!(all.matches(",+").count(), 4, "{all}");
    let read = || std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").map_err(Into::into);
    for line in [
        ATTACH,
        "status --quick",
        "set --budget 200/s",
        "set --service web --challenge always",
        "arm --for 1h",
        "ban add 192.0.2.0/24",
        "ban del 192.0.2.0/24",
        "upgrade",
        "history",
        "disarm",
        "attach web1",
        "detach web1",
        "arm",
    ] {
        let output = desk.confined(&all, line);
        let said = String::from_utf8_lossy(&output.stderr);
        // The other end of web0 has no program here, as `limiter` may see with these rights.
        let is_known = |line: &str| {
            line.starts_with("limiter: warning: a challenge will not work: answers to")
        };
        assert!(output.status.success() && said.lines().all(is_known), "limiter {line}: {said}");
        let challenges = line.starts_with("arm");
        assert!(
            !challenges || desk.front.run(read).expect("the setting").trim() == "2",
            "limiter {line}"
        );
    }
    let output = desk.confined(&all, "detach --all");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(desk.front.run(read).expect("the setting").trim(), "1");
    assert!(desk.becomes_free("web0") && desk.left().is_empty());
}

/// What loading takes. CAP_NET_RAW is for what the daemon learns, which goes without
/// (`run::what_the_kernel_answers_is_learnt`).
fn needed() -> impl Iterator<Item = &'static str> {
    unit("CapabilityBoundingSet").into_iter().filter(|name| *name != "CAP_NET_RAW")
}

#[test]
fn each_capability_that_is_missing_is_named() {
    let desk = Desk::new();
    for name in needed() {
        desk.refused(
            &desk.confined(&bounding(name), ATTACH),
            1,
            &["did not let us load", &format!("no {name};"), "root"],
        );
        assert!(desk.becomes_free("web0") && desk.left().is_empty());
    }
    desk.ok(ATTACH);
    for name in needed() {
        desk.refused(
            &desk.confined(&bounding(name), "upgrade"),
            1,
            &[&format!("no {name};"), "root"],
        );
        // What is loaded can be looked at, changed and ended.
        for line in ["status --quick", "set --budget 5/s", "arm", "disarm"] {
            assert!(
                desk.confined(&bounding(name), line).status.success(),
                "limiter {line} without {name}"
            );
        }
    }
    assert!(desk.confined("-all", "detach --all").status.success());
}

/// The waiting room's unit and its drop-in: a room that serves needs no look at other processes, one
/// that adopts does, and says so.
#[test]
fn the_rooms_capabilities_are_enough() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let maps = Maps::open(&Pins::at(desk.pins().to_owned()).root()).expect("maps");
    let opens = |bounding: &str, line: &str| {
        let mut command = desk.confining(bounding, line);
        let mut child = command.stderr(Stdio::null()).spawn().expect("runs");
        until_so("the room is open", || ports(&maps).is_ok_and(|all| all == [80]));
        child.kill().and_then(|()| child.wait()).expect("it ends");
    };
    let serves = value(ROOM, "CapabilityBoundingSet");
    opens(&set(serves.iter().copied()), "room --http 80");
    until_so("the room is closed", || ports(&maps).is_ok_and(|all| all.is_empty()));
    // Of this process, which has more capabilities.
    let bind = || Ok(TcpListener::bind("127.0.0.1:8080")?);
    let page = desk.front.run(bind).expect("a listener");
    let line = "room --adopt 127.0.0.1:8080=80";
    desk.refused(
        &desk.confined(&set(serves.iter().copied()), line),
        1,
        &["cannot adopt the socket at 127.0.0.1:8080", "CAP_SYS_PTRACE", "root"],
    );
    assert!(ports(&maps).expect("ports").is_empty());
    let adopts = value(ADOPT, "CapabilityBoundingSet");
    opens(&set(serves.into_iter().chain(adopts)), line);
    assert_eq!(ports(&maps).expect("ports"), [80], "it stays until its server closes it");
    drop(page);
    assert!(ports(&maps).expect("ports").is_empty());
    desk.ok("detach --all");
}

/// What the sandbox of these tests takes away is really gone; else they would show nothing.
#[test]
fn the_sandbox_is_closed() {
    let desk = Desk::new();
    let confined = |script: &str| {
        let mut command = desk.front.command("unshare").expect("a command");
        command.args(["--mount", "sh", "-ec", SANDBOX, "sh"]).arg(desk.state());
        command.args(["sh", "-c", script]).output().expect("runs").status.success()
    };
    assert!(
        !confined("echo 1 > /proc/sys/net/ipv4/ip_forward")
            && !confined("touch /etc/limiter-was-here")
    );
    assert!(confined("echo 1 > /proc/sys/net/ipv4/tcp_syncookies"));
    assert!(
        Command::new("findmnt")
            .args(["-no", "OPTIONS", "/proc/sys"])
            .output()
            .is_ok_and(|out| out.stdout.is_empty())
    );
}
