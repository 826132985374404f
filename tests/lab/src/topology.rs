//! Owns the stage: a crowd and an attacker, each behind a veth pair of its own, before one front end.
//!
//! ```text
//!   crowd  up0 ------- crowd0  front  attack0 ------- up0  attacker
//!          10.77.1.2   10.77.1.1      10.77.2.1       10.77.2.2      (and fd77:1::/64, fd77:2::/64)
//!   lo: the clients            lo: 10.77.0.1, fd77::1
//! ```
//!
//! Neighbours are permanent, ARP is off (which also spares the multicast reports of IPv6) and so is duplicate address
//! detection: every address works at once, and nothing but the test's own packets travels. What the front end sends to anybody else goes to the attacker, whose
//! kernel drops it, as a spoofed address would.
//!
//! With `LAB_WIRE=nic` the pairs are NICs instead: see `nic`.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result, ensure};
use aya::util::nr_cpus;

use crate::{
    bpffs, directory,
    netns::{self, Namespace},
    nic::{self, Nic},
    programs::{Attached, Trivial},
};

/// The front end's service address.
pub const FRONT_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
/// The front end's service address, IPv6.
pub const FRONT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));
/// The front end's device towards the crowd.
pub const CROWD_DEVICE: &str = "crowd0";
/// The front end's device towards the attacker.
pub const ATTACK_DEVICE: &str = "attack0";
/// The device of the crowd, and that of the attacker, towards the front end.
pub const FAR_DEVICE: &str = "up0";

// From linux/ethtool.h and linux/sockios.h; the libc crate has them for no ordinary Linux target.
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SGRO: u32 = 0x2c;
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// Clients there is room for: 10.78.0.1 to 10.78.255.254.
const MOST_CLIENTS: u32 = 65_534;

/// How a lab is made.
#[derive(Clone, Copy, Debug)]
pub struct LabOptions {
    /// MTU of all four devices, in bytes.
    pub mtu: u32,
    /// Number of client addresses of the crowd, of each family.
    pub clients: u32,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { mtu: 1500, clients: 256 }
    }
}

/// The three namespaces, wired.
pub struct Lab {
    // First, so that they are detached before their devices go.
    far_programs: Vec<Attached>,
    // Before their namespaces: what is still inside then goes with them, or wherever the kernel puts it.
    _nics: Vec<Nic>,
    /// Where the clients are.
    pub crowd: Namespace,
    /// Where floods come from.
    pub attacker: Namespace,
    /// Where the server is, and the devices that limiter is attached to.
    pub front: Namespace,
    options: LabOptions,
}

/// One veth pair: the front end's end and the far end.
struct Wire<'a> {
    front: &'a Namespace,
    far: &'a Namespace,
    device: &'static str,
    /// The third byte of the IPv4 subnet, the second word of the IPv6 one and the last byte but one of the MACs.
    number: u8,
}

impl Lab {
    /// A lab with the default options.
    pub fn new() -> Result<Self> {
        Self::with(LabOptions::default())
    }

    /// Removes what earlier runs left, then makes a lab.
    pub fn with(options: LabOptions) -> Result<Self> {
        ensure!(options.clients <= MOST_CLIENTS, "at most {MOST_CLIENTS} clients");
        netns::sweep()?;
        bpffs::sweep()?;
        directory::sweep()?;
        let (crowd, attacker, front) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        for namespace in [&crowd, &attacker, &front] {
            quiet(namespace)?;
        }
        let mut nics = Vec::new();
        Wire { front: &front, far: &crowd, device: CROWD_DEVICE, number: 1 }
            .lay(options.mtu, &mut nics)?;
        Wire { front: &front, far: &attacker, device: ATTACK_DEVICE, number: 2 }
            .lay(options.mtu, &mut nics)?;
        front.ip_batch(&format!(
            "address add {FRONT_V4}/32 dev lo\n\
             address add {FRONT_V6}/128 dev lo nodad\n\
             route add 10.78.0.0/16 via 10.77.1.2\n\
             route add fd78::/64 via fd77:1::2\n\
             route add default via 10.77.2.2\n\
             route add default via fd77:2::2\n"
        ))?;
        crowd.ip_batch(&client_addresses(options.clients))?;
        let far_programs = vec![
            Trivial::Pass.attach(&crowd, FAR_DEVICE)?,
            Trivial::Pass.attach(&attacker, FAR_DEVICE)?,
        ];
        Ok(Self { far_programs, _nics: nics, crowd, attacker, front, options })
    }

    /// From now on the attacker's device drops answers before its kernel sees them: both ends of a wire share a CPU here, and what an
    /// attacker does with an answer is none of the front end's cost.
    ///
    /// # Errors
    /// When the program does not attach.
    pub fn end_answers_at_attacker(&mut self) -> Result<()> {
        // The other one first: a device takes one program.
        drop(self.far_programs.pop());
        self.far_programs.push(Trivial::Empty.attach(&self.attacker, FAR_DEVICE)?);
        Ok(())
    }

