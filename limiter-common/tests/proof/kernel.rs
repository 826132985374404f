//! A model of the part of Linux that makes connections while `net.ipv4.tcp_syncookies` is 2: cookies, the listening socket and its accept
//! queue, connections, TIME_WAIT, fragments. It does what a segment's numbers decide and keeps no bytes.

use std::cell::Cell;

use super::cookie::Secret;
use super::packet::{ACK, FIN, Flow, Packet, Part, RST, Reply, SYN};

pub const SECOND: u64 = 1_000_000_000;
/// How long a listening socket takes cookies after it made one (`TCP_SYNCOOKIE_VALID`).
const VALID: u64 = 120 * SECOND;
/// How long fragments wait for each other (`IP_FRAG_TIME`; twice that over IPv6).
const FRAGMENTS: u64 = 30 * SECOND;
const TIME_WAIT: u64 = 60 * SECOND;
/// Connections that nobody accepted for which there is room: a backlog of n holds n + 1.
const QUEUE: usize = 2;
/// Bytes of a server's answer to the first data.
const ANSWER: u32 = 100;

/// What a packet meets, as `bpf_skc_lookup_tcp` finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// One that is open.
    Connection,
    /// One that its server has closed, and its client not yet.
    Closed,
    /// What is left of one.
    TimeWait,
    Listener,
}

#[derive(Clone, Copy, Debug, Default)]
enum Socket {
    #[default]
    None,
    /// A SYN that met TIME_WAIT and so got an ordinary SYN-ACK: first sequence numbers of client and server.
    Request(u32, u32),
    Open(Open),
    TimeWait {
        next: u32,
        until: u64,
    },
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// Next byte from the client, and the server's next.
    next: u32,
    sent: u32,
    has_answered: bool,
    /// The server has closed it, and so ends it with the next data (`tcp_rcv_state_process`,
    /// RCV_SHUTDOWN).
    is_closed: bool,
}

/// A connection that was made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub flow: Flow,
    /// Sequence number of the first byte that the server will read.
    pub first: u32,
    /// The first sequence number of the client that sent what made it, if it keeps to TCP.
    pub client: Option<u32>,
}

pub struct Kernel {
    secret: Secret,
    pub now: u64,
    sockets: Vec<Socket>,
    /// When the listening socket last made a cookie; 0 for never.
    stamp: Cell<u64>,
    queued: usize,
    /// Whether connections are accepted as soon as they are there.
    pub accepts: bool,
    parked: Vec<(u64, Packet)>,
    /// Connections that their clients have closed.
    half_closed: Vec<Flow>,
    pub made: Vec<Made>,
}

impl Kernel {
    pub fn new(flows: usize, secret: u64, now: u64) -> Self {
        Self {
            secret: Secret(secret),
            now,
            sockets: vec![Socket::None; flows],
            stamp: Cell::new(0),
            queued: 0,
            accepts: true,
            parked: Vec::new(),
            half_closed: Vec::new(),
            made: Vec::new(),
        }
    }

    fn minute(&self) -> u32 {
        (self.now / (60 * SECOND)) as u32
    }

    pub fn is_full(&self) -> bool {
        self.queued > QUEUE
    }

    /// `bpf_skc_lookup_tcp`.
    pub fn meets(&self, flow: Flow) -> Met {
        match self.sockets[flow] {
            Socket::None => Met::Listener,
            Socket::TimeWait { until, .. } if until <= self.now => Met::Listener,
            Socket::TimeWait { .. } => Met::TimeWait,
            Socket::Open(Open { is_closed: true, .. }) => Met::Closed,
            Socket::Request(..) | Socket::Open(_) => Met::Connection,
        }
    }

