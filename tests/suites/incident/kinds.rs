//! The same surge in numbers, from other hands: the report tells them apart.

use lab::Crowd;
use serde_json::Value;

use super::{ATTACH, Scene, heavy};

fn verdict(scene: &Scene) -> Value {
    let report: Value =
        serde_json::from_str(&scene.desk.ok("report incident.tar.gz --json")).expect("JSON");
    println!("{:#}", report["summary"]);
    report["story"]["verdict"].clone()
}

#[test]
fn few_sources_are_no_crowd() {
    let scene = Scene::new();
    scene.desk.ok("attach attack0 crowd0 --service web=*:80 --source-rate 20/s --enforce");
    let clients = scene.clients(50.0, 15.0);
    let recording = scene.record("");
    recording.sees(5);
    scene.flood(heavy(), 12_000, 7.0).run(&scene.lab).expect("a flood");
    clients.wait().expect("pages");
    recording.end();
    let verdict = verdict(&scene);
    assert_eq!(verdict["kind"], "flood_of_few", "{verdict:#}");
}

#[test]
fn real_clients_are_no_flood() {
    let scene = Scene::new();
    scene.desk.ok(ATTACH);
    let _calm = scene.clients(2.0, 600.0);
    let recording = scene.record("");
    recording.sees(5);
    // As browsers do, each opens two connections at once.
    let crowd = Crowd { connections_per_page: 2, ..scene.crowd(50.0, 15.0) };
    crowd.run(&scene.lab).expect("pages");
    recording.sees(4);
    recording.end();
    let verdict = verdict(&scene);
    assert_eq!(verdict["kind"], "crowd", "{verdict:#}");
    assert!(verdict["finished"].as_f64().expect("a share") > 0.6, "{verdict:#}");
}

/// A server that accepts into a queue of eight: nobody is over a limit, and clients are turned away all the same.
#[test]
fn an_overload_of_the_server_is_told() {
    let mut scene = Scene::new();
    drop(scene.server.take());
    scene.desk.ok(ATTACH);
    // Listens, and accepts nobody.
    let _full = scene.lab.front.run(|| {
        let socket = std::net::TcpListener::bind((lab::topology::FRONT_V4, 80))?;
        rustix::net::listen(&socket, 8)?;
        Ok(socket)
    });
    let recording = scene.record("");
    let crowd = scene.clients(50.0, 5.0);
    crowd.wait().expect("pages");
    recording.end();
    let text = scene.desk.ok("report incident.tar.gz");
    assert!(
        text.contains("times a client was turned away because the accept queue was full"),
        "{text}"
    );
}
