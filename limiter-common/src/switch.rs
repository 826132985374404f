//! The switch: the one word that says which policy decides, in which mode, until when, which lists
//! are in use, and what pays for a connection.
//!
//! A packet loads it once and lives by that value. User space replaces it with one aligned 64-bit
//! store. Bits 20 to 63 are the revert time, CLOCK_MONOTONIC in units of 2^20 ns (1.05 ms), so
//! masking the low bits away leaves nanoseconds. From that time on the *fallback* slot and mode
//! count, whether or not anybody in user space is alive to see it.

use crate::record::SLOTS;

/// Whether what is refused is dropped, or only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Decide and count, always pass.
    Observe,
    /// Decide, count, and drop what is refused.
    Enforce,
}

/// The switch word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(pub u64);

/// A policy slot and the mode it is applied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Below [`crate::record::SLOTS`].
    pub slot: u32,
    /// Observe or enforce.
    pub mode: Mode,
}

const READY: u64 = 1 << 0;
/// Where a selection is: two bits of slot, and above them whether it enforces.
const NOW: u32 = 1;
const FALLBACK: u32 = 4;
const SELECTION: u64 = 0b111;
const REVERT: u64 = !0xf_ffff;

/// What pays for a connection, in the whole network namespace. User space keeps it in line with
/// `net.ipv4.tcp_syncookies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    /// The attempt: the kernel makes no cookies, but in a flood of its own.
    Attempts,
    /// The attempt, and what brings a cookie that the kernel made until a moment ago for an attempt
    /// that has not paid: of a flood before limits were in force, or while cookies paid.
    Ending,
    /// What brings a cookie back: the kernel answers every attempt with one.
    Proofs,
}

/// Which allow and ban lists hold anything: an empty one is not looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Single addresses that are allowed.
    pub allow_hosts: bool,
    /// Prefixes that are allowed.
    pub allow_prefixes: bool,
    /// Single addresses that are banned.
    pub ban_hosts: bool,
    /// Prefixes that are banned.
    pub ban_prefixes: bool,
}

impl Switch {
    /// Lists in use: bits 8 to 11.
    pub const ALLOW_HOSTS: u64 = 1 << 8;
    /// See [`Lists::allow_prefixes`].
    pub const ALLOW_PREFIXES: u64 = 1 << 9;
    /// See [`Lists::ban_hosts`].
    pub const BAN_HOSTS: u64 = 1 << 10;
    /// See [`Lists::ban_prefixes`].
    pub const BAN_PREFIXES: u64 = 1 << 11;
    /// What pays for a connection: bits 12 and 13.
    const PROOFS: u64 = 1 << 12;
    const ASKS: u64 = 1 << 13;
    const BANS: u64 = Self::BAN_HOSTS | Self::BAN_PREFIXES;
    const LISTS: u64 = Self::BANS | Self::ALLOW_HOSTS | Self::ALLOW_PREFIXES;

    /// A switch that selects `now` for good, with the lists in use.
    pub const fn new(now: Selection, lists: Lists) -> Self {
        Self(READY | (now.bits() << NOW) | (now.bits() << FALLBACK)).with_lists(lists)
    }

    /// A switch that selects `now` for good, and is this one otherwise.
    pub const fn select(self, now: Selection) -> Self {
        Self::new(now, self.lists()).with_regime(self.regime())
    }

    /// The same in another mode now; when and where it goes back to stays.
    pub const fn with_mode(self, mode: Mode) -> Self {
        self.with_now(Selection { mode, ..Selection::from_bits(self.0 >> NOW) })
    }

    /// The same with another selection now; when and where it goes back to stays.
    pub const fn with_now(self, now: Selection) -> Self {
        Self(self.0 & !(SELECTION << NOW) | (now.bits() << NOW))
    }

    /// The same with the first slot in place of one that does not exist.
    pub const fn of_slots(self) -> Self {
        let mut word = self.0;
        if self.fallback().slot >= SLOTS {
            word &= !(0b11 << FALLBACK);
        }
        if Selection::from_bits(word >> NOW).slot >= SLOTS {
            word &= !(0b11 << NOW);
        }
        Self(word)
    }

    /// The same, but going back to `fallback` at `revert` (nanoseconds, CLOCK_MONOTONIC; rounded up to the next 1.05 ms).
    pub const fn until(self, revert: u64, fallback: Selection) -> Self {
        let rounded = revert.saturating_add(0xf_ffff) & REVERT;
        let kept = self.0 & !(REVERT | (SELECTION << FALLBACK));
        Self(kept | rounded | (fallback.bits() << FALLBACK))
    }

