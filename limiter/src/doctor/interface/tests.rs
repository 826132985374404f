//! Devices as they are seen, and what is said of each.

use super::super::Level;
use super::*;
use crate::kernel::ethtool::Ethtool;
use crate::kernel::interface::Detail;
use crate::kernel::interface::{Features, Peer};

const NATIVE: Option<Features> = Some(Features { native: true, fragments: false });
const NONE: Option<Features> = Some(Features { native: false, fragments: false });

fn subject(driver: &str, features: Option<Features>) -> Subject {
    let device = Detail {
        name: "web0".to_owned(),
        up: true,
        carrier: true,
        mtu: 1500,
        ethernet: true,
        ..Detail::default()
    };
    let ethtool = Ethtool { driver: Some(driver.to_owned()), ..Ethtool::default() };
    Subject { device, ethtool, features, ..Subject::default() }
}

fn found(subject: &Subject) -> Findings {
    let mut findings = Findings::default();
    check(subject, &mut findings);
    assert!(findings.all.iter().all(|finding| finding.area == "interface web0"));
    assert!(
        findings.all.iter().all(|finding| (finding.level == Level::Ok) == finding.advice.is_none())
    );
    findings
}

fn on(mut subject: Subject, feature: &str, changeable: bool) -> Subject {
    subject.ethtool.features.insert(feature.to_owned(), Feature { on: true, changeable });
    subject
}

#[test]
fn free_ones() {
    assert_eq!(found(&subject("ice", NATIVE)).one("free").level, Level::Ok);
    assert_eq!(found(&subject("e1000e", NONE)).one("runs no XDP").level, Level::Warning);
    assert_eq!(found(&subject("ice", None)).one("known to run").level, Level::Ok, "an old kernel");
    assert_eq!(found(&subject("e1000e", None)).one("does not know").level, Level::Warning);
    let vlan = Subject { below: Some("eth0".to_owned()), ..subject("802.1Q VLAN Support", NONE) };
    assert!(
        found(&vlan)
            .one("is a VLAN")
            .advice
            .as_ref()
            .is_some_and(|advice| advice.contains("attach to eth0"))
    );
}

#[test]
fn what_limiter_could_not_see() {
    let mut tun = subject("tun", NONE);
    tun.device.ethernet = false;
    let findings = found(&tun);
    assert_eq!(findings.one("no Ethernet frames").level, Level::Problem);
    assert!(
        !findings
            .all
            .iter()
            .any(|one| one.advice.as_ref().is_some_and(|advice| advice.contains("--generic")))
    );
    let part = Subject { bond: Some("bond0".to_owned()), ..subject("ice", NATIVE) };
    assert_eq!(found(&part).one("the bond bond0").advice.as_deref(), Some("attach to bond0"));
}

#[test]
fn a_driver_that_would_refuse_now() {
    let veth = found(&subject("veth", NONE));
    assert!(
        veth.one("its current settings")
            .advice
            .as_ref()
            .is_some_and(|advice| advice.contains("ethtool -L web0 rx"))
    );
    let ena = found(&subject("ena", NONE));
    assert!(
        ena.one("its current settings")
            .advice
            .as_ref()
            .is_some_and(|advice| advice.contains("--try"))
    );
}

#[test]
fn attached_ones() {
    let attached = |place, features| {
        let subject = Subject { attached: Some(place), ..subject("ice", features) };
        found(&subject).one("limiter runs").clone()
    };
    assert_eq!(attached(Attachment::Native, NATIVE).level, Level::Ok);
    let could = attached(Attachment::Generic, NATIVE);
    assert!(could.level == Level::Warning && could.what.contains("could run it itself"));
    assert_eq!(attached(Attachment::Generic, NONE).level, Level::Warning);
}

#[test]
fn somebody_else_is_there() {
    let mut taken = Subject { other: Some("`pass`".to_owned()), ..subject("ice", NATIVE) };
    taken.device.program = Some((12, Attachment::Native));
    let findings = found(&taken);
    let other = findings.one("`pass` (id 12)");
    assert!(
        other.level == Level::Problem
            && other.advice.as_ref().is_some_and(|advice| advice.contains("xdp off"))
    );
}