    /// The crowd's IPv4 addresses.
    pub fn clients_v4(&self) -> Vec<IpAddr> {
        (1..=self.options.clients).map(client_v4).collect()
    }

    /// The crowd's IPv6 addresses.
    pub fn clients_v6(&self) -> Vec<IpAddr> {
        (1..=self.options.clients).map(client_v6).collect()
    }

    /// The MAC addresses of the attacker's device and of the front end's towards it.
    pub(crate) fn attack_macs() -> ([u8; 6], [u8; 6]) {
        (mac(2, true), mac(2, false))
    }
}

impl Wire<'_> {
    /// Connects and configures both ends. NICs that it takes go into `nics`.
    fn lay(&self, mtu: u32, nics: &mut Vec<Nic>) -> Result<()> {
        let Self { front, far, device, number } = self;
        let (front_mac, far_mac) = (text(mac(*number, false)), text(mac(*number, true)));
        if nic::wanted()? {
            for (namespace, device, mac) in
                [(front, *device, &front_mac), (far, FAR_DEVICE, &far_mac)]
            {
                nics.push(Nic::take(mac, namespace, device)?);
                namespace.ip(&["link", "set", "dev", device, "mtu", &mtu.to_string()])?;
            }
        } else {
            self.make_pair(mtu, &front_mac, &far_mac)?;
        }
        for (namespace, device, own, other, other_mac) in
            [(front, *device, 1, 2, &far_mac), (far, FAR_DEVICE, 2, 1, &front_mac)]
        {
            namespace.sysctl(&format!("ipv4/conf/{device}/rp_filter"), "0")?;
            namespace.ip_batch(&format!(
                "link set {device} arp off\n\
                 address add 10.77.{number}.{own}/24 dev {device}\n\
                 address add fd77:{number}::{own}/64 dev {device} nodad\n\
                 link set {device} up\n\
                 neighbour replace 10.77.{number}.{other} lladdr {other_mac} dev {device} nud permanent\n\
                 neighbour replace fd77:{number}::{other} lladdr {other_mac} dev {device} nud permanent\n"
            ))?;
        }
        far.ip_batch(&format!(
            "route add default via 10.77.{number}.1\nroute add default via fd77:{number}::1\n"
        ))
    }

    /// Makes a veth pair.
    fn make_pair(&self, mtu: u32, front_mac: &str, far_mac: &str) -> Result<()> {
        let Self { front, far, device, .. } = self;
        // A queue for each CPU: with one, all CPUs' frames would be received on one of them.
        let cpus =
            nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
        let queues = format!("numrxqueues {cpus} numtxqueues {cpus}");
        front.ip_batch(&format!(
            "link add {device} mtu {mtu} address {front_mac} {queues} type veth \
               peer name {FAR_DEVICE} mtu {mtu} address {far_mac} {queues} netns {}\n",
            far.name()
        ))?;
        front.run(|| {
            // With GRO on, a veth has NAPI even without a program, and so takes the flood's frames.
            ethtool(device, ETHTOOL_SGRO, 1)
        })?;
        // Checksums are to be made before the frame leaves: an XDP_TX on the way would send them half-made.
        far.run(|| ethtool(FAR_DEVICE, ETHTOOL_STXCSUM, 0))
    }
}

/// Switches off what would add packets, delays or refusals of its own.
fn quiet(namespace: &Namespace) -> Result<()> {
    for scope in ["all", "default"] {
        namespace.sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
        namespace.sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
        namespace.sysctl(&format!("ipv6/conf/{scope}/accept_ra"), "0")?;
        namespace.sysctl(&format!("ipv6/conf/{scope}/router_solicitations"), "0")?;
    }
    Ok(())
}

fn client_addresses(clients: u32) -> String {
    let mut lines = String::new();
    for number in 1..=clients {
        let (v4, v6) = (client_v4(number), client_v6(number));
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "address add {v4}/32 dev lo\naddress add {v6}/128 dev lo nodad");
    }
    lines
}

fn client_v4(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(10, 78, 0, 0).to_bits() + number))
}

fn client_v6(number: u32) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(0xfd78 << 112 | u128::from(number)))
}

/// Locally administered addresses, the same in every lab.
fn mac(wire: u8, far: bool) -> [u8; 6] {
    [0x02, 0, 0, 0x77, wire, if far { 2 } else { 1 }]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Sets one feature of a device of this thread's namespace, as `ethtool -K` would.
fn ethtool(device: &str, command: u32, value: u32) -> Result<()> {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        value: u32,
    }
    let socket =
        std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot make a socket")?;
    let mut data = EthtoolValue { command, value };
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut data).cast();
    // SAFETY: the request and the value it points to outlive the call, which reads and writes nothing else.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    ensure!(
        result == 0,
        "cannot set feature {command:#x} of {device}: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}
