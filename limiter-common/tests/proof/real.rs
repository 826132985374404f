//! The project's own notes of flows, asked in the order in which the kernel side asks them
//! (`limiter-ebpf`: `way.rs`, `proof.rs`).

use std::cell::Cell;

use limiter_common::flow::{self, Known, State};
use limiter_common::source_table::WAYS;

use super::kernel::{Kernel, Met};
use super::packet::{ACK, FIN, FLOWS, Flow, Packet, Part, RST, SYN};
use super::purse::Purse;
use super::sequence::Random;
use super::world::{Limiter, Said};

/// Each flow has a set of the table, as it has among 65,536 unless a great many are there. Where
/// `forgets` is set, notes of flows that have paid are driven out at random.
pub struct Real {
    sets: [[Cell<u64>; WAYS]; FLOWS],
    purse: Purse,
    challenges: bool,
    forgets: Option<Random>,
}

/// What a packet with a good cookie has to do.
enum Check {
    Nothing,
    Pays,
    Full,
    Shifted,
    Held,
}

impl Real {
    pub fn new(challenges: bool) -> Self {
        Self { sets: Default::default(), purse: Purse::default(), challenges, forgets: None }
    }

    pub fn forgetful(challenges: bool) -> Self {
        Self { forgets: Some(Random(7)), ..Self::new(challenges) }
    }

    /// Others who paid have driven a note out.
    fn forget(&mut self, flow: Flow) {
        let Some(random) = &mut self.forgets else { return };
        if random.next() % 4 == 0 {
            self.sets[flow]
                .iter()
                .filter(|way| flow::is_paid(way.get()))
                .for_each(|way| way.set(0));
        }
    }

    /// `way::attempt`, while the kernel makes cookies.
    fn attempt(&mut self, kernel: &Kernel, packet: &Packet) -> Said {
        if self.purse.is_over(packet.flow, kernel.now) {
            return Said::Drop;
        }
        match kernel.meets(packet.flow) {
            Met::Listener if self.challenges => kernel
                .cookie(packet.flow, packet.sequence, packet.class)
                .map_or(Said::Drop, Said::Answer),
            Met::TimeWait if !self.purse.charge(packet.flow, kernel.now) => Said::Drop,
            _ => Said::Pass,
        }
    }

    /// `proof::limiter_check`.
    fn check(&self, kernel: &Kernel, packet: &Packet) -> Check {
        let (fingerprint, sequence) = (fingerprint(packet.flow), packet.sequence as u16);
        let known = flow::ask(&self.sets[packet.flow], fingerprint, sequence, kernel.now);
        let met = kernel.meets(packet.flow);
        let is_alive = met == Met::Connection;
        let shifted = if met == Met::Listener { Check::Shifted } else { Check::Held };
        match known {
            Known::Paid { first, fresh, ahead } => {
                let follows =
                    ahead && has_data(packet) && flow::follow(&self.sets[packet.flow], fingerprint);
                if is_alive || first && fresh && follows {
                    return Check::Nothing;
                }
                if !first {
                    return if fresh { Check::Held } else { shifted };
                }
            }
            Known::No
            | Known::Pays { .. }
            | Known::Shifted
            | Known::Reset { on_its_way: false }
                if is_alive =>
            {
                return Check::Nothing;
            }
            Known::Admitted => return Check::Nothing,
            Known::Shifted => return shifted,
            _ => {}
        }
        if met == Met::Listener && kernel.is_full() { Check::Full } else { Check::Pays }
    }

    /// `proof::limiter_behind`.
    fn behind(&self, kernel: &Kernel, packet: &Packet) -> Said {
        let (set, fingerprint) = (&self.sets[packet.flow], fingerprint(packet.flow));
        if packet.flags & RST != 0 {
            flow::reset(set, fingerprint, kernel.now);
        } else if flow::waits(set, fingerprint, kernel.now) {
            return if kernel.meets(packet.flow) == Met::Listener {
                Said::Drop
            } else {
                Said::Pass
            };
        } else if packet.flags & FIN != 0 {
            flow::follow(set, fingerprint);
        }
        Said::Pass
    }

    /// `way::other`.
    fn other(&mut self, kernel: &Kernel, packet: &Packet) -> Said {
        let known = flow::ask(
            &self.sets[packet.flow],
            fingerprint(packet.flow),
            packet.sequence as u16,
            kernel.now,
        );
        let kept =
            kernel.meets(packet.flow) != Met::Listener || matches!(known, Known::Paid { .. });
        let passes = match self.check(kernel, packet) {
            Check::Nothing => return Said::Pass,
            Check::Shifted => return Said::Reset,
            Check::Held => return Said::Drop,
            Check::Full => false,
            Check::Pays => self.purse.charge(packet.flow, kernel.now),
        };
        let state = match (passes, has_data(packet)) {
            (false, _) if kept => return Said::Drop,
            (false, _) => State::Waiting,
            (true, false) => State::PaidAhead,
            (true, true) => State::Paid,
        };
        let is_noted = flow::note(
            &self.sets[packet.flow],
            fingerprint(packet.flow),
            packet.sequence as u16,
            state,
            kernel.now,
        );
        match (passes, is_noted) {
            (true, _) => Said::Pass,
            (false, true) => Said::Drop,
            (false, false) => Said::Reset,
        }
    }
}

impl Limiter for Real {
    fn judge(&mut self, kernel: &Kernel, packet: &Packet, _: usize) -> Said {
        self.forget(packet.flow);
        match packet.part {
            Part::Last(_) => return Said::Pass,
            Part::First(_) => {
                return if kernel.is_cookie(packet) { Said::Drop } else { Said::Pass };
            }
            Part::Whole => {}
        }
        match packet.flags & (SYN | RST | ACK) {
            SYN => self.attempt(kernel, packet),
            ACK if kernel.is_cookie(packet) => self.other(kernel, packet),
            _ => self.behind(kernel, packet),
        }
    }

    fn paid(&self, source: usize) -> u64 {
        self.purse.paid(source)
    }
}

const fn has_data(packet: &Packet) -> bool {
    packet.length > 0 || packet.flags & FIN != 0
}

const fn fingerprint(flow: Flow) -> u32 {
    0x12_3400 + flow as u32
}
