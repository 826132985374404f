//! Who is at work at once: floods, pages, connections that stay, and operators of five kinds.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::topology::{FRONT_V4, FRONT_V6};
use lab::{Crowd, Flood, Sources};

use super::stage::{Stage, TALK, WEB};

/// Commands that an operator typed, and those that were rightly refused.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Did {
    commands: u64,
    refused: u64,
}

impl Did {
    fn note(&mut self, worked: bool) {
        self.commands += 1;
        self.refused += u64::from(!worked);
    }
}

impl fmt::Display for Did {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} commands, {} of them rightly refused", self.commands, self.refused)
    }
}

/// What one operator may be told because of what another has just done.
const ON_TRIAL: [&str; 4] =
    ["on trial", "nothing to confirm", "no policy before", "before this one is gone"];

/// Policy files on trial, confirmed, rolled back, left to go back by themselves, and limits that change.
pub fn policies(stage: &Stage, goes_on: &dyn Fn() -> bool) -> Result<Did> {
    let file = stage.desk.policy();
    let file = file.display();
    let lines = [
        format!("apply {file} --profile siege --confirm 500ms"),
        "confirm".to_owned(),
        "set --source-rate 9/s".to_owned(),
        format!("profile use calm {file} --confirm 700ms"),
        "rollback".to_owned(),
        format!("apply {file}"),
        "set --service web --budget 5000/s".to_owned(),
        format!("profile use siege {file} --confirm 300ms --for 900ms"),
        format!("apply {file} --profile siege"),
        format!("profile use calm {file} --for 600ms"),
    ];
    let mut did = Did::default();
    for line in lines.iter().cycle().take_while(|_| goes_on()) {
        did.note(stage.run_or(line, &ON_TRIAL)?);
        std::thread::sleep(Duration::from_millis(130));
    }
    Ok(did)
}

/// Bans of flooders that end or are lifted, and allowances of others.
pub fn lists(stage: &Stage, goes_on: &dyn Fn() -> bool) -> Result<Did> {
    let mut did = Did::default();
    for number in (0_u32..).take_while(|_| goes_on()) {
        let (net, host) = (number % 200, number % 250);
        did.note(stage.run_or(&format!("ban add 11.{net}.0.0/16 11.0.0.{host} --for 400ms"), &[])?);
        did.note(stage.run_or(
            &format!("allow add 12.0.{net}.{host} 2001:db8:{net:x}::/48 --for 300ms"),
            &[],
        )?);
        did.note(stage.run_or(&format!("ban del 11.{net}.0.0/16"), &["is not on the ban list"])?);
        std::thread::sleep(Duration::from_millis(90));
    }
    Ok(did)
}

/// Arming and disarming, for good and for a while.
pub fn modes(stage: &Stage, goes_on: &dyn Fn() -> bool) -> Result<Did> {
    let mut did = Did::default();
    for line in ["disarm", "arm", "arm --for 200ms", "arm"].iter().cycle().take_while(|_| goes_on())
    {
        did.note(stage.run_or(line, &ON_TRIAL)?);
        std::thread::sleep(Duration::from_millis(170));
    }
    Ok(did)
}

