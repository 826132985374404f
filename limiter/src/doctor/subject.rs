//! The interfaces that are looked at, and everything known of each.

use super::{Findings, Tree};
use crate::kernel::dispatcher;
use crate::kernel::ethtool::{self, Ethtool};
use crate::kernel::interface::Attachment;
use crate::kernel::interface::Detail;
use crate::kernel::interface::{self, Features, Peer};
use crate::kernel::link::{self, Attached};

/// Everything known of one interface.
#[derive(Debug, Default)]
pub struct Subject {
    /// From netlink.
    pub device: Detail,
    /// From ethtool.
    pub ethtool: Ethtool,
    /// What the driver says of XDP; `None` if the kernel is too old to say.
    pub features: Option<Features>,
    /// Where limiter runs on it, if it does.
    pub attached: Option<Attachment>,
    /// The name of another program on it.
    pub other: Option<String>,
    /// If that is a dispatcher of libxdp: what it is, or why limiter cannot join it.
    pub dispatcher: Option<Result<String, String>>,
    /// Whether limiter runs in a dispatcher.
    pub in_dispatcher: bool,
    /// VLANs on top of it.
    pub vlans: Vec<String>,
    /// The name of the interface below it, if it is a VLAN.
    pub below: Option<String>,
    /// The bond that it is a part of.
    pub bond: Option<String>,
    /// The bits of a virtio device, as /sys shows them.
    pub virtio: Option<String>,
    /// Whether the loaded policy may challenge.
    pub challenges: bool,
    /// What attaching on trial told, if it was asked for.
    pub trial: Option<Result<(), String>>,
    /// The other end of a veth, if it can be seen.
    pub peer: Option<Peer>,
    /// Packets that XDP wanted to send back and the driver did not send.
    pub unsent: u64,
    /// Packets that were lost in the last second.
    pub lost_now: u64,
}

impl Subject {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.device.name
    }

    /// The driver, or the kind of a virtual interface.
    pub fn driver(&self) -> &str {
        let kind = self.device.kind.as_deref();
        self.ethtool.driver.as_deref().or(kind).unwrap_or("unknown driver")
    }

    /// Whether limiter runs in its driver.
    pub fn is_native(&self) -> bool {
        self.attached == Some(Attachment::Native)
    }

    /// Whether it is this interface that /sys shows: it may be that of another network namespace,
    /// with an interface of the same name.
    pub fn is_in(&self, tree: &Tree) -> bool {
        let directory = format!("sys/class/net/{}", self.device.name);
        let address: Vec<String> =
            self.device.address.iter().map(|byte| format!("{byte:02x}")).collect();
        tree.number(&format!("{directory}/ifindex")) == Some(u64::from(self.device.index))
            && tree.text(&format!("{directory}/address")) == Some(address.join(":"))
    }
}

/// What the interfaces need to know of the rest.
#[derive(Clone, Copy, Debug)]
pub struct Gathered<'a> {
    /// Where limiter is attached.
    pub attached: &'a [Attached],
    /// As they were a second ago.
    pub before: &'a [Detail],
    /// Whether the loaded policy may challenge.
    pub challenges: bool,
    /// Whether programs can be named.
    pub named: bool,
}

/// Those asked for; else those that limiter is attached to; else those that lead out; else all that are up.
pub fn chosen<'a>(
    names: &[String],
    attached: &[Attached],
    devices: &'a [Detail],
    to: &mut Findings,
) -> Vec<&'a Detail> {
    for name in names.iter().filter(|name| !devices.iter().any(|device| device.name == **name)) {
        let others: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        to.area(format!("interface {name}"));
        to.problem("there is no such interface here", format!("there are {}", others.join(", ")));
    }
    let pick = |condition: &dyn Fn(&Detail) -> bool| {
        devices.iter().filter(|device| condition(device)).collect::<Vec<_>>()
    };
    if !names.is_empty() {
        return names
            .iter()
            .filter_map(|name| devices.iter().find(|device| device.name == *name))
            .collect();
    }
    let ours =
        pick(&|device| attached.iter().any(|one| one.index == device.index && one.name.is_some()));
    let out = pick(&|device| device.leads_out && !device.loopback);
    [ours, out]
        .into_iter()
        .find(|some| !some.is_empty())
        .unwrap_or_else(|| pick(&|device| device.up && !device.loopback))
}

