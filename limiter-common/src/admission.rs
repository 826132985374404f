//! Whether an attempt is let in: budgets, tickets, challenge, source limit and fair share, in the order that makes a refusal
//! cost nobody anything.
//!
//! 1. Look at the budgets, the service's and the host's. One that is spent refuses at once where there is nothing to prove: no
//!    random cache line is read, and a flood fills no table with the debts of addresses that were never let in.
//! 2. The ticket. A source without one is a *newcomer*: where sources can come to hold one, it may draw a budget only down to the
//!    floor, and at its own rate. While the service challenges, its attempt is not judged at all but answered: [`Verdict::Challenge`].
//! 3. The source limit (of its class, if it has one), then the fair share. What they refuse costs no budget, and what the share refuses is not
//!    charged to the source limit.
//! 4. Take from the budgets what was seen; a token of one goes back when another CPU emptied the next meanwhile.
//! 5. Give or note the ticket.
//!
//! A service without tickets and fair shares, in a policy without classes, needs 1, 3 and 4 only: [`plain`]. The kernel side runs this over its maps
//! ([`State`]); simulations run it over vectors.

use crate::address::Address;
use crate::budget::{Look, Take};
use crate::challenge::{self, Challenge};
use crate::hash::Place;
use crate::pressure;
use crate::purse::{Purse, Seen};
use crate::reason::Reason;
use crate::record::{Class, Host, Service};
use crate::source_table::{Charge, Charged, SourceLimit};
use crate::ticket::Change;

/// What comes, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// An attempt.
    Syn,
    /// An ACK that brings a good cookie back: the source is there. The kernel will make the connection from it.
    Proof,
    /// An attempt of a source without a ticket that was to be challenged and cannot be: nobody listens there, or it is signed, or a
    /// fragment. A spoofer can make any number of them, so they must not spend what others need.
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
    /// Attempt or ACK.
    pub stage: Stage,
    /// Whether an attempt may be answered with a challenge.
    pub may_challenge: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This.
    Decided(Reason),
    /// Answer with a cookie. Nothing was charged.
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
    /// The id of the client's class, 0 for none, and its record.
    fn class(&self, case: &Case<'_>) -> (u32, Option<&Class>);
    /// The place of a source in the tables, by the number of the service; a class has debts of its own.
    fn place(&self, service: u32, class: u32, source: Address) -> Option<Place>;
    /// Charges an attempt to the source table.
    fn charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charged>;
    /// Takes back the charge that was just made there.
    fn refund(&self, place: &Place, attempt: &Attempt<'_>);
    /// Reads or changes the ticket at a place, and says what `change` does.
    fn ticket(&self, change: Change, place: &Place, now: u64, life: u64) -> Option<bool>;
    /// Asks or tells the challenge of the service.
    fn challenge(&self, id: u32, ask: challenge::Ask, now: u64) -> Option<bool>;
}

/// Judges one case.
#[inline(always)]
pub fn judge<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    let mut notes = Notes { stole: false, granted: false, step: 0 };
    let verdict = by_policy(state, case, &mut notes).unwrap_or(Verdict::Decided(Reason::NoPolicy));
    Outcome { verdict, stole: notes.stole, granted: notes.granted, step: notes.step }
}

/// Judges an attempt where there are neither tickets nor fair shares.
#[inline(always)]
pub fn plain<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    let mut notes = Notes { stole: false, granted: false, step: 0 };
    let reason = plainly(state, case, &mut notes).unwrap_or(Reason::NoPolicy);
    Outcome { verdict: Verdict::Decided(reason), stole: notes.stole, granted: false, step: notes.step }
}

struct Notes {
    stole: bool,
    granted: bool,
    step: u8,
}

/// Who comes, and on what terms.
struct Terms<'a> {
    /// The client address cut to the prefix of its class, or of the service.
    source: Address,
    /// Class id, 0 for none.
    class: u32,
    /// Limit of the source; an interval of 0: it has none.
    limit: &'a SourceLimit,
    /// Whether a fair share of a short budget is all that it gets.
    shares: bool,
}

impl<'a> Terms<'a> {
    #[inline(always)]
    fn of<S: State>(state: &'a S, case: &Case<'a>) -> Self {
        let (service, client) = (case.service, case.client);
        if case.host.class_prefixes != 0
            && let (class, Some(record)) = state.class(case)
        {
            let mask = if record.own_mask != 0 { &record.mask } else { &service.mask };
            return Self { source: mask.apply(client), class, limit: &record.source, shares: record.unlimited == 0 };
        }
        Self { source: service.mask.apply(client), class: 0, limit: &service.source, shares: true }
    }
}

