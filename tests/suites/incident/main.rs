//! Incidents as they happen: clients and a flood in the lab, `limiter record` beside them, and whether the report says what was done.
//!
//! Needs root. With INCIDENT_OUT=DIR the first of them writes its
//! report there, as text and as a page: that is how the sample in docs/incident was made.

mod interrupted;
mod kinds;
mod page;
mod whole;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use lab::topology::FRONT_V4;
use lab::wait::until_so;
use lab::{Crowd, CrowdHandle, Desk, Flood, Lab, Server, Sources};
use serde_json::Value;

/// Attached in calm, as docs/guide.md says, with what a budget brings along.
const ATTACH: &str =
    "attach attack0 crowd0 --service web=*:80 --source-rate 20/s --budget 1000/s --set-syncookies";

/// A front end with a server and its clients, and what they and limiter leave behind.
struct Scene {
    desk: Desk,
    lab: Lab,
    server: Option<Server>,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        let server = Some(Server::start(&lab).expect("a server"));
        Self { desk: Desk::new(&lab.front).expect("a desk"), lab, server }
    }

    /// Starts `limiter record`.
    fn record(&self, line: &str) -> Recording {
        let mut command = self.desk.command(&format!("record {line}"));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let recording =
            Recording { child, series: self.desk.file("incident.partial/series.jsonl") };
        until_so("the recording begins", || recording.seconds() > 0);
        recording
    }

    /// Clients that fetch pages.
    fn clients(&self, pages_per_second: f64, seconds: f64) -> CrowdHandle {
        self.crowd(pages_per_second, seconds).spawn(&self.lab).expect("a crowd")
    }

    fn crowd(&self, pages_per_second: f64, seconds: f64) -> Crowd {
        Crowd {
            pages_per_second,
            seconds,
            ..Crowd::new((FRONT_V4, 80).into(), self.lab.clients_v4())
        }
    }

    /// A flood of `rate` SYNs a second for `seconds`.
    fn flood(&self, sources: Sources, rate: u64, seconds: f64) -> Flood {
        Flood {
            frames: u64::MAX,
            rate: Some(rate),
            seconds,
            ..Flood::new((FRONT_V4, 80).into(), sources)
        }
    }
}

/// A `limiter record` that runs; killed when dropped.
struct Recording {
    child: Child,
    series: PathBuf,
}

impl Recording {
    /// How many seconds it has written so far.
    fn seconds(&self) -> usize {
        let series = std::fs::read_to_string(&self.series).unwrap_or_default();
        series.lines().filter(|line| line.starts_with("{\"kind\":\"tick\"")).count()
    }

    /// Waits until it has written so many more: what is to be in the report was seen, however slow
    /// it goes.
    fn sees(&self, seconds: usize) {
        let before = self.seconds();
        until_so("the recording goes on", || self.seconds() >= before + seconds);
    }

    /// Waits until it has seen so many attempts more to the first service.
    fn sees_attempts(&self, attempts: u64) {
        let before = self.attempts();
        until_so("attempts are recorded", || self.attempts() >= before + attempts);
    }

    fn attempts(&self) -> u64 {
        let series = std::fs::read_to_string(&self.series).unwrap_or_default();
        // The last line may be half of one.
        let mut lines = series.lines().rev().filter_map(|line| serde_json::from_str(line).ok());
        let Some(tick) = lines.find(|line: &Value| line["kind"] == "tick") else { return 0 };
        let service = &tick["limiter"]["services"][0];
        let counts = ["decided", "observed"].iter().filter_map(|kind| service[*kind].as_object());
        counts.flat_map(|counts| counts.values()).filter_map(Value::as_u64).sum()
    }

    fn signal(&self, signal: i32) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal");
        rustix::process::kill_process(pid, signal).expect("a process");
    }

    /// Ends it as Ctrl-C does, when it has seen two more seconds; what it printed.
    fn end(self) -> String {
        self.sees(2);
        self.signal(libc::SIGINT);
        self.wait()
    }

    /// Waits for it to end well; what it printed.
    fn wait(mut self) -> String {
        let status = self.child.wait().expect("it ends");
        let mut said = String::new();
        let mut output = String::new();
        use std::io::Read as _;
        self.child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        self.child.stdout.take().expect("piped").read_to_string(&mut output).expect("text");
        assert!(status.success(), "{said}");
        output
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// 64 addresses that no client has.
fn heavy() -> Sources {
    Sources::Many { base: IpAddr::from([11, 0, 0, 1]), count: 64 }
}
