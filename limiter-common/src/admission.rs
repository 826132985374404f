//! Whether an attempt is let in where the service has no line: budgets and source limit, in the
//! order that makes a refusal cost nobody anything.
//!
//! 1. Look at the budgets, the service's and the host's. One that is spent refuses at once: no
//!    random cache line is read.
//! 2. The connections that are open, where the policy bounds them: of the service, of the host and of
//!    the source. They are only looked at; whoever counts them does so when they are there.
//! 3. Look at the limits of the network that the source is in, if networks have any; then the
//!    source's limit, of its class if it has one; then the network pays, too. What one of them
//!    refuses costs no budget, and neither pays for what the other refuses (unless two CPUs meet at
//!    the network's last token: then the source of one has paid). A network that is over its limit
//!    is in the cache; so it is asked first, and a flood from random sources of it reads no other
//!    line.
//! 4. Take from the budgets what was seen; a token of one goes back when another CPU emptied the
//!    next meanwhile.
//!
//! Where the kernel makes cookies an attempt *peeks*: it goes through 1 to 3 and writes nothing,
//! because nobody has proven that it comes from where it says. What is over no limit passes to the
//! kernel, which asks for a proof, while the service's purse for unproven attempts lasts; beyond
//! that it is answered here ([`Ruling::Challenge`]). The proof goes through 1 to 4 and pays. Where
//! the kernel makes none the attempt pays.
//!
//! A service with a line has an order of its own, with this one's parts: `turn.rs`. The kernel side
//! runs both over its maps ([`State`]); simulations run them over vectors.

mod case;
mod state;

use crate::address::Address;
use crate::budget::{Look, Take};
use crate::challenge::{self, Challenge};
use crate::hash::{self, Place};
use crate::open::{Bounds, Full};
use crate::purse::Purse;
use crate::reason::Reason;
use crate::source_table::{Charge, Charged, SourceLimit};

pub use case::{Case, Notes, Outcome, Ruling, Stage};
pub use state::{Attempt, Purses, State};

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
    notes.outcome(verdict).proven(case)
}

/// Judges an attempt that pays where there are no classes.
#[inline(always)]
pub fn plain<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    let mut notes = Notes::default();
    let verdict = order::<S, false, false>(state, case, &mut notes);
    notes.outcome(verdict)
}

/// Judges what nobody asks for a proof. A few pass, at no charge to a budget, or to what their
/// source is charged for when it proves itself: they have debts of their own. No network is asked,
/// which would have to pay for what nobody has proven to come from it.
#[inline(always)]
pub fn unanswerable<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    let mut notes = Notes::default();
    let verdict = few(state, case, &mut notes);
    notes.outcome(verdict)
}

/// Who comes, and on what terms.
pub(crate) struct Terms<'a> {
    /// The client address cut to the prefix of its class, or of the service.
    pub(crate) source: Address,
    /// Class id, 0 for none.
    pub(crate) class: u32,
    /// Limit of the source; an interval of 0: it has none.
    pub(crate) limit: &'a SourceLimit,
    /// Whether it waits in line for a short budget.
    pub(crate) waits: bool,
    /// Most open connections of the source; 0: any number.
    pub(crate) open: u64,
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
                waits: record.unlimited == 0,
                open: if record.own_open != 0 { record.open } else { service.open },
            };
        }
        Self {
            source: service.mask.apply(client),
            class: 0,
            limit: &service.source,
            waits: true,
            open: service.open,
        }
    }

    /// What bounds its open connections.
    #[inline(always)]
    pub(crate) const fn bounds(&self, case: &Case<'_>) -> Bounds {
        if case.host.counts_open == 0 {
            return Bounds { source: 0, service: 0, host: 0, has_room: false };
        }
        let (service, host) = (case.service.open_budget, case.host.open_budget);
        Bounds { source: self.open, service, host, has_room: case.service.has_room() }
    }
}

