//! Owns the way from a flood to the generator's record: the template frame, and the sums that spare the kernel a walk
//! over it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Result, bail, ensure};

use super::{Flood, Sources};
use crate::{
    frame::{Frame, VLAN},
    programs::record::{
        FloodRecord, PORTS_COUNTING, PORTS_FIXED, PORTS_RANDOM, SOURCE_MANY, SOURCE_NETWORKS,
        SOURCE_ONE, SOURCE_RANDOM, TEMPLATE_WORDS,
    },
    topology::Lab,
};

/// Makes every flood of a process different, and the same in every process.
static SEED: AtomicU64 = AtomicU64::new(1);

/// The record for the program, and a frame of the same length to run it on.
pub(super) fn record(flood: &Flood, redirect: u32) -> Result<(FloodRecord, Vec<u8>)> {
    let (sources, base, count) = match (flood.sources, flood.target.ip()) {
        (Sources::One(base), _) => (SOURCE_ONE, base, 1),
        (Sources::Many { base, count }, _) => (SOURCE_MANY, base, count),
        (Sources::Networks { base, count }, IpAddr::V4(_)) => (SOURCE_MANY, base, count),
        (Sources::Networks { base, count }, IpAddr::V6(_)) => (SOURCE_NETWORKS, base, count),
        (Sources::Random, IpAddr::V4(_)) => (SOURCE_RANDOM, IpAddr::from([0; 4]), 0),
        (Sources::Random, IpAddr::V6(_)) => (SOURCE_RANDOM, IpAddr::from([0; 16]), 0),
    };
    let bits = match (base, flood.target.ip()) {
        (IpAddr::V4(base), IpAddr::V4(_)) => u128::from(base.to_bits()),
        (IpAddr::V6(base), IpAddr::V6(_)) => base.to_bits(),
        (base, target) => bail!("a flood from {base} to {target}: two families"),
    };

    let zero: IpAddr = if base.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let (from, to) = Lab::attack_macs();
    let mut frame =
        Frame::syn(SocketAddr::new(zero, 0), flood.target).macs(from, to).flags(flood.flags);
    frame = frame.numbers(0, flood.acknowledgment).fragment(0, flood.fragments);
    if let Some(options) = &flood.options {
        frame = frame.tcp_options(options);
    }
    if let Some(id) = flood.vlan {
        frame = frame.vlan(VLAN, id);
    }
    let (network, transport) = (frame.network_offset(), frame.transport_offset());
    let mut bytes = frame.build();
    let unpadded = bytes.len();
    // Sixty is Ethernet's least; whole words are what the program copies.
    bytes.resize(unpadded.max(60).next_multiple_of(8), 0);
    ensure!(bytes.len() <= 8 * TEMPLATE_WORDS, "the template is too long");

    if base.is_ipv4() {
        bytes[network + 10..network + 12].fill(0);
    }
    // Port, numbers and source being zero, the checksum is that of all the rest: its complement is the sum.
    let transport_sum =
        u32::from(!u16::from_ne_bytes([bytes[transport + 16], bytes[transport + 17]]));
    bytes[transport + 16..transport + 18].fill(0);
    let words = bytes[network..transport].chunks_exact(2);
    let network_sum = words.map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum();

    let mut template = [0; TEMPLATE_WORDS];
    for (word, chunk) in template.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        *word = u64::from_ne_bytes(eight);
    }
    let record = FloodRecord {
        // A second guard; the loop above counts exactly.
        limit: flood.frames,
        seed: SEED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        base_high: (bits >> 64) as u64,
        base_low: bits as u64,
        count,
        sources,
        family: if base.is_ipv4() { 4 } else { 6 },
        network_offset: network as u32,
        redirect,
        ports: match (flood.fixed, flood.counting) {
            (Some(_), _) => PORTS_FIXED,
            (None, true) => PORTS_COUNTING,
            (None, false) => PORTS_RANDOM,
        },
        port: flood.fixed.map_or(0, |(port, _)| port.into()),
        sequence: flood.fixed.map_or(0, |(_, sequence)| sequence),
        network_sum,
        transport_sum,
        words: (bytes.len() / 8) as u32,
        padding: 0,
        template,
    };
    Ok((record, bytes))
}
