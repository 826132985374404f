//! The random sequences of the model, against the real kernel: ten thousand of them, with addresses
//! of their own, by hand-made packets.
//!
//! Time does not pass here as it does in the model: what takes seconds there is left out.

#[path = "../../../../limiter-common/tests/proof/attacker.rs"]
mod attacker;
#[path = "../../../../limiter-common/tests/proof/client.rs"]
#[expect(dead_code, reason = "the model uses the rest")]
mod client;
#[path = "../../../../limiter-common/tests/proof/packet.rs"]
#[expect(dead_code, reason = "the model uses the rest")]
mod packet;
#[path = "../../../../limiter-common/tests/proof/sequence.rs"]
#[expect(dead_code, reason = "the model uses the rest")]
mod sequence;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lab::frame::Frame;
use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::PATIENCE;
use lab::{Hand, Heard};
use limiter_common::challenge::Challenge;

use super::{BURST, Front, kernel, proofs, strict};
use attacker::Attacker;
use client::Client;
use packet::{ACK, ATTACKERS, FIN, FLOWS, Flow, Packet, Part, RST, Reply, SOURCES, SYN, source};
use sequence::{Action, Sequence};

/// Of each family and challenge.
const SEQUENCES: u32 = 2500;

/// A connection that the server has accepted.
struct Open {
    stream: TcpStream,
    /// Bytes that it has read.
    read: u64,
}

/// One sequence's addresses, clients and connections.
struct Stage<'a> {
    hand: &'a mut Hand,
    listener: &'a TcpListener,
    number: u32,
    clients: Vec<Client>,
    attacker: Attacker,
    /// The next byte that each connection expects, as it last said.
    next: [Option<u32>; FLOWS],
    open: HashMap<Flow, Open>,
    /// Connections accepted, and connections that the server ended, by source.
    accepted: [u64; SOURCES],
    ended: [u64; SOURCES],
}

impl Stage<'_> {
    fn address(&self, flow: Flow) -> SocketAddr {
        let number = self.number * SOURCES as u32 + source(flow) as u32;
        let ip: IpAddr = if self.hand.server.is_ipv4() {
            Ipv4Addr::from_bits(Ipv4Addr::new(11, 20, 0, 1).to_bits() + number).into()
        } else {
            Ipv6Addr::from_bits((0x2001_0db8_0020 << 80) + (u128::from(number) << 64) + 1).into()
        };
        SocketAddr::new(ip, 40_000 + flow as u16)
    }

    fn flow(&self, address: SocketAddr) -> Option<Flow> {
        (0..FLOWS).find(|flow| self.address(*flow) == address)
    }

    fn act(&mut self, action: Action) {
        let packet = match action {
            Action::Connect(client, first) => {
                let packet = self.clients[client].connect(first);
                if packet.is_some() {
                    // What the port had before is no more, also where the server does not know yet.
                    self.open.remove(&(client + ATTACKERS));
                }
                packet
            }
            Action::Write(client, bytes) => self.clients[client].write(bytes),
            Action::Again(client, which) => self.clients[client].again(which),
            Action::Close(client) => self.clients[client].close(),
            Action::Crash(client) => {
                self.clients[client].crash();
                None
            }
            Action::End(flow, at_once) => {
                self.end(flow, at_once);
                None
            }
            Action::Wait(_) => {
                std::thread::sleep(Duration::from_micros(100));
                None
            }
            _ => {
                let next = self.next;
                self.attacker.packet(action, |flow| next[flow])
            }
        };
        if let Some(packet) = packet {
            self.send(&packet);
        }
        self.hear();
    }

    fn end(&mut self, flow: Flow, at_once: bool) {
        let Some(Open { stream, .. }) = self.open.remove(&flow) else { return };
        self.ended[source(flow)] += 1;
        if at_once {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))
                .expect("a reset");
        }
    }

    fn send(&mut self, packet: &Packet) {
        (self.hand.client, self.hand.first) = (self.address(packet.flow), packet.sequence);
        let frame = self.hand.frame(packet.flags);
        let options: &[u8] = if packet.flags & SYN == 0 { &[] } else { &[2, 4, 5, 0xa0] };
        let frame = frame
            .tcp_options(options)
            .numbers(packet.sequence, packet.acknowledgment)
            .payload(&data(packet));
        let frame = match packet.part {
            Part::Whole => frame,
            Part::First(id) => fragments(&frame, packet.flow, id)[0].clone(),
            Part::Last(id) => {
                // Of what its first part had: the attacker's latest numbers.
                let Some(whole) =
                    self.attacker.packet(Action::Ack(packet.flow, 0, packet.length), |_| None)
                else {
                    return;
                };
                let frame = frame
                    .flags(ACK)
                    .numbers(whole.sequence, whole.acknowledgment)
                    .payload(&data(&whole));
                fragments(&frame, packet.flow, id)[1].clone()
            }
        };
        self.hand.send(&frame).expect("sent");
    }

    /// What came back, what the clients answer, and what the server has.
    fn hear(&mut self) {
        self.serve();
        while let Some(heard) = self.hand.next() {
            let Some(flow) = self.flow(heard.destination) else { continue };
            let Some(reply) = reply(&heard) else { continue };
            if let Reply::Ack(_, next) = reply {
                self.next[flow] = Some(next);
            }
            if flow < ATTACKERS {
                self.attacker.receive(flow, reply);
            } else if let Some(answer) = self.clients[flow - ATTACKERS].receive(reply) {
                self.send(&answer);
            }
            self.serve();
        }
    }

    /// The server accepts, reads, and answers the first data.
    fn serve(&mut self) {
        while let Ok((stream, from)) = self.listener.accept() {
            let Some(flow) = self.flow(from) else { continue };
            stream.set_nonblocking(true).expect("a setting");
            self.accepted[source(flow)] += 1;
            self.open.insert(flow, Open { stream, read: 0 });
        }
        for (flow, open) in &mut self.open {
            let mut bytes = [0; 512];
            while let Ok(length @ 1..) = open.stream.read(&mut bytes) {
                for (at, byte) in (open.read..).zip(&bytes[..length]) {
                    assert!(
                        *flow < ATTACKERS || *byte == letter(at),
                        "byte {at} of flow {flow} in sequence {}",
                        self.number
                    );
                }
                if open.read == 0 {
                    // Who has reset it gets none.
                    let _ = open.stream.write_all(b"answer");
                }
                open.read += length as u64;
            }
        }
    }

    /// Each client whose connection the server has, and whose bytes did not all arrive, gets them
    /// through.
    fn finish(&mut self) {
        for client in 0..self.clients.len() {
            let start = Instant::now();
            while self.open.contains_key(&(client + ATTACKERS))
                && let Some(packet) = self.clients[client].again(0)
            {
                assert!(
                    start.elapsed() < PATIENCE,
                    "client {client} of sequence {} is stuck: {packet:?}",
                    self.number
                );
                self.send(&packet);
                self.hear();
            }
        }
        for source in 0..SOURCES {
            let (accepted, ended) = (self.accepted[source], self.ended[source]);
            // A connection that the server itself ended may have left one more.
            assert!(
                accepted <= BURST + ended,
                "source {source} of sequence {}: {accepted}, {ended} ended",
                self.number
            );
        }
    }
}

