//! Crowd or attack: one rule, for a moment (`status`, `watch`) and for a surge (`report`).
//!
//! Two questions decide. Do the attempts become connections, which takes a client that is at its
//! address? And are they many sources with a few attempts each, or few with many? Where the server
//! or limiter lets too few finish, the shape of the sources answers the first one, if it can.

use serde::Serialize;

/// Below this share of finished attempts hardly any client is there; above the other most are.
const HARDLY: f64 = 0.2;
const MOSTLY: f64 = 0.6;
/// Attempts of one source within the time of [`Sources`] that a person does not make.
pub const FAR_TOO_MANY: f64 = 100.0;
/// Those that a browser with its pictures does make.
pub const MODEST: f64 = 20.0;
/// From so many sources on they are called many.
const MANY: u64 = 200;
/// From so many sources on their networks tell how they were drawn.
const ENOUGH: u64 = 1000;
/// Connections that each of many sources asks for in that time if a program makes them: SYNs that
/// are sent again count once. The second goes for sources that share a network.
const AUTOMATED: f64 = 40.0;
const AUTOMATED_OF_ONE_NETWORK: f64 = 22.0;
/// Share of what is sampled that makes a network the network of all.
pub const COMMON: f64 = 0.8;
/// How often a client sends the SYN of one connection within that time.
const SENDS: i32 = 6;

/// What the attempts look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Attempts from addresses that nobody answers at, from ever new sources.
    SpoofedFlood,
    /// Attempts that are never finished, from few sources.
    FloodOfFew,
    /// Attempts that are never finished; how many sources is not known.
    Flood,
    /// Many machines that are there, and ask as no person does.
    Botnet,
    /// Many clients that are there.
    Crowd,
    /// Few clients that are there, and ask far more than others.
    HeavyClients,
    /// Clients that are there; how many is not known.
    RealClients,
    /// Some of both.
    Mixed,
    /// Few sources, of which it is not known whether they would have finished.
    FewSources,
    /// Attempts did not surge.
    NoSurge,
    /// The data do not tell.
    Unknown,
}

impl Kind {
    /// What it looks like, behind "this looks like" and behind "likely:".
    pub const fn words(self) -> &'static str {
        match self {
            Self::SpoofedFlood => "a flood from forged addresses, not a crowd",
            Self::FloodOfFew => "a flood from few sources, not a crowd",
            Self::Flood => "a flood, not a crowd",
            Self::Botnet => "an attack by many real machines (a botnet), not a crowd",
            Self::Crowd => "a crowd: very many real clients at once, not a flood of forged attempts",
            Self::HeavyClients => "few clients that are really there and ask far too often, not a crowd",
            Self::RealClients => "real clients, not a flood of forged attempts",
            Self::Mixed => "both: attempts that are never finished, beside real clients",
            Self::FewSources => "few sources that ask far too often; whether they are really there is not known",
            Self::NoSurge => "nothing unusual in the attempts",
            Self::Unknown => "a surge; whether a crowd or a flood, the data do not tell",
        }
    }

    /// Whether it is called an attack.
    pub const fn is_attack(self) -> bool {
        matches!(self, Self::SpoofedFlood | Self::FloodOfFew | Self::Flood | Self::Botnet | Self::Mixed)
    }

    /// Whether few sources make it.
    pub const fn is_few(self) -> bool {
        matches!(self, Self::FloodOfFew | Self::HeavyClients | Self::FewSources)
    }
}

/// How many sources there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources {
    /// Seconds that it is of.
    pub seconds: f64,
    /// Sources.
    pub sources: u64,
    /// Networks that they are of: /24 and /48.
    pub networks: u64,
    /// Percent of them that had been seen in the ten minutes before.
    pub returning_percent: Option<f64>,
    /// Attempts for each, in this time.
    pub each: f64,
}

/// What the rule is asked about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// The share of attempts that became connections, or of the challenged that proved to be there;
    /// `None`: too few could.
    pub finished: Option<f64>,
    /// The share of what was refused that was over its source's own limit; `None`: too few were.
    pub own: Option<f64>,
    /// The share of attempts that nobody answered, so that clients send them again.
    pub unanswered: f64,
    /// The sources; `None`: not known.
    pub sources: Option<Sources>,
    /// The share of the attempts that one network makes; `None`: not sampled.
    pub common: Option<f64>,
    /// The share of what is counted that the heaviest few make; `None`: too little is.
    pub heaviest: Option<f64>,
}

impl Sources {
    /// Networks for each source: near 1 where addresses are drawn at random.
    pub fn spread(&self) -> f64 {
        self.networks as f64 / self.sources.max(1) as f64
    }
}

