//! Front ends with daemons and kernel sides of their own, and a real etcd between them: made as
//! docs/fleet.md says, by what is typed there.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};

use lab::topology::FRONT_V4;
use lab::wait::until_so;
use lab::{Desk, Disk, Flood, FloodHandle, Lab, Sources};
use limiter::kernel::share::InForce;
use limiter::kernel::{Maps, Pins, clock};
use limiter::policy::file::FLEET_KEYS;
use limiter::report::Sample;
use limiter_common::reason::Reason;

pub use super::etcd::Etcd;
use super::router::{self, Router};

const UNIT: &str = include_str!("../../../../packaging/limiter.service");
/// Where a node's daemon tells its metrics, in its own namespace.
const METRICS: &str = "127.0.0.1:9717";
/// What each node's own policy states.
pub const ALONE: u64 = 100;
/// The engine's address on the page.
pub const ADDRESS: &str = "10.1.0.1";

/// A front end of a fleet.
pub struct Node {
    pub lab: Lab,
    pub desk: Desk,
    daemon: Option<Child>,
}

/// What is not as on the page.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub nodes: usize,
    /// Members of the engine.
    pub members: usize,
    /// Bytes of its store at most.
    pub quota: Option<u64>,
    /// Bytes of a disk on which its first member has its store.
    pub disk: Option<u64>,
    /// What each node's own policy states of the service, a second.
    pub alone: u64,
    /// Of the service besides its budget.
    pub service: &'static str,
    /// Budgets of the fleet besides the page's.
    pub budgets: &'static str,
    /// Whether a router is before its nodes.
    pub is_routed: bool,
}

impl Plan {
    pub const fn of(nodes: usize) -> Self {
        Self {
            nodes,
            members: 1,
            quota: None,
            disk: None,
            alone: ALONE,
            service: "line = false\n",
            budgets: "",
            is_routed: false,
        }
    }
}

/// A fleet.
pub struct World {
    pub etcd: Etcd,
    pub nodes: Vec<Node>,
    router: Option<Router>,
}

impl Node {
    fn new(etcd: &Etcd, router: Option<&Router>, number: usize, plan: &Plan) -> Self {
        let Plan { alone, service, .. } = plan;
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
        let mut interfaces = "\"attack0\", \"crowd0\"".to_owned();
        if let Some(router) = router {
            router.wire(&lab.front, number, router::DEVICE);
            interfaces.push_str(&format!(", \"{}\"", router::DEVICE));
        }
        let mut policy = format!(
            "interfaces = [{interfaces}]\nmode = \"enforce\"\nsources = 4096\n\
             [service.web]\nlisten = \"*:80\"\nbudget = \"{alone}/s\"\n{service}[fleet]\n"
        );
        for line in FLEET_KEYS.iter().flat_map(|key| block(&format!("    {key} = "))) {
            policy.push_str(&format!("{line}\n"));
        }
        policy.push_str("[profile.siege.service.web]\nsource_rate = \"7/s\"\n");
        let policy = policy.replace(&format!("\"https://{ADDRESS}:2379\""), &etcd.endpoints());
        let policy = policy.replace("lu-01", &format!("n{number}"));
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
        command.arg(lab::desk::limiter().expect("the command")).args(["run", "--listen", METRICS]);
        let log = File::create(self.desk.file("log")).expect("a file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().expect("it starts"));
        until_so("limiter is loaded", || self.maps().is_some());
    }

    /// Has its daemon read its files again.
    pub fn reload(&self) {
        let daemon = self.daemon.as_ref().expect("it runs");
        let pid = rustix::process::Pid::from_child(daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it is told");
    }

    /// Its share of places, if one is in force.
    pub fn places(&self, budget: &str) -> Option<u64> {
        let shares = self.maps()?.shares().expect("shares");
        shares.into_iter().find(|share| share.budget == budget)?.places
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

    /// When its share of the service ends, in seconds of the kernel's clock.
    pub fn ends(&self) -> Option<f64> {
        let maps = self.maps()?;
        let (web, _) = maps.budgets().expect("budgets")["web"];
        let ends = maps.share(web).expect("a share").ends();
        (ends > clock::now()).then_some(ends as f64 / 1e9)
    }

    /// What its share is a second; 0: none is in force.
    pub fn rate(&self) -> u64 {
        self.share().map_or(0, |share| share.per_second.unwrap_or(0.0).round() as u64)
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

    /// What its daemon tells Prometheus.
    pub fn metrics(&self) -> String {
        let mut curl = self.desk.program("curl");
        let output = curl.args(["-sf", &format!("http://{METRICS}/metrics")]).output();
        String::from_utf8(output.expect("curl runs").stdout).expect("text")
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
        Self::of(&Plan::of(count))
    }

    pub fn of(plan: &Plan) -> Self {
        let mut etcd = Etcd::new(plan.members, plan.quota);
        etcd.disk = plan.disk.map(|bytes| Disk::new(bytes).expect("a disk"));
        etcd.start();
        let router = plan.is_routed.then(Router::new);
        let node = |number| Node::new(&etcd, router.as_ref(), number, plan);
        let nodes: Vec<_> = (1..=plan.nodes).map(node).collect();
        if let Some(router) = &router {
            nodes.iter().zip(1..).for_each(|(node, number)| router::plug(node, number, true));
            router.route(plan.nodes);
        }
        let typed = typed();
        let init = typed.iter().find_map(|line| line.strip_prefix("limiter fleet init "));
        nodes[0].desk.ok(&format!("fleet init {} {}", init.expect("its budget"), plan.budgets));
        let world = Self { etcd, nodes, router };
        until_so("every node has a share", || world.nodes.iter().all(|node| node.rate() > 0));
        world
    }

    /// The router before its nodes.
    pub fn router(&self) -> &Router {
        self.router.as_ref().expect("it was planned")
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
pub fn block(prefix: &str) -> Vec<String> {
    let page = page();
    let lines = page.lines().filter(|line| line.starts_with(prefix));
    let lines: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
    assert!(!lines.is_empty(), "the page has no {prefix}");
    lines
}
