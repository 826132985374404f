//! A daemon that a test starts, signals and ends: what it logs, and what it tells the service
//! manager.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lab::wait::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};

use super::super::Desk;

/// A daemon that runs, and what it said so far.
pub(super) struct Daemon {
    pub(super) child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    manager: UnixDatagram,
}

impl Daemon {
    pub(super) fn start(desk: &Desk, line: &str) -> Self {
        Self::with(desk, line, |_| {})
    }

    pub(super) fn with(desk: &Desk, line: &str, furnish: impl FnOnce(&mut Command)) -> Self {
        Self::of(desk, desk.command(line), furnish)
    }

    pub(super) fn of(
        desk: &Desk,
        mut command: Command,
        furnish: impl FnOnce(&mut Command),
    ) -> Self {
        let socket = desk.file("notify");
        let _ = fs::remove_file(&socket);
        let manager = UnixDatagram::bind(&socket).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        command.env("NOTIFY_SOCKET", &socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        furnish(&mut command);
        let mut child = command.spawn().expect("runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, kept) = (child.stderr.take(), Arc::clone(&lines));
        // None: a test gave it another place for its log.
        let reader = output.map(|output| {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    kept.lock().expect("no panic").push(line);
                }
            })
        });
        Self { child, lines, reader, manager }
    }

    pub(super) fn ready(desk: &Desk, line: &str) -> Self {
        let daemon = Self::start(desk, line);
        daemon.told("READY=1");
        daemon
    }

    /// Waits until the service manager is told something that begins so; the datagram.
    #[track_caller]
    pub(super) fn told(&self, words: &str) -> String {
        let start = Instant::now();
        let mut heard = Vec::new();
        let mut bytes = [0; 4096];
        while start.elapsed() < PATIENCE {
            let Ok(length) = self.manager.recv(&mut bytes) else { break };
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(words)) {
                return text;
            }
            heard.push(text);
        }
        panic!("never told {words}, but {heard:?}; it said {:#?}", self.said());
    }

    pub(super) fn said(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// Waits for a line that holds all of `words`.
    #[track_caller]
    pub(super) fn says(&self, words: &[&str]) -> String {
        self.says_times(1, words)
    }

    /// Waits until so many lines hold all of `words`; the last one.
    #[track_caller]
    pub(super) fn says_times(&self, times: usize, words: &[&str]) -> String {
        let start = Instant::now();
        loop {
            let lines = self.said();
            let mut holding =
                lines.iter().filter(|line| words.iter().all(|word| line.contains(word)));
            if let Some(line) = holding.nth(times - 1) {
                return line.clone();
            }
            assert!(start.elapsed() < PATIENCE, "never said {words:?} {times} times: {lines:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Tells it to read the file again, and waits until it did.
    pub(super) fn reload(&self) {
        self.signal(Signal::HUP);
        let text = self.told("RELOADING=1");
        assert!(text.contains("MONOTONIC_USEC="), "{text}");
        self.told("READY=1");
    }

    /// Waits until it ends by itself; its exit code.
    #[track_caller]
    pub(super) fn code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it does not end: {:#?}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as systemd would; what it said.
    pub(super) fn end(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        self.told("STOPPING=1");
        assert_eq!(self.code(), Some(0));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
        self.said()
    }

    pub(super) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
