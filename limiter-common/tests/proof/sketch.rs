//! The rules of a limiter whose memory is boundless, and the same with one of them left out.

use super::kernel::{Kernel, Met, SECOND};
use super::packet::{ACK, FIN, FLOWS, Flow, Packet, Part, RST, SYN};
use super::purse::Purse;
use super::world::{Limiter, Said};

/// What a limiter may forget to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// It asks of a first fragment what it meets now.
    AsksWhatFragmentsMeet,
    /// It takes a connection that is there for one that will be there.
    ForgetsResets,
    ForgetsFins,
    /// It lets in free what meets a connection.
    TrustsConnections,
    /// A SYN that meets TIME_WAIT is free.
    TakesReuseFree,
    /// It charges what the kernel will drop, and so lets in what comes later.
    ForgetsTheQueue,
    /// Who waited is let in with any segment that brings the cookie.
    AdmitsAnyByte,
    /// It drops what brings no good cookie, and says nothing.
    IsSilent,
    /// It asks the listening socket, which may make a cookie before it takes this one.
    AsksTheSocket,
    /// Its notes are each CPU's own.
    NotesByCpu,
}

#[derive(Clone, Copy, Debug, Default)]
struct Note {
    paid_at: u64,
    /// When a reset or an end of the flow passed last.
    ended_at: u64,
    /// The sequence number that a waiting flow is to come back with, and the cookie that tells it from an older one of the same port.
    waits: Option<(u32, u32)>,
}

pub struct Sketch {
    flaw: Flaw,
    notes: [[Note; FLOWS]; 2],
    purse: Purse,
    challenges: bool,
}

const BEHIND: u64 = SECOND / 5;

impl Sketch {
    pub fn new(flaw: Flaw, challenges: bool) -> Self {
        Self { flaw, notes: Default::default(), purse: Purse::default(), challenges }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn note(&mut self, flow: Flow, cpu: usize) -> &mut Note {
        let cpu = if self.has(Flaw::NotesByCpu) { cpu } else { 0 };
        &mut self.notes[cpu][flow]
    }

    fn syn(&mut self, kernel: &Kernel, packet: &Packet) -> Said {
        let met = kernel.meets(packet.flow);
        if met == Met::TimeWait && !self.has(Flaw::TakesReuseFree) {
            return if self.purse.charge(packet.flow, kernel.now) {
                Said::Pass
            } else {
                Said::Drop
            };
        }
        if self.purse.is_over(packet.flow, kernel.now) {
            return Said::Drop;
        }
        if !self.challenges || met != Met::Listener {
            return Said::Pass;
        }
        kernel.cookie(packet.flow, packet.sequence, 0).map_or(Said::Drop, Said::Answer)
    }

    fn ack(&mut self, kernel: &Kernel, packet: &Packet, cpu: usize) -> Said {
        let (met, now) = (kernel.meets(packet.flow), kernel.now);
        let note = *self.note(packet.flow, cpu);
        let cookie = packet.acknowledgment;
        let follows =
            note.waits.is_some_and(|(first, its)| its == cookie && first != packet.sequence);
        let is_good = if self.has(Flaw::AsksTheSocket) {
            kernel.takes(packet)
        } else {
            kernel.is_cookie(packet)
        };
        if !is_good {
            // What follows the first byte of a flow that waits.
            return match met {
                Met::Listener if follows => Said::Drop,
                Met::Listener if self.has(Flaw::IsSilent) => Said::Drop,
                Met::Listener if now - note.paid_at > BEHIND => Said::Reset,
                _ => Said::Pass,
            };
        }
        if self.has(Flaw::TrustsConnections) && met == Met::Connection {
            return Said::Pass;
        }
        // A connection that is there long after a reset passed was not what that ended.
        let is_ended = note.ended_at >= note.paid_at
            && (met != Met::Connection || now - note.ended_at <= BEHIND);
        let is_paid = note.paid_at != 0 && !is_ended;
        if is_paid && (met == Met::Connection || now - note.paid_at <= BEHIND) {
            return Said::Pass;
        }
        if follows && !self.has(Flaw::AdmitsAnyByte) {
            return Said::Drop;
        }
        let waits = Note { waits: Some((packet.sequence, cookie)), ..note };
        if kernel.is_full() && !self.has(Flaw::ForgetsTheQueue)
            || !self.purse.charge(packet.flow, now)
        {
            *self.note(packet.flow, cpu) = waits;
            return Said::Drop;
        }
        *self.note(packet.flow, cpu) = Note { paid_at: now, ended_at: 0, waits: None };
        Said::Pass
    }
}

impl Limiter for Sketch {
    fn judge(&mut self, kernel: &Kernel, packet: &Packet, cpu: usize) -> Said {
        match packet.part {
            Part::Last(_) => return Said::Pass,
            Part::First(_) if self.has(Flaw::AsksWhatFragmentsMeet) => {
                return if kernel.meets(packet.flow) == Met::Listener {
                    Said::Drop
                } else {
                    Said::Pass
                };
            }
            Part::First(_) => {
                return if kernel.is_cookie(packet) { Said::Drop } else { Said::Pass };
            }
            Part::Whole => {}
        }
        let said = match packet.flags & (SYN | RST | ACK) {
            SYN => self.syn(kernel, packet),
            ACK => self.ack(kernel, packet, cpu),
            _ => Said::Pass,
        };
        let ends = packet.flags & RST != 0 && !self.has(Flaw::ForgetsResets)
            || packet.flags & FIN != 0 && !self.has(Flaw::ForgetsFins);
        if ends && said == Said::Pass {
            self.note(packet.flow, cpu).ended_at = kernel.now;
        }
        said
    }

    fn paid(&self, source: usize) -> u64 {
        self.purse.paid(source)
    }
}
