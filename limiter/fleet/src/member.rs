//! What a node does with what it is granted: takes it, reports it, and gives it up when its time is
//! over. Who puts a share into a kernel side lets it end there by itself, also when this process is
//! gone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Terms;
use crate::record::{Amount, Amounts, Claim, Grant, Report};

/// A node's side of the fleet.
#[derive(Clone, Debug)]
pub struct Member {
    terms: Terms,
    /// What its own policy states, and the most that it takes (0: any), by budget.
    stated: BTreeMap<String, (Amount, Amount)>,
    revision: u64,
    grant: Grant,
    ends: Duration,
}

impl Member {
    /// One that has not been granted anything. `stated`: for each budget what the node falls back
    /// to, and the most that it takes (0: any).
    pub fn new(terms: Terms, stated: BTreeMap<String, (Amount, Amount)>) -> Self {
        Self { terms, stated, revision: 0, grant: Grant::default(), ends: Duration::ZERO }
    }

    /// States the node's own policy anew.
    pub fn state(&mut self, stated: BTreeMap<String, (Amount, Amount)>) {
        self.stated = stated;
    }

    /// The revision of the grant that it holds; 0: none. A report is committed only while this is
    /// the newest.
    pub const fn holds(&self) -> u64 {
        self.revision
    }

    /// Takes a grant, and says whether it is newer than what it holds. Then the shares have to be
    /// put into force, and reported at once.
    pub fn take(&mut self, revision: u64, grant: &Grant) -> bool {
        let is_newer = revision > self.revision;
        if is_newer {
            (self.revision, self.grant) = (revision, grant.clone());
        }
        is_newer
    }

    /// The engine has no grant for it: it was forgotten, or never had one.
    pub fn forgotten(&mut self) {
        *self = Self::new(self.terms, std::mem::take(&mut self.stated));
    }

    /// What to report: the demand for each budget, and of places those that are `used`, counted
    /// after the grant that it holds was put into force. The transaction that commits it has to ask
    /// that the newest grant is the one that it names.
    pub fn report(&self, demand: &Amounts, used: &Amounts) -> Report {
        let claim = |(name, (fallback, most)): (&String, &(Amount, Amount))| {
            let [demand, used] =
                [demand, used].map(|amounts| amounts.get(name).copied().unwrap_or(0));
            (name.clone(), Claim { demand, fallback: *fallback, most: *most, used })
        };
        Report { holds: self.revision, claims: self.stated.iter().map(claim).collect() }
    }

    /// A report that was sent at `sent` was committed: the shares last for a term from then on.
    pub fn renewed(&mut self, sent: Duration) {
        self.ends = self.ends.max(sent + self.terms.term);
    }

    /// When its shares end, by the node's clock.
    pub const fn ends(&self) -> Duration {
        self.ends
    }

    /// Its share of a budget until [`Member::ends`]: at least what its policy states, and at most
    /// what it takes. `None`: it has none.
    pub fn share(&self, budget: &str) -> Option<Amount> {
        let (fallback, most) = *self.stated.get(budget)?;
        let most = if most == 0 { Amount::MAX } else { most.max(fallback) };
        Some(self.grant.shares.get(budget)?.rate.clamp(fallback, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Share;

    fn grant(rate: Amount) -> Grant {
        Grant { shares: [("web".to_owned(), Share { rate, fallback: 10, most: rate })].into() }
    }

    #[test]
    fn a_share_stays_between_what_the_policy_states_and_what_it_takes() {
        let mut member = Member::new(
            Terms::default(),
            [("web".to_owned(), (10, 50)), ("x".to_owned(), (1, 0))].into(),
        );
        assert_eq!(member.share("web"), None);
        for (revision, rate, share) in [(3, 30, 30), (4, 0, 10), (5, 1000, 50), (2, 20, 50)] {
            assert_eq!(member.take(revision, &grant(rate)), revision > 2);
            assert_eq!(member.share("web"), Some(share));
        }
        assert_eq!((member.share("x"), member.share("else")), (None, None));
        assert_eq!(member.report(&Amounts::new(), &Amounts::new()).holds, 5);
        member.forgotten();
        assert_eq!((member.holds(), member.share("web")), (0, None));
    }

    #[test]
    fn it_lasts_a_term_from_when_the_report_was_sent() {
        let mut member = Member::new(Terms::default(), BTreeMap::new());
        assert_eq!(member.ends(), Duration::ZERO);
        member.renewed(Duration::from_secs(5));
        member.renewed(Duration::from_secs(4));
        assert_eq!(member.ends(), Duration::from_secs(15));
    }
}
