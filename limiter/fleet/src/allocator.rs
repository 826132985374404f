//! Who may use how much: the leader's part, decided round by round from what it has seen.
//!
//! A round is one transaction. Until it is committed nothing of it counts, and a leader that does
//! not learn what became of one reads everything anew ([`Allocator::refresh`]). What it has not
//! seen yet of others makes it give less, never more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Terms;
use crate::fill::{Want, fill};
use crate::record::{Amount, Amounts, Grant, Report, Share, is_of_places};

/// Grants of a round at most. etcd takes 128 operations in a transaction.
pub const MOST_GRANTS: usize = 120;
/// So much more than its demand a node may have, in hundredths, so that a demand that grows is seen
/// before it is refused.
const HEADROOM: u64 = 105;

/// Everything of a fleet that decides, as the engine has it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetView {
    /// Revision of the last round; 0: there was none.
    pub round: u64,
    /// The budgets.
    pub budgets: Amounts,
    /// The nodes, by name.
    pub nodes: BTreeMap<String, NodeView>,
}

/// A node, as the engine has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Its last report, and the revision of that.
    pub report: (u64, Report),
    /// Its newest grant, and the revision of that.
    pub grant: Option<(u64, Grant)>,
}

/// Why a node is granted something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It does not report.
    Silent,
    /// It gets less.
    Less,
    /// It gets more, or joins.
    More,
}

/// One transaction of grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Revision of the round before: the transaction has to ask that it still is the last one, and
    /// to write one of its own.
    pub follows: u64,
    /// Reports that must not have changed, by node, with their revisions: who is written off has
    /// not come back meanwhile.
    pub unchanged: Vec<(String, u64)>,
    /// What is granted.
    pub grants: Vec<(String, Grant, Why)>,
}

/// A leader's view of its fleet.
#[derive(Clone, Debug)]
pub struct Allocator {
    terms: Terms,
    seen: FleetView,
    /// When it learned of the last report of each node, by its own clock.
    heard: BTreeMap<String, Duration>,
}

/// A node, within a round.
struct Candidate<'a> {
    name: &'a str,
    node: &'a NodeView,
    is_silent: bool,
    /// Whether it has reported that it holds its newest grant.
    has_taken: bool,
    shares: BTreeMap<String, Share>,
    why: Option<Why>,
}

impl Allocator {
    /// One that has just read everything: each node counts as heard of `now`, because the leader
    /// before may have heard of it a moment ago.
    pub fn new(terms: Terms, seen: FleetView, now: Duration) -> Self {
        let heard = seen.nodes.keys().map(|name| (name.clone(), now)).collect();
        Self { terms, seen, heard }
    }

    /// Takes over what was read anew. Who has not reported since is not heard of.
    pub fn refresh(&mut self, seen: FleetView, now: Duration) {
        let heard = |(name, node): (&String, &NodeView)| {
            let known = self.seen.nodes.get(name).filter(|known| known.report.0 == node.report.0);
            let before = known.and_then(|_| self.heard.get(name));
            (name.clone(), before.copied().unwrap_or(now))
        };
        self.heard = seen.nodes.iter().map(heard).collect();
        self.seen = seen;
    }

    /// What it has seen.
    pub const fn seen(&self) -> &FleetView {
        &self.seen
    }

    /// Takes over a report that was committed. Says whether what it has seen of that node fits: a
    /// report is only committed with the newest grant, so one with another means that a grant was
    /// removed, or made by another leader, and that everything has to be read anew.
    pub fn heard(&mut self, name: &str, revision: u64, report: &Report, now: Duration) -> bool {
        let node = self.seen.nodes.entry(name.to_owned()).or_default();
        if revision > node.report.0 {
            node.report = (revision, report.clone());
            self.heard.insert(name.to_owned(), now);
        }
        let known = node.grant.as_ref().map_or(0, |(revision, _)| *revision);
        let holds = node.report.1.holds;
        holds == known || holds != 0 && holds < known
    }

    /// Takes over the budgets.
    pub fn set_budgets(&mut self, budgets: Amounts) {
        self.seen.budgets = budgets;
    }

