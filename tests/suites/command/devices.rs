//! Interfaces of all kinds, and what becomes of them while limiter is attached.

use aya::programs::links::PinnedLink;
use lab::Namespace;
use limiter::kernel::Pins;

use super::Desk;

const SERVICE: &str = "--service web=*:80 --source-rate 20/s";

impl Desk {
    /// Name and place of the interfaces that status shows.
    fn interfaces(&self) -> Vec<(Option<String>, Option<String>)> {
        let status = self.json("status --quick");
        let text = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
        let list = status["interfaces"].as_array().expect("a list");
        list.iter().map(|one| (text(&one["name"]), text(&one["attachment"]))).collect()
    }
}

fn at(name: &str, place: &str) -> (Option<String>, Option<String>) {
    (Some(name.to_owned()), Some(place.to_owned()))
}

#[test]
fn a_driver_without_xdp() {
    let desk = Desk::new();
    // Not every kernel has every kind; the loopback is always there.
    let made = ["dummy", "bridge"]
        .map(|kind| (kind, desk.front.ip(&["link", "add", kind, "type", kind]).is_ok()));
    println!("{made:?}");
    for name in made.iter().filter(|(_, made)| *made).map(|(kind, _)| *kind).chain(["lo"]) {
        desk.fails(&format!("attach {name} {SERVICE}"), 1, &[name, "--generic"]);
        desk.fails(&format!("attach web0 {name} {SERVICE}"), 1, &[name, "--generic"]);
        assert!(desk.becomes_free("web0") && desk.left().is_empty(), "{name}: all or none");
        desk.ok(&format!("attach {name} {SERVICE} --generic"));
        assert_eq!(desk.interfaces(), [at(name, "generic")]);
        desk.ok("arm");
        desk.ok(&format!("detach {name}"));
        assert!(desk.left().is_empty());
    }
}

#[test]
fn a_tunnel_device_runs_it_itself() {
    let desk = Desk::new();
    desk.front.ip(&["tuntap", "add", "tap0", "mode", "tap"]).expect("a tap");
    desk.front.ip(&["link", "set", "tap0", "up"]).expect("up");
    desk.ok(&format!("attach tap0 {SERVICE}"));
    assert_eq!(desk.interfaces(), [at("tap0", "native")]);
    desk.ok("detach --all");
}

/// Another program may be attached as soon as the command has returned, also where another process
/// (`bpftool`, or the kernel's own clearing up) holds the link for longer.
#[test]
fn an_interface_that_is_detached_is_free_at_once() {
    let desk = Desk::new();
    desk.ok(&format!("attach web0 web1 {SERVICE}"));
    let hold = || {
        let pins = Pins::at(desk.pins());
        let links = pins.links().into_iter();
        let held = links.map(|index| PinnedLink::from_pin(pins.link(index)).expect("a link"));
        held.collect::<Vec<_>>()
    };
    let held = hold();
    desk.ok("detach web1");
    assert!(!desk.has_program("web1"), "one");
    desk.ok("attach web1");
    let all = hold();
    desk.ok("detach --all");
    assert!(!desk.has_program("web0") && !desk.has_program("web1"), "all");
    drop((held, all));
}

#[test]
fn an_interface_that_is_renamed() {
    let desk = Desk::new();
    desk.ok(&format!("attach web0 web1 {SERVICE} --enforce"));
    for up in [false, true] {
        let (from, to) = if up { ("front0", "web0") } else { ("web0", "front0") };
        // A kernel of before 6.3 renames no interface that is up.
        desk.front.ip(&["link", "set", from, "down"]).expect("down");
        desk.front.ip(&["link", "set", from, "name", to]).expect("renamed");
        desk.front.ip(&["link", "set", to, "up"]).expect("up");
        assert!(desk.has_program(to));
        assert!(desk.interfaces().contains(&at(to, "native")));
        desk.fails(&format!("detach {from}"), 1, &[from, "limiter status"]);
        desk.ok("upgrade");
    }
    desk.front.ip(&["link", "set", "web0", "name", "front0"]).expect("renamed");
    desk.fails("attach front0", 1, &["already attached to front0"]);
    desk.ok("detach front0");
    assert!(desk.becomes_free("front0") && desk.has_program("web1"));
}

