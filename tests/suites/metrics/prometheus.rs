//! A real Prometheus in the front end's namespace, which scrapes the daemon every two seconds; its
//! API through curl.

use std::fs;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::{ADDRESS, World, string, succeeded, until};

const API: &str = "http://127.0.0.1:9090/api/v1";

/// A Prometheus, killed when dropped.
pub struct Prometheus<'a> {
    world: &'a World,
    child: Child,
}

impl<'a> Prometheus<'a> {
    /// Starts one with these rules; it is ready when this returns.
    pub fn start(world: &'a World, rules: &str) -> Self {
        let at = |name: &str| world.desk.file(name);
        fs::write(at("limiter.rules.yml"), rules).expect("written");
        let configuration = format!(
            "global: {{scrape_interval: 2s, evaluation_interval: 1s}}\nrule_files: [limiter.rules.yml]\n\
             scrape_configs: [{{job_name: limiter, static_configs: [{{targets: [\"{ADDRESS}\"]}}]}}]\n"
        );
        fs::write(at("prometheus.yml"), configuration).expect("written");
        super::promtool(&["check", "config", at("prometheus.yml").to_str().expect("a path")], "");
        let mut command = world.desk.program("prometheus");
        command.arg(format!("--config.file={}", at("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", at("tsdb").display()));
        command.args(["--web.listen-address=127.0.0.1:9090", "--log.level=warn"]);
        command
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("prometheus.log")).expect("a file"));
        let child = command.spawn().expect("prometheus runs: `cargo xtask setup` installs it");
        let prometheus = Self { world, child };
        until("Prometheus is up, and limiter's daemon for it", super::PATIENCE, || {
            let answer =
                prometheus.curl(&format!("{API}/query"), Some("up{job=\"limiter\"} == 1"))?;
            (!answer["data"]["result"].as_array()?.is_empty()).then_some(())
        });
        prometheus
    }

    /// What it answers; nothing while it does not.
    fn curl(&self, url: &str, query: Option<&str>) -> Option<Value> {
        let mut command = self.world.desk.program("curl");
        command.args(["-sS", "--max-time", "60", "--get", url]);
        if let Some(query) = query {
            command.args(["--data-urlencode", &format!("query={query}")]);
        }
        let output = command.output().expect("curl runs");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Something of its API, which it must know.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.curl(&format!("{API}/{path}"), None).expect("an answer");
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The samples that an expression finds now.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.curl(&format!("{API}/query"), Some(expression)).expect("an answer");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().cloned().expect("a vector")
    }

    /// Its alerts: names, states, labels.
    pub fn alerts(&self) -> Vec<(String, String, Value)> {
        let data = self.get("alerts");
        let alerts = data["alerts"].as_array().expect("a list");
        let alert = |one: &Value| {
            let labels = &one["labels"];
            (
                string(labels, "alertname").to_owned(),
                string(one, "state").to_owned(),
                labels.clone(),
            )
        };
        alerts.iter().map(alert).collect()
    }

    /// Whether an alert of that name fires; its labels.
    pub fn fires(&self, name: &str) -> Option<Value> {
        self.alerts()
            .into_iter()
            .find(|(alert, state, _)| alert == name && state == "firing")
            .map(|alert| alert.2)
    }

    /// What it had to complain about.
    pub fn said(&self) -> String {
        fs::read_to_string(self.world.desk.file("prometheus.log")).unwrap_or_default()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// That the tool is Debian's or newer: what it prints is part of the protocol of a test run.
#[test]
fn there_is_one() {
    let output = std::process::Command::new("prometheus")
        .arg("--version")
        .output()
        .expect("prometheus is installed");
    let said = succeeded("prometheus --version", output);
    println!("{}", said.lines().next().unwrap_or_default());
}