    /// Whether a node is silent: its shares have ended, whatever its clock does.
    pub fn is_silent(&self, name: &str, now: Duration) -> bool {
        let heard = self.heard.get(name).copied().unwrap_or_default();
        now.saturating_sub(heard) > self.terms.silence()
    }

    /// What may be in force of a budget on all nodes together.
    pub fn held(&self, budget: &str, now: Duration) -> Amount {
        self.places(now).iter().map(|place| place.held(budget)).sum()
    }

    /// The next round; `None`: there is nothing to change.
    pub fn decide(&self, now: Duration) -> Option<Round> {
        let mut places = self.places(now);
        self.write_off(&mut places);
        for (budget, amount) in &self.seen.budgets {
            self.divide(&mut places, budget, *amount);
        }
        let mut changed: Vec<&Candidate<'_>> =
            places.iter().filter(|place| place.why.is_some()).collect();
        // What makes room comes first.
        changed.sort_by_key(|place| place.why);
        changed.truncate(MOST_GRANTS);
        let silent = changed.iter().filter(|place| place.why == Some(Why::Silent));
        let unchanged = silent.map(|place| (place.name.to_owned(), place.node.report.0)).collect();
        let grants: Vec<_> = changed
            .iter()
            .filter_map(|place| {
                Some((place.name.to_owned(), Grant { shares: place.shares.clone() }, place.why?))
            })
            .collect();
        (!grants.is_empty()).then_some(Round { follows: self.seen.round, unchanged, grants })
    }

    /// The round was committed at `revision`.
    pub fn committed(&mut self, round: Round, revision: u64) {
        self.seen.round = revision;
        for (name, grant, _) in round.grants {
            self.seen.nodes.entry(name).or_default().grant = Some((revision, grant));
        }
    }

    fn places(&self, now: Duration) -> Vec<Candidate<'_>> {
        let place = |(name, node): (&'_ String, &'_ NodeView)| {
            let (revision, mut shares) = match &node.grant {
                Some((revision, grant)) => (*revision, grant.shares.clone()),
                None => (0, BTreeMap::new()),
            };
            let has_taken = node.report.1.holds == revision;
            if has_taken {
                shares.values_mut().for_each(|share| share.most = share.rate);
            }
            (self.is_silent(name, now), has_taken, shares)
        };
        let nodes = self.seen.nodes.iter();
        nodes
            .map(|(name, node)| {
                let (is_silent, has_taken, shares) = place((name, node));
                Candidate { name, node, is_silent, has_taken, shares, why: None }
            })
            .collect()
    }

    /// Grants who is silent its fallback, of every budget. Its shares have ended in its kernel; of
    /// places all that may be taken stay so, because their users may be there still.
    fn write_off(&self, places: &mut [Candidate<'_>]) {
        let silent = places.iter_mut().filter(|place| place.is_silent);
        for place in silent.take(MOST_GRANTS) {
            let rests = |(name, share): (&String, &Share)| {
                let rest = Share::rest(place.least(name).max(share.fallback));
                let most = if is_of_places(name) { place.held(name) } else { rest.most };
                (name.clone(), Share { most, ..rest })
            };
            let rest: BTreeMap<_, _> = place.shares.iter().map(rests).collect();
            if rest != place.shares {
                (place.shares, place.why) = (rest, Some(Why::Silent));
            }
        }
    }

    /// Divides one budget.
    fn divide(&self, places: &mut [Candidate<'_>], budget: &str, amount: Amount) {
        for place in places.iter_mut().filter(|place| place.has_dropped(budget)) {
            place.shares.remove(budget);
            place.why = place.why.or(Some(Why::Less));
        }
        let mut reserved: Amount = 0;
        let mut joins = BTreeSet::new();
        for place in places.iter().filter(|place| place.shares.contains_key(budget)) {
            reserved = reserved.saturating_add(match place.is_silent {
                true => place.held(budget),
                false => place.least(budget),
            });
        }
        // A node whose fallback does not fit beside those of the others is no part of the fleet.
        for place in places.iter().filter(|place| place.may_join(budget)) {
            let with = reserved.saturating_add(place.least(budget).max(place.used(budget)));
            if with <= amount {
                reserved = with;
                joins.insert(place.name.to_owned());
            }
        }
        let is_in = |place: &Candidate<'_>| {
            !place.is_silent && (place.shares.contains_key(budget) || joins.contains(place.name))
        };
        let silent = places.iter().filter(|place| place.is_silent).map(|place| place.held(budget));
        let pool = amount.saturating_sub(silent.sum());
        let wants: Vec<Want> =
            places.iter().filter(|place| is_in(place)).map(|place| place.want(budget)).collect();
        let parts = fill(pool, &wants);
        let mut free = amount.saturating_sub(places.iter().map(|place| place.held(budget)).sum());
        let quiet = self.terms.quiet;
        let mut rises = Vec::new();
        for (place, part) in places.iter_mut().filter(|place| is_in(place)).zip(parts) {
            let (least, held) = (place.least(budget), place.held(budget));
            let Some(share) = place.shares.get(budget).copied() else {
                let most = least.max(place.used(budget));
                if most <= free {
                    free -= most;
                    place.set(budget, Share { most, ..Share::rest(least) }, Why::More);
                }
                continue;
            };
            let step = share.rate / 100 * quiet;
            if part < share.rate.saturating_sub(step) || share.fallback > least {
                let rate = part.min(share.rate);
                place.set(budget, Share { rate, fallback: least, most: held.max(rate) }, Why::Less);
            } else if part > share.rate.saturating_add(step) || share.fallback < least {
                // Its fallback is in force whatever it was granted.
                let from = share.rate.max(least);
                rises.push((place, from, part.max(from) - from, held));
            }
        }
        let need: u128 = rises.iter().map(|(_, _, asked, _)| u128::from(*asked)).sum();
        for (place, from, asked, held) in rises {
            let given = if need <= u128::from(free) {
                asked
            } else {
                (u128::from(asked) * u128::from(free) / need) as Amount
            };
            // A share that is only partly there may wait for the rest of it; a fallback must be
            // known.
            let is_kept =
                place.shares.get(budget).is_some_and(|one| one.fallback >= place.least(budget));
            if given < asked && given <= from / 200 * quiet && is_kept {
                continue;
            }
            let (rate, fallback) = (from + given, place.least(budget));
            place.set(budget, Share { rate, fallback, most: held.max(rate) }, Why::More);
        }
    }
}

