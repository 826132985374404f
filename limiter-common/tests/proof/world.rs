//! One front end: its clients, whoever attacks, the limiter, and the kernel behind it, which may be behind by some packets.

use std::collections::VecDeque;

use super::attacker::Attacker;
use super::client::Client;
use super::kernel::{Kernel, Met, SECOND};
use super::packet::{ATTACKERS, FIN, FLOWS, Flow, Packet, RST, Reply, SOURCES, SYN, source};
use super::sequence::{Action, Random, Rules};

const START: u64 = 1 << 50;
/// How long after a connection was paid packets with its cookie may pass free, without a look at what they meet.
const BEHIND: u64 = SECOND / 4;

/// What limiter says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Pass,
    Drop,
    Reset,
    /// A SYN-ACK with this cookie.
    Answer(u32),
}

/// What is tried: a limiter that asks the kernel no more than the kernel side can.
pub trait Limiter {
    /// Judges a packet that came on a CPU. The kernel's answers are those of now; its packets may still lie before it.
    fn judge(&mut self, kernel: &Kernel, packet: &Packet, cpu: usize) -> Said;
    /// Connections that a source has paid for.
    fn paid(&self, source: usize) -> u64;
}

/// A promise that was broken, in words.
pub type Broken = String;

pub struct World<L> {
    pub kernel: Kernel,
    pub limiter: L,
    rules: Rules,
    clients: Vec<Client>,
    /// The clients' first sequence number whose connection is open.
    owners: [Option<u32>; FLOWS],
    waiting: VecDeque<Packet>,
    attacker: Attacker,
    /// Connections made, when each flow's last was, and how many the server ended at once: what comes right behind such a one may make
    /// another, because nobody tells limiter.
    made: [u64; SOURCES],
    made_at: [u64; FLOWS],
    counted: usize,
    spoofed_at: [u64; FLOWS],
    forgiven: [u64; SOURCES],
    random: Random,
}

impl<L: Limiter> World<L> {
    pub fn new(limiter: L, rules: Rules, seed: u64) -> Self {
        let mut random = Random(seed | 1);
        Self {
            kernel: Kernel::new(FLOWS, random.next(), START + random.next() % (600 * SECOND)),
            limiter,
            rules,
            clients: (ATTACKERS..FLOWS).map(Client::new).collect(),
            owners: [None; FLOWS],
            waiting: VecDeque::new(),
            attacker: Attacker::new(random.next()),
            made: [0; SOURCES],
            made_at: [0; FLOWS],
            counted: 0,
            spoofed_at: [0; FLOWS],
            forgiven: [0; SOURCES],
            random,
        }
    }

    /// Lets an action happen, with all that follows at once.
    pub fn act(&mut self, action: Action) -> Result<(), Broken> {
        match action {
            Action::Connect(client, first) => {
                // Nobody uses a port again while packets of its last connection lie before the kernel.
                self.settle()?;
                let packet = self.clients[client].connect(first);
                self.send(packet)
            }
            Action::Write(client, bytes) => {
                let packet = self.clients[client].write(bytes);
                self.send(packet)
            }
            Action::Again(client, which) => {
                let packet = self.clients[client].again(which);
                self.send(packet)
            }
            Action::Close(client) => {
                let packet = self.clients[client].close();
                self.send(packet)
            }
            Action::Crash(client) => {
                // So does this.
                self.settle()?;
                self.clients[client].crash();
                Ok(())
            }
            Action::Accept => {
                self.kernel.accept();
                self.kernel.accepts = true;
                Ok(())
            }
            Action::Tire => {
                self.kernel.accepts = !self.rules.tires;
                Ok(())
            }
            Action::End(flow, at_once) => {
                let reply = self.kernel.end(flow, at_once);
                if reply.is_some() {
                    self.forgive(flow);
                    self.owners[flow] = None;
                }
                self.reply(flow, reply)
            }
            Action::Restart => {
                // It takes longer than packets lie before a kernel.
                self.settle()?;
                for flow in 0..FLOWS {
                    if self.owns(flow) {
                        self.forgive(flow);
                    }
                }
                self.kernel.restart();
                self.owners = [None; FLOWS];
                Ok(())
            }
            Action::Wait(time) => {
                // Nothing lies before a kernel for longer than moments.
                if time > SECOND / 100 {
                    self.settle()?;
                }
                self.kernel.now += time;
                Ok(())
            }
            Action::Settle => self.settle(),
            _ => {
                let kernel = &self.kernel;
                let packet = self.attacker.packet(action, |flow| kernel.next(flow));
                self.send(packet)
            }
        }
    }

    /// The server ends a connection, and limiter does not know yet: a packet with its cookie makes another.
    fn forgive(&mut self, flow: Flow) {
        let is_young = self.kernel.now - self.made_at[flow] <= BEHIND;
        let is_judged = self.waiting.iter().any(|packet| packet.flow == flow);
        self.forgiven[source(flow)] += u64::from(is_young || is_judged);
    }

