//! The room in every setting of `net.ipv4.tcp_syncookies`, in front of a real nginx whose four
//! workers each have a socket of their own, over HTTP and HTTPS, IPv4 and IPv6.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::until_so;
use lab::{Desk, Lab};
use limiter::kernel::listener;
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::page::{Room, curl, full};
use super::{Front, decided};

/// The service: nginx with four workers.
struct Web {
    master: Child,
    directory: PathBuf,
}

impl Web {
    /// `listens`: how each of the two ports is listened at, with `PORT` for it.
    fn start(lab: &Lab, desk: &Desk, listens: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("limiter-matrix-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let root = directory.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};"));
        let listen = |port: &str, tls: &str| {
            let all = listens.iter().map(|at| at.replace("PORT", port));
            all.map(|at| format!("listen {at} reuseport {tls};")).collect::<String>()
        };
        let (cert, key) = (desk.file("cert.pem"), desk.file("key.pem"));
        let configuration = format!(
            "daemon off; worker_processes 4; user nobody nogroup; pid {root}/pid; error_log stderr; \
             events {{}} http {{ access_log {root}/log; keepalive_timeout 0; {} \
             ssl_certificate {}; ssl_certificate_key {}; \
             server {{ {} {} location / {{ return 200 'the service'; }} }} }}",
            temporary.concat(),
            cert.display(),
            key.display(),
            listen("80", ""),
            listen("443", "ssl"),
        );
        std::fs::write(directory.join("conf"), configuration).expect("a configuration");
        let mut command = lab.front.command("nginx").expect("a namespace");
        command.arg("-p").arg(&directory).arg("-c").arg(directory.join("conf"));
        let master = command.stderr(Stdio::null()).spawn();
        let web =
            Self { master: master.expect("nginx is installed by `cargo xtask setup`"), directory };
        until_so("four workers listen", || {
            let all = lab.front.run(listener::all).expect("sock_diag answers");
            let ours = all.iter().filter(|one| matches!(one.address.port(), 80 | 443));
            ours.count() == 4 * 2 * listens.len()
        });
        web
    }

    /// Requests that it served.
    fn served(&self) -> usize {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default().lines().count()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.master);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let _ = self.master.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Each of 32 connections sees the page, of either scheme and family, and nginx serves the one that
/// the budget lets in.
#[test]
fn the_page_comes_whatever_makes_cookies_and_however_the_server_listens() {
    for cookies in ["0", "1", "2"] {
        for listens in [&["0.0.0.0:PORT", "[::]:PORT ipv6only=on"][..], &["[::]:PORT ipv6only=off"]]
        {
            let policy = full(if cookies == "2" { Challenge::Auto } else { Challenge::Off });
            let lab = Lab::new().expect("a lab");
            lab.front.sysctl("ipv4/tcp_syncookies", cookies).expect("the namespace's own setting");
            let mut front =
                Front::in_lab(lab, &policy, Mode::Enforce).expect("limiter attaches in the lab");
            let Front { lab, maps, .. } = &mut front;
            lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
            let desk = Desk::over(&front.lab.front, front.pins.base().to_owned()).expect("a desk");
            let _room = Room::start(&front, &desk);
            let web = Web::start(&front.lab, &desk, listens);
            let (v4, v6) = (front.lab.clients_v4(), front.lab.clients_v6());
            let first = curl(&front, v4[0], "https", FRONT_V4, "en");
            assert!(first.ends_with("the service"), "{cookies} {listens:?}: {first}");
            for round in 0..8 {
                for (target, client) in [(FRONT_V4, v4[1 + round]), (FRONT_V6, v6[0])] {
                    for scheme in ["http", "https"] {
                        let page = curl(&front, client, scheme, target, "en");
                        let what = format!("{cookies} {listens:?} {scheme} {target}: {page}");
                        assert!(page.starts_with("HTTP/1.1 503"), "{what}");
                        assert!(page.contains("You are in line"), "{what}");
                    }
                }
            }
            let counters = front.service(0);
            let diverted = if cookies == "2" { Reason::DivertedProof } else { Reason::Diverted };
            // More than 32 where the kernel was slow, and a client sent its SYN again.
            assert!(decided(&counters, diverted) >= 32, "{cookies} {listens:?}: {counters:?}");
            assert_eq!(web.served(), 1, "{cookies} {listens:?}: {counters:?}");
        }
    }
}
