//! Hosts on which a challenge cannot work: doctor says so before, and the daemon ends it, with a
//! sentence that names the cause; then clients are served. Each sentence is in docs/operations.md.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::topology::FRONT_V4;
use lab::wait::{PATIENCE, until_so};
use lab::{Desk, Flood, Lab, Namespace, Server, ServerOptions, Sources, Trivial};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// A front end with limiter as an operator has it.
struct Stage {
    daemon: Option<Child>,
    desk: Desk,
    lab: Lab,
    tried: usize,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        let desk = Desk::new(&lab.front).expect("a desk");
        lab.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
        Self { daemon: None, desk, lab, tried: 0 }
    }

    /// What doctor says of a policy with a challenge that is not enforced yet.
    #[track_caller]
    fn doctor_says(&self, interfaces: &str, words: &[&str]) {
        self.apply(interfaces, "observe");
        let output = self.desk.output("doctor");
        let said = unwrapped(&String::from_utf8_lossy(&output.stdout));
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
        assert!(!said.contains("no problems") && output.status.code() == Some(1), "{said}");
    }

    fn apply(&self, interfaces: &str, mode: &str) {
        let policy = format!(
            "interfaces = [{interfaces}]\nmode = \"{mode}\"\nset_syncookies = true\nsources = 4096\n\
             [service.web]\nlisten = [\"*:80\"]\nbudget = \"1000/s\"\nchallenge = \"always\"\n\
             line = false\n"
        );
        fs::write(self.desk.policy(), policy).expect("written");
        self.desk.ok("apply policy.toml");
    }

    /// The challenge is enforced, and the daemon runs.
    fn begin(&mut self, interfaces: &str) {
        self.apply(interfaces, "enforce");
        let log = File::create(self.desk.file("log")).expect("a file");
        let mut command = self.desk.command("run");
        let child = command.stdout(Stdio::null()).stderr(log).spawn();
        self.daemon = Some(child.expect("the daemon starts"));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.desk.file("log")).unwrap_or_default()
    }

    /// Connections of so many clients, all at once, and how many were served.
    fn clients(&mut self, count: usize, patience: Duration) -> usize {
        let all = self.lab.clients_v4();
        let some: Vec<IpAddr> =
            (0..count).map(|number| all[(self.tried + number) % all.len()]).collect();
        self.tried += count;
        let one = |client: IpAddr| served(client, SocketAddr::new(FRONT_V4, 80), patience);
        let crowd = &self.lab.crowd;
        std::thread::scope(|scope| {
            let threads: Vec<_> = some
                .into_iter()
                .map(|client| scope.spawn(move || crowd.run(|| one(client))))
                .collect();
            let served =
                threads.into_iter().map(|one| one.join().expect("a client").expect("inside"));
            served.filter(|served| *served).count()
        })
    }

    /// Clients come until the daemon has ended the challenge, and then all of them are served.
    #[track_caller]
    fn ends(&mut self, words: &[&str]) {
        let start = Instant::now();
        let mut served = 0;
        while !self.log().contains("the challenge is ended") {
            served += self.clients(16, Duration::from_millis(300));
            assert!(start.elapsed() < PATIENCE * 4, "it goes on: {}", self.log());
        }
        println!(
            "ended {:.1} s after the first client; {served} of {} were served",
            start.elapsed().as_secs_f64(),
            self.tried
        );
        let log = self.log();
        assert!(words.iter().all(|word| log.contains(word)), "{words:?} in {log}");
        until_so("the history says it", || {
            let line = self.desk.json("history --last 1")[0]["changed"][0].to_string();
            words.iter().all(|word| line.contains(word))
        });
        until_so("the setting is put back", || {
            let read = || Ok(fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies")?);
            self.lab.front.run(read).expect("the setting").trim() == "1"
        });
        assert_eq!(self.clients(16, PATIENCE), 16, "they are served: {}", self.desk.ok("status"));
        let page = include_str!("../../../docs/operations.md");
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains(words[0]), "`{}` is in docs/operations.md", words[0]);
    }
}