#[test]
fn an_interface_that_moves_to_another_namespace() {
    let desk = Desk::new();
    let other = Namespace::new().expect("a namespace");
    desk.ok(&format!("attach web0 web1 {SERVICE} --enforce"));
    let index = desk.json("status --quick")["interfaces"][0]["index"].as_u64().expect("an index");
    desk.front.ip(&["link", "set", "web0", "netns", other.name()]).expect("moved");
    let there = other
        .command("ip")
        .expect("ip")
        .args(["link", "show", "dev", "web0"])
        .output()
        .expect("ip runs");
    assert!(String::from_utf8_lossy(&there.stdout).contains("xdp"), "its limits go with it");
    let shown = desk.ok("status --quick");
    assert!(
        shown.contains("gone, or in another network namespace") && shown.contains("web1  native"),
        "{shown}"
    );
    for line in ["set --budget 9/s", "arm", "upgrade", "ban add 192.0.2.7"] {
        desk.ok(line);
    }
    let output = desk.output("doctor");
    assert!(
        output.stderr.is_empty()
            && String::from_utf8_lossy(&output.stdout).contains("network namespace")
    );
    // Back again it is ours, or it can be freed and attached anew: its index may be another one.
    other.ip(&["link", "set", "web0", "netns", desk.front.name()]).expect("moved back");
    let mine = desk.json("status --quick")["interfaces"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["name"] == "web0"));
    println!("back in its namespace it is {}", if mine { "ours still" } else { "another one" });
    desk.ok(&format!("detach {index}"));
    assert!(desk.becomes_free("web0"), "the link took its program along");
    desk.ok("attach web0");
    assert!(desk.has_program("web0") && desk.has_program("web1"));
}

#[test]
fn an_interface_whose_mtu_changes() {
    let desk = Desk::new();
    desk.ok(&format!("attach web0 {SERVICE} --enforce"));
    for mtu in ["9000", "68", "1500", "65535", "1500"] {
        for device in ["far0", "web0"] {
            desk.front.ip(&["link", "set", device, "mtu", mtu]).expect("the driver takes it");
        }
        assert!(desk.has_program("web0"), "at {mtu}");
        assert_eq!(desk.interfaces(), [at("web0", "native")]);
    }
    for device in ["far1", "web1"] {
        desk.front.ip(&["link", "set", device, "mtu", "65535"]).expect("an MTU");
    }
    desk.ok("attach web1");
    assert_eq!(
        desk.interfaces().len(),
        2,
        "attached at any MTU: the program knows frames in several buffers"
    );
}

/// A device without an Ethernet header is refused in either mode, as is a part of a bond; doctor
/// says so before.
#[test]
fn what_limiter_could_not_see_is_refused() {
    let desk = Desk::new();
    desk.front.ip(&["tuntap", "add", "tun0", "mode", "tun"]).expect("a tun");
    desk.front.ip(&["link", "set", "tun0", "up"]).expect("up");
    // Not every kernel has every kind of tunnel.
    let tunnels =
        ["add wg0 type wireguard", "add ipip9 type ipip local 192.0.2.1 remote 192.0.2.2"];
    let made = tunnels.iter().filter(|line| {
        desk.front.ip(&[&["link"], &line.split(' ').collect::<Vec<_>>()[..]].concat()).is_ok()
    });
    let names: Vec<_> = made.filter_map(|line| line.split(' ').nth(1)).chain(["tun0"]).collect();
    println!("{names:?}");
    for name in names {
        for mode in ["", " --generic"] {
            desk.fails(
                &format!("attach web0 {name} {SERVICE}{mode}"),
                1,
                &[name, "no Ethernet frames", "attach to"],
            );
            assert!(desk.becomes_free("web0") && desk.left().is_empty(), "all or none");
        }
        let doctor =
            String::from_utf8(desk.output(&format!("doctor {name}")).stdout).expect("text");
        assert!(doctor.contains("no Ethernet frames") && !doctor.contains("--generic"), "{doctor}");
    }
    if desk.front.ip(&["link", "add", "bond0", "type", "bond"]).is_ok() {
        desk.front.ip(&["link", "set", "web1", "down"]).expect("down");
        desk.front.ip(&["link", "set", "web1", "master", "bond0"]).expect("a part of it");
        desk.fails(
            &format!("attach web1 {SERVICE}"),
            1,
            &["web1 is a part of the bond bond0", "attach to bond0"],
        );
    }
}

