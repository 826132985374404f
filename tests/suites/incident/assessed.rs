//! Incidents are staged, and the first lines of `status` name them.

use std::net::IpAddr;
use std::time::Instant;

use lab::Sources;
use lab::topology::FRONT_V4;
use lab::wait::PATIENCE;
use serde_json::Value;

use super::{Scene, heavy, sleep};

/// Asks until the assessment is one of `causes`: what is staged takes a moment to be seen.
#[track_caller]
fn says(scene: &Scene, causes: &[&str]) -> Value {
    let start = Instant::now();
    loop {
        let assessment = scene.desk.json("status")["assessment"].clone();
        if causes.iter().any(|cause| assessment["cause"] == *cause) {
            return assessment;
        }
        assert!(start.elapsed() < PATIENCE, "{causes:?}, and not {assessment:#}");
    }
}

fn next(assessment: &Value) -> String {
    assessment["next"].to_string()
}

#[test]
fn calm_and_then_no_interface() {
    let scene = Scene::new();
    scene.desk.ok("attach attack0 crowd0 --service web=*:80 --budget 1000/s --enforce");
    let clients = scene.clients(20.0, 8.0);
    let calm = says(&scene, &["nothing"]);
    assert!(calm["evidence"].to_string().contains("attempts/s"), "{calm:#}");
    clients.wait().expect("pages");
    for name in ["attack0", "crowd0"] {
        scene.lab.front.ip(&["link", "del", name]).expect("gone");
    }
    let gone = says(&scene, &["gone"]);
    assert!(next(&gone).contains("limiter apply"), "{gone:#}");
    let text = scene.desk.ok("status");
    assert!(text.starts_with("likely: limiter LIMITS NOTHING") && text.contains("next:"), "{text}");
}

#[test]
fn a_typo_in_the_policy() {
    let scene = Scene::new();
    scene.desk.ok("attach attack0 crowd0 --service web=*:80 --budget 1000/s --enforce");
    scene.desk.ok("set --service web --budget 500/s");
    scene.desk.ok("set --service web --budget 2/s --budget-burst 2");
    let clients = scene.clients(30.0, 20.0);
    let own = says(&scene, &["own_limit"]);
    assert!(own["likely"].as_str().is_some_and(|text| text.contains("500/s")), "{own:#}");
    assert!(next(&own).contains("limiter rollback"), "{own:#}");
    clients.wait().expect("clients end");
}

#[test]
fn few_heavy_sources() {
    let scene = Scene::new();
    scene.desk.ok("attach attack0 crowd0 --service web=*:80 --source-rate 20/s");
    let flood = scene.flood(heavy(), 12_000, 20.0).spawn(&scene.lab).expect("a flood");
    let few = says(&scene, &["few"]);
    assert!(next(&few).contains("limiter arm"), "{few:#}");
    let armed = scene.desk.ok("arm --for 30m");
    assert!(armed.contains("likely: "), "{armed}");
    flood.wait().expect("a flood");
}

#[test]
fn forged_addresses() {
    let scene = Scene::new();
    scene.desk.ok("attach attack0 crowd0 --service web=*:80 --source-rate 20/s --budget 1000/s");
    let flood = scene.flood(Sources::Random, 12_000, 20.0).spawn(&scene.lab).expect("a flood");
    let forged = says(&scene, &["spoofed"]);
    assert!(next(&forged).contains("--challenge auto"), "{forged:#}");
    flood.wait().expect("a flood");
}

/// Two thousand machines of one /16, which are there as far as limiter can see: a full server lets
/// none of them finish.
#[test]
fn a_botnet_of_one_network() {
    let mut scene = Scene::new();
    drop(scene.server.take());
    let _full = full(&scene);
    scene.desk.ok("attach attack0 crowd0 --service web=*:80 --source-rate 50/s --budget 200/s");
    let base = IpAddr::from([185, 20, 0, 1]);
    let sources = Sources::Many { base, count: 2000 };
    let flood = scene.flood(sources, 8_000, 30.0).spawn(&scene.lab).expect("a flood");
    let clients = scene.clients(50.0, 20.0);
    let botnet = says(&scene, &["botnet"]);
    assert!(next(&botnet).contains("limiter ban add 185.20."), "{botnet:#}");
    let banned = scene.desk.ok("ban add 185.20.0.0/16 --for 30m");
    assert!(banned.contains("nothing is dropped yet"), "{banned}");
    clients.wait().expect("clients end");
    flood.wait().expect("a flood");
}

/// Listens with a queue of eight, and accepts nobody.
fn full(scene: &Scene) -> std::net::TcpListener {
    let socket = scene.lab.front.run(|| {
        let socket = std::net::TcpListener::bind((FRONT_V4, 80))?;
        rustix::net::listen(&socket, 8)?;
        Ok(socket)
    });
    socket.expect("a socket")
}

#[test]
fn a_full_accept_queue() {
    let mut scene = Scene::new();
    drop(scene.server.take());
    scene.desk.ok("attach attack0 crowd0 --service web=*:80 --source-rate 20/s");
    let _full = full(&scene);
    let clients = scene.clients(30.0, 15.0);
    let server = says(&scene, &["server"]);
    assert!(next(&server).contains("restart the server"), "{server:#}");
    clients.wait().expect("clients end");
}

#[test]
fn a_crowd() {
    let scene = Scene::new();
    scene.desk.ok("attach attack0 crowd0 --service web=*:80 --source-rate 20/s --budget 1000/s");
    sleep(1.0);
    let crowd = scene.clients(600.0, 10.0);
    says(&scene, &["crowd"]);
    crowd.wait().expect("pages");
}
