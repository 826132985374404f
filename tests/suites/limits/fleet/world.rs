//! Front ends with daemons and kernel sides of their own, and a real etcd between them: made as
//! docs/fleet.md says, by what is typed there.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lab::topology::FRONT_V4;
use lab::wait::until_so;
use lab::{Desk, Directory, Flood, FloodHandle, Lab, Namespace, Sources};
use limiter::fleet::etcd;
use limiter::fleet::http::Client;
use limiter::kernel::share::InForce;
use limiter::kernel::{Maps, Pins};
use limiter::policy::fleet::{Certificates, Endpoint};
use limiter::report::Sample;
use limiter_common::reason::Reason;
use limiter_fleet::engine::{Engine as _, Transaction};

const UNIT: &str = include_str!("../../../../packaging/limiter.service");
/// What each node's own policy states.
pub const ALONE: u64 = 100;
pub const ENGINE: &str = "10.79.9.254";
/// The engine's address on the page.
const ADDRESS: &str = "10.1.0.1";

/// An etcd with one member; killed when dropped.
pub struct Etcd {
    pub namespace: Namespace,
    pub directory: Directory,
    child: Option<Child>,
    /// Bytes of its store at most.
    quota: Option<u64>,
}

/// A front end of a fleet.
pub struct Node {
    pub lab: Lab,
    pub desk: Desk,
    daemon: Option<Child>,
}

/// A fleet.
pub struct World {
    pub etcd: Etcd,
    pub nodes: Vec<Node>,
}

impl Etcd {
    pub fn new() -> Self {
        let namespace = Namespace::new().expect("a namespace");
        let links = "link add bridge type bridge\nlink set bridge up\n";
        let address = format!("address add {ENGINE}/24 dev bridge\n");
        namespace.ip_batch(&format!("{links}{address}")).expect("a network");
        let directory = Directory::new().expect("a directory");
        for line in typed().iter().filter(|line| !line.starts_with("limiter ")) {
            let mut shell = Command::new("sh");
            shell.args(["-c", &line.replace(ADDRESS, ENGINE)]).current_dir(directory.path());
            let output = shell.output().expect("a shell runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{line}: {said}");
        }
        Self { namespace, directory, child: None, quota: None }
    }

