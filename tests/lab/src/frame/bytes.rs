//! Owns the way from a described frame to its bytes: lengths, next headers, checksums.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

use super::{Extension, Frame, TCP, Transport, UDP};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_ARP: u16 = 0x0806;

impl Frame {
    /// The bytes.
    ///
    /// # Panics
    ///
    /// When source and destination are of two families.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = [self.macs.1, self.macs.0].concat();
        for (tpid, id) in &self.vlans {
            frame.extend(tpid.to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
        let ethertype = match self.destination.ip() {
            _ if self.arp => ETHERTYPE_ARP,
            IpAddr::V4(_) => ETHERTYPE_IPV4,
            IpAddr::V6(_) => ETHERTYPE_IPV6,
        };
        frame.extend(self.ethertype.unwrap_or(ethertype).to_be_bytes());
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) if self.arp => {
                frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
                frame.extend(self.macs.0.iter().chain(&source.octets()));
                frame.extend([0; 6].iter().chain(&destination.octets()));
            }
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.write_ipv4(source.octets(), destination.octets(), &mut frame);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.write_ipv6(source.octets(), destination.octets(), &mut frame);
            }
            (source, destination) => panic!("a frame from {source} to {destination}: two families"),
        }
        if let Some(length) = self.length {
            frame.resize(length, 0);
        }
        frame
    }

    fn write_ipv4(&self, source: [u8; 4], destination: [u8; 4], frame: &mut Vec<u8>) {
        let (protocol, body) = self.body(&source, &destination);
        let words = 5 + self.ipv4_options.len() as u8 / 4;
        let length = u16::from(words) * 4 + body.len() as u16;
        let (offset, more) = self.fragment;
        let mut header = vec![self.version.unwrap_or(4) << 4 | self.ihl.unwrap_or(words), 0];
        header.extend(self.ip_length.unwrap_or(length).to_be_bytes());
        header.extend((self.identification as u16).to_be_bytes());
        header.extend((u16::from(more) << 13 | offset).to_be_bytes());
        header.extend([64, protocol, 0, 0]);
        header.extend(source.iter().chain(&destination).chain(&self.ipv4_options));
        let sum = Sum16BitWords::new().add_slice(&header).ones_complement();
        // etherparse sums words as they lie in memory.
        header[10..12].copy_from_slice(&sum.to_ne_bytes());
        frame.extend(header);
        frame.extend(body);
    }

    fn write_ipv6(&self, source: [u8; 16], destination: [u8; 16], frame: &mut Vec<u8>) {
        let (protocol, body) = self.body(&source, &destination);
        let mut content = Vec::new();
        for (at, extension) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(at + 1).map_or(protocol, Extension::number);
            extension.write(next, self.identification, &mut content);
        }
        content.extend(body);
        frame.extend([self.version.unwrap_or(6) << 4, 0, 0, 0]);
        frame.extend(self.ip_length.unwrap_or(content.len() as u16).to_be_bytes());
        frame.extend([self.extensions.first().map_or(protocol, Extension::number), 64]);
        frame.extend(source.iter().chain(&destination).chain(&content));
    }

    /// The protocol number, and the transport header with the payload.
    fn body(&self, source: &[u8], destination: &[u8]) -> (u8, Vec<u8>) {
        let mut body = Vec::new();
        let (protocol, checksum_at) = match &self.transport {
            Transport::Raw(protocol) => return (*protocol, self.payload.clone()),
            Transport::Udp => {
                body.extend(self.source.port().to_be_bytes());
                body.extend(self.destination.port().to_be_bytes());
                body.extend((8 + self.payload.len() as u16).to_be_bytes());
                body.extend([0, 0]);
                (UDP, 6)
            }
            Transport::Tcp { sequence, acknowledgment, flags, options, doff } => {
                body.extend(self.source.port().to_be_bytes());
                body.extend(self.destination.port().to_be_bytes());
                body.extend(sequence.to_be_bytes());
                body.extend(acknowledgment.to_be_bytes());
                body.extend([doff.unwrap_or(5 + options.len() as u8 / 4) << 4, *flags]);
                body.extend([0xff, 0xff, 0, 0, 0, 0]);
                body.extend(options);
                (TCP, 16)
            }
        };
        body.extend(&self.payload);
        let sum = Sum16BitWords::new()
            .add_slice(source)
            .add_slice(destination)
            .add_2bytes([0, protocol])
            .add_2bytes((body.len() as u16).to_be_bytes())
            .add_slice(&body);
        // UDP's zero means "none"; TCP may send either form of zero (RFC 768, RFC 1624).
        let sum = if protocol == UDP {
            sum.to_ones_complement_with_no_zero()
        } else {
            sum.ones_complement()
        };
        let sum = if self.wrong_checksum { sum ^ 0x0101 } else { sum };
        body[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_ne_bytes());
        (protocol, body)
    }
}
