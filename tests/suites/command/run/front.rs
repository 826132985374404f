//! The front end that the daemon runs on: its policy file, the wire to a client, the SYNs that come
//! through, and what the command says of it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use lab::Namespace;
use lab::wait::until_so;
use serde_json::Value;

use super::super::Desk;

pub(super) const SERVER: &str = "10.79.0.1:80";
/// Ten connections of one source, and then one an hour.
pub(super) const LIMITED: &str = "interfaces = [\"web0\"]\nmode = \"enforce\"\nsources = 4096\n\
     [defaults]\nsource_rate = \"1/h\"\nsource_burst = 10\n[service.web]\nlisten = \"*:80\"\n";

pub(super) fn policy(desk: &Desk) -> PathBuf {
    desk.policy()
}

pub(super) fn write(desk: &Desk, text: &str) {
    fs::write(policy(desk), text).expect("written");
}

/// A front end whose web0 leads to a client.
pub(super) fn wired() -> (Desk, Namespace) {
    let (desk, client) = (Desk::new(), Namespace::new().expect("a namespace"));
    desk.front.ip(&["link", "del", "web0"]).expect("deleted");
    lay(&desk, &client);
    write(&desk, LIMITED);
    (desk, client)
}

pub(super) fn lay(desk: &Desk, client: &Namespace) {
    let peer = client.name();
    desk.front
        .ip(&["link", "add", "web0", "type", "veth", "peer", "name", "far0", "netns", peer])
        .expect("a veth");
    desk.front.ip_batch("addr add 10.79.0.1/24 dev web0\nlink set web0 up\n").expect("up");
    client.ip_batch("addr add 10.79.0.2/24 dev far0\nlink set far0 up\n").expect("up");
}

/// Connects until so many SYNs have reached the front end, whose kernel refuses them: nobody
/// listens. SYNs are counted there, because one whose answer is late is sent again, and pays again.
#[track_caller]
pub(super) fn arrive(desk: &Desk, client: &Namespace, count: u64) {
    let before = refused(desk);
    until_so("they arrive", || {
        connect(client);
        refused(desk) - before >= count
    });
}

/// Asserts that a client has no connection left.
#[track_caller]
pub(super) fn none_arrives(desk: &Desk, client: &Namespace) {
    let before = refused(desk);
    (0..3).for_each(|_| connect(client));
    assert_eq!(refused(desk) - before, 0);
}

/// A SYN that was dropped is sent again after a second.
fn connect(client: &Namespace) {
    let server: SocketAddr = SERVER.parse().expect("an address");
    let patience = Duration::from_millis(900);
    let connect = || Ok(TcpStream::connect_timeout(&server, patience).is_ok());
    assert!(!client.run(connect).expect("a thread"), "nobody listens");
}

/// SYNs that the kernel of the front end has refused.
fn refused(desk: &Desk) -> u64 {
    let read = || Ok(fs::read_to_string("/proc/thread-self/net/snmp")?);
    let text = desk.front.run(read).expect("counters");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut counters = names.split(' ').zip(values.split(' '));
    let found = counters.find(|(name, _)| *name == "OutRsts").expect("a counter");
    found.1.parse().expect("a number")
}

pub(super) fn interfaces(desk: &Desk) -> Vec<Value> {
    desk.json("status --quick")["interfaces"].as_array().cloned().expect("a list")
}

pub(super) fn generation(desk: &Desk) -> Value {
    desk.json("status --quick")["generation"].clone()
}
