//! What a refused client costs: one that is shown the waiting room, beside one that nginx answers
//! with the same page and status.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramInfo, loaded_programs};
use aya::sys::{Stats, enable_stats};
use clap::Args;
use lab::topology::FRONT_V4;
use lab::wait::until_so;
use lab::{Desk, Lab, Server};
use limiter_common::names;
use rustix::fd::OwnedFd;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde::Serialize;

use super::output::Output;

/// How much is measured.
#[derive(Args)]
pub struct Arguments {
    /// Rounds, the ways in turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    /// Connections of each way and round.
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u64).range(100..=100_000))]
    connections: u64,
    #[command(flatten)]
    output: Output,
}

/// The port of nginx, and that of the service whose budget is spent.
const PORTS: [u16; 2] = [8080, 80];
const POLICY: &str = r#"interfaces = ["crowd0"]
mode = "enforce"

[host]
room_budget = "1000000/s"

[service.nginx]
listen = ["*:8080"]
budget = "1000000/s"

[service.full]
listen = ["*:80"]
budget = "1/h"
budget_burst = 1
refuse = "room"
"#;

/// A way to answer a refused client; microseconds of CPU time a connection, medians.
#[derive(Serialize)]
struct Way {
    name: &'static str,
    /// Of the process that answers.
    process_us: f64,
    /// Of the whole machine, the client and the kernel's work for both ends too.
    machine_us: f64,
    /// Of limiter's two programs.
    programs_us: f64,
}

#[derive(Serialize)]
struct Report {
    page_bytes: usize,
    connections: u64,
    ways: Vec<Way>,
}

/// Measures, and gives what came of it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let report = measure(arguments)?;
    let mut text = format!(
        "CPU time of a connection that is answered with 503 and a page of {} bytes, in us:\n\n{:<28}{:>12}{:>15}{:>20}\n",
        report.page_bytes, "", "its server", "the machine", "limiter's programs"
    );
    for Way { name, process_us, machine_us, programs_us } in &report.ways {
        let _ = writeln!(text, "{name:<28}{process_us:>12.1}{machine_us:>15.1}{programs_us:>20.2}");
    }
    let _ = writeln!(
        text,
        "\nMedians of {} rounds in turns of {} connections, HTTP, one after the other. The machine's time\n\
         holds the client's too, which is the same for both.",
        arguments.rounds, report.connections
    );
    arguments.output.give("room", &report, &text, &[])
}

fn measure(arguments: &Arguments) -> Result<Report> {
    let lab = Lab::new()?;
    let desk = Desk::new(&lab.front)?;
    std::fs::write(desk.policy(), POLICY).context("cannot write the policy")?;
    desk.run("apply")?;
    // Whom the room's service lets in.
    let _server = Server::start(&lab)?;
    let mut room = desk.command("room --http 80 --user nobody");
    let room = Ended(room.stderr(Stdio::null()).spawn().context("cannot run `limiter room`")?);
    until_so("the room opens", || {
        desk.run("status --quick").is_ok_and(|status| status.contains("open for port"))
    });
    let clients = lab.clients_v4();
    // The one that the budget has.
    fetch(&lab, clients[0], PORTS[1])?;
    let page = fetch(&lab, clients[1], PORTS[1])?;
    let at = page.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("no page")? + 4;
    let nginx = Nginx::start(&lab, &desk, &page[at..])?;
    let same = fetch(&lab, clients[1], PORTS[0])?;
    ensure!(same.starts_with(b"HTTP/1.1 503 ") && same.ends_with(&page[at..]), "another page");

    let _counting: OwnedFd = enable_stats(Stats::RunTime).context("BPF_ENABLE_STATS")?;
    let processes = [nginx.0.0.id(), room.0.id()];
    let mut seen = [const { Vec::new() }; 2];
    for round in 0..arguments.rounds {
        for turn in 0..2 {
            let way = (turn + round as usize) % 2;
            let before = Times::now(processes[way])?;
            ask(&lab, &clients[2..], PORTS[way], arguments.connections)?;
            seen[way].push(Times::now(processes[way])?.since(&before, arguments.connections));
        }
    }
    let names = ["nginx answers 503", "the waiting room answers"];
    let ways = names.into_iter().zip(&mut seen).map(|(name, seen)| {
        let [process_us, machine_us, programs_us] = [0, 1, 2].map(|index| {
            seen.sort_by(|one: &[f64; 3], other| one[index].total_cmp(&other[index]));
            seen[seen.len() / 2][index]
        });
        Way { name, process_us, machine_us, programs_us }
    });
    let connections = arguments.connections;
    Ok(Report { page_bytes: page.len() - at, connections, ways: ways.collect() })
}

