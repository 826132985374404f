//! One interface: what runs on it, what its driver can do, and what stands in the way of XDP or of the challenge.

use super::Findings;
use super::subject::Subject;
use crate::kernel::ethtool::Feature;
use crate::kernel::interface::Attachment;
use crate::report::numbers::count;

/// Drivers that ran XDP themselves before the kernel could be asked (Linux 6.3).
const KNOWN: [&str; 26] = [
    "atlantic",
    "bnxt_en",
    "bonding",
    "cpsw",
    "dpaa2-eth",
    "dpaa_eth",
    "ena",
    "enetc",
    "fec",
    "gve",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "nfp",
    "sfc",
    "veth",
    "virtio_net",
];
/// Largest MTU whose frames fit a page with all that drivers keep free around them; some allow a little more.
const ONE_BUFFER: u32 = 3498;
/// Drivers whose frames of several buffers may begin with none that a program can read (mlx5's striding receive queues).
const HIDES_HEADERS: [&str; 1] = ["mlx5_core"];
/// Features of a virtio device, by number, with which its driver refuses XDP unless it can switch them off: checksums, and segments put
/// together by the host (`virtnet_xdp_set` in drivers/net/virtio_net.c).
const VIRTIO_OFFLOADS: [usize; 7] = [1, 7, 8, 9, 10, 54, 55];
/// The feature that lets the driver switch them off.
const VIRTIO_SWITCH: usize = 2;

/// All of it but queues.
pub fn check(subject: &Subject, to: &mut Findings) {
    to.area(format!("interface {}", subject.name()));
    state(subject, to);
    program(subject, to);
    if !is_fit(subject, to) {
        return;
    }
    if subject.attached.is_none() && subject.device.program.is_none() {
        native(subject, to);
    }
    if !subject.is_native() {
        offloads(subject, to);
    }
    bulk(subject, to);
    frames(subject, to);
    tags(subject, to);
    answers(subject, to);
}

/// Whether limiter could see all on it that it is to limit.
fn is_fit(subject: &Subject, to: &mut Findings) -> bool {
    if !subject.device.ethernet {
        to.problem(
            "carries no Ethernet frames, as tun, WireGuard and IP tunnels do not: limiter sees no IP on it and limits nothing",
            "attach to an interface that carries Ethernet, such as the one that the tunnel's packets arrive on",
        );
    } else if let Some(bond) = &subject.bond {
        to.problem(
            format!("is a part of the bond {bond}, whose other parts would not be limited"),
            format!("attach to {bond}"),
        );
    }
    subject.device.ethernet && subject.bond.is_none()
}

fn state(subject: &Subject, to: &mut Findings) {
    let (name, device) = (subject.name(), &subject.device);
    if !device.up {
        to.warning("is down: nothing comes in", format!("`ip link set dev {name} up`"));
    } else if !device.carrier {
        to.warning(
            "has no carrier: nothing comes in",
            "look at the cable, the switch, or the other end of the veth",
        );
    }
}

fn program(subject: &Subject, to: &mut Findings) {
    let (name, driver) = (subject.name(), subject.driver());
    let able = subject.features.is_some_and(|features| features.native);
    if let Some(other) = &subject.other {
        let id = subject.device.program.map_or(0, |(id, _)| id);
        match &subject.dispatcher {
            Some(Ok(which)) => {
                return to.warning(
                    format!(
                        "runs a dispatcher of libxdp (id {id}; {which}), and limiter is not in it"
                    ),
                    format!("`limiter attach {name} --dispatcher` joins the programs that are"),
                );
            }
            Some(Err(unknown)) => {
                return to.problem(
                    format!("runs a dispatcher of libxdp (id {id}) that is {unknown}; limiter cannot join it"),
                    "stop the tool that put it there, or let it be made anew by libxdp 1.3 or later",
                );
            }
            None => {}
        }
        return to.problem(
            format!("another XDP program is on it: {other} (id {id}); limiter cannot be there too"),
            format!("stop the tool that put it there, or `ip link set dev {name} xdp off`"),
        );
    }
    match subject.attached {
        Some(Attachment::Native) if subject.in_dispatcher => to.ok(format!(
            "limiter runs in the driver ({driver}), in a dispatcher that others may join"
        )),
        Some(Attachment::Native) => to.ok(format!("limiter runs in the driver ({driver})")),
        Some(Attachment::Offloaded) => to.ok(format!("limiter runs in the NIC ({driver})")),
        Some(Attachment::Generic) if able => to.warning(
            format!("limiter runs in the slow generic path, and the driver ({driver}) could run it itself"),
            format!("in calm: `limiter detach {name}`, then `limiter attach {name}` (the last one detached is unloaded with its policy)"),
        ),
        Some(Attachment::Generic) => to.warning(
            format!("limiter runs in the slow generic path; the driver ({driver}) runs no XDP program itself"),
            "it works, but each packet costs several times as much; another NIC or driver would help",
        ),
        None if subject.device.program.is_some() => to.unseen(format!("whether the XDP program on {name} is limiter")),
        None => {}
    }
}