#[inline(always)]
fn plainly<S: State>(state: &S, case: &Case<'_>, notes: &mut Notes) -> Option<Reason> {
    let purses = [Purse::Service, Purse::Host];
    let seen = [state.look(case, purses[0])?, state.look(case, purses[1])?];
    if let Some(reason) = spent(&seen) {
        return Some(reason);
    }
    let source = case.service.mask.apply(case.client);
    let mut admitted = Reason::Admitted;
    if case.service.source.interval != 0 {
        let place = state.place(case.service.number, 0, source)?;
        let limit = &case.service.source;
        match charge(state, case, source, &place, (limit, false), notes)? {
            Charge::Exceeds => return Some(Reason::SourceLimit),
            Charge::Contended => admitted = Reason::Contended,
            _ => {}
        }
    }
    draw(state, case, purses, seen, admitted)
}

#[inline(always)]
fn by_policy<S: State>(state: &S, case: &Case<'_>, notes: &mut Notes) -> Option<Verdict> {
    let Case { id, service, now, .. } = *case;
    if matches!(case.stage, Stage::Unanswerable) {
        return unanswerable(state, case, notes);
    }
    let admission = &service.admission;
    let is_proof = matches!(case.stage, Stage::Proof);
    let may_challenge = case.may_challenge && !is_proof && admission.challenge != 0;
    let mut purses = [Purse::Service, Purse::Host];
    let mut seen = [state.look(case, purses[0])?, state.look(case, purses[1])?];
    let mut short = spent(&seen);
    if let Some(reason) = short
        && !may_challenge
        && !is_proof
    {
        return Some(Verdict::Decided(reason));
    }
    let terms = Terms::of(state, case);
    let place = state.place(service.number, terms.class, terms.source)?;
    let keeps_tickets = admission.ticket_life != 0;
    let mut newcomers = None;
    if keeps_tickets {
        if is_proof && state.ticket(Change::Redeem, &place, now, admission.ticket_life)? {
            notes.granted = state.ticket(Change::Grant, &place, now, admission.ticket_life)?;
            return Some(Verdict::Decided(Reason::Redeemed));
        }
        if !state.ticket(Change::Nothing, &place, now, admission.ticket_life)? {
            let always = matches!(Challenge::from_number(admission.challenge), Challenge::Always);
            if may_challenge && (always || state.challenge(id, challenge::Ask::IsOn, now)?) {
                unproven(state, case)?;
                return Some(Verdict::Challenge);
            }
            if short.is_none() && can_hold(state, case)? {
                purses = [Purse::ServiceAboveFloor, Purse::HostAboveFloor];
                seen = [state.look(case, purses[0])?, state.look(case, purses[1])?];
                let rate = state.look(case, Purse::Newcomers)?.look;
                if spent(&seen).is_some() {
                    short = Some(Reason::Newcomer);
                } else if rate == Look::SPENT {
                    short = Some(Reason::NewcomerRate);
                }
                newcomers = Some(rate);
            }
            if short.is_some() && may_challenge {
                state.challenge(id, challenge::Ask::TurnOn, now)?;
                return Some(Verdict::Challenge);
            }
        }
    }
    let reason = match short {
        Some(reason) => reason,
        None => {
            let interval = if terms.shares { share(service, &seen) } else { 0 };
            limits(state, case, &terms, &place, interval, purses, seen, newcomers, notes)?
        }
    };
    if keeps_tickets && reason.admits() {
        tickets(state, case, &place, notes)?;
    }
    Some(Verdict::Decided(match reason {
        Reason::Admitted if is_proof => Reason::Proven,
        reason if is_proof && reason.is_limit() => Reason::Waiting,
        reason => reason,
    }))
}

/// Source limit, fair share, budgets.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "they are one line of thought")]
fn limits<S: State>(
    state: &S,
    case: &Case<'_>,
    terms: &Terms<'_>,
    place: &Place,
    interval: u64,
    purses: [Purse; 2],
    seen: [Seen; 2],
    newcomers: Option<Look>,
    notes: &mut Notes,
) -> Option<Reason> {
    let source = terms.source;
    let mut admitted = Reason::Admitted;
    if terms.limit.interval != 0 {
        match charge(state, case, source, place, (terms.limit, false), notes)? {
            Charge::Exceeds => return Some(Reason::SourceLimit),
            Charge::Contended => admitted = Reason::Contended,
            _ => {}
        }
    }
    if interval != 0 {
        let limit = pressure::limit(interval);
        match charge(state, case, source, &place.beside(), (&limit, true), notes)? {
            Charge::Exceeds => {
                if terms.limit.interval != 0 {
                    state.refund(place, &attempt(case, source, terms.limit, false));
                }
                return Some(Reason::FairShare);
            }
            Charge::Contended => admitted = Reason::Contended,
            _ => {}
        }
    }
    let mut is_taken = false;
    if let Some(look) = newcomers {
        match state.take(case, Purse::Newcomers, look)? {
            Take::Taken => is_taken = true,
            Take::Gone => return Some(Reason::NewcomerRate),
            Take::Contended => admitted = Reason::Contended,
        }
    }
    let reason = draw(state, case, purses, seen, admitted)?;
    if is_taken && !reason.admits() {
        state.give_back(case, Purse::Newcomers);
    }
    Some(reason)
}

