//! Owns a terminal: a tmux server of its own with one window, whose keys are pressed and whose screen is read.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::wait::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A terminal of 80x24, ended when dropped.
pub struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// Runs `program` in a terminal. `tmux` is the command that starts it, in its namespace and environment;
    /// its socket is in `directory`.
    pub fn start(mut tmux: Command, directory: &Path, program: &[&str]) -> Self {
        // A server that was just ended may still have its socket.
        let socket = directory.join(format!("tmux-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let settings = socket.with_extension("conf");
        std::fs::write(&settings, "set -g status off\nset -g remain-on-exit on\n").expect("a file");
        let arguments = ["new-session", "-d", "-x", "80", "-y", "24"];
        tmux.arg("-S").arg(&socket).arg("-f").arg(&settings).args(arguments).args(program);
        tmux.env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR").env_remove("TMUX");
        let output = tmux.output().expect("tmux is installed by `cargo xtask setup`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { socket }
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).env("LC_ALL", "C.UTF-8");
        let output = command.args(arguments).output().expect("tmux runs");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with its attributes.
    pub fn attributes(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    pub fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// The screen as soon as `words` are on it.
    #[track_caller]
    pub fn wait_for(&self, words: &str) -> String {
        self.wait_for_all(&[words])
    }

    /// The screen as soon as all of these are on it, which tmux may show one after the other.
    #[track_caller]
    pub fn wait_for_all(&self, words: &[&str]) -> String {
        self.wait(&format!("{words:?}"), |screen| words.iter().all(|word| screen.contains(word)))
    }

    #[track_caller]
    pub fn wait(&self, what: &str, mut there: impl FnMut(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if there(&screen) {
                return screen;
            }
            assert!(start.elapsed() < PATIENCE, "{what} does not come:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it has shown so many more readings, which the clock on the screen tells; the
    /// screen then.
    #[track_caller]
    pub fn wait_for_readings(&self, readings: usize) -> String {
        let clock = |screen: &str| screen.split_whitespace().next().map(str::to_owned);
        let (mut last, mut seen) = (clock(&self.screen()), 0);
        self.wait("a reading", |screen| {
            let now = clock(screen);
            seen += usize::from(now != last);
            last = now;
            seen >= readings
        })
    }

    /// The program that was started.
    pub fn process(&self) -> u32 {
        self.tmux(&["display", "-p", "#{pane_pid}"]).trim().parse().expect("a number")
    }

    /// Its exit code, once it has ended.
    pub fn exit_code(&self) -> Option<i32> {
        self.tmux(&["display", "-p", "#{pane_dead_status}"]).trim().parse().ok()
    }

    /// Its exit code when it ends.
    #[track_caller]
    pub fn wait_for_exit(&self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(code) = self.exit_code() {
                return code;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(50));
            // tmux 3.3a may miss the signal of a child that ended, and then has it as a zombie: the signal again does it.
            let server =
                self.tmux(&["display", "-p", "#{pid}"]).trim().parse().ok().and_then(Pid::from_raw);
            kill_process(server.expect("a process"), Signal::CHILD).expect("tmux is there");
        }
    }

    /// How far the clock on the screen is behind that of the machine, in seconds.
    pub fn seconds_behind(&self) -> f64 {
        let screen = self.screen();
        let now = Command::new("date").arg("+%H:%M:%S").output().expect("date runs").stdout;
        let seconds = |clock: &str| {
            let parts: Vec<f64> =
                clock.trim().split(':').map(|part| part.parse().expect("a number")).collect();
            parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
        };
        let shown = screen.split_whitespace().next().expect("a clock");
        // Around midnight a clock is a day behind.
        (seconds(&String::from_utf8(now).expect("text")) - seconds(shown)).rem_euclid(86_400.0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

/// The rate of now in the row with this label, if there is one.
pub fn per_second(screen: &str, label: &str) -> Option<f64> {
    let row = screen
        .lines()
        .find(|line| line.trim_start().starts_with(label) && line.contains("/s  peak"))?;
    let before = row.split("/s  peak").next().expect("a number");
    let last = before.split(|c: char| c.is_whitespace() || "·▁▂▃▄▅▆▇█".contains(c)).next_back();
    // Until there are two readings the rate of now is not known.
    last.filter(|shown| *shown != "-").map(number)
}

/// A number as it is shown: `3.4`, `38,120/s`, `1.23M`.
#[track_caller]
pub fn number(text: &str) -> f64 {
    let text = text.trim().trim_end_matches("/s").replace(',', "");
    let (digits, unit) =
        text.strip_suffix('M').map_or((text.as_str(), 1.0), |digits| (digits, 1e6));
    digits.parse::<f64>().unwrap_or_else(|_| panic!("`{text}` is no number")) * unit
}