/// Whether native XDP would work, on an interface that is free.
fn native(subject: &Subject, to: &mut Findings) {
    let (name, driver) = (subject.name(), subject.driver());
    if let Some(trial) = &subject.trial {
        return match trial {
            Ok(()) => to.ok(format!("the driver ({driver}) takes the program: it was tried")),
            Err(error) => {
                to.problem(format!("tried: {error}"), "put that right, or attach with `--generic`")
            }
        };
    }
    if let Some(below) = &subject.below {
        return to.warning(
            "is a VLAN, which runs no XDP program itself",
            format!("attach to {below} below it: limiter reads VLAN tags"),
        );
    }
    if virtio_refuses(subject) {
        return to.problem(
            "this virtio device cannot switch its receive offloads off, and its driver takes no XDP program with them",
            format!(
                "let the host switch them off (QEMU: guest_csum, guest_tso4, guest_tso6, guest_ecn and guest_ufo), or \
                 `limiter attach {name} --generic`, which is slower"
            ),
        );
    }
    match subject.features {
        Some(features) if features.native => to.ok(format!("free, and the driver ({driver}) runs XDP programs")),
        Some(_) if KNOWN.contains(&driver) => to.warning(
            format!(
                "the driver ({driver}) runs XDP programs, but says that it would run none with its \
                 current settings"
            ),
            match driver {
                "veth" => format!(
                    "as many receive queues here as the other end sends on: `ethtool -L {name} rx N`, or fewer there"
                ),
                _ => format!("in calm, `limiter doctor {name} --try` shows the kernel's reason"),
            },
        ),
        Some(_) => to.warning(
            format!("the driver ({driver}) runs no XDP program itself"),
            format!("`limiter attach {name} --generic` works, but each packet costs several times as much"),
        ),
        None if KNOWN.contains(&driver) => to.ok(format!("free, and {driver} is known to run XDP programs")),
        None => to.warning(
            format!("doctor does not know whether the driver ({driver}) runs XDP programs"),
            format!("in calm, `limiter doctor {name} --try` finds out"),
        ),
    }
}

fn virtio_refuses(subject: &Subject) -> bool {
    if subject.driver() != "virtio_net" {
        return false;
    }
    match &subject.virtio {
        Some(bits) => {
            let has = |bit: usize| bits.as_bytes().get(bit) == Some(&b'1');
            !has(VIRTIO_SWITCH) && VIRTIO_OFFLOADS.iter().any(|bit| has(*bit))
        }
        None => {
            subject.ethtool.features.get("rx-gro-hw")
                == Some(&Feature { on: true, changeable: false })
        }
    }
}

fn offloads(subject: &Subject, to: &mut Findings) {
    let name = subject.name();
    if subject.ethtool.is_on("rx-lro") {
        to.warning(
            "LRO is on, and most drivers refuse XDP programs with it",
            format!("`ethtool -K {name} lro off`"),
        );
    }
}

fn frames(subject: &Subject, to: &mut Findings) {
    let (name, mtu) = (subject.name(), subject.device.mtu);
    let Some(features) =
        subject.features.filter(|_| !subject.is_native() && !subject.device.loopback)
    else {
        return;
    };
    if features.native
        && features.fragments
        && mtu > ONE_BUFFER
        && HIDES_HEADERS.contains(&subject.driver())
    {
        to.warning(
            format!("the MTU is {mtu}, and in frames of several buffers this driver may show XDP programs no headers: all would pass"),
            format!("`ip link set dev {name} mtu {ONE_BUFFER}` or less; or see that `truncated` counts nothing in `limiter status`"),
        );
    }
    if features.native && !features.fragments && mtu > ONE_BUFFER {
        to.warning(
            format!("the MTU is {mtu}, and the driver gives XDP programs single buffers only"),
            format!("`ip link set dev {name} mtu {ONE_BUFFER}` or less before attaching, or it may refuse"),
        );
    }
}

/// The other end of a veth sends no large segments any more to one that runs a program itself.
fn bulk(subject: &Subject, to: &mut Findings) {
    let name = subject.name();
    let place = match subject.attached {
        None if subject.device.program.is_none() => "would run",
        Some(Attachment::Native) => "runs",
        _ => return,
    };
    if subject.driver() == "veth" {
        to.warning(
            format!(
                "is a veth, and limiter {place} in its driver: throughput of data received in bulk \
                 falls to about a sixth, as with any XDP program"
            ),
            format!(
                "where that matters more than floods, `limiter attach {name} --generic` keeps the \
                 throughput; `ethtool -K {name} gro on` gives a part of it back"
            ),
        );
    }
}

/// A tag that the NIC took off is in no frame that limiter sees, nor in its answers.
fn tags(subject: &Subject, to: &mut Findings) {
    if subject.vlans.is_empty() || !subject.ethtool.is_on("rx-vlan-hw-parse") {
        return;
    }
    let vlans = subject.vlans.join(", ");
    let advice = format!("`ethtool -K {} rxvlan off`", subject.name());
    if subject.challenges {
        to.problem(
            format!(
                "takes VLAN tags off (rxvlan), so challenges on {vlans} are answered without a tag"
            ),
            advice,
        );
    } else {
        to.warning(
            format!("takes VLAN tags off (rxvlan): a challenge on {vlans} would be answered without a tag"),
            format!("limits work; before services there are challenged: {advice}"),
        );
    }
}

/// veth hands over what XDP sends back only if the other end polls.
fn answers(subject: &Subject, to: &mut Findings) {
    if subject.unsent > 0 {
        to.warning(
            format!(
                "{} answers of XDP were not sent since the interface came up",
                count(subject.unsent)
            ),
            "that is normal after a flood; otherwise look with `ethtool -S` at the queues to send \
             on, or at a veth's other end",
        );
    }
    if subject.challenges
        && subject.is_native()
        && subject.driver() == "veth"
        && subject.peer.is_none()
    {
        to.warning(
            "is a veth: answers to challenges arrive only if an XDP program runs at its other end",
            "at the other end, which doctor cannot see, any program that passes packets, such as limiter in observe mode: `limiter attach PEER`",
        );
    }
}

#[cfg(test)]
mod tests;
