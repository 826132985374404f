//! A front end: a web server, limiter before it, and its daemon.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};
use lab::wait::until_so;
use lab::{Desk, Namespace};
use limiter::kernel::{Maps, Pins};
use limiter::report::{Sample, admitted};

/// What each may use alone.
pub const ALONE: u64 = 50;
/// Where etcd is.
pub const ENGINE: &str = "10.79.0.254";

/// A front end.
pub struct Front {
    pub namespace: Namespace,
    desk: Desk,
    daemon: Option<Child>,
}

impl Front {
    /// One whose device is `up0`, with the files of its certificate from `files`.
    pub fn new(namespace: Namespace, number: usize, files: &Path) -> Result<Self> {
        let desk = Desk::new(&namespace)?;
        for name in ["ca.pem", "node.pem", "node.key"] {
            fs::copy(files.join(name), desk.file(name))?;
        }
        let policy = format!(
            "interfaces = [\"up0\"]\nmode = \"enforce\"\n\
             [service.web]\nlisten = [\"*:80\"]\nbudget = \"{ALONE}/s\"\nline = false\n\
             [fleet]\nname = \"demo\"\nnode = \"front-{number}\"\n\
             endpoints = [\"https://{ENGINE}:2379\"]\n\
             ca = \"ca.pem\"\ncertificate = \"node.pem\"\nkey = \"node.key\"\n"
        );
        fs::write(desk.policy(), policy)?;
        let listener = namespace.run(|| Ok(TcpListener::bind(("::", 80))?))?;
        // It ends with the process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // A client that is gone misses its page.
                let _ = stream.write_all(b"page");
            }
        });
        Ok(Self { namespace, desk, daemon: None })
    }

    /// Starts the daemon; limiter is loaded when this returns.
    pub fn start(&mut self) -> Result<()> {
        let mut command = self.desk.command("run");
        let log = File::create(self.desk.file("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().context("limiter does not start")?);
        until_so("limiter is loaded", || self.maps().is_some());
        Ok(())
    }

    /// Kills the daemon.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It may have ended by itself.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// Types a command.
    pub fn types(&self, line: &str) -> Result<String> {
        self.desk.run(line)
    }

    fn maps(&self) -> Option<Maps> {
        Maps::open(&Pins::at(self.desk.pins().to_owned()).root()).ok()
    }

    /// Whether a share of the fleet's budget is in force, and how much is, a second.
    pub fn in_force(&self) -> (bool, f64) {
        let shares = self.maps().and_then(|maps| maps.shares().ok()).unwrap_or_default();
        let share = shares.iter().find_map(|share| share.per_second);
        (share.is_some(), share.unwrap_or(ALONE as f64))
    }

    /// Connections that it has admitted.
    pub fn admitted(&self) -> u64 {
        let sample = self.maps().and_then(|maps| Sample::take(&maps).ok());
        sample.map_or(0, |sample| admitted(&sample.total()))
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.kill();
    }
}
