//! An attacker who has an address of his own, any number of ports, and knows more than he could: what the server expects next.

use super::packet::{ACK, ATTACKERS, CLASSES, FIN, Flow, Packet, Part, RST, Reply, SYN};
use super::sequence::{Action, Random};

pub struct Attacker {
    /// First sequence number and latest SYN-ACK's number of each flow.
    numbers: [(u32, u32); ATTACKERS],
    sent: Vec<Packet>,
    random: Random,
}

impl Attacker {
    pub fn new(seed: u64) -> Self {
        Self { numbers: [(0, 0); ATTACKERS], sent: Vec::new(), random: Random(seed) }
    }

    /// The packet of an action, if it is one of his. `next`: the next byte that a connection expects.
    pub fn packet(&mut self, action: Action, next: impl Fn(Flow) -> Option<u32>) -> Option<Packet> {
        let packet = |flow: Flow, flags, sequence, acknowledgment, length, part| {
            let class = flow as u32 % CLASSES;
            Packet { flow, flags, sequence, acknowledgment, length, class, part, client: None }
        };
        let of = |flow: Flow| {
            (self.numbers[flow].0.wrapping_add(1), self.numbers[flow].1.wrapping_add(1))
        };
        let packet = match action {
            Action::Syn(flow) => {
                self.numbers[flow].0 = self.random.next() as u32;
                packet(flow, SYN, self.numbers[flow].0, 0, 0, Part::Whole)
            }
            Action::Ack(flow, shift, length) => {
                let (sequence, acknowledgment) = of(flow);
                packet(flow, ACK, sequence.wrapping_add(shift), acknowledgment, length, Part::Whole)
            }
            Action::Rst(flow, hits) => {
                let at = if hits { next(flow) } else { Some(self.random.next() as u32) };
                packet(flow, RST, at.unwrap_or_default(), 0, 0, Part::Whole)
            }
            Action::Fin(flow) => packet(flow, ACK | FIN, next(flow)?, of(flow).1, 0, Part::Whole),
            Action::First(flow, id) => {
                let (sequence, acknowledgment) = of(flow);
                packet(flow, ACK, sequence, acknowledgment, 12, Part::First(id))
            }
            Action::Last(flow, id) => packet(flow, 0, 0, 0, 12, Part::Last(id)),
            Action::Replay(which) => *self.sent.get(self.sent.len().checked_sub(1 + which)?)?,
            Action::Spoof(flow, flags, number) => {
                packet(flow, flags, number, number.rotate_left(9), 0, Part::Whole)
            }
            _ => return None,
        };
        self.sent.push(packet);
        Some(packet)
    }

    pub fn receive(&mut self, flow: Flow, reply: Reply) {
        if let Reply::SynAck(number, _) = reply {
            self.numbers[flow].1 = number;
        }
    }
}
