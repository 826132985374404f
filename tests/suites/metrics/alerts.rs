//! The packaged rules in a Prometheus that scrapes a real run: calm is silent, a flood over the budget fires, and its end clears.

use super::prometheus::Prometheus;
use super::{ADDRESS, PATIENCE, World, packaged, string, until};

/// The packaged rules with short times instead of theirs, so that a test need not wait for minutes. Nothing else differs.
pub fn hurried() -> String {
    let short = |line: &str| {
        let mut line = line.to_owned();
        if line.trim_start().starts_with("for: ") {
            line.truncate(line.find(": ").expect("a colon") + 2);
            line.push_str("1s");
        }
        for range in ["[2m]", "[5m]"] {
            line = line.replace(range, "[8s]");
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
    until("calm is silent", PATIENCE, || prometheus.alerts().is_empty().then_some(()));
    until("the target is up", PATIENCE, || {
        let target = &prometheus.get("targets?state=active")["activeTargets"][0];
        let said = (string(target, "health"), string(target, "lastError"));
        (said == ("up", "")).then_some(())
    });
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
    until("what Prometheus saw is what limiter counted", PATIENCE, || {
        let seen = prometheus.query(&format!("sum({refused})"));
        let seen: Option<f64> = seen.first()?["value"][1].as_str()?.parse().ok();
        (seen == world.value(refused)).then_some(())
    });

    // An interface that somebody takes away from limiter, and then all of it.
    world.desk.ok("detach crowd0");
    let (labels, _) =
        until("not attached", PATIENCE, || prometheus.fires("LimiterInterfaceNotAttached"));
    assert_eq!(string(&labels, "interface"), "crowd0");
    world.desk.ok("detach --all");
    until("not loaded", PATIENCE, || prometheus.fires("LimiterNotLoaded"));
    let missing = "LimiterExporterMissing";
    until("the daemon answers all the same", PATIENCE, || {
        prometheus.fires(missing).is_none().then_some(())
    });
    drop(daemon);
    until("nobody answers", PATIENCE, || prometheus.fires(missing));
    // On a machine that is away it has other things to complain about.
    let said = prometheus.said();
    let is_ours = |line: &&str| line.contains(ADDRESS) || line.contains("limiter.rules.yml");
    assert_eq!(said.lines().find(is_ours), None, "nothing to complain about: {said}");
}