/// The kernel's own reason is shown: a veth with fewer receive queues than its other end sends on.
#[test]
fn the_kernels_reason_is_shown() {
    let desk = Desk::new();
    desk.front
        .ip(&[
            "link",
            "add",
            "few0",
            "numrxqueues",
            "1",
            "type",
            "veth",
            "peer",
            "name",
            "many0",
            "numtxqueues",
            "4",
        ])
        .expect("a veth");
    desk.front.ip_batch("link set few0 up\nlink set many0 up\n").expect("up");
    let grown =
        desk.program("ethtool").args(["-L", "many0", "tx", "4"]).output().expect("ethtool runs");
    assert!(grown.status.success(), "{grown:?}");
    desk.fails(
        &format!("attach few0 {SERVICE}"),
        1,
        &["few0", "the kernel says why", "queues", "--generic"],
    );
    assert!(desk.becomes_free("few0"), "what is tried to learn the reason leaves nothing");
    let doctor = String::from_utf8(desk.output("doctor few0").stdout).expect("text");
    assert!(!doctor.contains("runs no XDP program itself"), "{doctor}");
    desk.ok(&format!("attach few0 {SERVICE} --generic"));
}

/// A link that another tool detached: the interface is here, so it is not called gone, and is
/// attached again by the usual command.
#[test]
fn a_link_that_another_tool_detached() {
    let desk = Desk::new();
    desk.ok(&format!("attach web0 {SERVICE} --enforce"));
    let json = |program: &str, line: &str| -> serde_json::Value {
        let output = desk.program(program).args(line.split(' ')).output().expect("it runs");
        assert!(output.status.success(), "{program} {line}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    // Links of other namespaces are in the list too; the program is on web0 alone.
    let program = json("ip", "-j link show dev web0")[0]["xdp"]["prog"]["id"].clone();
    assert!(program.is_u64(), "{program}");
    let links = json("bpftool", "-j link show");
    let links = links.as_array().expect("a list");
    let ours = links
        .iter()
        .find(|link| link["type"] == "xdp" && link["prog_id"] == program)
        .expect("our link");
    json("bpftool", &format!("link detach id {}", ours["id"]));
    assert!(desk.becomes_free("web0"));
    let shown = desk.ok("status --quick");
    let interface = shown.lines().find(|line| line.starts_with("interfaces")).expect("a line");
    assert!(interface.contains("web0  NOT ATTACHED") && !interface.contains("gone"), "{shown}");
    let doctor = desk.output("doctor");
    assert!(
        String::from_utf8_lossy(&doctor.stdout).contains("another tool detached"),
        "{doctor:?}"
    );
    desk.ok("attach web0");
    assert_eq!(desk.interfaces(), [at("web0", "native")], "no dead link is left");
}

/// An interface that goes down, loses its peer's end, or comes back by another index.
#[test]
fn an_interface_that_goes_away() {
    let desk = Desk::new();
    desk.ok(&format!("attach web0 web1 {SERVICE} --enforce"));
    desk.front.ip(&["link", "set", "web0", "down"]).expect("down");
    assert!(desk.has_program("web0"));
    desk.ok("set --budget 5/s");
    desk.front.ip(&["link", "del", "far0"]).expect("deleted, and web0 with it");
    for line in ["status --quick", "arm", "upgrade", "ban add 192.0.2.7", "policy show", "disarm"] {
        desk.ok(line);
    }
    let output = desk.output("doctor");
    assert!(
        output.stderr.is_empty() && String::from_utf8_lossy(&output.stdout).contains("is gone"),
        "{output:?}"
    );
    desk.ok("detach --all");
    assert!(desk.left().is_empty() && desk.becomes_free("web1"));
}