    /// The same with other lists in use.
    pub const fn with_lists(self, lists: Lists) -> Self {
        let bits = (lists.allow_hosts as u64 * Self::ALLOW_HOSTS)
            | (lists.allow_prefixes as u64 * Self::ALLOW_PREFIXES)
            | (lists.ban_hosts as u64 * Self::BAN_HOSTS)
            | (lists.ban_prefixes as u64 * Self::BAN_PREFIXES);
        Self(self.0 & !Self::LISTS | bits)
    }

    /// The same under another regime.
    pub const fn with_regime(self, regime: Regime) -> Self {
        let bits = match regime {
            Regime::Attempts => 0,
            Regime::Ending => Self::PROOFS,
            Regime::Proofs => Self::PROOFS | Self::ASKS,
        };
        Self(self.0 & !(Self::PROOFS | Self::ASKS) | bits)
    }

    /// What pays for a connection.
    pub const fn regime(self) -> Regime {
        match (self.charges_proofs(), self.asks()) {
            (false, _) => Regime::Attempts,
            (true, false) => Regime::Ending,
            (true, true) => Regime::Proofs,
        }
    }

    /// Whether what brings a cookie back is charged.
    #[inline(always)]
    pub const fn charges_proofs(self) -> bool {
        self.0 & Self::PROOFS != 0
    }

    /// Whether the kernel asks for a proof whatever attempt it gets, so that attempts cost nothing.
    #[inline(always)]
    pub const fn asks(self) -> bool {
        self.0 & Self::ASKS != 0
    }

    /// Whether attempts pay, and proofs whose attempt has not.
    #[inline(always)]
    pub const fn charges_both(self) -> bool {
        self.0 & (Self::PROOFS | Self::ASKS) == Self::PROOFS
    }

    /// The lists in use.
    pub const fn lists(self) -> Lists {
        Lists {
            allow_hosts: self.has(Self::ALLOW_HOSTS),
            allow_prefixes: self.has(Self::ALLOW_PREFIXES),
            ban_hosts: self.has(Self::BAN_HOSTS),
            ban_prefixes: self.has(Self::BAN_PREFIXES),
        }
    }

    /// Whether a policy was ever written. A fresh map is all zeros, and then every packet passes.
    #[inline(always)]
    pub const fn is_ready(self) -> bool {
        self.0 & READY != 0
    }

    /// Whether any ban may be in force: only then is a packet that is no attempt looked at further.
    #[inline(always)]
    pub const fn has_bans(self) -> bool {
        self.0 & Self::BANS != 0
    }

    /// Whether any of the lists in `mask` is in use.
    #[inline(always)]
    pub const fn has(self, mask: u64) -> bool {
        self.0 & mask != 0
    }

    /// Whether any list is in use.
    #[inline(always)]
    pub const fn has_lists(self) -> bool {
        self.0 & Self::LISTS != 0
    }

    /// When it goes back to the fallback, in nanoseconds, if it does.
    pub const fn revert(self) -> Option<u64> {
        match self.0 & REVERT {
            0 => None,
            time => Some(time),
        }
    }

    /// Until when the policy that decides at `now` is on trial: from then on that of another slot
    /// decides again.
    pub const fn trial(self, now: u64) -> Option<u64> {
        match self.revert() {
            Some(revert) if revert > now && self.at(now).slot != self.fallback().slot => {
                Some(revert)
            }
            _ => None,
        }
    }

    /// What counts at `now` (nanoseconds, CLOCK_MONOTONIC).
    #[inline(always)]
    pub const fn at(self, now: u64) -> Selection {
        let revert = self.0 & REVERT;
        if revert != 0 && now >= revert {
            self.fallback()
        } else {
            Selection::from_bits(self.0 >> NOW)
        }
    }

    /// What counts from the revert time on.
    #[inline(always)]
    pub const fn fallback(self) -> Selection {
        Selection::from_bits(self.0 >> FALLBACK)
    }
}

impl Selection {
    const fn bits(self) -> u64 {
        (self.slot as u64 & 3) | ((matches!(self.mode, Mode::Enforce) as u64) << 2)
    }

