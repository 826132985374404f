//! A client that keeps to TCP: connects, writes, sends again what nobody acknowledged, closes.

use super::packet::{ACK, CLASSES, FIN, Flow, Packet, Part, Reply, SYN};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asking,
    Open,
}

#[derive(Clone, Debug)]
pub struct Client {
    flow: Flow,
    state: State,
    /// Its first sequence number; the first byte that it writes has the next.
    first: u32,
    /// What it acknowledges.
    acknowledgment: u32,
    /// Bytes of each write, and how many of all the server has acknowledged.
    writes: Vec<u32>,
    arrived: u32,
}

impl Client {
    pub fn new(flow: Flow) -> Self {
        Self {
            flow,
            state: State::Idle,
            first: 0,
            acknowledgment: 0,
            writes: Vec::new(),
            arrived: 0,
        }
    }

    fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether it believes that it has a connection with this first sequence number.
    pub fn has(&self, first: u32) -> bool {
        self.is_open() && self.first == first
    }

    /// Opens a connection if it has none; who asks already asks again.
    pub fn connect(&mut self, first: u32) -> Option<Packet> {
        match self.state {
            State::Idle => *self = Self { state: State::Asking, first, ..Self::new(self.flow) },
            State::Asking => {}
            State::Open => return None,
        }
        Some(self.packet(SYN, 0, 0))
    }

    /// Writes so many bytes, which leave at once.
    pub fn write(&mut self, bytes: u32) -> Option<Packet> {
        if !self.is_open() {
            return None;
        }
        let at = self.writes.iter().sum();
        self.writes.push(bytes);
        Some(self.packet(ACK, at, bytes))
    }

    /// Sends a write again that was not acknowledged whole: the oldest first, but a probe for the tail of what was lost may be any
    /// (RFC 8985).
    pub fn again(&self, which: usize) -> Option<Packet> {
        let mut at = 0;
        let mut open = Vec::new();
        for bytes in &self.writes {
            if at + bytes > self.arrived {
                open.push((at, *bytes));
            }
            at += bytes;
        }
        if !self.is_open() || open.is_empty() {
            return None;
        }
        let (at, bytes) = open[which % open.len()];
        Some(self.packet(ACK, at, bytes))
    }

    /// Closes, and is done with the connection.
    pub fn close(&mut self) -> Option<Packet> {
        if !self.is_open() || self.arrived != self.writes.iter().sum::<u32>() {
            return None;
        }
        self.state = State::Idle;
        Some(self.packet(ACK | FIN, self.arrived, 0))
    }

    /// Is gone without a word.
    pub fn crash(&mut self) {
        self.state = State::Idle;
    }

    /// What came for it, and what it sends in answer.
    pub fn receive(&mut self, reply: Reply) -> Option<Packet> {
        match (self.state, reply) {
            (State::Asking, Reply::SynAck(cookie, next)) if next == self.first.wrapping_add(1) => {
                self.state = State::Open;
                self.acknowledgment = cookie.wrapping_add(1);
                Some(self.packet(ACK, 0, 0))
            }
            (State::Open, Reply::Ack(sent, next)) => {
                let arrived = next.wrapping_sub(self.first).wrapping_sub(1);
                if arrived <= self.writes.iter().sum::<u32>() {
                    self.arrived = self.arrived.max(arrived);
                    self.acknowledgment = sent;
                }
                None
            }
            (_, Reply::Reset) => {
                self.state = State::Idle;
                None
            }
            _ => None,
        }
    }

    fn packet(&self, flags: u8, at: u32, length: u32) -> Packet {
        let is_syn = flags & SYN != 0;
        Packet {
            flow: self.flow,
            flags,
            sequence: self.first.wrapping_add(at + u32::from(!is_syn)),
            acknowledgment: if is_syn { 0 } else { self.acknowledgment },
            length,
            class: self.flow as u32 % CLASSES,
            part: Part::Whole,
            client: Some(self.first),
        }
    }
}
