//! `limiter metrics`: what promtool thinks of it, and the file for a textfile collector.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use limiter_common::record::SERVICES;
use serde_json::Value;

use super::{World, families, promtool};

#[test]
fn promtool_is_content() {
    let world = World::new();
    let unloaded = world.desk.ok("metrics");
    assert!(unloaded.contains("\nlimiter_loaded 0\n"), "{unloaded}");
    assert_eq!(promtool(&["check", "metrics"], &unloaded), "");
    world.desk.ok("apply");
    world.desk.ok("set --service web --challenge auto");
    world.desk.ok("arm --for 1h");
    let flood = world.flood();
    let counted = |line: &str| {
        line.starts_with("limiter_packets_total{service=\"web\"") && !line.ends_with(" 0")
    };
    lab::wait::until_so("the flood is counted", || world.desk.ok("metrics").lines().any(counted));
    flood.stop().expect("a flood");
    let text = world.desk.ok("metrics");
    assert_eq!(promtool(&["check", "metrics"], &text), "", "{text}");
    assert!(families(&text).len() > 30, "{text}");
    assert!(text.contains("\nlimiter_revert_timestamp_seconds{scope=\"mode\"} "), "{text}");
    assert!(world.desk.ok("metrics --openmetrics").ends_with("\n# EOF\n"));
    let json: Value = serde_json::from_str(&world.desk.ok("metrics --json")).expect("JSON");
    assert_eq!((&json["loaded"], &json["snapshot"]["mode"]), (&true.into(), &"enforce".into()));
    println!(
        "{} series in {} families, {} bytes",
        text.lines().filter(|line| !line.starts_with('#')).count(),
        families(&text).len(),
        text.len()
    );
}

#[test]
fn a_textfile_for_everybody_to_read() {
    let world = World::new();
    let directory = world.desk.file("textfiles");
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("limiter.prom");
    let line = format!("metrics --output {}", file.display());
    assert_eq!(world.desk.ok(&line), "", "nothing to say");
    assert!(fs::read_to_string(&file).expect("a file").contains("\nlimiter_loaded 0\n"));
    world.desk.ok("apply");
    world.desk.ok(&line);
    let text = fs::read_to_string(&file).expect("a file");
    assert!(text.contains("\nlimiter_loaded 1\n"), "{text}");
    assert_eq!(promtool(&["check", "metrics"], &text), "");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 1, "nothing beside it");
    let output =
        world.desk.output(&format!("metrics --output {}/none/limiter.prom", directory.display()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1)
            && said.contains("cannot write")
            && said.contains("none/limiter.prom"),
        "{said}"
    );
}

/// The most that labels can make of it: as many services as there can be.
#[test]
fn the_largest_policy_is_bounded() {
    let world = World::new();
    let services = (1..=SERVICES)
        .map(|number| format!("[service.s{number}]\nlisten = \"*:{number}\"\nbudget = \"1/s\"\n"));
    fs::write(world.desk.policy(), services.collect::<String>()).expect("written");
    world.desk.ok("apply");
    let start = Instant::now();
    let text = world.desk.ok("metrics");
    let took = start.elapsed();
    assert_eq!(promtool(&["check", "metrics"], &text), "");
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    println!("{series} series, {} bytes, in {took:?}", text.len());
    assert!(series < 80 * SERVICES as usize, "{series}");
}

/// Whoever may not look is told so, and not that nothing is loaded.
#[test]
fn who_may_not_look_is_told_so() {
    let world = World::new();
    world.desk.ok("apply");
    let pins = world.desk.pins();
    fs::set_permissions(pins, fs::Permissions::from_mode(0o700)).expect("permissions");
    let binary = lab::desk::limiter().expect("the command");
    // Where everybody may run it.
    let open = std::env::temp_dir().join(format!("limiter-metrics-{}", std::process::id()));
    fs::copy(binary, &open).expect("a copy");
    let mut command = world.desk.program("setpriv");
    let output =
        command.args(["--reuid=65534", "--clear-groups"]).arg(&open).arg("metrics").output();
    fs::remove_file(&open).expect("removed");
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1)
            && said.contains("run it as root")
            && output.stdout.is_empty(),
        "{said}"
    );
}