/// The order of everything. `MORE`: there may be classes. `PEEKS`: nothing is written.
#[inline(always)]
fn order<S: State, const MORE: bool, const PEEKS: bool>(
    state: &S,
    case: &Case<'_>,
    notes: &mut Notes,
) -> Option<Ruling> {
    let mine = state.look(case, Purse::Service)?.look;
    let hosts = state.look(case, Purse::Host)?.look;
    let spent = match (mine, hosts) {
        (Look::SPENT, _) => Some(Reason::ServiceBudget),
        (_, Look::SPENT) => Some(Reason::GlobalBudget),
        _ => None,
    };
    // Who is over his own limit sees no waiting room, and who sees it pays with that.
    if spent.is_some() && !(MORE && case.service.has_room()) {
        return spent.map(Ruling::Decided);
    }
    let terms = Terms::of::<S, MORE>(state, case);
    let has_networks = MORE && case.service.has_networks();
    if has_networks && let Some(reason) = look_at_network(state, case, terms.class)? {
        return Some(Ruling::Decided(reason));
    }
    let mut is_contended = false;
    let bounds = terms.bounds(case);
    let asks_open = MORE && !bounds.are_none();
    let place = if asks_open || terms.limit.interval != 0 {
        state.place(case.service.number, terms.class, terms.source)?
    } else {
        Place::default()
    };
    if asks_open {
        match state.full(case, &place, &bounds) {
            Some(Full::Source) => return Some(Ruling::Decided(Reason::OpenSource)),
            Some(Full::Budget) if spent.is_none() => {
                return Some(Ruling::Decided(Reason::OpenBudget));
            }
            _ => {}
        }
    }
    if terms.limit.interval != 0 {
        match charge(state, &place, &attempt(case, terms.source, terms.limit, PEEKS), notes)? {
            Charge::Exceeds => return Some(Ruling::Decided(Reason::SourceLimit)),
            judged => is_contended = matches!(judged, Charge::Contended),
        }
    }
    if has_networks && !PEEKS {
        match network_pays(state, case, terms.class, notes)? {
            Charge::Exceeds => return Some(Ruling::Decided(Reason::NetworkLimit)),
            judged => is_contended |= matches!(judged, Charge::Contended),
        }
    }
    if spent.is_some() {
        return spent.map(Ruling::Decided);
    }
    if PEEKS {
        return unproven(state, case, false);
    }
    let reason = state.draw(case, &Purses { mine, hosts })?;
    let is_told = is_contended && reason.admits();
    Some(Ruling::Decided(if is_told { Reason::Contended } else { reason }))
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
    notes.step = step;
    Some(charge)
}

/// Which limit of its own keeps the client's network out, if one does.
#[inline(always)]
pub(crate) fn look_at_network<S: State>(
    state: &S,
    case: &Case<'_>,
    class: u32,
) -> Option<Option<Reason>> {
    // Asked in any case, and first: anything else takes room on a stack that is full.
    if state.is_network_full(case, class) {
        return Some(Some(Reason::OpenNetwork));
    }
    let exceeds = matches!(charge_network(state, case, class, true)?, Charge::Exceeds);
    Some(exceeds.then_some(Reason::NetworkLimit))
}

/// Charges the client's network as it would a source, under a place of its own; or only looks.
#[inline(always)]
pub(crate) fn charge_network<S: State>(
    state: &S,
    case: &Case<'_>,
    class: u32,
    peeks: bool,
) -> Option<Charge> {
    let network = state.network(case, class)?;
    if network.limit.interval == 0 {
        return Some(Charge::Conforms);
    }
    let source = network.mask.apply(case.client);
    let place = state.place(case.service.number, class | hash::NETWORK, source)?;
    Some(state.charge(&place, &attempt(case, source, &network.limit, peeks))?.charge)
}

