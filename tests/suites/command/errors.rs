//! What goes wrong is said in one sentence with what to do, and leaves nothing half done.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lab::Trivial;
use lab::wait::until_so;
use rustix::fs::{FlockOperation, flock};

use super::{Desk, binary};

const ATTACH: &str = "attach web0 --service web=*:80 --source-rate 20/s";

#[test]
fn what_is_not_there() {
    let desk = Desk::new();
    for command in [
        "status",
        "arm",
        "disarm",
        "set --budget 5/s",
        "ban list",
        "ban add 192.0.2.1",
        "detach web0",
        "trace",
    ] {
        desk.fails(command, 1, &["not loaded", "limiter attach"]);
    }
    desk.fails("attach nosuch0 --service web=*:80", 1, &["nosuch0", "web0"]);
    desk.fails("attach web0 nosuch0 --service web=*:80", 1, &["nosuch0"]);
    assert!(
        desk.becomes_free("web0") && desk.left().is_empty(),
        "the first of two was not attached either"
    );
    desk.ok(ATTACH);
    desk.fails("attach web0", 1, &["already attached to web0"]);
    desk.fails("attach web1 web0", 1, &["already attached to web0"]);
    assert!(desk.becomes_free("web1"));
    desk.fails("detach web1", 1, &["not attached to web1"]);
    desk.fails("detach web0 web1", 1, &["not attached to web1"]);
    assert!(desk.has_program("web0"), "all or none");
    desk.fails("set --service mail --budget 5/s", 1, &["mail", "web"]);
    desk.fails("ban del 192.0.2.1", 1, &["192.0.2.1", "ban list"]);
    desk.ok("detach web0");
    assert!(desk.becomes_free("web0") && desk.left().is_empty());
    desk.ok("detach --all");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let desk = Desk::new();
    let wrong = [
        "",
        "frobnicate",
        "attach",
        "detach",
        "set --source-rate 0/s",
        "set --source-rate fast",
        "ban add 1.2.3",
        "ban add 10.1.1.1/8",
    ];
    for line in wrong {
        assert_eq!(desk.output(line).status.code(), Some(2), "limiter {line}");
    }
    desk.fails("attach web0 --source-burst 5", 2, &["--source-rate"]);
    desk.ok(ATTACH);
    desk.fails("attach web1 --budget 5/s", 2, &["already loaded", "limiter set"]);
    desk.fails("set", 2, &["nothing to set"]);
    desk.fails("set --source-rate none --source-burst 4", 2, &["none"]);
}

/// Mistakes as operators make them: what was meant is named, and options of the environment do not
/// look required.
#[test]
fn wrong_usage_is_told_as_it_is() {
    let desk = Desk::new();
    let said = |line: &str| {
        let output = desk.output(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(said("arm 30m").contains("`--for 30m`"));
    assert!(said("ban add 192.0.2.7 2h").contains("`--for 2h`"));
    let detach = said("detach");
    assert!(
        detach.contains("<IFACE>") && !detach.contains("--pins") && !detach.contains("--history"),
        "{detach}"
    );
    let nothing = said("");
    assert!(nothing.contains("Commands:") && !nothing.contains("settle"), "{nothing}");
    assert!(said("history --last 0").contains("--last"));
}

/// Limits that cannot be kept change nothing.
#[test]
fn impossible_limits() {
    let desk = Desk::new();
    desk.fails("attach web0 --service web=*:80 --source-rate 50000/s", 1, &["19531/s"]);
    desk.fails(
        "attach web0 --service a=*:80 --service b=0.0.0.0:80",
        1,
        &["0.0.0.0:80", "in service a", "service b"],
    );
    assert!(desk.becomes_free("web0") && desk.left().is_empty());
    desk.ok(ATTACH);
    let before = desk.json("status --quick");
    desk.fails("set --source-rate 1/h --source-burst 100", 1, &["takes longer than 1day"]);
    desk.fails("set --budget 100000/s --budget-burst 10", 1, &["burst of 1000 or more"]);
    let after = desk.json("status --quick");
    assert_eq!(
        (&before["source_limit"], &before["budget"]),
        (&after["source_limit"], &after["budget"])
    );
}

#[test]
fn a_foreign_program_is_named_and_left_alone() {
    let desk = Desk::new();
    let other = Trivial::Pass.attach(&desk.front, "web1").expect("a foreign program");
    desk.fails(
        "attach web0 web1 --service web=*:80",
        1,
        &["web1", "`pass`", "ip link set dev web1 xdp off"],
    );
    assert!(desk.has_program("web1") && desk.becomes_free("web0") && desk.left().is_empty());
    drop(other);
    desk.ok("attach web0 web1 --service web=*:80");
}

#[test]
fn no_bpffs_and_no_privilege() {
    let desk = Desk::new();
    let mut command = desk.command(ATTACH);
    desk.refused(
        &command.env("LIMITER_PINS", "/run/nowhere/limiter").output().expect("runs"),
        1,
        &["mount -t bpf bpf"],
    );
    // A copy that anybody may run.
    let copy = std::env::temp_dir().join(format!("limiter-copy-{}", std::process::id()));
    std::fs::copy(binary(), &copy).expect("a copy");
    let anybody = |line: &str| {
        let mut command = desk.front.command("setpriv").expect("a command");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&copy);
        desk.furnish(command.args(line.split_whitespace())).output().expect("runs")
    };
    desk.refused(&anybody(ATTACH), 1, &["root"]);
    assert!(desk.becomes_free("web0") && desk.left().is_empty());
    desk.ok(ATTACH);
    for line in ["status", "set --budget 5/s", "arm", "ban add 192.0.2.1", "detach --all"] {
        desk.refused(&anybody(line), 1, &["root"]);
    }
    assert!(desk.has_program("web0"));
    std::fs::remove_file(&copy).expect("removed");
}

#[test]
fn pins_of_another_version() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.pins().join("v999")).expect("a directory");
    desk.fails("status", 1, &["v999", "limiter detach --all"]);
    desk.fails(ATTACH, 1, &["v999", "limiter detach --all"]);
    desk.ok("detach --all");
    desk.ok(ATTACH);
    // A pin that is another map, and one that is missing.
    let root = limiter::kernel::Pins::at(desk.pins()).root();
    std::fs::remove_file(root.join("HOST")).expect("removed");
    desk.fails("status", 1, &["HOST", "cannot open"]);
    std::fs::rename(root.join("SERVICE"), root.join("HOST")).expect("renamed");
    desk.fails("set --budget 5/s", 1, &["HOST", "another version", "detach --all"]);
    assert!(desk.has_program("web0"), "what enforces goes on");
    desk.ok("detach --all");
    assert!(desk.becomes_free("web0") && desk.left().is_empty());
    desk.ok(ATTACH);
}

