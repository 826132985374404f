//! Reverts: the kernel side goes back by itself and tells nobody, but the switch shows when, and from what to what.

use std::time::Duration;

use limiter_common::switch::{Selection, Switch};

/// Something that went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WentBack {
    /// When, in nanoseconds of the kernel side's clock.
    pub at: u64,
    /// What decided before.
    pub from: Selection,
    /// What decides since.
    pub to: Selection,
}

/// Follows the switch. One that went back still says so, until somebody changes it.
#[derive(Debug, Default)]
pub struct Follower {
    /// The time of the last revert that was told.
    told: Option<u64>,
}

impl Follower {
    /// What went back by `now` and was not told yet.
    pub fn look(&self, switch: Switch, now: u64) -> Option<WentBack> {
        let at = switch.revert().filter(|at| *at <= now && Some(*at) != self.told)?;
        Some(WentBack { at, from: switch.at(at - 1), to: switch.fallback() })
    }

    /// It is told.
    pub fn told(&mut self, went_back: WentBack) {
        self.told = Some(went_back.at);
    }
}

/// The time until the switch goes back.
pub fn left(switch: Switch, now: u64) -> Option<Duration> {
    let left = switch.revert()?.checked_sub(now)?;
    Some(Duration::from_nanos(left))
}

#[cfg(test)]
mod tests {
    use limiter_common::switch::{Lists, Mode};

    use super::*;

    #[test]
    fn a_revert_is_told_once_and_not_before_its_time() {
        let (observe, enforce) = (
            Selection { slot: 0, mode: Mode::Observe },
            Selection { slot: 1, mode: Mode::Enforce },
        );
        let mut follower = Follower::default();
        let plain = Switch::new(enforce, Lists::default());
        assert_eq!((follower.look(plain, u64::MAX), left(plain, 0)), (None, None));
        let trial = plain.until(1 << 40, observe);
        assert_eq!(left(trial, (1 << 40) - 7), Some(Duration::from_nanos(7)));
        assert_eq!(follower.look(trial, (1 << 40) - 1), None);
        let expected = WentBack { at: 1 << 40, from: enforce, to: observe };
        assert_eq!(follower.look(trial, 1 << 40), Some(expected));
        assert_eq!(follower.look(trial, 1 << 41), Some(expected), "until it is told");
        follower.told(expected);
        assert_eq!(follower.look(trial, 1 << 41), None);
        // A ban changes the lists in use, and nothing of this.
        assert_eq!(
            follower.look(trial.with_lists(Lists { ban_hosts: true, ..Lists::default() }), 1 << 41),
            None
        );
        let again = plain.until(1 << 42, observe);
        assert_eq!(follower.look(again, 1 << 42), Some(WentBack { at: 1 << 42, ..expected }));
    }
}
