//! One incident from the calm before to the calm after: recorded, reported, and held against what was done.

use lab::Sources;
use serde_json::Value;

use super::page::{Page, is_page};
use super::{ATTACH, Scene, sleep};

/// SYNs a second of the flood.
const RATE: u64 = 20_000;

#[test]
fn an_incident_is_told() {
    let scene = Scene::new();
    scene.ok(ATTACH);
    let clients = scene.clients(50.0, 32.0);
    let recording = scene.record("--for 33s");
    sleep(8.0);
    let flood = scene.flood(Sources::Random, RATE, 16.0).spawn(&scene.lab).expect("a flood");
    sleep(6.0);
    scene.ok("arm");
    sleep(5.0);
    scene.ok("set --source-rate 5/s");
    let flood = flood.wait().expect("a flood");
    let pages = clients.wait().expect("pages");
    assert!(recording.wait().contains("the time was over"));
    assert!(!scene.file("incident.partial").exists(), "packed, and nothing beside it");

    let report: Value = serde_json::from_str(&scene.ok("report incident.tar.gz --json")).expect("JSON");
    let (story, verdict) = (&report["story"], &report["story"]["verdict"]);
    let peak = story["during"]["peak"].as_f64().expect("a peak");
    let sent = flood.rate();
    assert!((0.7..1.6).contains(&(peak / sent)), "peak {peak}, sent {sent}/s");
    let calm = story["calm_rate"].as_f64().expect("a calm rate");
    assert!((35.0..80.0).contains(&calm), "50 pages a second: {calm}");
    let span = &story["surges"][0];
    let length = span[1].as_f64().expect("an end") - span[0].as_f64().expect("a beginning");
    assert!((14.0..19.0).contains(&length), "16 seconds: {length}");
    assert!(["spoofed_flood", "flood"].contains(&verdict["kind"].as_str().expect("a kind")), "{verdict}");
    assert!(verdict["finished"].as_f64().expect("a share") < 0.05, "{verdict}");

    let text = scene.ok("report incident.tar.gz");
    for words in [
        "like a flood",
        "not like a crowd",
        "`limiter arm`",
        "mode observe -> enforce",
        "`limiter set --source-rate 5/s`",
        "20/s, burst 40 -> 5/s",
        "challenged",
        "root",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    println!("{} of {} pages came; {flood}", pages.ok, pages.tried);
    scene.ok("report incident.tar.gz -o report.html");
    let page = std::fs::read_to_string(scene.file("report.html")).expect("a page");
    is_page(&page);
    Page::of(&page).shows(&["What limiter did", "limiter arm", "Attempts, and how many became connections"]);
    if let Some(directory) = std::env::var_os("INCIDENT_OUT") {
        let directory = std::path::PathBuf::from(directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("report.html"), &page).expect("written");
        std::fs::write(directory.join("report.txt"), &text).expect("written");
        std::fs::copy(scene.file("incident.tar.gz"), std::env::temp_dir().join("incident-sample.tar.gz")).expect("copied");
    }
}