/// What is known of `device`, without what the driver says of XDP and without a trial.
pub fn subject(
    tree: &Tree,
    device: &Detail,
    devices: &[Detail],
    gathered: &Gathered<'_>,
) -> Subject {
    let is_vlan = |device: &Detail| device.kind.as_deref() == Some("vlan");
    let on_top = devices.iter().filter(|other| is_vlan(other) && other.below == Some(device.index));
    let below = devices.iter().find(|other| is_vlan(device) && device.below == Some(other.index));
    let is_bond = |device: &Detail| device.kind.as_deref() == Some("bond");
    let bond = devices.iter().find(|other| is_bond(other) && device.above == Some(other.index));
    let ours = gathered.attached.iter().find(|one| one.index == device.index && one.name.is_some());
    let other = device
        .program
        .filter(|_| ours.is_none() && gathered.named)
        .map(|(id, _)| (link::name_of(id), dispatcher::described(id)));
    let before = gathered.before.iter().find(|before| before.index == device.index);
    let mut subject = Subject {
        ethtool: Ethtool::of(&device.name),
        attached: ours.and_then(|one| one.attachment),
        in_dispatcher: ours.is_some_and(|one| one.in_dispatcher),
        dispatcher: other.as_ref().and_then(|(_, dispatcher)| dispatcher.clone()),
        other: other.map(|(name, _)| name),
        vlans: on_top.map(|vlan| vlan.name.clone()).collect(),
        below: below.map(|below| below.name.clone()),
        bond: bond.map(|bond| bond.name.clone()),
        challenges: gathered.challenges,
        peer: interface::peer(device.index),
        unsent: ethtool::unsent(&device.name).unwrap_or(0),
        lost_now: device.lost.saturating_sub(before.map_or(device.lost, |before| before.lost)),
        device: device.clone(),
        ..Subject::default()
    };
    if subject.is_in(tree) {
        subject.virtio = tree.text(&format!("sys/class/net/{}/device/features", device.name));
    }
    subject
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Vec<Detail> {
        let device = |index, name: &str| Detail {
            index,
            name: name.to_owned(),
            up: true,
            ..Detail::default()
        };
        vec![
            Detail { loopback: true, ..device(1, "lo") },
            device(2, "web0"),
            Detail { leads_out: true, ..device(3, "web1") },
            Detail { kind: Some("vlan".to_owned()), below: Some(2), ..device(4, "web0.5") },
            Detail { up: false, ..device(5, "spare0") },
            Detail { kind: Some("veth".to_owned()), below: Some(2), ..device(6, "far0") },
        ]
    }

    #[test]
    fn which_interfaces_are_looked_at() {
        let chosen = |names: &[&str], attached: &[Attached], devices: &[Detail]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut findings = Findings::default();
            let chosen: Vec<String> = chosen(&names, attached, devices, &mut findings)
                .iter()
                .map(|device| device.name.clone())
                .collect();
            (chosen, findings.finish().len())
        };
        let attached = |name: Option<&str>| Attached {
            index: 2,
            name: name.map(str::to_owned),
            attachment: None,
            in_dispatcher: false,
        };
        let all = devices();
        assert_eq!(chosen(&["spare0", "none0"], &[], &all), (vec!["spare0".to_owned()], 1));
        assert_eq!(chosen(&[], &[attached(Some("web0"))], &all).0, ["web0"]);
        assert_eq!(
            chosen(&[], &[attached(None)], &all).0,
            ["web1"],
            "attached elsewhere; this one leads out"
        );
        let inside: Vec<_> = all.iter().filter(|device| !device.leads_out).cloned().collect();
        assert_eq!(chosen(&[], &[], &inside).0, ["web0", "web0.5", "far0"], "all that are up");
    }

    #[test]
    fn vlans_and_what_is_below_them() {
        let (tree, _directory) = Tree::of(&[]);
        let all = devices();
        let gathered = Gathered { attached: &[], before: &[], challenges: false, named: false };
        let subject = |index: usize| subject(&tree, &all[index], &all, &gathered);
        assert_eq!(subject(1).vlans, ["web0.5"], "a veth names its other end, which is no VLAN");
        assert_eq!((subject(3).below.as_deref(), subject(5).below), (Some("web0"), None));
    }

    /// A file of another network namespace's interface of the same name is not read.
    #[test]
    fn bits_of_a_virtio_device() {
        let mut device = devices().remove(1);
        device.address = vec![2, 0, 0, 0, 0, 1];
        let (tree, _directory) = Tree::of(&[
            ("sys/class/net/web0/ifindex", "2"),
            ("sys/class/net/web0/address", "02:00:00:00:00:01"),
            ("sys/class/net/web0/device/features", "1101"),
        ]);
        let gathered = Gathered { attached: &[], before: &[], challenges: false, named: false };
        assert_eq!(subject(&tree, &device, &[], &gathered).virtio.as_deref(), Some("1101"));
        device.index = 7;
        assert_eq!(subject(&tree, &device, &[], &gathered).virtio, None);
    }
}