/// CPU times so far, in microseconds.
struct Times([f64; 3]);

impl Times {
    fn now(process: u32) -> Result<Self> {
        Ok(Self([process_time(process)?, machine_time()?, programs_time()?]))
    }

    fn since(&self, before: &Self, connections: u64) -> [f64; 3] {
        [0, 1, 2].map(|index| (self.0[index] - before.0[index]) / connections as f64)
    }
}

/// Of all threads of a process, as its scheduler counts.
fn process_time(id: u32) -> Result<f64> {
    let mut sum = 0.0;
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let time = text.split(' ').next().context("schedstat is empty")?;
        sum += time.parse::<f64>().context("schedstat has an unknown form")? / 1e3;
    }
    Ok(sum)
}

/// Of everything but idle and waiting for I/O.
fn machine_time() -> Result<f64> {
    Ok(super::busy()? * 1e6)
}

/// Of the newest XDP program and the newest `sk_lookup` program of limiter.
fn programs_time() -> Result<f64> {
    let all: Vec<ProgramInfo> = loaded_programs().filter_map(Result::ok).collect();
    let newest = |name: &str| {
        let named = all.iter().filter(|info| info.name_as_str() == Some(name));
        named.max_by_key(|info| info.id()).map_or(0.0, |info| info.run_time().as_secs_f64() * 1e6)
    };
    Ok(newest(names::PROGRAM) + newest(names::ROOM_PROGRAM))
}

/// So many connections, one after the other, from all addresses in turn.
fn ask(lab: &Lab, clients: &[IpAddr], port: u16, connections: u64) -> Result<()> {
    lab.crowd.run(|| {
        for (_, client) in (0..connections).zip(clients.iter().cycle()) {
            let answer = request(*client, port)?;
            ensure!(answer.starts_with(b"HTTP/1.1 503 "), "port {port}: another answer");
        }
        Ok(())
    })
}

fn fetch(lab: &Lab, client: IpAddr, port: u16) -> Result<Vec<u8>> {
    lab.crowd.run(|| request(client, port))
}

fn request(client: IpAddr, port: u16) -> Result<Vec<u8>> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::new(client, 0))?;
    connect(&socket, &SocketAddr::new(FRONT_V4, port))?;
    let mut stream = std::net::TcpStream::from(socket);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// A process that is ended with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx in one process, which answers 503 and a page.
struct Nginx(Ended);

impl Nginx {
    fn start(lab: &Lab, desk: &Desk, page: &[u8]) -> Result<Self> {
        let root: PathBuf = desk.file("nginx");
        std::fs::create_dir(&root).context("cannot make nginx's directory")?;
        std::fs::write(root.join("busy.html"), page).context("cannot write nginx's page")?;
        let root = root.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};"));
        let configuration = format!(
            "daemon off; master_process off; pid {root}/pid; error_log stderr; events {{}} \
             http {{ access_log off; {} server {{ listen {}; root {root}; error_page 503 /busy.html; \
             location / {{ return 503; }} location = /busy.html {{ internal; }} }} }}",
            temporary.concat(),
            PORTS[0],
        );
        let file = desk.file("nginx.conf");
        std::fs::write(&file, configuration).context("cannot write nginx's configuration")?;
        let mut command = lab.front.command("nginx")?;
        command.arg("-p").arg(desk.state()).arg("-c").arg(file).stderr(Stdio::null());
        let child = command.spawn().context("nginx: `cargo xtask bench --room` installs it")?;
        let nginx = Self(Ended(child));
        let client = lab.clients_v4()[1];
        until_so("nginx listens", || fetch(lab, client, PORTS[0]).is_ok());
        Ok(nginx)
    }
}
