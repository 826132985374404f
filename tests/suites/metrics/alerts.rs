//! The packaged rules in a Prometheus that scrapes a real run: calm is silent, a flood over the budget fires, and its end clears.

use super::prometheus::Prometheus;
use super::{PATIENCE, World, packaged, string, until};

/// The packaged rules with short times instead of theirs, so that a test need not wait for minutes. Nothing else differs.
pub fn hurried() -> String {
    let short = |line: &str| {
        let mut line = line.to_owned();
        if line.trim_start().starts_with("for: ") {
            line.truncate(line.find(": ").expect("a colon") + 2);
            line.push_str("1s");
        }
        for range in ["[2m]", "[5m]"] {
            line = line.replace(range, "[4s]");
        }
        line + "\n"
    };
    let rules: String = packaged("limiter.rules.yml").lines().map(short).collect();
    assert!(
        !rules.contains("m]")
            && rules.matches("for: 1s").count() == rules.matches("- alert:").count(),
        "{rules}"
    );
    rules
}

#[test]
fn the_flood_fires_and_its_end_clears() {
    let world = World::new();
    let daemon = world.daemon();
    let prometheus = Prometheus::start(&world, &hurried());
    // Long enough for every rate to have its samples.
    until("scrapes", PATIENCE, || {
        let scrapes = prometheus.query("count_over_time(up[1m]) >= 6");
        (!scrapes.is_empty()).then_some(())
    });
    assert_eq!(prometheus.alerts(), [], "calm is silent");
    let target = &prometheus.get("targets?state=active")["activeTargets"][0];
    assert_eq!((string(target, "health"), string(target, "lastError")), ("up", ""), "{target}");
    let kinds = prometheus.get("metadata");
    assert_eq!(kinds["limiter_mode"][0]["type"], "stateset", "it speaks OpenMetrics with us");
    assert_eq!(kinds["limiter_budget_used_ratio"][0]["unit"], "ratio");

    let flood = world.flood();
    let name = "LimiterBudgetRefuses";
    let (labels, fired) = until(name, PATIENCE, || prometheus.fires(name));
    assert_eq!((string(&labels, "service"), string(&labels, "severity")), ("web", "critical"));
    let report = flood.stop().expect("a flood");
    let refused = "limiter_packets_total{service=\"web\",reason=\"in_line\",outcome=\"dropped\"}";
    let (_, cleared) =
        until("all is quiet again", PATIENCE, || prometheus.alerts().is_empty().then_some(()));
    println!(
        "{report}; {name} fired {:.1} s after it began and was gone {:.1} s after it ended; {} refused",
        fired.as_secs_f64(),
        cleared.as_secs_f64(),
        world.value(refused).expect("counted")
    );
    // What Prometheus saw is what limiter counted.
    let seen = prometheus.query(&format!("sum({refused})"));
    assert_eq!(
        seen[0]["value"][1].as_str().and_then(|value| value.parse().ok()),
        world.value(refused),
        "{seen:?}"
    );

    // An interface that somebody takes away from limiter, and then all of it.
    world.desk.ok("detach crowd0");
    let (labels, _) =
        until("not attached", PATIENCE, || prometheus.fires("LimiterInterfaceNotAttached"));
    assert_eq!(string(&labels, "interface"), "crowd0");
    world.desk.ok("detach --all");
    until("not loaded", PATIENCE, || prometheus.fires("LimiterNotLoaded"));
    assert!(
        prometheus.fires("LimiterExporterMissing").is_none(),
        "the daemon answers all the same"
    );
    drop(daemon);
    until("nobody answers", PATIENCE, || prometheus.fires("LimiterExporterMissing"));
    assert_eq!(prometheus.said(), "", "nothing to complain about");
}
