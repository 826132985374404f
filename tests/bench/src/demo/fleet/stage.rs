//! The scene: a router with ECMP, the crowd on one side and three front ends on the other, and etcd
//! at the router's.
//!
//! ```text
//!                                 +-- 10.79.1.1  10.79.1.2 front 1   10.77.0.1
//!   crowd 10.79.9.2  10.79.9.1 router 10.79.2.1  10.79.2.2 front 2   10.77.0.1
//!   10.78.0.x        etcd 10.79.0.254 10.79.3.1  10.79.3.2 front 3   10.77.0.1
//! ```

use std::fs::File;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lab::wait::until_so;
use lab::{Directory, Namespace};
use limiter::kernel::clock;

use super::front::{ENGINE, Front};

/// Front ends.
pub const FRONTS: usize = 3;
/// The budget of all, a second.
pub const BUDGET: u64 = 600;
/// What the crowd wants.
pub const RATE: u64 = 900;
/// Addresses of the crowd.
pub const CLIENTS: u8 = 200;
/// Where the service is.
pub const SERVICE: &str = "10.77.0.1";
/// Connections that a CPU holds of a budget at most.
const LEASE: u64 = 64;

/// What docs/fleet.md has an operator type.
const CERTIFICATES: &str = "
set -e
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $new -days 2 -subj /CN=fleet -keyout ca.key -out ca.pem
for name in etcd node; do openssl req $new -subj /CN=$name -keyout $name.key -out $name.csr; done
echo subjectAltName=IP:10.79.0.254 > etcd.ext
echo extendedKeyUsage=clientAuth > node.ext
for name in etcd node; do
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile $name.ext -out $name.pem
done
";

/// The scene.
pub struct Stage {
    engine: Option<Child>,
    fronts: Vec<Front>,
    pub crowd: Namespace,
    router: Namespace,
    directory: Directory,
}

impl Stage {
    /// Sets it: all run, and each front end has a share.
    pub fn set() -> Result<Self> {
        lab::netns::sweep()?;
        let directory = Directory::new()?;
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", CERTIFICATES]).current_dir(directory.path()).output()?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        let (crowd, router) = (Namespace::new()?, Namespace::new()?);
        for namespace in [&crowd, &router] {
            namespace.ip_batch("link set lo up\n")?;
        }
        router.sysctl("ipv4/ip_forward", "1")?;
        // By ports: one source is on all front ends.
        router.sysctl("ipv4/fib_multipath_hash_policy", "1")?;
        router.ip_batch(&format!("address add {ENGINE}/32 dev lo\n"))?;
        wire(&router, &crowd, 9)?;
        let addresses =
            (1..=CLIENTS).map(|client| format!("address add 10.78.0.{client}/32 dev lo\n"));
        crowd.ip_batch(&addresses.collect::<String>())?;
        router.ip_batch("route add 10.78.0.0/16 via 10.79.9.2\n")?;
        let mut stage = Self { engine: None, fronts: Vec::new(), crowd, router, directory };
        for number in 1..=FRONTS {
            let namespace = Namespace::new()?;
            namespace.ip_batch(&format!("link set lo up\naddress add {SERVICE}/32 dev lo\n"))?;
            wire(&stage.router, &namespace, number)?;
            let front = Front::new(namespace, number, stage.directory.path())?;
            stage.fronts.push(front);
        }
        stage.start_engine()?;
        for front in &mut stage.fronts {
            front.start()?;
        }
        stage.fronts[0].types(&format!("fleet init web={BUDGET}/s"))?;
        until_so("every front end has a share", || {
            stage.fronts.iter().all(|front| front.in_force().0)
        });
        Ok(stage)
    }

    /// Sends the crowd to the front ends by these weights; 0: to this one none.
    pub fn route(&self, weights: [u8; FRONTS]) -> Result<()> {
        let hops = weights.iter().zip(1..).filter(|(weight, _)| **weight != 0);
        let hops: String = hops
            .map(|(weight, number)| format!(" nexthop via 10.79.{number}.2 weight {weight}"))
            .collect();
        self.router.ip_batch(&format!("route replace {SERVICE}/32{hops}\n"))
    }

    /// A front end dies: its daemon, and its wire.
    pub fn die(&mut self, front: usize) -> Result<()> {
        self.fronts[front].kill();
        self.fronts[front].namespace.ip(&["link", "set", "up0", "down"])
    }

    /// It is there again.
    pub fn live(&mut self, front: usize) -> Result<()> {
        let number = front + 1;
        let front = &mut self.fronts[front];
        // Its routes went with the device.
        front
            .namespace
            .ip_batch(&format!("link set up0 up\nroute replace default via 10.79.{number}.1\n"))?;
        front.start()
    }

    /// Starts etcd, with what it had before.
    pub fn start_engine(&mut self) -> Result<()> {
        let at = |name: &str| self.directory.path().join(name);
        let url = format!("https://{ENGINE}:2379");
        let mut command = self.router.command("etcd")?;
        command
            .env("ETCD_DATA_DIR", at("store"))
            .env("ETCD_LISTEN_CLIENT_URLS", &url)
            .env("ETCD_ADVERTISE_CLIENT_URLS", &url)
            .env("ETCD_CLIENT_CERT_AUTH", "true")
            .env("ETCD_TRUSTED_CA_FILE", at("ca.pem"))
            .env("ETCD_CERT_FILE", at("etcd.pem"))
            .env("ETCD_KEY_FILE", at("etcd.key"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(at("log"))?);
        let child = command.spawn().context("etcd does not start; `cargo xtask setup`")?;
        self.engine = Some(child);
        until_so("etcd answers", || self.answers());
        Ok(())
    }

    fn answers(&self) -> bool {
        let at = |name: &str| self.directory.path().join(name);
        let Ok(mut curl) = self.router.command("curl") else { return false };
        curl.args(["-sf", "--max-time", "2", &format!("https://{ENGINE}:2379/health")]);
        curl.arg("--cacert").arg(at("ca.pem")).arg("--cert").arg(at("node.pem"));
        curl.arg("--key").arg(at("node.key")).stdout(Stdio::null());
        curl.status().is_ok_and(|status| status.success())
    }

    /// Kills etcd.
    pub fn end_engine(&mut self) -> Result<()> {
        if let Some(mut engine) = self.engine.take() {
            engine.kill()?;
            engine.wait()?;
        }
        Ok(())
    }

    /// What is in force on each front end, a second. One that is dead admits nothing, and counts
    /// until its kernel would have ended its share.
    pub fn in_force(&self) -> [f64; FRONTS] {
        std::array::from_fn(|front| self.fronts[front].in_force().1)
    }

    /// Connections that each has admitted.
    pub fn admitted(&self) -> [u64; FRONTS] {
        std::array::from_fn(|front| self.fronts[front].admitted())
    }

    /// What CPUs may hold beside the budget.
    pub fn leases(&self) -> f64 {
        (LEASE * clock::cpus() * FRONTS as u64) as f64
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What it was killed for is over.
        let _ = self.end_engine();
    }
}

/// Connects the router with another: `wireN` there, `up0` here.
fn wire(router: &Namespace, other: &Namespace, number: usize) -> Result<()> {
    let name = other.name();
    router.ip_batch(&format!(
        "link add wire{number} type veth peer name up0 netns {name}\n\
         address add 10.79.{number}.1/24 dev wire{number}\nlink set wire{number} up\n"
    ))?;
    other.ip_batch(&format!(
        "address add 10.79.{number}.2/24 dev up0\nlink set up0 up\n\
         route add default via 10.79.{number}.1\n"
    ))
}
