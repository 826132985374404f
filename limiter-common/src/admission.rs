//! Whether an attempt is let in: budgets, tickets, source limit and fair share, in the order that
//! makes a refusal cost nobody anything.
//!
//! 1. Look at the budgets, the service's and the host's. One that is spent refuses at once: no
//!    random cache line is read.
//! 2. The ticket. A source without one is a *newcomer*: it may draw a budget only down to the
//!    floor, and at its own rate.
//! 3. The judges of a source: its limit (of its class, if it has one), then its fair share. What
//!    they refuse costs no budget, and what a later one refuses is not charged to an earlier one.
//! 4. Take from the budgets what was seen; a token of one goes back when another CPU emptied the
//!    next meanwhile.
//! 5. Give the ticket.
//!
//! Where the kernel makes cookies an attempt *peeks*: it goes through 1 to 3 and writes nothing,
//! because nobody has proven that it comes from where it says. What is over no limit passes to the
//! kernel, which asks for a proof, while the service's purse for unproven attempts lasts; beyond
//! that it is answered here ([`Verdict::Challenge`]). The proof goes through 1 to 5 and pays. Where
//! the kernel makes none the attempt pays.
//!
//! Where the service has a line, that is in the place of tickets and shares, in an
//! order of its own: `turn.rs`.
//!
//! A service without tickets and fair shares, in a policy without classes, is the same order with
//! less in it: [`plain`]. The kernel side runs this over its maps ([`State`]); simulations run it
//! over vectors.

use crate::address::Address;
use crate::budget::{Look, Take};
use crate::challenge::{self, Challenge};
use crate::hash::Place;
use crate::line::{Arrival, Judged};
use crate::pressure;
use crate::purse::{Purse, Seen};
use crate::reason::Reason;
use crate::record::{Class, Host, Service};
use crate::source_table::{Charge, Charged, SourceLimit};

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
pub enum Verdict {
    /// This.
    Decided(Reason),
    /// Answer with a cookie. Nothing is charged.
    Challenge,
}

/// A verdict and what happened on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is to be done.
    pub verdict: Verdict,
    /// A live way of the source table was taken from its owner.
    pub stole: bool,
    /// The source got a ticket, and had none before.
    pub granted: bool,
    /// How near the source was to its limit: [`crate::source_table::step`], 0 if that was not asked.
    pub step: u8,
}

/// One attempt of one source, as a table of debts sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Number of the service.
    pub service: u32,
    /// The client address cut to its prefix.
    pub source: Address,
    /// Coarse clock, nanoseconds.
    pub now: u64,
    /// The limit that applies.
    pub limit: &'a SourceLimit,
    /// Whether that is a fair share.
    pub is_share: bool,
    /// Whether it only looks.
    pub peeks: bool,
    /// Longest debt of the whole policy, in shifted ticks.
    pub horizon: u64,
}

impl Attempt<'_> {
    /// Longest debt that a limit of this kind leaves, in shifted ticks: what is beyond it is left over from another policy. The interval of a
    /// share may have been longer a moment ago, so that is the longest of any.
    #[inline(always)]
    pub fn own(&self) -> u64 {
        if self.is_share { pressure::HORIZON } else { self.limit.horizon() }
    }
}

