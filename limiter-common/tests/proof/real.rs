//! The project's own notes of flows, asked in the order in which the kernel side asks them (`limiter-ebpf`: `way.rs`, `proof.rs`).

use std::cell::Cell;

use limiter_common::flow::{self, Known, State};
use limiter_common::source_table::WAYS;

use super::kernel::{Kernel, Met};
use super::packet::{ACK, FLOWS, Flow, Packet, Part, RST, SYN};
use super::purse::Purse;
use super::world::{Limiter, Said};

/// Each flow has a set of the table, as it has among 65,536 unless a great many are there: a note that had to go is not modelled.
pub struct Real {
    sets: [[Cell<u64>; WAYS]; FLOWS],
    purse: Purse,
    challenges: bool,
}

/// What a packet with a good cookie has to do.
enum Check {
    Nothing,
    Pays,
    Full,
    Shifted,
}

impl Real {
    pub fn new(challenges: bool) -> Self {
        Self { sets: Default::default(), purse: Purse::default(), challenges }
    }

    /// `way::attempt`, while the kernel makes cookies.
    fn attempt(&mut self, kernel: &Kernel, packet: &Packet) -> Said {
        if self.purse.is_over(packet.flow, kernel.now) {
            return Said::Drop;
        }
        match kernel.meets(packet.flow) {
            Met::Listener if self.challenges => {
                kernel.cookie(packet.flow, packet.sequence, packet.class).map_or(Said::Drop, Said::Answer)
            }
            Met::TimeWait if !self.purse.charge(packet.flow, kernel.now) => Said::Drop,
            _ => Said::Pass,
        }
    }

    /// `proof::limiter_check`.
    fn check(&self, kernel: &Kernel, packet: &Packet) -> Check {
        let (fingerprint, sequence) = (fingerprint(packet.flow), packet.sequence as u16);
        let known = flow::ask(&self.sets[packet.flow], fingerprint, sequence, kernel.now);
        if known == Known::Shifted {
            return Check::Shifted;
        }
        let met = kernel.meets(packet.flow);
        let is_alive = met == Met::Connection;
        if let Known::Paid { first, fresh, ahead } = known {
            let follows = ahead && packet.length > 0 && flow::follow(&self.sets[packet.flow], fingerprint);
            if is_alive || first && fresh && follows {
                return Check::Nothing;
            }
            if !first && !fresh {
                return Check::Shifted;
            }
        }
        if is_alive && known == (Known::Reset { on_its_way: false }) {
            return Check::Nothing;
        }
        if met == Met::Listener && kernel.is_full() { Check::Full } else { Check::Pays }
    }

    /// `way::other`.
    fn other(&mut self, kernel: &Kernel, packet: &Packet) -> Said {
        let passes = match self.check(kernel, packet) {
            Check::Nothing => return Said::Pass,
            Check::Shifted => return Said::Reset,
            Check::Full => false,
            Check::Pays => self.purse.charge(packet.flow, kernel.now),
        };
        let state = match (passes, packet.length) {
            (false, _) if kernel.meets(packet.flow) == Met::Connection => return Said::Drop,
            (false, _) => State::Waiting,
            (true, 0) => State::PaidAhead,
            (true, _) => State::Paid,
        };
        let is_noted =
            flow::note(&self.sets[packet.flow], fingerprint(packet.flow), packet.sequence as u16, state, kernel.now);
        match (passes, is_noted) {
            (true, _) => Said::Pass,
            (false, true) => Said::Drop,
            (false, false) => Said::Reset,
        }
    }
}

impl Limiter for Real {
    fn judge(&mut self, kernel: &Kernel, packet: &Packet, _: usize) -> Said {
        match packet.part {
            Part::Last(_) => return Said::Pass,
            Part::First(_) => return if kernel.is_cookie(packet) { Said::Drop } else { Said::Pass },
            Part::Whole => {}
        }
        match packet.flags & (SYN | RST | ACK) {
            SYN => self.attempt(kernel, packet),
            ACK if kernel.is_cookie(packet) => self.other(kernel, packet),
            flags => {
                if flags & RST != 0 {
                    flow::reset(&self.sets[packet.flow], fingerprint(packet.flow), kernel.now);
                }
                Said::Pass
            }
        }
    }

    fn paid(&self, source: usize) -> u64 {
        self.purse.paid(source)
    }

    /// A FIN is looked at only for its cookie.
    fn sees_ends(&self) -> bool {
        false
    }
}

const fn fingerprint(flow: Flow) -> u32 {
    0x12_3400 + flow as u32
}
