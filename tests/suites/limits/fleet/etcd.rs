//! A real etcd of one member or of three, over TLS, with certificates made as docs/fleet.md says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lab::wait::until_so;
use lab::{Directory, Disk, Namespace};
use limiter::fleet::etcd;
use limiter::fleet::http::Client;
use limiter::policy::fleet::{Certificates, Endpoint};
use limiter_fleet::engine::{Engine as _, Transaction};
use serde_json::Value;

use super::world::{ADDRESS, block, typed};

/// The address of its first member; of the others, those before it.
pub const ENGINE: &str = "10.79.9.254";

/// An etcd; killed when dropped.
pub struct Etcd {
    pub namespace: Namespace,
    pub directory: Directory,
    members: Vec<Option<Child>>,
    /// Bytes of its store at most.
    quota: Option<u64>,
    /// Where its first member has its store, if that is not where all is.
    pub disk: Option<Disk>,
}

fn address(member: usize) -> String {
    format!("10.79.9.{}", 254 - member)
}

impl Etcd {
    /// One of so many members, none of which runs.
    pub fn new(members: usize, quota: Option<u64>) -> Self {
        let namespace = Namespace::new().expect("a namespace");
        let mut batch =
            "link add bridge type bridge\nlink set bridge up\nlink set lo up\n".to_owned();
        for member in 0..members {
            batch.push_str(&format!("address add {}/24 dev bridge\n", address(member)));
        }
        namespace.ip_batch(&batch).expect("a network");
        let directory = Directory::new().expect("a directory");
        for line in typed().iter().filter(|line| !line.starts_with("limiter ")) {
            openssl(directory.path(), &line.replace(&format!("IP:{ADDRESS}"), &names(members)));
        }
        Self {
            namespace,
            directory,
            members: (0..members).map(|_| None).collect(),
            quota,
            disk: None,
        }
    }

    /// Its endpoints as a policy file lists them.
    pub fn endpoints(&self) -> String {
        let urls = (0..self.members.len()).map(|one| format!("\"https://{}:2379\"", address(one)));
        urls.collect::<Vec<_>>().join(", ")
    }

    /// Starts all members; it answers when this returns.
    pub fn start(&mut self) {
        (0..self.members.len()).for_each(|member| self.start_member(member));
        until_so("etcd answers", || self.answers(0));
    }

    /// Starts one, with what it had before.
    pub fn start_member(&mut self, member: usize) {
        let at = self.directory.path().display().to_string();
        let mut command = self.namespace.command("etcd").expect("a descriptor");
        for line in block("    ETCD_") {
            let (name, value) = line.split_once('=').expect("a setting");
            let value = value.replace(ADDRESS, &address(member)).replace("/etc/etcd", &at);
            let store = self.store(member).display().to_string();
            let value = value.replace("/var/lib/etcd/default", &store);
            command.env(name, value);
        }
        let peer = |member: usize| format!("http://{}:2380", address(member));
        let all = (0..self.members.len()).map(|one| format!("m{one}={}", peer(one)));
        command
            .env("ETCD_NAME", format!("m{member}"))
            .env("ETCD_LISTEN_PEER_URLS", peer(member))
            .env("ETCD_INITIAL_ADVERTISE_PEER_URLS", peer(member))
            .env("ETCD_INITIAL_CLUSTER", all.collect::<Vec<_>>().join(","));
        command.envs(self.quota.map(|most| ("ETCD_QUOTA_BACKEND_BYTES", most.to_string())));
        let log = File::create(self.directory.path().join(format!("log{member}"))).expect("a file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("etcd runs: `cargo xtask setup` installs it");
        self.members[member] = Some(child);
    }

    fn store(&self, member: usize) -> PathBuf {
        match &self.disk {
            Some(disk) if member == 0 => disk.path().join("store"),
            _ => self.directory.path().join(format!("store{member}")),
        }
    }

    /// Whether a member has ended by itself.
    pub fn has_ended(&mut self, member: usize) -> bool {
        let child = self.members[member].as_mut().expect("it was started");
        child.try_wait().expect("it is ours").is_some()
    }

    /// What a member has logged since it was started.
    pub fn log(&self, member: usize) -> String {
        fs::read_to_string(self.directory.path().join(format!("log{member}"))).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.members[0].as_ref().expect("it runs").id()
    }

    /// Whether a member answers, and has a leader.
    pub fn answers(&self, member: usize) -> bool {
        let mut curl = self.curl();
        curl.arg(format!("https://{}:2379/health", address(member)));
        curl.stdout(Stdio::null()).stderr(Stdio::null());
        curl.status().expect("curl runs").success()
    }

    /// Asks it as etcdctl does, by its gateway.
    pub fn ask(&self, path: &str, question: &str) -> Value {
        let mut curl = self.curl();
        curl.args(["-X", "POST", "-d", question, &format!("https://{ENGINE}:2379/v3/{path}")]);
        let output = curl.output().expect("curl runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{path} {question}: {error}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn curl(&self) -> Command {
        let file = |name: &str| self.directory.path().join(name);
        let mut curl = self.namespace.command("curl").expect("a descriptor");
        curl.args(["-sSf", "--max-time", "120"]);
        curl.arg("--cacert").arg(file("ca.pem")).arg("--cert").arg(file("node.pem"));
        curl.arg("--key").arg(file("node.key"));
        curl
    }

    /// A certificate of a node that lasts so many days, at this name.
    pub fn certify(&self, name: &str, days: i32) {
        let typed = typed();
        let line = typed.iter().find(|line| line.contains("-out node.pem")).expect("a line");
        let line = line.replace("node.pem", name).replace("3650", &days.to_string());
        openssl(self.directory.path(), &line);
    }

    /// What talks to it as a node does, from its own namespace.
    pub fn engine(&self) -> etcd::Etcd {
        let files = Certificates {
            authority: "ca.pem".to_owned(),
            own: "node.pem".to_owned(),
            key: "node.key".to_owned(),
        };
        let endpoint = Endpoint::parse(&format!("https://{ENGINE}:2379")).expect("an endpoint");
        let client = Client::new(vec![endpoint], Some(&files), self.directory.path());
        etcd::Etcd::new(client.expect("certificates"))
    }

    /// Writes until its store is full.
    pub fn fill(&self) {
        let fill = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let engine = self.engine();
            runtime.block_on(async {
                for number in 0..1000 {
                    let write = (format!("/other/{number}"), Some(vec![7; 1_000_000]));
                    let writes = Transaction { conditions: vec![], writes: vec![write] };
                    let error = engine.transact(writes).await.err();
                    // A disk that is slow is not full.
                    if error.is_some_and(|error| format!("{error:#}").contains("space exceeded")) {
                        return;
                    }
                }
                panic!("its store is never full");
            });
            runtime.shutdown_background();
            Ok(())
        };
        self.namespace.run(fill).expect("it is filled");
    }

    /// Kills all members, as a machine that loses its power would.
    pub fn kill(&mut self) {
        (0..self.members.len()).for_each(|member| self.kill_member(member));
    }

    pub fn kill_member(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].take() {
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The names of so many members in a certificate.
fn names(members: usize) -> String {
    let names: Vec<_> = (0..members).map(|member| format!("IP:{}", address(member))).collect();
    names.join(",")
}

fn openssl(directory: &Path, line: &str) {
    let output = Command::new("sh").args(["-c", line]).current_dir(directory).output();
    let output = output.expect("a shell runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
}
