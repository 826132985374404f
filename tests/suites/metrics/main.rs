//! Metrics: what the daemon serves and the command writes, scraped by a real Prometheus, judged by promtool, with the packaged rules and
//! dashboard.
//!
//! Needs root, and Debian's prometheus.

mod alerts;
mod dashboard;
mod exporter;
mod measured;
mod prometheus;
mod rules;
mod textfile;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lab::topology::{ATTACK_DEVICE, CROWD_DEVICE, FRONT_V4};
use lab::wait::PATIENCE;
use lab::{Desk, Flood, FloodHandle, Lab, Sources};
use serde_json::Value;

/// Where the daemon serves, in the front end's namespace.
const ADDRESS: &str = "127.0.0.1:9717";
const UNIT: &str = include_str!("../../../packaging/limiter.service");

/// A front end with a limiter whose budget a flood exceeds.
struct World {
    desk: Desk,
    lab: Lab,
}

impl World {
    fn new() -> Self {
        Self::with("")
    }

    /// With more settings of the service, as the policy file has them.
    fn with(settings: &str) -> Self {
        let lab = Lab::new().expect("a lab");
        let world = Self { desk: Desk::new(&lab.front).expect("a desk"), lab };
        let policy = format!(
            "interfaces = [\"{ATTACK_DEVICE}\", \"{CROWD_DEVICE}\"]\nmode = \"enforce\"\nsources = 4096\n\
             [host]\nbudget = \"100000/s\"\n[service.web]\nlisten = \"*:80\"\nbudget = \"100/s\"\n{settings}"
        );
        fs::write(world.desk.policy(), policy).expect("written");
        world
    }

    /// The daemon, with no more capabilities than its unit leaves it; it answers when this returns.
    fn daemon(&self) -> Daemon {
        let caps = UNIT
            .lines()
            .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
            .expect("a line of the unit");
        let caps: String =
            caps.split(' ').map(|name| name.to_lowercase().replace("cap_", ",+")).collect();
        let mut command = self.desk.program("setpriv");
        command.args(["--inh-caps=-all", "--no-new-privs", &format!("--bounding-set=-all{caps}")]);
        command
            .stdin(Stdio::null())
            .arg(lab::desk::limiter().expect("the command"))
            .args(["run", "--listen", ADDRESS]);
        let log = self.desk.file("log");
        command.stdout(Stdio::null()).stderr(fs::File::create(&log).expect("a file"));
        let daemon = Daemon { child: command.spawn().expect("it runs"), log };
        let start = Instant::now();
        while !self.metrics("").contains("\nlimiter_loaded 1") {
            assert!(start.elapsed() < PATIENCE, "it does not answer: {}", daemon.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    /// What the daemon answers to a scraper that accepts this; empty when it does not answer.
    fn metrics(&self, accept: &str) -> String {
        let mut command = self.desk.program("curl");
        command.args(["-sS", "--max-time", "60", "-H", &format!("Accept: {accept}")]);
        let output = command.arg(format!("http://{ADDRESS}/metrics")).output().expect("curl runs");
        String::from_utf8(output.stdout).expect("text")
    }

    /// A value of the daemon's metrics.
    fn value(&self, series: &str) -> Option<f64> {
        let text = self.metrics("");
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.map(|value| value.parse().expect("a number"))
    }

    /// Twenty times what the budget admits, from everywhere.
    fn flood(&self) -> FloodHandle {
        let target = (FRONT_V4, 80).into();
        let flood =
            Flood { rate: Some(2000), seconds: 600.0, ..Flood::new(target, Sources::Random) };
        flood.spawn(&self.lab).expect("a flood")
    }
}

/// `limiter run`, killed when dropped.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn succeeded(what: &str, output: Output) -> String {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Waits until `look` finds something.
#[track_caller]
fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return (found, start.elapsed());
        }
        assert!(start.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A file of packaging/.
fn packaged(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name);
    fs::read_to_string(path).expect("a file of the package")
}

/// Runs promtool; what it says, which must be nothing but that all is well.
#[track_caller]
fn promtool(arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool runs: `cargo xtask setup` installs it");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

/// Names of limiter's metrics in an expression.
fn names(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("limiter_")).collect()
}

/// Names of the series that a text has, or would have if there was anything to tell.
fn families(classic: &str) -> Vec<String> {
    let types = classic.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(
            |(name, kind)| {
                if kind == "histogram" { format!("{name}_bucket") } else { name.to_owned() }
            },
        )
        .collect()
}

/// The string at `name` of a JSON object.
fn string<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
