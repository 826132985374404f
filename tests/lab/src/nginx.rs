//! Owns a real nginx in a namespace, with all of its files in a directory of its own.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until_so;
use crate::{Directory, Namespace};

/// A master and its workers, ended when dropped.
pub struct Nginx {
    master: Child,
    directory: Directory,
}

impl Nginx {
    /// Starts it with so many workers; it listens at so many sockets more when this returns. `http`:
    /// what its block of that name holds, for its directory.
    ///
    /// # Errors
    /// When it is not installed, or the namespace is not there.
    pub fn start(
        namespace: &Namespace,
        workers: usize,
        sockets: usize,
        http: impl FnOnce(&Path) -> String,
    ) -> Result<Self> {
        let directory = Directory::new()?;
        let root = directory.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};"));
        let configuration = format!(
            "daemon off; worker_processes {workers}; user nobody nogroup; pid {root}/pid; \
             error_log stderr crit; events {{ worker_connections 4096; }} \
             http {{ access_log off; {} {} }}",
            temporary.concat(),
            http(directory.path())
        );
        let file = directory.path().join("conf");
        fs::write(&file, configuration).context("cannot write nginx's configuration")?;
        let before = listening(namespace)?;
        let mut command = namespace.command("nginx")?;
        command.arg("-p").arg(directory.path()).arg("-c").arg(&file).stderr(Stdio::null());
        let master = command.spawn().context("`cargo xtask setup` installs nginx")?;
        let nginx = Self { master, directory };
        until_so("nginx listens", || listening(namespace).is_ok_and(|now| now >= before + sockets));
        Ok(nginx)
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master ends its workers.
        let _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        let _ = self.master.wait();
    }
}

/// Listening sockets of a namespace.
fn listening(namespace: &Namespace) -> Result<usize> {
    /// LISTEN in include/net/tcp_states.h, as /proc/net/tcp has it.
    const LISTEN: &str = "0A";
    namespace.run(|| {
        let mut count = 0;
        for family in ["tcp", "tcp6"] {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{family}"))?;
            let states = text.lines().filter_map(|line| line.split_whitespace().nth(3));
            count += states.filter(|state| *state == LISTEN).count();
        }
        Ok(count)
    })
}
