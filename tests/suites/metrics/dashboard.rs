//! The packaged dashboard: every expression of it is one to a real Prometheus, names what limiter has, and finds something in a flood.

use serde_json::Value;

use super::prometheus::Prometheus;
use super::{World, families, names, packaged, until};

/// What finds nothing in the flood of these tests: nothing goes back by itself, nothing is only
/// observed, no policy changed, nobody came back, and debts may not be counted, nor is there a bound
/// for the open connections of the host. Nor is there a fleet: what is shown of one is held to the
/// samples of real nodes by `limits::fleet::metrics_and_top_tell_of_the_fleet`.
const MAY_BE_EMPTY: [&str; 8] = [
    "limiter_revert_timestamp_seconds",
    "would_be_dropped",
    "limiter_policy_generation",
    "limiter_distinct_returning_ratio",
    "limiter_source_debt_ratio_bucket",
    "limiter_host_open_limit",
    "limiter_fleet_",
    "limiter_share_",
];

/// Every `expr` in the JSON, wherever it stands.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(expression) = fields.get("expr").and_then(Value::as_str) {
                found.push(expression.to_owned());
            }
            fields.values().for_each(|field| expressions(field, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// As Grafana fills it in when everything is chosen.
fn filled(expression: &str) -> String {
    let expression = expression
        .replace("$__rate_interval", "10s")
        .replace("$instance", ".*")
        .replace("$service", ".*");
    assert!(!expression.contains('$'), "{expression}");
    expression
}

#[test]
fn every_expression_finds_what_it_names() {
    let dashboard: Value = serde_json::from_str(&packaged("grafana.json")).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let variables: Vec<&str> = variables.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(variables, ["datasource", "instance", "service"]);
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 20, "{found:#?}");

    let world = World::with(
        "users = 200\nrefuse = \"room\"\nopen_budget = 100000\nshadow_source_rate = \"1/min\"\n",
    );
    let _daemon = world.daemon();
    let known = families(&world.metrics(""));
    for name in variables_of(&dashboard).iter().chain(&found).flat_map(|text| names(text)) {
        assert!(known.iter().any(|one| one == name), "limiter has no {name}");
    }
    let prometheus = Prometheus::start(&world, "groups: []\n");
    let _flood = world.flood();
    let refused = "sum(rate(limiter_packets_total{outcome=\"dropped\"}[10s])) > 100";
    until("a flood that shows", super::PATIENCE, || {
        (!prometheus.query(refused).is_empty()).then_some(())
    });
    for expression in &found {
        let may_be_empty = MAY_BE_EMPTY.iter().any(|name| expression.contains(name));
        until(expression, super::PATIENCE, || {
            let samples = prometheus.query(&filled(expression));
            (may_be_empty || !samples.is_empty()).then_some(())
        });
    }
    println!(
        "{} expressions, {} panels",
        found.len(),
        dashboard["panels"].as_array().map_or(0, Vec::len)
    );
}

/// What the variables are filled from.
fn variables_of(dashboard: &Value) -> Vec<String> {
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    variables.iter().filter_map(|one| Some(one["definition"].as_str()?.to_owned())).collect()
}