/// Whoever looks, sees a whole state.
pub fn readers(stage: &Stage, goes_on: &dyn Fn() -> bool) -> Result<Did> {
    let mut did = Did::default();
    while goes_on() {
        let text = stage.desk.run("status --json --measure 100ms")?;
        let status: serde_json::Value = serde_json::from_str(&text).context("a status is JSON")?;
        let services = status["services"].as_array().context("a status has services")?;
        ensure!(
            services.len() == 2 && status["interfaces"].as_array().map(Vec::len) == Some(2),
            "half a status: {text}"
        );
        did.note(true);
        for line in ["policy show", "ban list --json", "history --last 3", "status --quick"] {
            did.note(stage.run_or(line, &[])?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(did)
}

/// The program is replaced by its like.
pub fn upgrades(stage: &Stage, goes_on: &dyn Fn() -> bool) -> Result<Did> {
    let mut did = Did::default();
    while goes_on() {
        did.note(stage.run_or("upgrade", &[])?);
        std::thread::sleep(Duration::from_secs(2));
    }
    Ok(did)
}

/// Floods of all shapes, one after another; how many SYNs they sent.
pub fn floods(stage: &Stage, goes_on: &dyn Fn() -> bool) -> Result<u64> {
    let (base, base_v6): (IpAddr, IpAddr) = ([11, 0, 0, 0].into(), "2001:db8::".parse()?);
    let shapes = [
        (FRONT_V4, Sources::One([11, 0, 0, 7].into()), None),
        (FRONT_V4, Sources::Many { base, count: 256 }, None),
        (FRONT_V6, Sources::Random, None),
        (FRONT_V4, Sources::Many { base, count: 1 << 16 }, Some(20_000)),
        (FRONT_V6, Sources::Networks { base: base_v6, count: 1000 }, None),
        (FRONT_V4, Sources::Random, Some(200_000)),
        (FRONT_V4, Sources::Many { base: [12, 0, 0, 0].into(), count: 50_000 }, None),
    ];
    let mut sent = 0;
    // From a CPU that does not change meanwhile: the two ends of a wire share it, and no frame is lost between them.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    for (number, (target, sources, rate)) in
        shapes.into_iter().cycle().enumerate().take_while(|_| goes_on())
    {
        let cpu = Some(number % cpus);
        let flood = Flood {
            frames: u64::MAX,
            seconds: 1.3,
            rate,
            cpu,
            ..Flood::new((target, WEB).into(), sources)
        };
        sent += flood.run(&stage.lab)?.sent;
    }
    Ok(sent)
}

/// Pages of both families without a pause: tried, and whole.
pub fn pages(stage: &Stage, goes_on: &dyn Fn() -> bool) -> Result<(u64, u64)> {
    let (mut tried, mut ok) = (0, 0);
    let families = [(FRONT_V4, stage.lab.clients_v4()), (FRONT_V6, stage.lab.clients_v6())];
    for (target, clients) in families.into_iter().cycle().take_while(|_| goes_on()) {
        let crowd = Crowd {
            pages_per_second: 40.0,
            seconds: 2.0,
            timeout: Duration::from_secs(20),
            ..Crowd::new((target, WEB).into(), clients)
        };
        let report = crowd.run(&stage.lab)?;
        (tried, ok) = (tried + report.tried, ok + report.ok);
    }
    Ok((tried, ok))
}

/// Connections that stay, one of each family, as an operator's ssh does.
pub struct Talk {
    ends: Vec<(TcpStream, TcpStream)>,
    said: u64,
}

impl Talk {
    /// How many.
    pub const CONNECTIONS: u64 = 2;

    /// Connects.
    pub fn start(stage: &Stage) -> Result<Self> {
        let lab = &stage.lab;
        let mut ends = Vec::new();
        for (server, client) in [(FRONT_V4, lab.clients_v4()[0]), (FRONT_V6, lab.clients_v6()[0])] {
            let listener = lab.front.run(|| Ok(TcpListener::bind((server, TALK))?))?;
            let far = lab.crowd.run(|| connect(client, server))?;
            let (near, _) = listener.accept()?;
            for end in [&far, &near] {
                end.set_read_timeout(Some(Duration::from_secs(10)))?;
            }
            ends.push((far, near));
        }
        Ok(Self { ends, said: 0 })
    }

    /// Says something there and back.
    pub fn echo(&mut self) -> Result<()> {
        self.said += 1;
        let word = self.said.to_be_bytes();
        for (far, near) in &mut self.ends {
            let mut heard = [0; 8];
            far.write_all(&word)?;
            near.read_exact(&mut heard).context("a connection that stayed was cut")?;
            near.write_all(&heard)?;
            far.read_exact(&mut heard).context("a connection that stayed was cut")?;
            ensure!(heard == word, "{heard:?} for {word:?}");
        }
        Ok(())
    }
}

/// From an address of the crowd.
fn connect(client: IpAddr, server: IpAddr) -> Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let family = if client.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &std::net::SocketAddr::new(client, 0))?;
    connect(&socket, &std::net::SocketAddr::new(server, TALK))?;
    Ok(socket.into())
}
