//! Metrics: what the daemon serves and the command writes, scraped by a real Prometheus, judged by promtool, with the packaged rules and
//! dashboard.
//!
//! The binary is LIMITER_BIN, or the one that cargo built beside these tests. Needs root, and Debian's prometheus.

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

use lab::peer::limiter_binary;
use lab::topology::{ATTACK_DEVICE, CROWD_DEVICE, FRONT_V4};
use lab::wait::PATIENCE;
use lab::{Directory, Flood, FloodHandle, Lab, PrivateBpffs, Sources};
use serde_json::Value;

/// Where the daemon serves, in the front end's namespace.
const ADDRESS: &str = "127.0.0.1:9717";
const UNIT: &str = include_str!("../../../packaging/limiter.service");

/// A front end with a limiter whose budget a flood exceeds.
struct World {
    lab: Lab,
    bpffs: PrivateBpffs,
    state: Directory,
}

impl World {
    fn new() -> Self {
        let world = Self {
            lab: Lab::new().expect("a lab"),
            bpffs: PrivateBpffs::new().expect("a bpffs"),
            state: Directory::new().expect("a directory"),
        };
        let policy = format!(
            "interfaces = [\"{ATTACK_DEVICE}\", \"{CROWD_DEVICE}\"]\nmode = \"enforce\"\nsources = 4096\n\
             [host]\nbudget = \"100000/s\"\n[service.web]\nlisten = \"*:80\"\nbudget = \"100/s\"\n"
        );
        fs::write(world.policy(), policy).expect("written");
        world
    }

    fn policy(&self) -> PathBuf {
        self.state.path().join("policy.toml")
    }

    /// A command in the front end.
    fn command(&self, program: &Path) -> Command {
        let mut command = self.lab.front.command(program.to_str().expect("a path")).expect("a command");
        command.env("LIMITER_PINS", self.bpffs.path().join("limiter")).env("LIMITER_POLICY", self.policy());
        command.env("LIMITER_HISTORY", self.state.path().join("history.jsonl")).env_remove("SSH_CONNECTION");
        command.stdin(Stdio::null());
        command
    }

    fn output(&self, line: &str) -> Output {
        let mut command = self.command(&limiter_binary().expect("the command"));
        command.args(line.split_whitespace()).output().expect("it runs")
    }

    /// Runs a command of limiter that must succeed; what it printed.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        succeeded(line, self.output(line))
    }

    /// The daemon, with no more capabilities than its unit leaves it; it answers when this returns.
    fn daemon(&self) -> Daemon {
        let caps =
            UNIT.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("a line of the unit");
        let caps: String = caps.split(' ').map(|name| name.to_lowercase().replace("cap_", ",+")).collect();
        let mut command = self.command(Path::new("setpriv"));
        command.args(["--inh-caps=-all", "--no-new-privs", &format!("--bounding-set=-all{caps}")]);
        command.arg(limiter_binary().expect("the command")).args(["run", "--listen", ADDRESS]);
        let log = self.state.path().join("log");
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
        let mut command = self.command(Path::new("curl"));
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
        let flood = Flood { rate: Some(2000), seconds: 600.0, ..Flood::new(target, Sources::Random) };
        flood.spawn(&self.lab).expect("a flood")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.output("detach --all");
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
    types.map(|(name, kind)| if kind == "histogram" { format!("{name}_bucket") } else { name.to_owned() }).collect()
}

/// The string at `name` of a JSON object.
fn string<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