    #[inline(always)]
    const fn from_bits(bits: u64) -> Self {
        let mode = if bits & 4 != 0 { Mode::Enforce } else { Mode::Observe };
        Self { slot: bits as u32 & 3, mode }
    }
}

const _: () = assert!(FALLBACK == NOW + SELECTION.count_ones() && SLOTS <= 4);

#[cfg(test)]
mod tests {
    use super::*;

    const OBSERVE_0: Selection = Selection { slot: 0, mode: Mode::Observe };
    const ENFORCE_1: Selection = Selection { slot: 1, mode: Mode::Enforce };

    #[test]
    fn a_zero_word_is_not_ready_and_observes() {
        assert!(!Switch(0).is_ready());
        assert_eq!(Switch(0).at(u64::MAX), OBSERVE_0);
        assert!(!Switch(0).has_bans() && !Switch(0).has_lists());
    }

    #[test]
    fn it_goes_back_at_the_revert_time_and_not_before() {
        let revert = 90_000_000_000;
        let switch = Switch::new(ENFORCE_1, Lists::default()).until(revert, OBSERVE_0);
        let at = switch.revert().expect("a revert time");
        assert!((revert..revert + 1_048_576).contains(&at), "rounded up to {at}");
        assert_eq!(switch.at(at - 1), ENFORCE_1);
        assert_eq!(switch.at(at), OBSERVE_0);
        assert!(switch.is_ready());
    }

    #[test]
    fn a_policy_on_trial_goes_back_whatever_the_mode() {
        let trial = Switch::new(ENFORCE_1, Lists::default()).until(1 << 40, OBSERVE_0);
        assert_eq!(trial.trial(0), Some(1 << 40));
        assert_eq!((trial.trial(1 << 40), trial.select(ENFORCE_1).trial(0)), (None, None));
        let disarmed = trial.with_mode(Mode::Observe);
        assert_eq!(disarmed.at(0), Selection { mode: Mode::Observe, ..ENFORCE_1 });
        assert_eq!((disarmed.at(1 << 40), disarmed.trial(0)), (OBSERVE_0, Some(1 << 40)));
        assert_eq!(disarmed.with_mode(Mode::Enforce), trial);
        let armed = Switch::new(ENFORCE_1, Lists::default())
            .until(1 << 40, Selection { mode: Mode::Observe, ..ENFORCE_1 });
        assert_eq!(armed.trial(0), None, "only the mode goes back");
    }

    #[test]
    fn another_policy_joins_a_trial() {
        let enforce_2 = Selection { slot: 2, mode: Mode::Enforce };
        let trial = Switch::new(ENFORCE_1, Lists::default()).until(1 << 40, OBSERVE_0);
        let changed = trial.with_now(enforce_2);
        assert_eq!((changed.at(0), changed.at(1 << 40)), (enforce_2, OBSERVE_0));
        assert_eq!(changed.with_now(ENFORCE_1), trial);
        assert_eq!(changed.of_slots(), changed);
        let nowhere = Selection { slot: 3, mode: Mode::Enforce };
        let spoiled = Switch::new(nowhere, Lists::default()).until(1 << 40, nowhere).of_slots();
        let first = Selection { slot: 0, ..nowhere };
        assert_eq!((spoiled.at(0), spoiled.at(1 << 40)), (first, first));
    }

    #[test]
    fn lists_change_nothing_else() {
        let plain = Switch::new(ENFORCE_1, Lists::default()).until(1 << 40, OBSERVE_0);
        let listed =
            plain.with_lists(Lists { ban_hosts: true, allow_prefixes: true, ..Lists::default() });
        assert!(
            listed.has_bans()
                && listed.has(Switch::ALLOW_PREFIXES)
                && !listed.has(Switch::ALLOW_HOSTS)
        );
        assert_eq!((listed.at(0), listed.revert()), (plain.at(0), plain.revert()));
        assert_eq!(listed.with_lists(Lists::default()), plain);
        assert_eq!(plain.with_lists(listed.lists()), listed);
        for regime in [Regime::Proofs, Regime::Ending, Regime::Attempts] {
            let other = listed.with_regime(regime);
            assert_eq!(
                (other.regime(), other.at(0), other.lists()),
                (regime, listed.at(0), listed.lists())
            );
            assert_eq!(
                other.select(ENFORCE_1),
                Switch::new(ENFORCE_1, listed.lists()).with_regime(regime)
            );
            assert_eq!(other.with_regime(listed.regime()), listed);
        }
    }
}