impl Candidate<'_> {
    /// What it falls back to.
    fn least(&self, budget: &str) -> Amount {
        match self.node.report.1.claims.get(budget) {
            Some(claim) => claim.fallback,
            None => self.shares.get(budget).map_or(0, |share| share.fallback),
        }
    }

    /// The most that may be in force on it.
    fn held(&self, budget: &str) -> Amount {
        let Some(share) = self.shares.get(budget) else { return 0 };
        let least = self.least(budget).max(share.fallback);
        let has_ended = self.why == Some(Why::Silent) && !is_of_places(budget);
        let given = if self.has_taken || has_ended { share.rate } else { share.most };
        given.max(least).max(self.used(budget))
    }

    /// Places that are taken on it, also by those who came when it had more.
    fn used(&self, budget: &str) -> Amount {
        let claim = self.node.report.1.claims.get(budget).filter(|_| is_of_places(budget));
        claim.map_or(0, |claim| claim.used)
    }

    /// Whether its policy has no such budget any more.
    fn has_dropped(&self, budget: &str) -> bool {
        let is_claimed = self.node.report.1.claims.contains_key(budget);
        !is_claimed && !self.is_silent && self.has_taken && self.shares.contains_key(budget)
    }

    fn may_join(&self, budget: &str) -> bool {
        let is_claimed = self.node.report.1.claims.contains_key(budget);
        is_claimed && !self.is_silent && !self.shares.contains_key(budget)
    }

    fn want(&self, budget: &str) -> Want {
        let least = self.least(budget);
        let claim = self.node.report.1.claims.get(budget).copied().unwrap_or_default();
        let most = if claim.most == 0 { Amount::MAX } else { claim.most.max(least) };
        let wants = u128::from(claim.demand) * u128::from(HEADROOM) / 100;
        Want { least, wants: Amount::try_from(wants).unwrap_or(Amount::MAX), most }
    }

    fn set(&mut self, budget: &str, share: Share, why: Why) {
        self.shares.insert(budget.to_owned(), share);
        self.why = Some(self.why.map_or(why, |before| before.min(why)));
    }
}