    /// Starts it, with what it had before; it answers when this returns.
    pub fn start(&mut self) {
        let at = self.directory.path().display().to_string();
        let mut command = self.namespace.command("etcd").expect("a descriptor");
        for line in block("    ETCD_") {
            let (name, value) = line.split_once('=').expect("a setting");
            let value = value.replace(ADDRESS, ENGINE).replace("/etc/etcd", &at);
            command.env(name, value.replace("/var/lib/etcd", &at));
        }
        command.envs(self.quota.map(|most| ("ETCD_QUOTA_BACKEND_BYTES", most.to_string())));
        let log = File::create(self.directory.path().join("log")).expect("a file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("etcd runs: `cargo xtask setup` installs it"));
        until_so("etcd answers", || self.answers());
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    fn answers(&self) -> bool {
        let file = |name: &str| self.directory.path().join(name);
        let mut curl = self.namespace.command("curl").expect("a descriptor");
        curl.args(["-sf", "--max-time", "2", &format!("https://{ENGINE}:2379/health")]);
        curl.arg("--cacert").arg(file("ca.pem")).arg("--cert").arg(file("node.pem"));
        curl.arg("--key").arg(file("node.key")).stdout(Stdio::null());
        curl.status().expect("curl runs").success()
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
                    if engine.transact(writes).await.is_err() {
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

    /// Kills it, as a machine that loses its power would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is there");
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Node {
    fn new(etcd: &Etcd, number: usize) -> Self {
        let lab = Lab::new().expect("a lab");
        let desk = Desk::new(&lab.front).expect("a desk");
        let engine = etcd.namespace.name();
        lab.front
            .ip_batch(&format!(
                "link add fleet0 type veth peer name port{number} netns {engine}\n\
                 address add 10.79.9.{number}/24 dev fleet0\nlink set fleet0 up\n"
            ))
            .expect("a wire");
        let port = format!("link set port{number} master bridge\nlink set port{number} up\n");
        etcd.namespace.ip_batch(&port).expect("a port");
        for name in ["ca.pem", "node.pem", "node.key"] {
            fs::copy(etcd.directory.path().join(name), desk.file(name)).expect("copied");
        }
        let mut policy = format!(
            "interfaces = [\"attack0\", \"crowd0\"]\nmode = \"enforce\"\nsources = 4096\n\
             [service.web]\nlisten = \"*:80\"\nbudget = \"{ALONE}/s\"\nline = false\n[fleet]\n"
        );
        let keys = [
            "name",
            "node",
            "endpoints",
            "ca",
            "certificate",
            "key",
            "most",
            "takes",
            "widest",
            "longest",
            "profiles",
        ];
        for line in keys.iter().flat_map(|key| block(&format!("    {key} = "))) {
            policy.push_str(&format!("{line}\n"));
        }
        policy.push_str("[profile.siege.service.web]\nsource_rate = \"7/s\"\n");
        let policy = policy.replace(ADDRESS, ENGINE).replace("lu-01", &format!("n{number}"));
        let policy = policy.replace("fleet/", "").replace("2500/s", "2900/s");
        fs::write(desk.policy(), policy).expect("written");
        let mut node = Self { lab, desk, daemon: None };
        node.start();
        node
    }

    /// Starts its daemon, with no more capabilities than its unit leaves it; limiter is loaded when
    /// this returns.
    pub fn start(&mut self) {
        let caps = UNIT.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
        let caps = caps.expect("a line of the unit").split(' ');
        let caps: String = caps.map(|name| name.to_lowercase().replace("cap_", ",+")).collect();
        let mut command = self.desk.program("setpriv");
        command.args(["--inh-caps=-all", "--no-new-privs", &format!("--bounding-set=-all{caps}")]);
        command.arg(lab::desk::limiter().expect("the command")).arg("run");
        let log = File::create(self.desk.file("log")).expect("a file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().expect("it starts"));
        until_so("limiter is loaded", || self.maps().is_some());
    }

    /// Kills its daemon. What is in the kernel stays.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("it is there");
            daemon.wait().expect("it ends");
        }
    }

    /// Cuts it off from the engine, or connects it again.
    pub fn cut(&self, is_cut: bool) {
        let state = if is_cut { "down" } else { "up" };
        self.lab.front.ip(&["link", "set", "fleet0", state]).expect("it is set");
    }

    pub fn maps(&self) -> Option<Maps> {
        Maps::open(&Pins::at(self.desk.pins().to_owned()).root()).ok()
    }

    /// Its share of the service, if one is in force.
    pub fn share(&self) -> Option<InForce> {
        let shares = self.maps()?.shares().expect("shares");
        shares.into_iter().find(|share| share.budget == "web")
    }

    /// What its share is a second; 0: none is in force.
    pub fn rate(&self) -> u64 {
        self.share().map_or(0, |share| share.per_second.round() as u64)
    }

    pub fn admitted(&self) -> u64 {
        let counters = Sample::take(&self.maps().expect("the maps")).expect("counters").counters;
        counters[1].decided[Reason::Admitted as usize]
    }

    /// Floods it with so many attempts a second, from random sources.
    pub fn flood(&self, rate: u64) -> FloodHandle {
        let flood = Flood {
            frames: u64::MAX,
            seconds: 600.0,
            rate: Some(rate),
            ..Flood::new((FRONT_V4, 80).into(), Sources::Random)
        };
        flood.spawn(&self.lab).expect("a flood")
    }

    /// The log of its daemon.
    pub fn log(&self) -> String {
        fs::read_to_string(self.desk.file("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.kill();
    }
}

impl World {
    /// So many nodes whose fleet has the budget of the page; each has a share when this returns.
    pub fn new(count: usize) -> Self {
        Self::with_quota(count, None)
    }

    /// The same, with an engine whose store takes so many bytes.
    pub fn with_quota(count: usize, quota: Option<u64>) -> Self {
        let mut etcd = Etcd::new();
        etcd.quota = quota;
        etcd.start();
        let nodes: Vec<_> = (1..=count).map(|number| Node::new(&etcd, number)).collect();
        let typed = typed();
        let init = typed.iter().find_map(|line| line.strip_prefix("limiter fleet init "));
        nodes[0].desk.ok(&format!("fleet init {}", init.expect("its budget")));
        let world = Self { etcd, nodes };
        until_so("every node has a share", || world.nodes.iter().all(|node| node.rate() > 0));
        world
    }

    pub fn admitted(&self) -> u64 {
        self.nodes.iter().map(Node::admitted).sum()
    }
}

/// The page.
fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fleet.md");
    fs::read_to_string(path).expect("the page")
}

/// What is typed on it.
pub fn typed() -> Vec<String> {
    let page = page();
    let lines = page.lines().filter_map(|line| line.strip_prefix("    # "));
    lines.map(ToOwned::to_owned).collect()
}

/// The lines of its blocks that begin so.
fn block(prefix: &str) -> Vec<String> {
    let page = page();
    let lines = page.lines().filter(|line| line.starts_with(prefix));
    let lines: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
    assert!(!lines.is_empty(), "the page has no {prefix}");
    lines
}