/// Where the state lives. `None` from any of them: it is not there, and the attempt passes.
pub trait State {
    /// Looks into a purse of the case's service.
    fn look(&self, case: &Case<'_>, purse: Purse) -> Option<Seen>;
    /// Takes what was seen there.
    fn take(&self, case: &Case<'_>, purse: Purse, look: Look) -> Option<Take>;
    /// Gives back the token that was just taken there.
    fn give_back(&self, case: &Case<'_>, purse: Purse);
    /// Takes all that was seen, or nothing. For a function of the kernel side, which the verifier
    /// follows by itself.
    #[inline(always)]
    fn draw(&self, case: &Case<'_>, seen: &Purses) -> Option<Reason>
    where
        Self: Sized,
    {
        draw(self, case, seen.newcomers.is_some(), Some(seen))
    }
    /// The id of the client's class, 0 for none, and its record.
    fn class(&self, case: &Case<'_>) -> (u32, Option<&Class>);
    /// The place of a source in the tables, by the number of the service; a class has debts of its own.
    fn place(&self, service: u32, class: u32, source: Address) -> Option<Place>;
    /// Charges an attempt to the source table; one that peeks is only told whether that would go.
    fn charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charged>;
    /// Takes back the charge that was just made there.
    fn refund(&self, place: &Place, attempt: &Attempt<'_>);
    /// Whether there is a ticket at a place.
    fn holds(&self, place: &Place, now: u64) -> Option<bool>;
    /// Gives or renews the one there, and says whether there was none.
    fn grant(&self, place: &Place, now: u64, life: u64) -> Option<bool>;
    /// Judges a source in the service's line; of one that peeks, only whether it waits.
    fn line(&self, case: &Case<'_>, arrival: &Arrival) -> Option<Judged>;
    /// Asks or tells the challenge of the service.
    fn challenge(&self, id: u32, ask: challenge::Ask, now: u64) -> Option<bool>;
}

/// Judges one case of a service without a line, whatever comes.
#[inline(always)]
pub fn judge<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    match case.stage {
        Stage::Peeks => peek(state, case),
        Stage::Pays | Stage::Proof => pay(state, case),
        Stage::Unanswerable => unanswerable(state, case),
    }
}

/// Judges an attempt whose proof will pay. (The kernel side has a function for each of these, so
/// that the verifier follows one at a time.)
#[inline(always)]
pub fn peek<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    let mut notes = Notes::default();
    let verdict = order::<S, true, true>(state, case, &mut notes);
    notes.outcome(verdict)
}

/// Judges what pays.
#[inline(always)]
pub fn pay<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    let mut notes = Notes::default();
    let verdict = order::<S, true, false>(state, case, &mut notes);
    notes.outcome(verdict).proven(case.stage)
}

/// Judges an attempt that pays where there are neither tickets nor fair shares nor classes.
#[inline(always)]
pub fn plain<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    let mut notes = Notes::default();
    let verdict = order::<S, false, false>(state, case, &mut notes);
    notes.outcome(verdict)
}

/// Judges what nobody asks for a proof. A few pass, at no charge to newcomers, to a budget, or to
/// what their source is charged for when it proves itself: they have debts of their own.
#[inline(always)]
pub fn unanswerable<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    let mut notes = Notes::default();
    let verdict = few(state, case, &mut notes);
    notes.outcome(verdict)
}

impl Outcome {
    /// The same, and of a proof as it is told.
    #[inline(always)]
    pub fn proven(self, stage: Stage) -> Self {
        let verdict = match (self.verdict, stage) {
            (Verdict::Decided(Reason::Admitted), Stage::Proof) => Verdict::Decided(Reason::Proven),
            (Verdict::Decided(reason), Stage::Proof) if reason.is_limit() => {
                Verdict::Decided(Reason::Waiting)
            }
            (verdict, _) => verdict,
        };
        Self { verdict, ..self }
    }
}

/// What happened on the way to a verdict, see [`Outcome`].
#[derive(Debug, Default)]
pub struct Notes {
    /// A live way was taken from its owner.
    pub stole: bool,
    /// The source got a ticket.
    pub granted: bool,
    /// How near it was to its limit.
    pub step: u8,
}

impl Notes {
    #[inline(always)]
    /// The outcome, with a verdict; without one a record is not there.
    pub fn outcome(self, verdict: Option<Verdict>) -> Outcome {
        let verdict = verdict.unwrap_or(Verdict::Decided(Reason::NoPolicy));
        Outcome { verdict, stole: self.stole, granted: self.granted, step: self.step }
    }
}

/// Who comes, and on what terms.
pub(crate) struct Terms<'a> {
    /// The client address cut to the prefix of its class, or of the service.
    pub(crate) source: Address,
    /// Class id, 0 for none.
    pub(crate) class: u32,
    /// Limit of the source; an interval of 0: it has none.
    pub(crate) limit: &'a SourceLimit,
    /// Whether a fair share of a short budget, or its turn in line, is all that it gets.
    pub(crate) shares: bool,
}

impl<'a> Terms<'a> {
    #[inline(always)]
    pub(crate) fn of<S: State, const MORE: bool>(state: &'a S, case: &Case<'a>) -> Self {
        let (service, client) = (case.service, case.client);
        if MORE
            && case.host.class_prefixes != 0
            && let (class, Some(record)) = state.class(case)
        {
            let mask = if record.own_mask != 0 { &record.mask } else { &service.mask };
            return Self {
                source: mask.apply(client),
                class,
                limit: &record.source,
                shares: record.unlimited == 0,
            };
        }
        Self { source: service.mask.apply(client), class: 0, limit: &service.source, shares: MORE }
    }
}

/// The order of everything. `MORE`: there may be tickets, fair shares or classes. `PEEKS`: nothing
/// is written.
#[inline(always)]
fn order<S: State, const MORE: bool, const PEEKS: bool>(
    state: &S,
    case: &Case<'_>,
    notes: &mut Notes,
) -> Option<Verdict> {
    let Case { service, now, .. } = *case;
    let [mut mine, mut hosts] = [state.look(case, Purse::Service)?, state.look(case, Purse::Host)?];
    if mine.look == Look::SPENT {
        return Some(Verdict::Decided(Reason::ServiceBudget));
    }
    if hosts.look == Look::SPENT {
        return Some(Verdict::Decided(Reason::GlobalBudget));
    }
    let terms = Terms::of::<S, MORE>(state, case);
    let life = if MORE { service.admission.ticket_life } else { 0 };
    let mut newcomers = None;
    if !MORE && terms.limit.interval == 0 {
        let seen = Purses { mine: mine.look, hosts: hosts.look, newcomers };
        return state.draw(case, &seen).map(Verdict::Decided);
    }
    let place = state.place(service.number, terms.class, terms.source)?;
    if life != 0 && !state.holds(&place, now)? {
        [mine, hosts] =
            [state.look(case, Purse::ServiceAboveFloor)?, state.look(case, Purse::HostAboveFloor)?];
        let rate = state.look(case, Purse::Newcomers)?.look;
        if mine.look == Look::SPENT || hosts.look == Look::SPENT {
            return Some(Verdict::Decided(Reason::Newcomer));
        }
        if rate == Look::SPENT {
            return Some(Verdict::Decided(Reason::NewcomerRate));
        }
        newcomers = Some(rate);
    }
    // The judges of a source, one after the other.
    let mut is_contended = false;
    let limit = attempt(case, terms.source, (terms.limit, false), PEEKS);
    if terms.limit.interval != 0 {
        match charge(state, &place, &limit, notes)? {
            Charge::Exceeds => return Some(Verdict::Decided(Reason::SourceLimit)),
            judged => is_contended |= matches!(judged, Charge::Contended),
        }
    }
    let interval = if MORE && terms.shares { share(service, mine.used, hosts.used) } else { 0 };
    if interval != 0 {
        let share = pressure::limit(interval);
        match charge(
            state,
            &place.beside(),
            &attempt(case, terms.source, (&share, true), PEEKS),
            notes,
        )? {
            Charge::Exceeds => {
                if terms.limit.interval != 0 && !PEEKS {
                    state.refund(&place, &limit);
                }
                return Some(Verdict::Decided(Reason::FairShare));
            }
            judged => is_contended |= matches!(judged, Charge::Contended),
        }
    }
    if PEEKS {
        return unproven(state, case, life != 0 && newcomers.is_none());
    }
    let reason = state.draw(case, &Purses { mine: mine.look, hosts: hosts.look, newcomers })?;
    if !reason.admits() {
        return Some(Verdict::Decided(reason));
    }
    if life != 0 {
        notes.granted = state.grant(&place, now, life)?;
    }
    Some(Verdict::Decided(if is_contended { Reason::Contended } else { reason }))
}

#[inline(always)]
pub(crate) fn charge<S: State>(
    state: &S,
    place: &Place,
    attempt: &Attempt<'_>,
    notes: &mut Notes,
) -> Option<Charge> {
    let Charged { charge, step } = state.charge(place, attempt)?;
    notes.stole |= matches!(charge, Charge::Stole);
    if !attempt.is_share {
        notes.step = step;
    }
    Some(charge)
}

#[inline(always)]
pub(crate) fn attempt<'a>(
    case: &Case<'_>,
    source: Address,
    (limit, is_share): (&'a SourceLimit, bool),
    peeks: bool,
) -> Attempt<'a> {
    Attempt {
        service: case.service.number,
        source,
        now: case.now,
        limit,
        is_share,
        peeks,
        horizon: case.host.horizon,
    }
}

