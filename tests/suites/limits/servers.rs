//! Real servers and clients through an enforcing limiter: nginx, curl, wrk, and large frames.

use std::process::{Child, Command, Stdio};

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::{PATIENCE, until_so};
use lab::{Crowd, Flood, Lab, LabOptions, Server, Sources};
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::{Front, decided, limit, policy};

/// nginx in the foreground in the front end's namespace, with all of its files in a directory of its own.
pub struct Nginx {
    child: Child,
    directory: std::path::PathBuf,
}

impl Nginx {
    pub fn start(lab: &Lab) -> Self {
        let directory = std::env::temp_dir().join(format!("limiter-nginx-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("index.html"), "0123456789".repeat(100)).expect("a page");
        let root = directory.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};"));
        let configuration = format!(
            "daemon off; master_process off; pid {root}/pid; error_log stderr; events {{}} \
             http {{ access_log off; keepalive_requests 100000000; {} server {{ listen 80; listen [::]:80; root {root}; }} }}",
            temporary.concat()
        );
        std::fs::write(directory.join("conf"), configuration).expect("a configuration");
        let mut command = lab.front.command("nginx").expect("a namespace");
        command
            .arg("-p")
            .arg(&directory)
            .arg("-c")
            .arg(directory.join("conf"))
            .stderr(Stdio::null());
        let child = command.spawn().expect("nginx is installed by `cargo xtask setup`");
        let nginx = Self { child, directory };
        until_so("nginx listens", || ["tcp", "tcp6"].iter().all(|family| listens(lab, family)));
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Whether somebody in the front end listens on port 80 of `tcp` or `tcp6`.
fn listens(lab: &Lab, family: &str) -> bool {
    let read = || Ok(std::fs::read_to_string(format!("/proc/thread-self/net/{family}"))?);
    let text = lab.front.run(read).expect("sockets");
    let mut sockets = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    sockets.any(|fields| fields.len() > 3 && fields[1].ends_with(":0050") && fields[3] == "0A")
}

pub fn output(mut command: Command) -> String {
    let output = command.output().expect("installed by `cargo xtask setup`");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// curl and wrk get every page from nginx during a flood, and limiter counts just the connections that they made.
#[test]
fn nginx_serves_curl_and_wrk_during_a_flood() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(100, 200);
    let front = Front::new(&policy, Mode::Enforce);
    let _nginx = Nginx::start(&front.lab);
    let flood = Flood {
        frames: u64::MAX,
        seconds: 600.0,
        rate: Some(300_000),
        cpu: Some(1),
        ..Flood::new((FRONT_V4, 80).into(), Sources::One([11, 0, 0, 1].into()))
    };
    let flooding = flood.spawn(&front.lab).expect("a flood");
    for host in [FRONT_V4.to_string(), format!("[{FRONT_V6}]")] {
        let mut curl = front.lab.crowd.command("curl").expect("a namespace");
        curl.args(["-s", "-g", "-m", "120", "-w", " %{http_code}", &format!("http://{host}/")]);
        let page = output(curl);
        assert!(page.ends_with(" 200") && page.len() == 1004, "{page}");
    }
    let mut wrk = front.lab.crowd.command("wrk").expect("a namespace");
    wrk.args(["-t1", "-c50", "-d2s", "--timeout", "60s", &format!("http://{FRONT_V4}/")]);
    let report = output(wrk);
    let flooded = flooding.stop().expect("the flood ends");
    assert!(report.contains("requests in") && !report.contains("Socket errors"), "{report}");
    let counters = front.service(0);
    let all = decided(&counters, Reason::Admitted) + decided(&counters, Reason::SourceLimit);
    let connections = all - flooded.sent;
    let most = 60 + front.sent_again();
    assert!((52..=most).contains(&connections), "two of curl and fifty of wrk: {connections}");
}

/// With an MTU of 9000 the driver only takes programs that know fragments: `xdp.frags`.
#[test]
fn large_frames() {
    let policy = policy(&["web=*:80"]);
    let lab = Lab::with(LabOptions { mtu: 9000, ..LabOptions::default() }).expect("a lab");
    let front = Front::in_lab(lab, &policy, Mode::Enforce).expect("it attaches in native mode");
    let _server = Server::start(&front.lab).expect("a server");
    for (target, clients) in
        [(FRONT_V4, front.lab.clients_v4()), (FRONT_V6, front.lab.clients_v6())]
    {
        let path = format!("/bytes/{}", 20 << 20);
        let bulk = Crowd {
            path,
            pages_per_second: 4.0,
            seconds: 0.5,
            ..Crowd::new((target, 80).into(), clients)
        };
        let bulk = Crowd { timeout: PATIENCE, ..bulk };
        let pages = bulk.run(&front.lab).expect("pages");
        assert_eq!((pages.ok, pages.tried), (2, 2));
    }
    assert_eq!(decided(&front.service(0), Reason::Admitted), 4 + front.sent_again());
}