/// Text without its line breaks.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether something comes back over a connection of its own within `patience`.
fn served(client: IpAddr, server: SocketAddr, patience: Duration) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ask = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(client, 0))?;
        let mut stream = socket.connect(server).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        stream.read(&mut [0; 64]).await
    };
    let answer = runtime.block_on(async { tokio::time::timeout(patience, ask).await });
    Ok(answer.is_ok_and(|read| read.is_ok_and(|read| read > 0)))
}

/// Answers each connection's first bytes with themselves.
fn echo(listener: TcpListener) {
    // It ends with the test's process: nobody else has its namespace.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                let read = stream.read(&mut bytes).unwrap_or(0);
                let _ = stream.write_all(&bytes[..read]);
            });
        }
    });
}

fn nft(lab: &Lab, rules: &[&str]) {
    for rule in rules {
        let done = lab.front.command("nft").expect("a namespace").arg(rule).status();
        assert!(done.expect("nft is installed by `cargo xtask setup`").success(), "nft {rule}");
    }
}

const BOTH: &str = "\"crowd0\", \"attack0\"";

/// Where nothing is in its way it goes on, beside a flood of forged addresses, some of which the
/// kernel takes from nobody.
#[test]
fn a_challenge_that_works_goes_on() {
    let mut stage = Stage::new();
    let server = Server::start(&stage.lab).expect("a server");
    stage.begin(BOTH);
    let target = SocketAddr::new(FRONT_V4, 80);
    let base = "127.0.0.1".parse().expect("an address");
    let sources = [Sources::Random, Sources::Many { base, count: 1000 }];
    let floods: Vec<_> = (0..)
        .zip(sources)
        .map(|(cpu, sources)| {
            let flood = Flood { frames: u64::MAX, seconds: 600.0, ..Flood::new(target, sources) };
            let flood = Flood { rate: Some(5000), cpu: Some(cpu), ..flood };
            flood.spawn(&stage.lab).expect("a flood")
        })
        .collect();
    // Some of the daemon's looks, at one a second, with proofs in each and enough to judge.
    let start = Instant::now();
    while server.accepted() < 64 || start.elapsed() < Duration::from_secs(5) {
        assert_eq!(stage.clients(16, PATIENCE), 16, "{}", stage.log());
    }
    for flood in floods {
        flood.stop().expect("the flood ends");
    }
    assert!(!stage.log().contains("the challenge is ended"), "{}", stage.log());
    let status = stage.desk.json("status --quick");
    assert_eq!(status["services"][0]["settings"]["challenge"], "always", "{status}");
}

/// A published port of a container, with a proxy of the same number on the host.
#[test]
fn a_container_behind_dnat() {
    let mut stage = Stage::new();
    let inside = Namespace::new().expect("a namespace");
    let name = inside.name().to_owned();
    let front = &stage.lab.front;
    front
        .ip(&["link", "add", "in0", "type", "veth", "peer", "name", "out0", "netns", &name])
        .expect("a veth");
    front.ip_batch("address add 10.79.0.1/24 dev in0\nlink set in0 up\n").expect("addresses");
    inside
        .ip_batch("address add 10.79.0.2/24 dev out0\nlink set out0 up\nroute add default via 10.79.0.1\n")
        .expect("addresses");
    front.sysctl("ipv4/ip_forward", "1").expect("a setting");
    echo(inside.run(|| Ok(TcpListener::bind("10.79.0.2:80")?)).expect("a listener"));
    let _proxy = front.run(|| Ok(TcpListener::bind("0.0.0.0:80")?)).expect("a listener");
    nft(
        &stage.lab,
        &[
            "add table ip lab",
            "add chain ip lab before { type nat hook prerouting priority -100; }",
            "add rule ip lab before ip daddr 10.77.0.1 tcp dport 80 dnat to 10.79.0.2:80",
        ],
    );
    let rule = "in chain before of table ip lab hands connections to another address";
    stage.doctor_says(BOTH, &[rule]);
    assert_eq!(stage.clients(4, PATIENCE), 4, "as without limiter");
    // Connections are tracked now: they tell where they went.
    stage.doctor_says(BOTH, &["hands connections to 10.77.0.1:80 on to 10.79.0.2:80"]);
    stage.begin(BOTH);
    stage.ends(&["speak for the wrong server", "10.77.0.1:80 on to 10.79.0.2:80"]);
}

