//! What may happen to a front end, drawn at random.

use super::packet::{ACK, ATTACKERS, FIN, FLOWS, Flow, RST, SYN};

const SECOND: u64 = 1_000_000_000;
/// Actions of a sequence.
const LENGTH: usize = 24;

/// SplitMix64: a sequence is its number.
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }

    /// Anything that may happen.
    fn action(&mut self) -> Action {
        let attacker = self.below(ATTACKERS as u64) as usize;
        let client = self.below((FLOWS - ATTACKERS) as u64) as usize;
        let flow = self.below(FLOWS as u64) as usize;
        let id = self.below(2) as u8;
        match self.below(100) {
            0..8 => Action::Syn(attacker),
            8..20 => Action::Ack(
                attacker,
                [0, 0, 0, 1, 2, u32::MAX][self.below(6) as usize],
                self.below(3) as u32 * 10,
            ),
            20..26 => Action::Rst(attacker, self.below(4) != 0),
            26..28 => Action::Fin(attacker),
            28..32 => Action::First(attacker, id),
            32..36 => Action::Last(attacker, id),
            36..42 => Action::Replay(self.below(6) as usize),
            42..46 => {
                let flags = [SYN, ACK, RST, ACK | FIN][self.below(4) as usize];
                Action::Spoof(flow, flags, self.next() as u32)
            }
            46..56 => Action::Connect(client, self.next() as u32),
            56..68 => Action::Write(client, [1, 2, 3, 40][self.below(4) as usize]),
            68..78 => Action::Again(client, self.below(3) as usize),
            78..81 => Action::Close(client),
            81..82 => Action::Crash(client),
            82..84 => Action::Accept,
            84..86 => Action::Tire,
            86..89 => Action::End(flow, self.below(2) == 0),
            89..90 => Action::Restart,
            90..96 => {
                let times = [
                    SECOND / 1000,
                    SECOND / 1000,
                    SECOND / 20,
                    SECOND,
                    11 * SECOND,
                    61 * SECOND,
                    131 * SECOND,
                ];
                Action::Wait(times[self.below(times.len() as u64) as usize])
            }
            _ => Action::Settle,
        }
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// The attacker, on one of his flows.
    Syn(Flow),
    /// An ACK with the latest cookie of the flow, a number of bytes further on, and with data.
    Ack(Flow, u32, u32),
    /// A reset where the connection is, or elsewhere.
    Rst(Flow, bool),
    Fin(Flow),
    First(Flow, u8),
    Last(Flow, u8),
    /// One of the last packets that he sent.
    Replay(usize),
    /// A packet with these flags and random numbers in the name of any flow.
    Spoof(Flow, u8, u32),
    /// A client, by its number.
    Connect(usize, u32),
    Write(usize, u32),
    Again(usize, usize),
    Close(usize),
    Crash(usize),
    /// The server.
    Accept,
    Tire,
    End(Flow, bool),
    Restart,
    /// Time passes.
    Wait(u64),
    /// The kernel takes what lies before it.
    Settle,
}

/// Which of its rights a world uses.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Packets lie before the kernel until it settles or eight are there.
    pub lags: bool,
    /// The accept queue may be full.
    pub tires: bool,
}

/// One sequence: what happens in which world.
pub struct Sequence {
    pub seed: u64,
    pub rules: Rules,
    pub challenges: bool,
    pub actions: Vec<Action>,
}

impl Sequence {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let kind = random.next();
        let rules = Rules { lags: kind & 1 != 0, tires: kind & 2 != 0 };
        let actions = (0..LENGTH).map(|_| random.action()).collect();
        Self { seed, rules, challenges: kind & 4 != 0, actions }
    }
}