/// The network pays for one whom its source's limit let in. It is not asked how near it is to its
/// limit: those steps are of sources.
#[inline(always)]
pub(crate) fn network_pays<S: State>(
    state: &S,
    case: &Case<'_>,
    class: u32,
    notes: &mut Notes,
) -> Option<Charge> {
    let charge = charge_network(state, case, class, false)?;
    notes.stole |= matches!(charge, Charge::Stole);
    Some(charge)
}

#[inline(always)]
pub(crate) fn attempt<'a>(
    case: &Case<'_>,
    source: Address,
    limit: &'a SourceLimit,
    peeks: bool,
) -> Attempt<'a> {
    Attempt {
        service: case.service.number,
        source,
        now: case.now,
        limit,
        peeks,
        horizon: case.host.horizon,
    }
}

/// Takes from both budgets, or from none. `seen`: what was seen there, or it looks again.
#[inline(always)]
pub fn draw<S: State>(state: &S, case: &Case<'_>, seen: Option<&Purses>) -> Option<Reason> {
    let look = |purse, seen| match seen {
        Some(look) => Some(look),
        None => Some(state.look(case, purse)?.look),
    };
    let (mut admitted, mut is_mine) = (Reason::Admitted, false);
    let seen_mine = look(Purse::Service, seen.map(|seen| seen.mine))?;
    match state.take(case, Purse::Service, seen_mine)? {
        Take::Gone => return Some(Reason::ServiceBudget),
        Take::Taken => is_mine = true,
        Take::Contended => admitted = Reason::Contended,
    }
    let seen_hosts = look(Purse::Host, seen.map(|seen| seen.hosts))?;
    match state.take(case, Purse::Host, seen_hosts)? {
        Take::Gone => {
            if is_mine {
                state.give_back(case, Purse::Service);
            }
            return Some(Reason::GlobalBudget);
        }
        Take::Taken => {}
        Take::Contended => admitted = Reason::Contended,
    }
    Some(admitted)
}

/// An attempt over no limit: it passes to the kernel while what may pass unproven lasts. Beyond
/// that it is answered here, or where that must not be, refused. While a challenge is on it draws
/// all the same, and what is not there keeps the challenge on. `is_in`: the address is that of one
/// who is present in the line, and draws from a purse that strangers cannot spend.
#[inline(always)]
pub fn unproven<S: State>(state: &S, case: &Case<'_>, is_in: bool) -> Option<Ruling> {
    let challenge = Challenge::from_number(case.service.admission.challenge);
    let purse = if is_in { Purse::Present } else { Purse::Unproven };
    let look = state.look(case, purse)?.look;
    let fits = look != Look::SPENT && !matches!(state.take(case, purse, look)?, Take::Gone);
    if matches!(challenge, Challenge::Off) {
        return Some(Ruling::Decided(if fits { Reason::Asked } else { Reason::Unanswerable }));
    }
    if !fits && !is_in {
        state.challenge(case.id, challenge::Ask::TurnOn, case.now)?;
    }
    let is_on = !fits
        || !is_in
            && (matches!(challenge, Challenge::Always)
                || state.challenge(case.id, challenge::Ask::IsOn, case.now)?);
    Some(if is_on { Ruling::Challenge } else { Ruling::Decided(Reason::Asked) })
}

#[inline(always)]
fn few<S: State>(state: &S, case: &Case<'_>, notes: &mut Notes) -> Option<Ruling> {
    let terms = Terms::of::<S, true>(state, case);
    if terms.limit.interval != 0 {
        let place = state.place(case.service.number, terms.class, terms.source)?.apart();
        let charged =
            charge(state, &place, &attempt(case, terms.source, terms.limit, false), notes)?;
        if matches!(charged, Charge::Exceeds) {
            return Some(Ruling::Decided(Reason::SourceLimit));
        }
    }
    let seen = state.look(case, Purse::Unanswerable)?;
    Some(Ruling::Decided(match state.take(case, Purse::Unanswerable, seen.look)? {
        Take::Gone => Reason::Unanswerable,
        Take::Taken | Take::Contended => Reason::Unanswered,
    }))
}