    /// Whether somebody sent what would end the flow, if its number were right, lately or when its connection was being made: whether it was only
    /// the kernel knows, and later.
    fn is_in_doubt(&self, flow: Flow) -> bool {
        let (spoofed, made) = (self.spoofed_at[flow], self.made_at[flow]);
        self.kernel.now - spoofed <= BEHIND || spoofed.abs_diff(made) <= BEHIND
    }

    fn owns(&self, flow: Flow) -> bool {
        self.kernel.meets(flow) == Met::Connection
    }

    fn send(&mut self, packet: Option<Packet>) -> Result<(), Broken> {
        let Some(packet) = packet else { return Ok(()) };
        if packet.client.is_none() && packet.flags & (RST | FIN) != 0 {
            self.spoofed_at[packet.flow] = self.kernel.now;
        }
        let cpu = self.random.next() as usize & 1;
        // Where fragments or tags come from, a flow may change its CPU; a client's does not.
        let cpu = if packet.client.is_some() { 0 } else { cpu };
        let is_open = packet.client.is_some()
            && self.owns(packet.flow)
            && self.owners[packet.flow] == packet.client;
        let paid = self.limiter.paid(source(packet.flow));
        let said = self.limiter.judge(&self.kernel, &packet, cpu);
        let has_paid = self.limiter.paid(source(packet.flow)) > paid;
        if has_paid && self.kernel.is_full() && self.kernel.meets(packet.flow) == Met::Listener {
            return Err(format!("there is no room for a connection that was paid: {packet:?}"));
        }
        match said {
            Said::Pass => {
                self.waiting.push_back(packet);
                if !self.rules.lags || self.waiting.len() >= 8 { self.settle() } else { Ok(()) }
            }
            Said::Drop | Said::Reset
                if is_open && packet.flags & SYN == 0 && !self.is_in_doubt(packet.flow) =>
            {
                Err(format!("a packet of a connection that is open was refused: {packet:?}"))
            }
            Said::Drop => Ok(()),
            Said::Reset => self.reply(packet.flow, Some(Reply::Reset)),
            Said::Answer(cookie) => {
                let reply = Reply::SynAck(cookie, packet.sequence.wrapping_add(1));
                self.reply(packet.flow, Some(reply))
            }
        }
    }

    /// The kernel takes all that lies before it.
    pub fn settle(&mut self) -> Result<(), Broken> {
        while let Some(packet) = self.waiting.pop_front() {
            let reply = self.kernel.receive(&packet);
            self.count()?;
            if !self.owns(packet.flow) {
                self.owners[packet.flow] = None;
            }
            self.reply(packet.flow, reply)?;
        }
        for flow in self.kernel.close() {
            self.owners[flow] = None;
        }
        Ok(())
    }

    fn reply(&mut self, flow: Flow, reply: Option<Reply>) -> Result<(), Broken> {
        let Some(reply) = reply else { return Ok(()) };
        if flow < ATTACKERS {
            self.attacker.receive(flow, reply);
            return Ok(());
        }
        let answer = self.clients[flow - ATTACKERS].receive(reply);
        self.send(answer)
    }

    /// Every connection is paid, and begins with its client's first byte.
    fn count(&mut self) -> Result<(), Broken> {
        while let Some(made) = self.kernel.made.get(self.counted).copied() {
            self.counted += 1;
            let source = source(made.flow);
            self.made[source] += 1;
            self.made_at[made.flow] = self.kernel.now;
            self.owners[made.flow] = made.client;
            // Who was reset knows.
            let believes =
                made.client.is_some_and(|first| self.clients[made.flow - ATTACKERS].has(first));
            if let Some(first) = made.client
                && made.first != first.wrapping_add(1)
                && believes
            {
                return Err(format!(
                    "the first {} bytes are lost: {made:?}",
                    made.first.wrapping_sub(first) - 1
                ));
            }
            let (made, paid, forgiven) =
                (self.made[source], self.limiter.paid(source), self.forgiven[source]);
            if made > paid + forgiven {
                return Err(format!(
                    "source {source} has {made} connections and paid {paid}, {forgiven} forgiven"
                ));
            }
        }
        Ok(())
    }

    /// In the end, with time enough for any limit, each client that has something to say is served or told.
    pub fn finish(&mut self) -> Result<(), Broken> {
        self.settle()?;
        self.kernel.accept();
        self.kernel.accepts = true;
        for client in 0..self.clients.len() {
            for _ in 0..12 {
                self.kernel.now += 30 * SECOND;
                let packet = self.clients[client].again(0);
                self.send(packet)?;
                self.settle()?;
            }
            if let Some(packet) = self.clients[client].again(0) {
                return Err(format!("client {client} is left hanging: {packet:?}"));
            }
        }
        Ok(())
    }
}
