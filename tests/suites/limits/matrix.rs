//! The room in every setting of `net.ipv4.tcp_syncookies`, in front of a real nginx whose four
//! workers each have a socket of their own, over HTTP and HTTPS, IPv4 and IPv6.

use std::path::Path;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::{Desk, Lab, Nginx};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::page::{Room, curl, full};
use super::{Front, decided};

/// The service: nginx with four workers. `listens`: how each of the two ports is listened at, with
/// `PORT` for it.
fn web(lab: &Lab, desk: &Desk, listens: &[&str]) -> Nginx {
    const WORKERS: usize = 4;
    let listen = |port: &str, tls: &str| {
        let all = listens.iter().map(|at| at.replace("PORT", port));
        all.map(|at| format!("listen {at} reuseport {tls};")).collect::<String>()
    };
    let (cert, key) = (desk.file("cert.pem"), desk.file("key.pem"));
    let http = |root: &Path| {
        format!(
            "keepalive_timeout 0; \
             ssl_certificate {}; ssl_certificate_key {}; \
             server {{ access_log {}/log; {} {} location / {{ return 200 'the service'; }} }}",
            cert.display(),
            key.display(),
            root.display(),
            listen("80", ""),
            listen("443", "ssl"),
        )
    };
    Nginx::start(&lab.front, WORKERS, WORKERS * 2 * listens.len(), http).expect("a server")
}

/// Requests that it served.
fn served(web: &Nginx) -> usize {
    let log = std::fs::read_to_string(web.directory().join("log"));
    log.unwrap_or_default().lines().count()
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
            let web = web(&front.lab, &desk, listens);
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
            assert_eq!(served(&web), 1, "{cookies} {listens:?}: {counters:?}");
        }
    }
}