/// Another port of this host.
#[test]
fn a_server_behind_redirect() {
    let mut stage = Stage::new();
    let listen = vec!["0.0.0.0:8080".parse().expect("an address")];
    let _server = Server::with(&stage.lab, ServerOptions { listen, ..ServerOptions::default() })
        .expect("a server");
    nft(
        &stage.lab,
        &[
            "add table ip lab",
            "add chain ip lab before { type nat hook prerouting priority -100; }",
            "add rule ip lab before tcp dport 80 redirect to :8080",
        ],
    );
    stage.doctor_says(BOTH, &["in chain before of table ip lab hands connections"]);
    stage.begin(BOTH);
    stage.ends(&["speak for the wrong server", "10.77.0.1:80 on to 10.77.1.1:8080"]);
}

/// The ACK of a challenged connection is the first packet that a firewall sees.
#[test]
fn a_firewall_that_wants_to_see_the_syn() {
    for rules in [
        &["add rule inet lab in tcp dport 80 tcp flags & (syn | ack) != syn ct state new drop"][..],
        &[
            "add rule inet lab in ct state established accept",
            "add rule inet lab in tcp flags & (syn | ack) == syn ct state new accept",
            "add chain inet lab in { policy drop; }",
        ],
    ] {
        let mut stage = Stage::new();
        let _server = Server::start(&stage.lab).expect("a server");
        let chain = "add chain inet lab in { type filter hook input priority 0; }";
        nft(&stage.lab, &[&["add table inet lab", chain][..], rules].concat());
        stage.doctor_says(
            BOTH,
            &["chain in of table inet lab keeps out new packets that are no SYN"],
        );
        stage.begin(BOTH);
        stage.ends(&["do not reach the server", "keeps out new packets that are no SYN"]);
    }
}

#[test]
fn conntrack_that_is_not_loose() {
    let mut stage = Stage::new();
    let _server = Server::start(&stage.lab).expect("a server");
    let rules = [
        "add table inet lab",
        "add chain inet lab in { type filter hook input priority 0; }",
        "add rule inet lab in ct state invalid drop",
    ];
    nft(&stage.lab, &rules);
    stage.lab.front.sysctl("netfilter/nf_conntrack_tcp_loose", "0").expect("a setting");
    stage.doctor_says(BOTH, &["nf_conntrack_tcp_loose is 0"]);
    stage.begin(BOTH);
    stage.ends(&["do not reach the server", "nf_conntrack_tcp_loose is 0"]);
}

/// Direct server return: a director sends attempts in by one interface, the answers leave by
/// another.
#[test]
fn answers_that_leave_by_another_way() {
    let mut stage = Stage::new();
    let _server = Server::start(&stage.lab).expect("a server");
    let Lab { front, attacker, crowd, .. } = &stage.lab;
    front.ip(&["route", "del", "10.78.0.0/16"]).expect("the default route answers clients");
    attacker
        .ip(&[
            "link",
            "add",
            "back0",
            "type",
            "veth",
            "peer",
            "name",
            "back0",
            "netns",
            crowd.name(),
        ])
        .expect("a veth");
    attacker
        .ip_batch("address add 10.79.0.1/24 dev back0\nlink set back0 up\nroute add 10.78.0.0/16 via 10.79.0.2\n")
        .expect("a way back");
    crowd.ip_batch("address add 10.79.0.2/24 dev back0\nlink set back0 up\n").expect("a way back");
    attacker.sysctl("ipv4/ip_forward", "1").expect("a setting");
    // The director takes nothing for itself.
    let rules = "add table netdev lab\nadd chain netdev lab in { type filter hook ingress device up0 priority 0; }\n\
                 add rule netdev lab in tcp sport 80 drop\n";
    fs::write(stage.desk.file("rules"), rules).expect("written");
    let mut nft = crowd.command("nft").expect("a namespace");
    assert!(nft.arg("-f").arg(stage.desk.file("rules")).status().expect("nft runs").success());
    let only = "\"crowd0\"";
    stage.apply(only, "observe");
    assert_eq!(stage.clients(16, PATIENCE), 16, "as without limiter");
    let words = ["the way back is another one", "comes in by crowd0", "answers it by attack0"];
    stage.doctor_says(only, &words);
    stage.begin(only);
    stage.ends(&words);
}

