//! What a leader decides, round by round.

use std::time::Duration;

use limiter_fleet::allocator::{FleetView, Round, Why};
use limiter_fleet::record::{Amount, Claim, Report, Share};
use limiter_fleet::{Allocator, Terms};

const NOW: Duration = Duration::from_secs(100);

/// A leader of nodes with these demands and fallbacks, none of which has joined, with a budget of
/// 1,000.
struct Fleet {
    allocator: Allocator,
    revision: u64,
}

impl Fleet {
    fn new(nodes: &[(&str, Amount, Amount)]) -> Self {
        let seen = FleetView { budgets: [("web".to_owned(), 1000)].into(), ..FleetView::default() };
        let mut fleet =
            Self { allocator: Allocator::new(Terms::default(), seen, NOW), revision: 0 };
        nodes.iter().for_each(|node| fleet.report(*node, NOW));
        fleet
    }

    /// A node reports that it holds its newest grant.
    fn report(&mut self, (name, demand, fallback): (&str, Amount, Amount), now: Duration) {
        let claim = Claim { demand, fallback, ..Claim::default() };
        self.tell(name, [("web".to_owned(), claim)].into(), now);
    }

    fn tell(
        &mut self,
        name: &str,
        claims: std::collections::BTreeMap<String, Claim>,
        now: Duration,
    ) {
        self.revision += 1;
        let node = self.allocator.seen().nodes.get(name);
        let holds = node.and_then(|node| node.grant.as_ref()).map_or(0, |(revision, _)| *revision);
        let fits = self.allocator.heard(name, self.revision, &Report { holds, claims }, now);
        assert!(fits, "{name} names the newest grant");
    }

    /// The next round, committed.
    fn round(&mut self, now: Duration) -> Option<Round> {
        let round = self.allocator.decide(now)?;
        self.revision += 1;
        self.allocator.committed(round.clone(), self.revision);
        Some(round)
    }

    fn share(&self, name: &str) -> Option<Share> {
        self.allocator.seen().nodes[name].grant.as_ref()?.1.shares.get("web").copied()
    }

    fn rate(&self, name: &str) -> Amount {
        self.share(name).map_or(0, |share| share.rate)
    }
}

#[test]
fn a_share_that_was_lowered_is_given_away_when_that_is_reported() {
    let mut fleet = Fleet::new(&[("a", 900, 100), ("b", 10, 100)]);
    fleet.round(NOW).expect("they join");
    fleet.report(("a", 900, 100), NOW);
    fleet.report(("b", 10, 100), NOW);
    fleet.round(NOW).expect("more of what is left");
    assert_eq!((fleet.rate("a"), fleet.rate("b")), (900, 100));
    fleet.report(("a", 10, 100), NOW);
    fleet.report(("b", 900, 100), NOW);
    let round = fleet.round(NOW).expect("less");
    let whys: Vec<_> = round.grants.iter().map(|(name, _, why)| (&**name, *why)).collect();
    assert_eq!(whys, [("a", Why::Less)]);
    assert_eq!((fleet.rate("b"), fleet.share("a").expect("a share").most), (100, 900));
    assert_eq!(fleet.allocator.held("web", NOW), 1000);
    assert_eq!(fleet.round(NOW), None, "a may still use 900");
    fleet.report(("a", 10, 100), NOW);
    fleet.round(NOW).expect("more");
    assert_eq!((fleet.rate("a"), fleet.rate("b")), (100, 900));
}

#[test]
fn who_is_silent_keeps_its_fallback_and_no_more() {
    let mut fleet = Fleet::new(&[("a", 900, 100), ("b", 900, 100)]);
    for _ in 0..3 {
        fleet.round(NOW);
        fleet.report(("a", 900, 100), NOW);
        fleet.report(("b", 900, 100), NOW);
    }
    assert_eq!((fleet.rate("a"), fleet.rate("b")), (500, 500));
    let terms = Terms::default();
    let late = NOW + terms.silence();
    fleet.report(("a", 900, 100), late);
    assert_eq!(fleet.round(late), None, "its share may still be in force");
    let later = late + Duration::from_millis(1);
    let round = fleet.round(later).expect("it is written off");
    let [ref first, ref second] = round.grants[..] else { panic!("{round:?}") };
    assert_eq!((&*first.0, first.2, &*second.0, second.2), ("b", Why::Silent, "a", Why::More));
    assert_eq!(round.unchanged.len(), 1);
    assert_eq!((fleet.rate("a"), fleet.share("b")), (900, Some(Share::rest(100))));
}