/// What was seen in the purses that pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purses {
    /// The service's, of a newcomer down to its floor.
    pub mine: Look,
    /// The host's, likewise.
    pub hosts: Look,
    /// The service's rate of newcomers, of a newcomer.
    pub newcomers: Option<Look>,
}

/// Takes from the purse of newcomers and from both budgets, or from none. `seen`: what was seen
/// there, or it looks again.
#[inline(always)]
pub fn draw<S: State>(
    state: &S,
    case: &Case<'_>,
    is_newcomer: bool,
    seen: Option<&Purses>,
) -> Option<Reason> {
    let (mine, hosts) = match is_newcomer {
        true => (Purse::ServiceAboveFloor, Purse::HostAboveFloor),
        false => (Purse::Service, Purse::Host),
    };
    let (mut admitted, mut is_new, mut is_mine) = (Reason::Admitted, false, false);
    if is_newcomer {
        match take(state, case, Purse::Newcomers, seen)? {
            Take::Taken => is_new = true,
            Take::Gone => return Some(Reason::NewcomerRate),
            Take::Contended => admitted = Reason::Contended,
        }
    }
    let refusal = match take(state, case, mine, seen)? {
        Take::Gone => Some(Reason::ServiceBudget),
        taken => {
            is_mine = matches!(taken, Take::Taken);
            match (taken, take(state, case, hosts, seen)?) {
                (_, Take::Gone) => Some(Reason::GlobalBudget),
                (Take::Taken, Take::Taken) => None,
                _ => {
                    admitted = Reason::Contended;
                    None
                }
            }
        }
    };
    if let Some(reason) = refusal {
        if is_mine {
            state.give_back(case, mine);
        }
        if is_new {
            state.give_back(case, Purse::Newcomers);
        }
        return Some(reason);
    }
    Some(admitted)
}

