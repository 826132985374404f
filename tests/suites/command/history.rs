//! Who changed what, and when: every command that changes something is noted, and a history that cannot be written stops nobody.

use std::process::Command;

use lab::Directory;
use lab::wait::until_so;
use serde_json::{Value, json};

use super::Desk;

const ATTACH: &str = "attach web0 --service web=*:80 --source-rate 20/s";

fn entries(desk: &Desk) -> Vec<Value> {
    desk.json("history").as_array().cloned().expect("an array")
}

fn last(desk: &Desk) -> Value {
    desk.json("history --last 1")[0].clone()
}

#[test]
fn every_change_is_noted() {
    let desk = Desk::new();
    assert!(desk.ok("history").contains("nothing is noted"));
    let changes = [
        (ATTACH, Value::Null, json!("observe"), "attached to web0"),
        (
            "set --source-rate 600/min --source-burst 60",
            json!("observe"),
            json!("observe"),
            "host source limit: 20/s",
        ),
        ("arm", json!("observe"), json!("enforce"), "mode observe -> enforce"),
        (
            "ban add 192.0.2.0/24 --for 10m",
            json!("enforce"),
            json!("enforce"),
            "banned 192.0.2.0/24 for 10m",
        ),
        (
            "ban del 192.0.2.0/24",
            json!("enforce"),
            json!("enforce"),
            "192.0.2.0/24 is no longer on the ban list",
        ),
        (
            "allow add 10.0.0.0/8",
            json!("enforce"),
            json!("enforce"),
            "allowed 10.0.0.0/8 until removed",
        ),
        (
            "allow del 10.0.0.0/8",
            json!("enforce"),
            json!("enforce"),
            "10.0.0.0/8 is no longer on the allow list",
        ),
        ("disarm", json!("enforce"), json!("observe"), "mode enforce -> observe"),
        ("attach web1", json!("observe"), json!("observe"), "attached to web1"),
        ("detach web1", json!("observe"), json!("observe"), "detached from web1"),
        ("detach --all", json!("observe"), Value::Null, "detached from web0"),
    ];
    for (line, before, after, change) in &changes {
        desk.ok(line);
        let entry = last(&desk);
        assert_eq!(entry["command"], json!(line.split(' ').collect::<Vec<_>>()));
        assert_eq!(
            (&entry["before"]["mode"], &entry["after"]["mode"]),
            (before, after),
            "{line}: {entry}"
        );
        let first = entry["changed"][0].as_str().expect("a change");
        assert!(first.starts_with(change), "{line}: {entry}");
        assert_eq!((&entry["who"]["uid"], &entry["who"]["user"]), (&json!(0), &json!("root")));
        assert!(entry["counters"]["attempts"].is_u64(), "{line}: {entry}");
    }
    assert_eq!(entries(&desk).len(), changes.len(), "one entry a change");
    let text = desk.ok("history");
    assert_eq!(text.lines().count(), changes.len(), "{text}");
    assert!(text.contains("arm") && text.contains("(+3 more)"), "{text}");
}

#[test]
fn what_changes_nothing_is_not_noted() {
    let desk = Desk::new();
    desk.ok("detach --all");
    desk.ok(ATTACH);
    for line in ["status --quick", "ban list", "history"] {
        desk.ok(line);
    }
    for line in ["attach web0", "set --source-rate 50000/s", "ban del 192.0.2.1", "detach web1"] {
        assert!(!desk.output(line).status.success(), "{line}");
    }
    assert_eq!(entries(&desk).len(), 1);
}

#[test]
fn what_goes_back_by_itself() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    desk.ok("arm --for 1h");
    assert_eq!(last(&desk)["back"], "due");
    assert!(desk.ok("history").contains("goes back at "));
    desk.ok("arm --for 1s");
    assert_eq!(last(&desk)["changed"], json!(["mode enforce for 1s"]), "another time is a change");
    let became =
        |desk: &Desk| entries(desk).iter().map(|entry| entry["back"].clone()).collect::<Vec<_>>();
    assert_eq!(became(&desk)[..2], [Value::Null, "overtaken".into()]);
    // Limits that change meanwhile do not make it stay.
    desk.ok("set --budget 5/s");
    let done = [Value::Null, "overtaken".into(), "done".into(), Value::Null];
    until_so("it goes back", || became(&desk) == done);
    let text = desk.ok("history");
    assert_eq!(text.matches("went back by itself at ").count(), 1, "{text}");
    desk.ok("disarm");
    assert_eq!(last(&desk)["before"]["mode"], "observe");
    assert!(last(&desk)["changed"].as_array().is_some_and(Vec::is_empty));
    assert!(desk.ok("history --last 1").contains("nothing changed"));
}

/// A disk that is full, a path that cannot be: said, and the command has done its work.
#[test]
fn a_history_that_cannot_be_written_stops_nobody() {
    let desk = Desk::new();
    let wrong = ["/dev/full", "/dev/null/history.jsonl", "/proc/nowhere/history.jsonl"];
    for (line, path) in [ATTACH, "arm", "detach --all"].into_iter().zip(wrong) {
        let output = desk.command(line).env("LIMITER_HISTORY", path).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !output.stdout.is_empty(), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains("warning")
                && said.contains(path.split("/history").next().expect("a path")),
            "{said}"
        );
    }
    assert!(desk.becomes_free("web0") && desk.left().is_empty());
    desk.ok("detach --all --history /dev/null");
}

/// A small file system on a directory, unmounted when dropped.
struct SmallDisk(Directory);

impl SmallDisk {
    fn new() -> Self {
        let directory = Directory::new().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"]).arg(directory.path());
        assert!(mount.status().expect("mount runs").success());
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// The disk is full in the middle of a line: the half that fitted is taken back.
#[test]
fn a_disk_that_fills_up_keeps_whole_lines() {
    let (desk, disk) = (Desk::new(), SmallDisk::new());
    let file = disk.0.path().join("history.jsonl");
    desk.ok(ATTACH);
    let say = |line: &str| {
        let output = desk.command(line).env("LIMITER_HISTORY", &file).output().expect("runs");
        assert!(output.status.success());
        String::from_utf8(output.stderr).expect("text")
    };
    let said =
        (0..100).map(|_| say("disarm")).find(|said| !said.is_empty()).expect("the disk fills up");
    assert!(
        said.contains("warning")
            && said.contains("history.jsonl")
            && said.contains("no storage space"),
        "{said}"
    );
    assert!(say("history").is_empty(), "no line was cut off");
}

#[test]
fn a_line_that_a_crash_cut_off() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let mut bytes = std::fs::read(desk.history()).expect("a history");
    let half = bytes[..bytes.len() / 2].to_vec();
    bytes.extend(half);
    std::fs::write(desk.history(), bytes).expect("written");
    desk.ok("arm");
    let output = desk.output("history --json");
    let entries: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(entries.as_array().map(Vec::len), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 line"), "{said}");
}

/// Several administrators are all root: who logged in, and whom sudo names.
#[test]
fn who_it_was() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let output = desk.command("arm").env("SUDO_USER", "ada").output().expect("runs");
    assert!(output.status.success());
    assert_eq!(last(&desk)["who"]["sudo_user"], "ada");
    assert!(desk.ok("history").contains("ada as root"));
}