#[inline(always)]
fn charge<S: State>(
    state: &S,
    case: &Case<'_>,
    source: Address,
    place: &Place,
    (limit, is_share): (&SourceLimit, bool),
    notes: &mut Notes,
) -> Option<Charge> {
    let Charged { charge, step } = state.charge(place, &attempt(case, source, limit, is_share))?;
    notes.stole |= matches!(charge, Charge::Stole);
    if !is_share {
        notes.step = step;
    }
    Some(charge)
}

#[inline(always)]
fn attempt<'a>(case: &Case<'_>, source: Address, limit: &'a SourceLimit, is_share: bool) -> Attempt<'a> {
    Attempt { service: case.service.number, source, now: case.now, limit, is_share, horizon: case.host.horizon }
}

/// Takes from both budgets, or from none.
#[inline(always)]
fn draw<S: State>(
    state: &S,
    case: &Case<'_>,
    [mine, hosts]: [Purse; 2],
    seen: [Seen; 2],
    mut admitted: Reason,
) -> Option<Reason> {
    let mut is_taken = false;
    match state.take(case, mine, seen[0].look)? {
        Take::Taken => is_taken = true,
        Take::Gone => return Some(Reason::ServiceBudget),
        Take::Contended => admitted = Reason::Contended,
    }
    match state.take(case, hosts, seen[1].look)? {
        Take::Taken => {}
        Take::Gone => {
            if is_taken {
                state.give_back(case, mine);
            }
            return Some(Reason::GlobalBudget);
        }
        Take::Contended => admitted = Reason::Contended,
    }
    Some(admitted)
}

/// Interval of one source under the pressure of the fuller budget, in ticks.
#[inline(always)]
fn share(service: &Service, seen: &[Seen; 2]) -> u64 {
    let own = service.admission.pressure.interval(seen[0].used);
    let all = service.admission.host_pressure.interval(seen[1].used);
    if own > all { own } else { all }
}

/// A ticket for who proved itself, or was admitted where nothing has to be proven. Elsewhere, while cookies may come back, a note that
/// this one has paid.
#[inline(always)]
fn tickets<S: State>(state: &S, case: &Case<'_>, place: &Place, notes: &mut Notes) -> Option<()> {
    let Case { id, service, now, .. } = *case;
    let life = service.admission.ticket_life;
    if service.admission.challenge == 0 || matches!(case.stage, Stage::Proof) {
        notes.granted = state.ticket(Change::Grant, place, now, life)?;
    } else if state.challenge(id, challenge::Ask::IsChecking, now)? {
        state.ticket(Change::Prepay, place, now, life)?;
    }
    Some(())
}

/// Whether anybody can come to hold a ticket: where there is a challenge only who brings a cookie back does, and the kernel may make none. A
/// part of the budget that is kept for nobody would be lost to all.
#[inline(always)]
fn can_hold<S: State>(state: &S, case: &Case<'_>) -> Option<bool> {
    if case.service.admission.challenge == 0 || matches!(case.stage, Stage::Proof) {
        return Some(true);
    }
    state.challenge(case.id, challenge::Ask::IsChecking, case.now)
}

/// Draws what a challenged attempt would draw, and keeps the challenge on if that is not there.
#[inline(always)]
fn unproven<S: State>(state: &S, case: &Case<'_>) -> Option<()> {
    let seen = state.look(case, Purse::Unproven)?;
    if !matches!(state.take(case, Purse::Unproven, seen.look)?, Take::Taken) {
        state.challenge(case.id, challenge::Ask::TurnOn, case.now)?;
    }
    Some(())
}

/// Lets a few pass, at no charge to their source, to newcomers or to a budget. Where there is no budget that they could spend of others, there is
/// the source limit.
#[inline(always)]
fn unanswerable<S: State>(state: &S, case: &Case<'_>, notes: &mut Notes) -> Option<Verdict> {
    if case.service.admission.unanswerable.interval == 0 {
        let terms = Terms::of(state, case);
        if terms.limit.interval != 0 {
            let place = state.place(case.service.number, terms.class, terms.source)?;
            let charged = charge(state, case, terms.source, &place, (terms.limit, false), notes)?;
            if matches!(charged, Charge::Exceeds) {
                return Some(Verdict::Decided(Reason::SourceLimit));
            }
        }
        return Some(Verdict::Decided(Reason::Unanswered));
    }
    let seen = state.look(case, Purse::Unanswerable)?;
    Some(Verdict::Decided(match state.take(case, Purse::Unanswerable, seen.look)? {
        Take::Gone => Reason::Unanswerable,
        Take::Taken | Take::Contended => Reason::Unanswered,
    }))
}

#[inline(always)]
fn spent(seen: &[Seen; 2]) -> Option<Reason> {
    if seen[0].look == Look::SPENT {
        return Some(Reason::ServiceBudget);
    }
    if seen[1].look == Look::SPENT { Some(Reason::GlobalBudget) } else { None }
}
