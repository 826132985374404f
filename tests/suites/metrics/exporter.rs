//! `limiter run --listen`: how it begins, that scrapers hold up nothing, and that it answers whatever becomes of limiter.

use super::{ADDRESS, UNIT, World, promtool, until};

#[test]
fn a_port_in_use_ends_the_start_before_anything_is_loaded() {
    let world = World::new();
    let taken = world.lab.front.run(|| Ok(std::net::TcpListener::bind(ADDRESS)?)).expect("a port");
    let output = world.desk.output(&format!("run --listen {ADDRESS}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [ADDRESS, "another process listens there", "--listen", "Address already in use"] {
        assert!(said.contains(words), "{said}: {words}");
    }
    assert!(
        !world.desk.pins().join("v1").exists()
            && world.desk.ok("metrics").contains("limiter_loaded 0")
    );
    drop(taken);
    let output = world.desk.output("run --listen 127.0.0.1");
    assert_eq!(
        output.status.code(),
        Some(2),
        "no port: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn who_listens_for_everybody_is_warned() {
    let world = World::new();
    let mut command = world.desk.command("run --log json");
    command.env("LIMITER_LISTEN", "0.0.0.0:9717");
    let log = world.desk.file("log");
    let mut child =
        command.stderr(std::fs::File::create(&log).expect("a file")).spawn().expect("it runs");
    let said = || std::fs::read_to_string(&log).expect("text");
    let (line, _) = until("a warning", super::PATIENCE, || {
        said()
            .lines()
            .find(|line| line.contains("metrics are open to everybody"))
            .map(str::to_owned)
    });
    until("an answer", super::PATIENCE, || {
        world.metrics("").contains("limiter_loaded 1").then_some(())
    });
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(line.contains("\"level\":\"WARN\"") && line.contains("0.0.0.0:9717"), "{line}");
}

/// The unit must let the daemon open sockets of these families, or the kernel refuses them (RestrictAddressFamilies).
#[test]
fn the_unit_lets_it_listen() {
    let families = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("RestrictAddressFamilies="))
        .expect("a line");
    for family in ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"] {
        assert!(families.split(' ').any(|one| one == family), "{families}");
    }
}

#[test]
fn it_answers_whatever_becomes_of_limiter() {
    let world = World::new();
    let daemon = world.daemon();
    let attached =
        |name: &str| world.value(&format!("limiter_interface_attached{{interface=\"{name}\"}}"));
    until("attached", super::PATIENCE, || {
        (attached("attack0") == Some(1.0) && attached("crowd0") == Some(1.0)).then_some(())
    });
    assert_eq!(promtool(&["check", "metrics"], &world.metrics("text/plain")), "");
    world.rename("crowd0", "other0");
    until("an interface with another name", super::PATIENCE, || {
        (attached("crowd0") == Some(0.0)).then_some(())
    });
    world.rename("other0", "crowd0");
    until("and back", super::PATIENCE, || (attached("crowd0") == Some(1.0)).then_some(()));
    world.desk.ok("detach --all");
    until("not loaded", super::PATIENCE, || {
        (world.value("limiter_loaded") == Some(0.0)).then_some(())
    });
    assert_eq!(
        (attached("attack0"), world.value("limiter_snapshot_success")),
        (Some(0.0), Some(1.0))
    );
    // Pins of a limiter that this one cannot read.
    let strange = world.desk.pins().join("v99");
    std::fs::create_dir(&strange).expect("a directory");
    until("unreadable", super::PATIENCE, || {
        (world.value("limiter_snapshot_success") == Some(0.0)).then_some(())
    });
    assert_eq!(world.value("limiter_loaded"), Some(1.0));
    assert!(daemon.said().contains("metrics lack what limiter does"), "{}", daemon.said());
    std::fs::remove_dir(&strange).expect("removed");
    until("readable", super::PATIENCE, || {
        (world.value("limiter_snapshot_success") == Some(1.0)).then_some(())
    });
}

impl World {
    /// Gives a device another name. Before Linux 6.2 only one that is down can have one.
    pub fn rename(&self, from: &str, to: &str) {
        let lines = format!("link set {from} down\nlink set {from} name {to}\nlink set {to} up\n");
        self.lab.front.ip_batch(&lines).expect("renamed");
    }
}
