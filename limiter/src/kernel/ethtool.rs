//! What ethtool shows of an interface: driver, rings, queues, features. Only asked, never set; needs no privilege.
//!
//! Over the ioctl and not over netlink: the name of the driver is only there, and /sys/class/net may show another network namespace.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

// From linux/ethtool.h and linux/sockios.h; the libc crate has them for no ordinary Linux target.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GET_DRIVER: u32 = 0x03;
const GET_RINGS: u32 = 0x10;
const GET_STRINGS: u32 = 0x1b;
const GET_STATISTICS: u32 = 0x1d;
const GET_SET_SIZE: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const GET_CHANNELS: u32 = 0x3c;
const STATISTICS_NAMES: u32 = 1;
const FEATURE_NAMES: u32 = 4;
const NAME: usize = 32;

/// What an interface says of itself. What its driver does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ethtool {
    /// Name of the driver.
    pub driver: Option<String>,
    /// Where the device sits, such as a PCI address; empty for virtual ones.
    pub bus: String,
    /// Packets that a receive ring holds.
    pub ring: Option<Setting>,
    /// Receive queues.
    pub queues: Option<Setting>,
    /// Features by name, such as `rx-lro`.
    pub features: BTreeMap<String, Feature>,
}

/// A number that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What it is.
    pub now: u32,
    /// The most that it can be.
    pub most: u32,
}

/// A feature of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Whether it is on.
    pub on: bool,
    /// Whether `ethtool -K` can change it.
    pub changeable: bool,
}

impl Ethtool {
    /// Asks about the interface called `name`.
    pub fn of(name: &str) -> Self {
        let (driver, bus) = driver(name).unwrap_or_default();
        Self {
            driver: (!driver.is_empty()).then_some(driver),
            bus,
            ring: ring(name).ok(),
            queues: queues(name).ok(),
            features: features(name).unwrap_or_default(),
        }
    }

    /// Whether a feature is on; an unknown one is not.
    pub fn is_on(&self, feature: &str) -> bool {
        self.features.get(feature).is_some_and(|feature| feature.on)
    }
}

/// `struct ethtool_drvinfo`: the driver, two versions and the bus, 32 bytes each, behind the command.
fn driver(name: &str) -> io::Result<(String, String)> {
    const WORDS: usize = 49;
    let mut words = vec![0; WORDS];
    words[0] = GET_DRIVER;
    ask(name, &mut words)?;
    let bytes = bytes(&words[1..]);
    Ok((text(&bytes[..NAME]), text(&bytes[3 * NAME..4 * NAME])))
}

/// `struct ethtool_ringparam`: the most of receive, mini, jumbo and send, then what they are.
fn ring(name: &str) -> io::Result<Setting> {
    let mut words = vec![0; 9];
    words[0] = GET_RINGS;
    ask(name, &mut words)?;
    Ok(Setting { now: words[5], most: words[1] })
}

/// `struct ethtool_channels`: the most of receive, send, other and combined, then what they are.
fn queues(name: &str) -> io::Result<Setting> {
    let mut words = vec![0; 9];
    words[0] = GET_CHANNELS;
    ask(name, &mut words)?;
    Ok(Setting { now: words[5] + words[8], most: (words[1] + words[4]).max(words[5] + words[8]) })
}

/// Names from one call, states from another: four words for each 32 features.
fn features(name: &str) -> io::Result<BTreeMap<String, Feature>> {
    let names = names(name, FEATURE_NAMES)?;
    let blocks = names.len().div_ceil(32);
    let mut states = vec![0; 2 + 4 * blocks];
    states[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
    ask(name, &mut states)?;
    let feature = |(number, name): (usize, String)| {
        let block = &states[2 + number / 32 * 4..][..4];
        let bit = 1 << (number % 32);
        (name, Feature { on: block[2] & bit != 0, changeable: block[0] & bit != 0 })
    };
    Ok(names.into_iter().enumerate().map(feature).collect())
}

/// Packets that XDP wanted to send back by the interface called `name` and its driver did not send,
/// since the interface is there; `None` where the driver does not count them.
pub fn unsent(name: &str) -> Option<u64> {
    let names = names(name, STATISTICS_NAMES).ok()?;
    let mut numbers = vec![0; 2 + 2 * names.len()];
    numbers[..2].copy_from_slice(&[GET_STATISTICS, names.len() as u32]);
    ask(name, &mut numbers).ok()?;
    let value = |pair: &[u32]| u64::from(pair[0]) | u64::from(pair[1]) << 32;
    let all = names.iter().zip(numbers[2..].chunks_exact(2).map(value));
    let mut ours = all.filter(|(name, _)| is_unsent(name)).peekable();
    ours.peek()?;
    Some(ours.fold(0, |sum, (_, number)| sum.saturating_add(number)))
}

/// Whether a driver counts such packets by that name: `rx_queue_0_xdp_tx_errors` of veth,
/// `rx_xdp_tx_full` of mlx5.
fn is_unsent(name: &str) -> bool {
    name.contains("xdp_tx") && ["err", "drop", "full"].iter().any(|word| name.contains(word))
}

/// The names of a set.
fn names(name: &str, set: u32) -> io::Result<Vec<String>> {
    let mut size = vec![GET_SET_SIZE, 0, 1 << set, 0, 0];
    ask(name, &mut size)?;
    let count = size[4] as usize;
    let mut names = vec![0; 3 + count * NAME / 4];
    names[..3].copy_from_slice(&[GET_STRINGS, set, count as u32]);
    ask(name, &mut names)?;
    Ok(bytes(&names[3..]).chunks_exact(NAME).map(text).collect())
}

/// Hands `words` to the ioctl, which answers in them.
fn ask(name: &str, words: &mut [u32]) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: request and words outlive the call, and the words are as long as the structure that their command stands for.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