impl Traffic {
    /// What it looks like.
    pub fn kind(&self) -> Kind {
        if let Some(kind) = self.by_shape() {
            return kind;
        }
        match (self.finished, self.are_few()) {
            (Some(share), Some(false)) if share < HARDLY => Kind::SpoofedFlood,
            (Some(share), Some(true)) if share < HARDLY => Kind::FloodOfFew,
            (Some(share), None) if share < HARDLY => Kind::Flood,
            (Some(share), few) if share > MOSTLY => match few {
                Some(false) => Kind::Crowd,
                Some(true) => Kind::HeavyClients,
                None => Kind::RealClients,
            },
            (Some(_), _) => Kind::Mixed,
            (None, Some(true)) => Kind::FewSources,
            (None, _) => Kind::Unknown,
        }
    }

    /// What only the number and the networks of the sources tell.
    fn by_shape(&self) -> Option<Kind> {
        let sources = self.sources?;
        let hardly = self.finished.is_some_and(|share| share < HARDLY);
        // Some hundred addresses of many networks may be carriers with people behind each.
        let many = if self.is_of_one_network() { MANY } else { ENOUGH };
        if !hardly && sources.sources >= many && !self.is_of_heavy() && self.is_automated() {
            return Some(Kind::Botnet);
        }
        if self.finished.is_some() || sources.sources < ENOUGH {
            return None;
        }
        let each = self.connections()?;
        let returning = sources.returning_percent.unwrap_or(0.0);
        if self.looks_forged() {
            return Some(Kind::SpoofedFlood);
        }
        // An address that is drawn at random seldom comes again.
        let comes_again = sources.each >= 5.0 || returning >= 30.0;
        (each <= AUTOMATED && (sources.spread() <= 0.5 || comes_again)).then_some(Kind::Crowd)
    }

    /// Whether addresses are drawn at random: each once, each from a network of its own, none ever
    /// seen before.
    pub fn looks_forged(&self) -> bool {
        self.sources.is_some_and(|sources| {
            sources.sources >= 10 * ENOUGH
                && sources.each <= 3.0
                && sources.spread() >= 0.8
                && sources.returning_percent.is_none_or(|percent| percent < 10.0)
        })
    }

    /// Connections that each source asked for: one that is sent again counts once.
    pub fn connections(&self) -> Option<f64> {
        let lost = self.unanswered.clamp(0.0, 0.99);
        let sends = (1.0 - lost.powi(SENDS)) / (1.0 - lost);
        Some(self.sources?.each / sends)
    }

    /// Whether few heavy sources hide among many modest ones.
    fn is_of_heavy(&self) -> bool {
        match self.heaviest {
            Some(share) => share >= 0.5,
            None => !self.is_of_one_network() && !self.are_many() && self.own.is_some_and(|share| share > 0.8),
        }
    }

    fn is_of_one_network(&self) -> bool {
        self.common.is_some_and(|share| share >= COMMON)
    }

    fn are_many(&self) -> bool {
        self.sources.is_some_and(|sources| sources.sources >= 2 * ENOUGH)
    }

    fn is_automated(&self) -> bool {
        let of_one_network = self.is_of_one_network();
        let least = if of_one_network { AUTOMATED_OF_ONE_NETWORK } else { AUTOMATED };
        self.connections().is_some_and(|each| each >= least)
    }

    /// Whether few sources made most of it.
    fn are_few(&self) -> Option<bool> {
        let many = self.are_many();
        let each = self.sources.map(|sources| sources.each);
        let heaviest = self.heaviest.unwrap_or(0.0);
        if heaviest >= 0.9 || heaviest >= 0.8 && each.is_none_or(|each| each >= MODEST) {
            return Some(true);
        }
        match (each, self.own) {
            (Some(each), _) if each >= FAR_TOO_MANY && !many => Some(true),
            (Some(each), Some(share)) if each >= MODEST && share > 0.8 => Some(true),
            (Some(each), _) if each <= MODEST || many => Some(false),
            (None, Some(share)) if share > 0.8 => Some(true),
            (None, Some(share)) if share < 0.2 => Some(false),
            _ => None,
        }
    }
}

/// The share of attempts that became connections. `full`: turned away a second by a full queue.
///
/// Challenged attempts tell by their proofs, others by what the kernel opened of them.
pub fn finished(challenged: f64, proofs: f64, passed: f64, opened: Option<f64>, full: f64) -> Option<f64> {
    if challenged >= 20.0 && challenged > passed {
        return Some((proofs / challenged).min(1.0));
    }
    let share = (opened.filter(|_| passed >= 20.0)? / passed).min(1.0);
    // A server that is full cannot let anybody finish.
    (share > MOSTLY || full <= passed * 0.2).then_some(share)
}
