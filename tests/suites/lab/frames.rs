//! Frames, from the builder and from the generator, are what a receiver would accept.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result};
use etherparse::{SlicedPacket, TransportSlice};
use lab::{
    Flood, Frame, Sources,
    frame::{self, Extension, flags},
};

use super::{check_syn, source_modes, targets};

#[test]
fn generated_frames_are_well_formed() -> Result<()> {
    for (target, base) in targets() {
        for sources in source_modes(base) {
            for vlan in [None, Some(7)] {
                let flood = Flood { vlan, ..Flood::new(target, sources) };
                let seen = flood
                    .sample(300)?
                    .iter()
                    .map(|bytes| check_syn(bytes, target))
                    .collect::<Result<HashSet<_>>>()
                    .with_context(|| format!("{flood:?}"))?;
                let addresses: HashSet<_> = seen.iter().map(SocketAddr::ip).collect();
                match sources {
                    Sources::One(_) => assert_eq!(addresses, [base].into()),
                    // The test program may run on either CPU, each of which counts for itself.
                    Sources::Many { .. } => {
                        assert!(addresses.contains(&base) && addresses.len() >= 150)
                    }
                    Sources::Networks { .. } => {
                        let networks: HashSet<_> = addresses.iter().map(network).collect();
                        assert!(addresses.contains(&base) && networks.len() >= 150)
                    }
                    Sources::Random => {
                        assert!(addresses.len() > 295 && addresses.iter().all(routable))
                    }
                }
                assert!(seen.iter().map(SocketAddr::port).collect::<HashSet<_>>().len() > 250);
            }
        }
    }
    Ok(())
}

/// What makes a source: the address, or its /64.
fn network(address: &IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits() >> 64,
    }
}

fn routable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !matches!(v4.octets()[0], 0 | 10 | 127 | 224..),
        IpAddr::V6(v6) => v6.segments()[..2] == [0x2001, 0xdb8] && v6.segments()[2..4] != [0, 0],
    }
}

#[test]
fn built_frames_are_well_formed() -> Result<()> {
    for (target, base) in targets() {
        let source = SocketAddr::new(base, 1234);
        let syn = Frame::syn(source, target);
        for frame in [
            syn.clone(),
            syn.clone().vlan(frame::VLAN, 5),
            syn.clone().vlan(frame::SERVICE_VLAN, 5).vlan(frame::VLAN, 6),
            syn.clone().ipv4_options(&[1; 40]),
            syn.clone().tcp_options(&[1; 40]).payload(b"odd"),
            syn.clone().flags(flags::SYN | flags::ECE | flags::CWR),
        ] {
            assert_eq!(
                check_syn(&frame.build(), target).with_context(|| format!("{frame:?}"))?,
                source
            );
        }
        let udp = Frame::udp(source, target).payload(b"hello").build();
        let packet = SlicedPacket::from_ethernet(&udp)?;
        assert!(matches!(packet.transport, Some(TransportSlice::Udp(_))), "{packet:?}");
    }
    Ok(())
}

#[test]
fn extension_headers_are_followed() -> Result<()> {
    let (target, base) = targets()[1];
    let source = SocketAddr::new(base, 1234);
    for units in [0, 1, 31, 32, 255] {
        let frame = Frame::syn(source, target)
            .extension(Extension::HopByHop(units))
            .extension(Extension::Destination(units))
            .extension(Extension::Routing(units))
            .extension(Extension::Fragment(0, false))
            .extension(Extension::Authentication(4));
        let bytes = frame.build();
        assert_eq!(check_syn(&bytes, target)?, source);
        assert_eq!(bytes[frame.transport_offset()..][..2], 1234_u16.to_be_bytes());
    }
    Ok(())
}

#[test]
fn one_wrong_field_is_one_wrong_field() {
    let (target, base) = targets()[0];
    let syn = Frame::syn(SocketAddr::new(base, 1234), target);
    let good = syn.build();
    for (wrong, offset) in
        [(syn.clone().wrong_ethertype(0x0900), 12), (syn.clone().wrong_doff(15), 14 + 20 + 12)]
    {
        let bytes = wrong.build();
        assert_eq!(bytes.len(), good.len());
        assert_ne!(bytes[offset], good[offset]);
        assert_eq!(bytes[14..24], good[14..24], "the IP header stays");
    }
    assert_eq!(syn.clone().wrong_ihl(4).build()[14], 0x44);
    assert_eq!(syn.clone().wrong_version(5).build()[14], 0x55);
    assert_eq!(syn.clone().resize(20).build(), good[..20]);
    // More fragments, offset 1.
    assert_eq!(syn.fragment(1, true).build()[20..22], [0x20, 0x01]);
}

#[test]
fn arp_is_arp() -> Result<()> {
    let (target, base) = targets()[0];
    let frame = Frame::arp(SocketAddr::new(base, 0), target).build();
    let packet = SlicedPacket::from_ethernet(&frame)?;
    assert!(matches!(packet.net, Some(etherparse::NetSlice::Arp(_))), "{packet:?}");
    Ok(())
}

#[test]
fn ports_can_count() -> Result<()> {
    for (target, base) in targets() {
        let flood = Flood { counting: true, ..Flood::new(target, Sources::One(base)) };
        let frames = flood.sample(100)?;
        let ports = frames.iter().map(|bytes| Ok(check_syn(bytes, target)?.port()));
        let ports = ports.collect::<Result<HashSet<_>>>()?;
        // Each CPU counts for itself, and the sample may have moved.
        assert!(
            ports.len() >= 50 && ports.iter().all(|port| (1024..1124).contains(port)),
            "{ports:?}"
        );
    }
    Ok(())
}