/// The letter at a place of every client's stream.
const fn letter(at: u64) -> u8 {
    b'a' + (at % 26) as u8
}

/// The data of a client's packet, by their place in its stream; what the attacker sends says
/// nothing.
fn data(packet: &Packet) -> Vec<u8> {
    let Some(first) = packet.client else { return vec![0; packet.length as usize] };
    let at = packet.sequence.wrapping_sub(first).wrapping_sub(1);
    (0..packet.length).map(|byte| letter(u64::from(at + byte))).collect()
}

/// Two parts, of which the first shows TCP's header and four bytes.
fn fragments(frame: &Frame, flow: Flow, id: u8) -> [Frame; 2] {
    frame.clone().identification(1 + flow as u32 * 8 + u32::from(id)).fragments(24)
}

fn reply(heard: &Heard) -> Option<Reply> {
    match heard.flags & (SYN | RST | ACK) {
        flags if flags & RST != 0 => Some(Reply::Reset),
        flags if flags == SYN | ACK => Some(Reply::SynAck(heard.sequence, heard.acknowledgment)),
        ACK => {
            let sent =
                heard.sequence.wrapping_add(heard.length + u32::from(heard.flags & FIN != 0));
            Some(Reply::Ack(sent, heard.acknowledgment))
        }
        _ => None,
    }
}

fn play(front: &Front, server: IpAddr) {
    let address = SocketAddr::new(server, 80);
    let listener = front.lab.front.run(|| Ok(TcpListener::bind(address)?)).expect("a listener");
    listener.set_nonblocking(true).expect("a setting");
    let mut hand = Hand::new(&front.lab, address, address).expect("a packet socket");
    let start = Instant::now();
    let mut ended = 0;
    for number in 0..SEQUENCES {
        let sequence = Sequence::new(u64::from(number));
        let mut stage = Stage {
            hand: &mut hand,
            listener: &listener,
            number,
            clients: (ATTACKERS..FLOWS).map(Client::new).collect(),
            attacker: Attacker::new(u64::from(number)),
            next: [None; FLOWS],
            open: HashMap::new(),
            accepted: [0; SOURCES],
            ended: [0; SOURCES],
        };
        sequence.actions.iter().for_each(|action| stage.act(*action));
        stage.finish();
        ended += stage.ended.iter().sum::<u64>();
    }
    let (received, charged) = (kernel(front, "SyncookiesRecv"), proofs(front));
    println!(
        "{server}: {SEQUENCES} sequences in {:.1?}; {received} cookies taken, {charged} charged",
        start.elapsed()
    );
    assert!(
        received <= charged + ended,
        "{received} cookies taken, {charged} charged, {ended} connections ended"
    );
}

/// Whatever happens in whatever order: no source has more connections than it may, every stream
/// begins with its first byte, and no connection that the server has gets stuck.
#[test]
fn ten_thousand_random_sequences_against_the_kernel() {
    for challenge in [Challenge::Always, Challenge::Auto] {
        for server in [FRONT_V4, FRONT_V6] {
            let front = strict(challenge);
            play(&front, server);
        }
    }
}
