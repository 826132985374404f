//! The lab tests itself: what it sends arrives and is well-formed, what it serves comes whole, and it leaves nothing.
//!
//! Needs root.

mod floods;
mod frames;
mod leftovers;
mod measured;
mod pages;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lab::{
    Sources,
    topology::{FRONT_V4, FRONT_V6},
};

fn targets() -> [(SocketAddr, IpAddr); 2] {
    let v6: IpAddr = "2001:db8:1::fffe".parse().expect("an address");
    [(SocketAddr::new(FRONT_V4, 80), [198, 18, 0, 254].into()), (SocketAddr::new(FRONT_V6, 80), v6)]
}

fn source_modes(base: IpAddr) -> [Sources; 4] {
    let networks = Sources::Networks { base, count: 1000 };
    [Sources::One(base), Sources::Many { base, count: 1000 }, networks, Sources::Random]
}

/// What a receiver would check, and the source.
fn check_syn(bytes: &[u8], target: SocketAddr) -> Result<SocketAddr> {
    let packet = SlicedPacket::from_ethernet(bytes)?;
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
        anyhow::bail!("no TCP in {packet:?}")
    };
    ensure!(tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin(), "not a SYN");
    let (source, destination, sum) = match packet.net.context("no IP")? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            ensure!(header.header_checksum == header.calc_header_checksum(), "wrong IPv4 checksum");
            let sum = tcp.calc_checksum_ipv4(header.source, header.destination)?;
            (IpAddr::from(header.source), IpAddr::from(header.destination), sum)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let sum = tcp.calc_checksum_ipv6(header.source, header.destination)?;
            (IpAddr::from(header.source), IpAddr::from(header.destination), sum)
        }
        other => anyhow::bail!("not IP: {other:?}"),
    };
    ensure!(tcp.checksum() == sum, "wrong TCP checksum: {:#x}, not {sum:#x}", tcp.checksum());
    ensure!(SocketAddr::new(destination, tcp.destination_port()) == target, "wrong target");
    Ok(SocketAddr::new(source, tcp.source_port()))
}
