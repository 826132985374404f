//! What is judged: an attempt or a proof, with the records of its service and of the host. And what
//! is said of it: a ruling, with what happened on the way.

use crate::address::Address;
use crate::reason::Reason;
use crate::record::{Host, Service};

/// What comes, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// An attempt that pays: nothing is asked of it any more.
    Pays,
    /// An attempt whose proof will pay.
    Peeks,
    /// A packet that brings a good cookie back: the source is there, and the kernel makes the
    /// connection from it.
    Proof,
    /// An attempt that nobody asks for a proof and that a spoofer can make any number of, so that
    /// it must not spend what others need: nobody listens there, or it is to be challenged and is
    /// signed, or a fragment.
    Unanswerable,
}

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Policy slot that the records are of.
    pub slot: u32,
    /// Service id.
    pub id: u32,
    /// Its record.
    pub service: &'a Service,
    /// The host's record.
    pub host: &'a Host,
    /// Client address.
    pub client: Address,
    /// Coarse clock, nanoseconds.
    pub now: u64,
    /// What comes.
    pub stage: Stage,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// This.
    Decided(Reason),
    /// Answer with a cookie. Nothing is charged.
    Challenge,
}

/// A verdict and what happened on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is to be done.
    pub verdict: Ruling,
    /// A live way of the source table was taken from its owner.
    pub stole: bool,
    /// How near the source was to its limit: [`crate::source_table::step`], 0 if that was not
    /// asked.
    pub step: u8,
    /// It is a proof that the waiting room may have: [`Reason::may_be_diverted`].
    pub may_divert: bool,
}

impl Outcome {
    /// The same, and of a proof as it is told.
    #[inline(always)]
    pub fn proven(self, case: &Case<'_>) -> Self {
        let has_line = case.service.line.interval != 0;
        let may_divert = match (self.verdict, case.stage) {
            (Ruling::Decided(reason), Stage::Proof) => reason.may_be_diverted(has_line),
            _ => false,
        };
        let verdict = match (self.verdict, case.stage) {
            (Ruling::Decided(Reason::Admitted), Stage::Proof) => Ruling::Decided(Reason::Proven),
            (Ruling::Decided(reason), Stage::Proof) if reason.is_limit() => {
                Ruling::Decided(Reason::Waiting)
            }
            (verdict, _) => verdict,
        };
        Self { verdict, may_divert, ..self }
    }
}

/// What happened on the way to a verdict, see [`Outcome`].
#[derive(Debug, Default)]
pub struct Notes {
    /// A live way was taken from its owner.
    pub stole: bool,
    /// How near it was to its limit.
    pub step: u8,
}

impl Notes {
    /// The outcome, with a verdict; without one a record is not there.
    #[inline(always)]
    pub fn outcome(self, verdict: Option<Ruling>) -> Outcome {
        let verdict = verdict.unwrap_or(Ruling::Decided(Reason::NoPolicy));
        Outcome { verdict, stole: self.stole, step: self.step, may_divert: false }
    }
}