#[test]
fn a_dispatcher_is_there() {
    let with = |dispatcher| {
        let other = Some("`xdp_dispatcher`".to_owned());
        let mut taken = Subject { other, dispatcher: Some(dispatcher), ..subject("ice", NATIVE) };
        taken.device.program = Some((12, Attachment::Native));
        let findings = found(&taken);
        let one = findings.one("a dispatcher of libxdp (id 12").clone();
        (one.level, one.advice.is_some_and(|advice| advice.contains("--dispatcher")))
    };
    assert_eq!(with(Ok("version 2, 1 program".to_owned())), (Level::Warning, true));
    assert_eq!(with(Err("of version 4".to_owned())), (Level::Problem, false));
    let attached = Some(Attachment::Native);
    let joined = Subject { attached, in_dispatcher: true, ..subject("ice", NATIVE) };
    assert_eq!(found(&joined).one("in a dispatcher").level, Level::Ok);
}

#[test]
fn down_or_unplugged() {
    let mut down = subject("ice", NATIVE);
    down.device.carrier = false;
    assert_eq!(found(&down).one("no carrier").level, Level::Warning);
    down.device.up = false;
    assert_eq!(found(&down).one("is down").level, Level::Warning);
}

/// The bits of a Firecracker device, which has offloads and no way to switch them off, and of a QEMU one, which has both.
#[test]
fn virtio() {
    let with =
        |bits: &str| Subject { virtio: Some(bits.to_owned()), ..subject("virtio_net", NATIVE) };
    assert_eq!(
        found(&with("110001011011101100000000000001001")).one("receive offloads").level,
        Level::Problem
    );
    assert_eq!(found(&with("111001011011101100000000000001001")).one("free").level, Level::Ok);
    assert_eq!(found(&with("100000000000000000000000000001001")).one("free").level, Level::Ok);
    let fixed = on(subject("virtio_net", NATIVE), "rx-gro-hw", false);
    assert_eq!(
        found(&fixed).one("receive offloads").level,
        Level::Problem,
        "ethtool tells where /sys does not"
    );
    assert_eq!(found(&on(subject("virtio_net", NATIVE), "rx-gro-hw", true)).worst(), Level::Ok);
}

#[test]
fn lro_and_frames() {
    assert_eq!(found(&on(subject("ice", NATIVE), "rx-lro", true)).one("LRO").level, Level::Warning);
    let mut jumbo = subject("ena", NATIVE);
    jumbo.device.mtu = 9000;
    assert_eq!(found(&jumbo).one("9000").level, Level::Warning);
    jumbo.features = Some(Features { native: true, fragments: true });
    assert_eq!(found(&jumbo).worst(), Level::Ok);
    jumbo.ethtool.driver = Some("mlx5_core".to_owned());
    assert_eq!(found(&jumbo).one("no headers").level, Level::Warning);
}

#[test]
fn tags() {
    let mut tagged = on(subject("ice", NATIVE), "rx-vlan-hw-parse", true);
    assert_eq!(found(&tagged).worst(), Level::Ok, "no VLAN is in use");
    tagged.vlans = vec!["web0.5".to_owned()];
    assert_eq!(found(&tagged).one("web0.5").level, Level::Warning);
    tagged.challenges = true;
    assert_eq!(found(&tagged).one("web0.5").level, Level::Problem);
}

#[test]
fn veth_and_trials() {
    let attached = Some(Attachment::Native);
    let mut veth = Subject { challenges: true, attached, ..subject("veth", NATIVE) };
    assert_eq!(
        found(&veth).one("arrive only").level,
        Level::Warning,
        "its other end is out of sight"
    );
    veth.peer = Some(Peer { name: "far0".to_owned(), is_here: true, has_program: false });
    assert!(
        !found(&veth).all.iter().any(|one| one.what.contains("arrive only")),
        "that is told of the challenge"
    );
    assert_eq!(found(&veth).one("in bulk").level, Level::Warning);
    let generic = Subject { attached: Some(Attachment::Generic), ..subject("veth", NONE) };
    assert!(!found(&generic).all.iter().any(|one| one.what.contains("in bulk")));
    veth.unsent = 3;
    assert_eq!(found(&veth).one("3 answers").level, Level::Warning);
    let tried = |trial| Subject { trial: Some(trial), ..subject("ice", NATIVE) };
    assert_eq!(found(&tried(Ok(()))).one("it was tried").level, Level::Ok);
    assert_eq!(found(&tried(Err("refused".to_owned()))).one("refused").level, Level::Problem);
}