#[test]
fn a_fallback_that_does_not_fit_is_no_part_of_the_fleet() {
    let mut fleet = Fleet::new(&[("a", 10, 600), ("b", 10, 600), ("c", 10, 300)]);
    for _ in 0..3 {
        fleet.round(NOW);
        fleet.report(("a", 10, 600), NOW);
        fleet.report(("c", 10, 300), NOW);
    }
    assert!(fleet.rate("a") >= 600 && fleet.rate("c") >= 300);
    assert_eq!(fleet.share("b"), None);
}

#[test]
fn a_policy_may_state_another_fallback_or_no_budget() {
    let mut fleet = Fleet::new(&[("a", 10, 100), ("b", 2000, 100)]);
    for fallback in [100, 100, 400, 400, 50, 50] {
        fleet.report(("b", 2000, 100), NOW);
        fleet.report(("a", 10, fallback), NOW);
        fleet.round(NOW);
        fleet.report(("b", 2000, 100), NOW);
        fleet.report(("a", 10, fallback), NOW);
        fleet.round(NOW);
    }
    assert_eq!(fleet.share("a").map(|share| share.fallback), Some(50));
    assert_eq!((fleet.rate("a"), fleet.rate("b")), (50, 950));
    fleet.tell("a", Default::default(), NOW);
    fleet.round(NOW).expect("it has no such budget any more");
    assert_eq!(fleet.share("a"), None);
    fleet.report(("b", 2000, 100), NOW);
    fleet.round(NOW);
    assert_eq!(fleet.rate("b"), 1000);
}

#[test]
fn a_report_with_another_grant_means_that_something_was_missed() {
    let mut fleet = Fleet::new(&[("a", 10, 100)]);
    fleet.round(NOW).expect("it joins");
    let forgotten = Report::default();
    assert!(!fleet.allocator.heard("a", 99, &forgotten, NOW));
    let newer = Report { holds: 98, ..Report::default() };
    assert!(!fleet.allocator.heard("a", 100, &newer, NOW));
}

/// What a node falls back to is kept for it as soon as it says that it is more, also where its
/// share stays as it is.
#[test]
fn a_fallback_that_grew_is_kept() {
    let mut fleet = Fleet::new(&[("a", 0, 10), ("b", 0, 10)]);
    while fleet.round(NOW).is_some() {
        for node in [("a", 0, 10), ("b", 0, 10)] {
            fleet.report(node, NOW);
        }
    }
    fleet.report(("a", 0, 12), NOW);
    while fleet.round(NOW).is_some() {
        fleet.report(("a", 0, 12), NOW);
        fleet.report(("b", 0, 10), NOW);
    }
    assert_eq!(fleet.share("a").map(|share| share.fallback), Some(12));
}

/// Of places, what was lowered is there for others when its users have left, and of a silent node
/// nothing is.
#[test]
fn places_come_back_when_their_users_have_left() {
    let places = |demand, used| -> std::collections::BTreeMap<String, Claim> {
        let claim = Claim { demand, fallback: 100, used, ..Claim::default() };
        [("web.users".to_owned(), claim)].into()
    };
    let seen =
        FleetView { budgets: [("web.users".to_owned(), 1000)].into(), ..FleetView::default() };
    let mut fleet = Fleet { allocator: Allocator::new(Terms::default(), seen, NOW), revision: 0 };
    let share = |fleet: &Fleet, name: &str| {
        fleet.allocator.seen().nodes[name]
            .grant
            .as_ref()
            .map_or(0, |(_, grant)| grant.shares.get("web.users").map_or(0, |share| share.rate))
    };
    for _ in 0..3 {
        fleet.tell("a", places(900, 0), NOW);
        fleet.tell("b", places(10, 0), NOW);
        fleet.round(NOW);
    }
    assert_eq!((share(&fleet, "a"), share(&fleet, "b")), (900, 100));
    // The crowd moves; those who came first are still there.
    for (used, expected) in [(850, 150), (600, 400), (100, 900)] {
        for _ in 0..3 {
            fleet.tell("a", places(10, used), NOW);
            fleet.tell("b", places(900, 0), NOW);
            fleet.round(NOW);
            assert!(fleet.allocator.held("web.users", NOW) <= 1000);
        }
        assert_eq!((share(&fleet, "a"), share(&fleet, "b")), (100, expected));
    }
    // What b may have taken since is kept for it, however long it is silent.
    let late = NOW + 2 * Terms::default().silence();
    for _ in 0..4 {
        fleet.tell("a", places(900, 100), late);
        fleet.round(late);
    }
    assert_eq!((share(&fleet, "a"), share(&fleet, "b")), (100, 100));
    assert_eq!(fleet.allocator.held("web.users", late), 1000);
    // It comes back, with fewer.
    for _ in 0..3 {
        fleet.tell("b", places(10, 300), late);
        fleet.tell("a", places(900, 100), late);
        fleet.round(late);
    }
    assert_eq!((share(&fleet, "a"), share(&fleet, "b")), (700, 100));
}
