//! Real servers and clients through an enforcing limiter: nginx, curl, wrk, and large frames.

use std::process::Command;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::PATIENCE;
use lab::{Crowd, Flood, Lab, LabOptions, Nginx, Server, Sources};
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::{Front, decided, limit, policy};

/// nginx with a page of a thousand bytes.
pub fn nginx(lab: &Lab) -> Nginx {
    let http = format!(
        "keepalive_requests 100000000; server {{ listen 80; listen [::]:80; \
         location / {{ return 200 '{}'; }} }}",
        "0123456789".repeat(100)
    );
    Nginx::start(&lab.front, 1, 2, |_| http).expect("a server")
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
    let _nginx = nginx(&front.lab);
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