/// A veth gives what XDP sends back to a program at its other end, or to nobody: GRO there is not
/// enough.
#[test]
fn a_veth_whose_other_end_has_no_program() {
    let front = Namespace::new().expect("a namespace");
    let client = Namespace::new().expect("a namespace");
    front
        .ip(&[
            "link",
            "add",
            "web0",
            "type",
            "veth",
            "peer",
            "name",
            "far0",
            "netns",
            client.name(),
        ])
        .expect("a veth");
    front.ip_batch("address add 10.81.0.1/24 dev web0\nlink set web0 up\n").expect("an address");
    client.ip_batch("address add 10.81.0.2/24 dev far0\nlink set far0 up\n").expect("an address");
    let gro =
        client.command("ethtool").expect("ethtool").args(["-K", "far0", "gro", "on"]).status();
    assert!(gro.expect("ethtool runs").success());
    front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    echo(front.run(|| Ok(TcpListener::bind("0.0.0.0:80")?)).expect("a listener"));
    let connects = |patience| {
        let connect = || {
            let server = "10.81.0.1:80".parse().expect("an address");
            Ok(TcpStream::connect_timeout(&server, patience).is_ok())
        };
        client.run(connect).expect("a client")
    };
    let desk = Desk::new(&front).expect("a desk");
    desk.ok("attach web0 --service web=*:80 --budget 1000/s --set-syncookies --sources 4096");
    desk.ok("set --service web --challenge always --line no");
    assert!(connects(PATIENCE), "in observe mode");
    let words = ["answers to challenges do not leave web0", "far0", "in another network namespace"];
    let doctor = || unwrapped(&String::from_utf8_lossy(&desk.output("doctor").stdout));
    let said = doctor();
    assert!(
        words.iter().all(|word| said.contains(word)) && !said.contains("no problems"),
        "{said}"
    );
    let armed = desk.output("arm");
    let said = String::from_utf8_lossy(&armed.stderr).into_owned();
    assert!(armed.status.success() && said.contains(words[0]), "{said}");
    let few = Duration::from_secs(3);
    assert!(!connects(few), "nobody comes in: {}", desk.ok("status"));
    // With a program there it works.
    let program = Trivial::Pass.attach(&client, "far0").expect("a program");
    assert!(connects(PATIENCE), "as doctor advised: {}", desk.ok("status"));
    assert!(!doctor().contains("do not leave"), "{}", doctor());
    drop(program);
    fs::write(desk.policy(), desk.ok("policy show")).expect("written");
    let log = File::create(desk.file("log")).expect("a file");
    let daemon = desk.command("run").stdout(Stdio::null()).stderr(log).spawn();
    let mut daemon = daemon.expect("the daemon starts");
    let read = || fs::read_to_string(desk.file("log")).unwrap_or_default();
    until_so("the daemon ends it", || read().contains("the challenge is ended"));
    assert!(words.iter().all(|word| read().contains(word)), "{}", read());
    until_so("clients come in", || connects(few));
    daemon.kill().expect("ended");
    daemon.wait().expect("ended");
}

/// A listener that is bound to an interface which limiter is not on.
#[test]
fn a_server_that_is_bound_to_another_interface() {
    let mut stage = Stage::new();
    stage.lab.front.ip_batch("link add br9 type bridge\nlink set br9 up\n").expect("a bridge");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let listen = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind_device(Some(b"br9"))?;
        socket.bind("0.0.0.0:80".parse()?)?;
        Ok(socket.listen(128)?)
    };
    let _server = stage.lab.front.run(|| runtime.block_on(listen)).expect("a listener");
    let words = ["is bound to br9, where limiter is not attached", "0.0.0.0:80"];
    stage.doctor_says(BOTH, &words);
    stage.begin(BOTH);
    until_so("the daemon ends it", || stage.log().contains("the challenge is ended"));
    assert!(words.iter().all(|word| stage.log().contains(word)), "{}", stage.log());
}