    /// `bpf_tcp_gen_syncookie`: the cookie that the listening socket would answer with, which it then takes. `None`: no room.
    pub fn cookie(&self, flow: Flow, sequence: u32, class: u32) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        self.stamp.set(self.now);
        Some(self.secret.cookie(flow, sequence, self.minute(), class))
    }

    /// `bpf_tcp_raw_check_syncookie_ipv4`.
    pub fn is_cookie(&self, packet: &Packet) -> bool {
        self.class(packet).is_some()
    }

    /// `bpf_tcp_check_syncookie` at the listening socket.
    pub fn takes(&self, packet: &Packet) -> bool {
        self.is_cookie(packet) && self.is_recent()
    }

    fn class(&self, packet: &Packet) -> Option<u32> {
        self.secret.class(packet.flow, packet.sequence, packet.acknowledgment, self.minute())
    }

    fn is_recent(&self) -> bool {
        self.stamp.get() != 0 && self.now - self.stamp.get() <= VALID
    }

    /// What XDP passed comes to TCP.
    pub fn receive(&mut self, packet: &Packet) -> Option<Reply> {
        match packet.part {
            Part::Whole => self.segment(packet),
            Part::First(_) => {
                self.parked.push((self.now, *packet));
                None
            }
            Part::Last(id) => {
                let is_its = |(since, first): &(u64, Packet)| {
                    first.part == Part::First(id)
                        && first.flow == packet.flow
                        && self.now - since <= FRAGMENTS
                };
                let (_, first) = self.parked.remove(self.parked.iter().position(is_its)?);
                self.segment(&Packet { part: Part::Whole, ..first })
            }
        }
    }

    fn segment(&mut self, packet: &Packet) -> Option<Reply> {
        let socket = self.sockets[packet.flow];
        match socket {
            Socket::TimeWait { until, .. } if until <= self.now => {}
            Socket::TimeWait { next, .. } => return self.after(packet, next),
            Socket::Open(open) => return self.open(packet, open),
            Socket::Request(theirs, ours) => return self.request(packet, theirs, ours),
            Socket::None => {}
        }
        self.listener(packet)
    }

    fn listener(&mut self, packet: &Packet) -> Option<Reply> {
        match packet.flags & (SYN | RST | ACK) {
            SYN => {
                let cookie = self.cookie(packet.flow, packet.sequence, packet.class)?;
                Some(Reply::SynAck(cookie, packet.sequence.wrapping_add(1)))
            }
            ACK if self.takes(packet) => {
                if self.is_full() {
                    return None;
                }
                self.make(packet);
                let open = Open {
                    next: packet.sequence,
                    sent: packet.acknowledgment,
                    has_answered: false,
                    is_closed: false,
                };
                self.open(packet, open)
            }
            _ if packet.flags & RST != 0 => None,
            _ => Some(Reply::Reset),
        }
    }

    fn make(&mut self, packet: &Packet) {
        self.made.push(Made { flow: packet.flow, first: packet.sequence, client: packet.client });
        self.queued += usize::from(!self.accepts);
    }

    fn open(&mut self, packet: &Packet, mut open: Open) -> Option<Reply> {
        self.sockets[packet.flow] = Socket::Open(open);
        if packet.flags & RST != 0 {
            if packet.sequence == open.next {
                self.sockets[packet.flow] = Socket::None;
            }
            return None;
        }
        if open.is_closed && packet.flags & SYN == 0 && packet.sequence == open.next {
            if packet.length > 0 {
                self.sockets[packet.flow] = Socket::None;
                return Some(Reply::Reset);
            }
            if packet.flags & FIN != 0 {
                let next = open.next.wrapping_add(1);
                self.sockets[packet.flow] = Socket::TimeWait { next, until: self.now + TIME_WAIT };
                return Some(Reply::Ack(open.sent, next));
            }
        }
        // A SYN, or what is out of order: it says where it is, and keeps nothing.
        if packet.flags & SYN == 0 && packet.sequence == open.next && packet.length > 0 {
            open.next = open.next.wrapping_add(packet.length);
            if !open.has_answered {
                (open.sent, open.has_answered) = (open.sent.wrapping_add(ANSWER), true);
            }
        }
        if packet.flags & FIN != 0 && packet.sequence.wrapping_add(packet.length) == open.next {
            self.half_closed.push(packet.flow);
        }
        self.sockets[packet.flow] = Socket::Open(open);
        Some(Reply::Ack(open.sent, open.next))
    }

    /// In TIME_WAIT a new SYN opens a connection that no cookie makes (`tcp_timewait_state_process`, `tcp_conn_request` with `isn`).
    fn after(&mut self, packet: &Packet, next: u32) -> Option<Reply> {
        let is_later = packet.sequence.wrapping_sub(next) as i32 > 0;
        match packet.flags & (SYN | RST | ACK) {
            SYN if is_later => {
                let ours = next.wrapping_mul(0x9e37_79b9);
                self.sockets[packet.flow] = Socket::Request(packet.sequence, ours);
                Some(Reply::SynAck(ours, packet.sequence.wrapping_add(1)))
            }
            // With `tcp_rfc1337` at 0, which it is.
            flags if flags & RST != 0 => {
                if packet.sequence == next {
                    self.sockets[packet.flow] = Socket::None;
                }
                None
            }
            _ => Some(Reply::Ack(0, next)),
        }
    }

    fn request(&mut self, packet: &Packet, theirs: u32, ours: u32) -> Option<Reply> {
        let is_its = packet.sequence == theirs.wrapping_add(1);
        match packet.flags & (SYN | RST | ACK) {
            SYN => Some(Reply::SynAck(ours, theirs.wrapping_add(1))),
            ACK if is_its && packet.acknowledgment == ours.wrapping_add(1) => {
                // Without room it stays as it is.
                if self.is_full() {
                    return None;
                }
                self.make(packet);
                let open = Open {
                    next: packet.sequence,
                    sent: packet.acknowledgment,
                    has_answered: false,
                    is_closed: false,
                };
                self.open(packet, open)
            }
            ACK => Some(Reply::Reset),
            _ => {
                if is_its && packet.flags & RST != 0 {
                    self.sockets[packet.flow] = Socket::None;
                }
                None
            }
        }
    }

    /// The server runs, and closes what its clients have closed; these are the ones that wait, and nothing is left here.
    pub fn close(&mut self) -> Vec<Flow> {
        let closed = std::mem::take(&mut self.half_closed);
        for flow in &closed {
            if matches!(self.sockets[*flow], Socket::Open(_)) {
                self.sockets[*flow] = Socket::None;
            }
        }
        closed
    }

    /// The next byte that the connection expects.
    pub fn next(&self, flow: Flow) -> Option<u32> {
        if let Socket::Open(open) = self.sockets[flow] { Some(open.next) } else { None }
    }

    /// The server takes all that wait.
    pub fn accept(&mut self) {
        self.queued = 0;
    }

    /// The server ends a connection: at once, or with a FIN, which its client may answer at once
    /// too. Says what it tells its client, if there was one.
    pub fn end(&mut self, flow: Flow, at_once: bool) -> Option<Reply> {
        let Socket::Open(mut open) = self.sockets[flow] else { return None };
        if open.is_closed && !at_once {
            return None;
        }
        if at_once {
            self.sockets[flow] = Socket::None;
            return Some(Reply::Reset);
        }
        open.sent = open.sent.wrapping_add(1);
        open.is_closed = true;
        let is_answered = open.next & 1 != 0;
        let until = self.now + TIME_WAIT;
        self.sockets[flow] = if is_answered {
            Socket::TimeWait { next: open.next, until }
        } else {
            Socket::Open(open)
        };
        Some(Reply::Ack(open.sent, open.next))
    }

    /// The server is started again: its connections are gone, and its new socket has made no cookie.
    pub fn restart(&mut self) {
        for socket in &mut self.sockets {
            if !matches!(socket, Socket::TimeWait { .. }) {
                *socket = Socket::None;
            }
        }
        (self.queued, self.accepts) = (0, true);
        self.stamp.set(0);
    }
}