#[inline(always)]
fn take<S: State>(state: &S, case: &Case<'_>, purse: Purse, seen: Option<&Purses>) -> Option<Take> {
    let look = match (seen, purse) {
        (None, _) => state.look(case, purse)?.look,
        (Some(seen), Purse::Newcomers) => seen.newcomers.unwrap_or(Look::SPENT),
        (Some(seen), Purse::Service | Purse::ServiceAboveFloor) => seen.mine,
        (Some(seen), _) => seen.hosts,
    };
    state.take(case, purse, look)
}

/// Interval of one source under the pressure of the fuller budget, in ticks.
#[inline(always)]
fn share(service: &Service, mine: u64, hosts: u64) -> u64 {
    let own = service.admission.pressure.interval(mine);
    let all = service.admission.host_pressure.interval(hosts);
    if own > all { own } else { all }
}

/// An attempt over no limit: it passes to the kernel while what may pass unproven lasts. Beyond
/// that it is answered here, or where that must not be, refused. While a challenge is on it draws
/// all the same, and what is not there keeps the challenge on. Who bears the address of one with a
/// ticket draws from a purse that strangers cannot spend.
#[inline(always)]
pub(crate) fn unproven<S: State>(state: &S, case: &Case<'_>, holds: bool) -> Option<Verdict> {
    let challenge = Challenge::from_number(case.service.admission.challenge);
    let purse = if holds { Purse::Holders } else { Purse::Unproven };
    let look = state.look(case, purse)?.look;
    let fits = look != Look::SPENT && !matches!(state.take(case, purse, look)?, Take::Gone);
    if matches!(challenge, Challenge::Off) {
        return Some(Verdict::Decided(if fits { Reason::Asked } else { Reason::Unanswerable }));
    }
    if !fits && !holds {
        state.challenge(case.id, challenge::Ask::TurnOn, case.now)?;
    }
    let is_on = !fits
        || !holds
            && (matches!(challenge, Challenge::Always)
                || state.challenge(case.id, challenge::Ask::IsOn, case.now)?);
    Some(if is_on { Verdict::Challenge } else { Verdict::Decided(Reason::Asked) })
}

#[inline(always)]
fn few<S: State>(state: &S, case: &Case<'_>, notes: &mut Notes) -> Option<Verdict> {
    let terms = Terms::of::<S, true>(state, case);
    if terms.limit.interval != 0 {
        let place = state.place(case.service.number, terms.class, terms.source)?.apart();
        let charged = charge(
            state,
            &place,
            &attempt(case, terms.source, (terms.limit, false), false),
            notes,
        )?;
        if matches!(charged, Charge::Exceeds) {
            return Some(Verdict::Decided(Reason::SourceLimit));
        }
    }
    let seen = state.look(case, Purse::Unanswerable)?;
    Some(Verdict::Decided(match state.take(case, Purse::Unanswerable, seen.look)? {
        Take::Gone => Reason::Unanswerable,
        Take::Taken | Take::Contended => Reason::Unanswered,
    }))
}
