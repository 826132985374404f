//! One incident from the calm before to the calm after: recorded, reported, and held against what was done.

use std::time::Instant;

use lab::Sources;
use serde_json::Value;

use super::page::{Page, is_page};
use super::{ATTACH, Scene};

/// SYNs a second of the flood.
const RATE: u64 = 20_000;

#[test]
fn an_incident_is_told() {
    let scene = Scene::new();
    scene.desk.ok(ATTACH);
    let start = Instant::now();
    let _clients = scene.clients(50.0, 600.0);
    let recording = scene.record("--json");
    recording.sees(8);
    let flood = scene.flood(Sources::Random, RATE, 600.0).spawn(&scene.lab).expect("a flood");
    recording.sees(6);
    scene.desk.ok("arm");
    // While its sender is held up, nothing of it is held back.
    recording.sees_attempts(3 * RATE);
    recording.sees(2);
    let pages = 50.0 * start.elapsed().as_secs_f64();
    scene.desk.ok("set --source-rate 5/s");
    recording.sees(5);
    let flood = flood.stop().expect("a flood");
    recording.sees(4);
    let outcome: Value = serde_json::from_str(&recording.end()).expect("JSON");
    println!("{outcome}");
    let bytes = outcome["bytes_per_second"].as_u64().expect("bytes");
    assert!((500..2500).contains(&bytes), "help and docs say 1 to 2 KB a second: {bytes}");
    assert!(!scene.desk.file("incident.partial").exists(), "packed, and nothing beside it");

    let report: Value =
        serde_json::from_str(&scene.desk.ok("report incident.tar.gz --json")).expect("JSON");
    let (story, verdict) = (&report["story"], &report["story"]["verdict"]);
    let peak = story["during"]["peak"].as_f64().expect("a peak");
    // A sender that was held up makes good for it: its peak is no less than its mean, and no more
    // than all.
    let sent = flood.rate();
    assert!((0.5 * sent..flood.sent as f64).contains(&peak), "peak {peak}, sent {sent}/s");
    assert!(
        ["spoofed_flood", "flood"].contains(&verdict["kind"].as_str().expect("a kind")),
        "{verdict}"
    );
    assert!(verdict["finished"].as_f64().expect("a share") < 0.05, "{verdict}");

    let text = scene.desk.ok("report incident.tar.gz");
    scene.desk.ok("report incident.tar.gz -o report.html");
    if let Some(directory) = std::env::var_os("INCIDENT_OUT") {
        let directory = std::path::PathBuf::from(directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(
            directory.join("report.html"),
            std::fs::read(scene.desk.file("report.html")).expect("a page"),
        )
        .expect("written");
        std::fs::write(directory.join("report.txt"), &text).expect("written");
    }
    let changes = story["changes"].as_array().expect("changes");
    let typed: Vec<_> =
        changes.iter().map(|change| change["typed"].as_str().expect("words")).collect();
    assert_eq!(
        typed,
        ["limiter arm", "limiter set --source-rate 5/s"],
        "what is told by somebody is not told twice: {changes:#?}"
    );
    let arm = &changes[0];
    assert_eq!(
        (&arm["who"], &arm["what"]),
        (&"root".into(), &"mode observe -> enforce".into()),
        "{arm}"
    );
    let rate = |when: &str, what: &str| arm[when][what].as_f64().expect("a rate");
    let share = |when: &str, what: &str| rate(when, what) / rate(when, "attempts");
    assert!(rate("before", "held_back") < 1.0 && share("before", "let_through") > 0.99, "{arm}");
    // Clients that were held up may all have come then, with an attempt and a proof for each page.
    let let_through = rate("after", "let_through") * rate("after", "seconds");
    assert!(share("after", "held_back") > 0.5 && let_through < 2.0 * pages, "{pages}: {arm}");
    println!("{flood}");
    let page = std::fs::read_to_string(scene.desk.file("report.html")).expect("a page");
    is_page(&page);
    Page::of(&page).shows(&[
        "like a flood",
        "not like a crowd",
        "of the attempts that were challenged proved",
        "limiter set --source-rate 5/s",
        "20/s, burst 40 -> 5/s, burst 10",
        "challenged",
        "Attempts, and how many became connections",
    ]);
    assert!(text.contains("not like a crowd") && text.contains("Policy number 2"), "{text}");
}
