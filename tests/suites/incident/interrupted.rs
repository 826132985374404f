//! Recordings that do not end as they should: killed, ended early, on a full disk, of a limiter that goes away.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use super::page::Page;
use super::{ATTACH, Scene};

#[test]
fn a_killed_recording_is_read() {
    let scene = Scene::new();
    scene.desk.ok(ATTACH);
    let clients = scene.clients(20.0, 7.0);
    let recording = scene.record("--for 1h");
    recording.sees(3);
    scene.desk.ok("set --source-rate 9/s");
    recording.sees(4);
    recording.signal(libc::SIGKILL);
    drop(recording);
    clients.wait().expect("pages");
    assert!(!scene.desk.file("incident.tar.gz").exists());
    let report: Value =
        serde_json::from_str(&scene.desk.ok("report incident.partial --json")).expect("JSON");
    assert_eq!(
        report["story"]["changes"][0]["typed"], "limiter set --source-rate 9/s",
        "{report:#}"
    );
    assert!(
        report["problems"][0].as_str().is_some_and(|problem| problem.contains("was killed")),
        "{report:#}"
    );
    scene.desk.ok("report incident.partial -o partial.html");
    Page::of(&std::fs::read_to_string(scene.desk.file("partial.html")).expect("a page"))
        .shows(&["was killed", "--source-rate 9/s"]);
    let output = scene.desk.command("record --for 5s").output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("incident.partial"),
        "nothing is written over: {said}"
    );
}

#[test]
fn a_signal_ends_it_well() {
    let scene = Scene::new();
    scene.desk.ok(ATTACH);
    for (number, signal) in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().enumerate() {
        let recording = scene.record("");
        recording.sees(3);
        recording.signal(signal);
        recording.wait();
        let file = scene.desk.file("incident.tar.gz");
        assert_eq!(
            file.metadata().expect("packed").permissions().mode() & 0o777,
            0o600,
            "{signal}"
        );
        let text = scene.desk.ok("report incident.tar.gz");
        assert!(text.contains("Attempts to connect did not surge"), "{text}");
        std::fs::rename(&file, scene.desk.file(&format!("{number}.tar.gz"))).expect("renamed");
    }
}

/// Reloading begins all counters again, and that is no surge of two to the power of 64.
#[test]
fn limiter_may_come_and_go() {
    let scene = Scene::new();
    let recording = scene.record("--anonymize");
    recording.sees(2);
    scene.desk.ok(ATTACH);
    recording.sees(2);
    // Longer than a recorder may be held up, which tells nothing of that time.
    let clients = scene.clients(20.0, 10.0);
    clients.wait().expect("pages");
    scene.desk.ok("ban add 192.0.2.77");
    recording.sees(2);
    scene.desk.ok("detach --all");
    recording.end();
    scene.desk.ok("report incident.tar.gz -o report.html");
    let page = std::fs::read_to_string(scene.desk.file("report.html")).expect("a page");
    Page::of(&page).shows(&[
        "limiter was loaded",
        "limiter was unloaded",
        "limiter detach --all",
        "192.0.2.0/24",
    ]);
    assert!(!page.contains("192.0.2.77"), "{page}");
    let report: Value =
        serde_json::from_str(&scene.desk.ok("report incident.tar.gz --json")).expect("JSON");
    let peak = report["story"]["during"]["peak"].as_f64().expect("a peak");
    assert!(
        (1.0..1e6).contains(&peak),
        "20 pages a second, and a second is not always one: {peak}"
    );
}

#[test]
fn a_full_disk_keeps_what_it_holds() {
    let scene = Scene::new();
    scene.desk.ok(ATTACH);
    let disk = scene.desk.file("disk");
    std::fs::create_dir(&disk).expect("a directory");
    let mount = |size: &str| {
        Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&disk).status()
    };
    assert!(mount("size=48k").expect("mount runs").success());
    let output =
        scene.desk.command("record --for 1h -o disk/incident.tar.gz").output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let report = scene.desk.command("report disk/incident.partial").output().expect("runs");
    let _ = Command::new("umount").arg(&disk).status();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("what was recorded is kept") && said.contains("incident.partial"),
        "{said}"
    );
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
}