/// A second command waits for the first; after ten seconds it says who holds it up.
#[test]
fn one_change_at_a_time() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let directory = File::open(desk.pins()).expect("the pin directory");
    flock(&directory, FlockOperation::LockExclusive).expect("locked");
    let start = Instant::now();
    let me = format!("process {} ", std::process::id());
    desk.fails("set --budget 5/s", 1, &[&me, "is changing limiter"]);
    assert!(start.elapsed().as_secs() >= 9, "it waits for ten seconds");
    desk.ok("status --quick");
    // It waits, however often it is looked at.
    until_so("it is looked at for less than ten seconds", || {
        flock(&directory, FlockOperation::LockExclusive).expect("locked");
        let (start, mut command) = (Instant::now(), desk.command("set --budget 5/s"));
        let mut waiting = command.stdout(Stdio::null()).spawn().expect("runs");
        let waits = (0..10).all(|_| {
            std::thread::sleep(Duration::from_millis(50));
            waiting.try_wait().expect("a child").is_none()
        });
        flock(&directory, FlockOperation::Unlock).expect("unlocked");
        let is_short = start.elapsed() < Duration::from_secs(8);
        let done = waiting.wait().expect("a child").success();
        assert!(!is_short || waits && done, "it waited: {waits}, and was done: {done}");
        is_short
    });
}

#[test]
fn bans_by_a_slip() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    desk.fails("ban add 0.0.0.0/0", 1, &["--force"]);
    desk.fails("ban add 2000::/3", 1, &["--force"]);
    let mut mine = desk.command("ban add 192.0.2.0/24");
    desk.refused(
        &mine.env("SSH_CONNECTION", "192.0.2.9 1 192.0.2.1 22").output().expect("runs"),
        1,
        &["192.0.2.9", "--force"],
    );
    // sudo drops the variable; the shell above it has it.
    let mut shell = desk.front.command("sh").expect("a shell");
    let line =
        format!("env -u SSH_CONNECTION {} ban add 192.0.2.0/24; exit $?", binary().display());
    let shell =
        desk.furnish(shell.args(["-c", &line])).env("SSH_CONNECTION", "192.0.2.9 1 192.0.2.1 22");
    desk.refused(&shell.output().expect("a shell runs"), 1, &["192.0.2.9", "--force"]);
    assert_eq!(desk.json("ban list").as_array().map(Vec::len), Some(0));
    desk.ok("ban add 0.0.0.0/0 --force");
    desk.ok("allow add 0.0.0.0/0");
}

/// An interface that goes takes its link with it; the rest goes on, and the returning one can be attached.
#[test]
fn an_interface_that_goes() {
    let desk = Desk::new();
    desk.ok("attach web0 web1 --service web=*:80");
    let index = desk.json("status --quick")["interfaces"][0]["index"].as_u64().expect("an index");
    desk.front.ip(&["link", "del", "web0"]).expect("deleted");
    let status = desk.ok("status --quick");
    assert!(status.contains("gone") && status.contains("web1  native"), "{status}");
    desk.ok(&format!("detach {index}"));
    desk.front
        .ip(&["link", "add", "web0", "type", "veth", "peer", "name", "far0"])
        .expect("a veth");
    desk.ok("attach web0");
    assert!(desk.has_program("web0"));
}

/// Elsewhere an interface with the same index is not taken for ours, neither shown nor detached nor attached.
#[test]
fn another_namespace() {
    let desk = Desk::new();
    let other = Desk::new();
    desk.ok(ATTACH);
    let there = lab::Desk::over(&other.front, desk.pins().to_owned()).expect("a desk");
    let index = |desk: &Desk| {
        let output = desk
            .front
            .command("ip")
            .expect("ip")
            .args(["-j", "link", "show", "dev", "web0"])
            .output()
            .expect("ip runs");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")[0]["ifindex"]
            .clone()
    };
    assert_eq!(index(&desk), index(&other), "two new namespaces count alike");
    let status = there.output("status --quick");
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("gone, or in another network namespace")
    );
    desk.refused(&there.output("detach web0"), 1, &["not attached to web0 here"]);
    desk.refused(&there.output("attach web0"), 1, &["another network namespace", "--pins"]);
    assert!(desk.has_program("web0") && other.becomes_free("web0"));
}
