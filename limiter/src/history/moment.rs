//! A moment of wall time: RFC 3339 in UTC in the file, local time for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::kernel::clock;

/// Wall time in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(SystemTime);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// The wall time that belongs to `time`, nanoseconds of the kernel side's clock; `None` for ever, which is `u64::MAX`.
    ///
    /// It is as good as the wall clock: when that is set, the kernel side does not notice.
    pub fn of(time: u64) -> Option<Self> {
        if time == u64::MAX {
            return None;
        }
        let now = clock::now();
        let (left, gone) = (time.saturating_sub(now), now.saturating_sub(time));
        let wall = SystemTime::now().checked_add(Duration::from_nanos(left))?;
        Some(wall.checked_sub(Duration::from_nanos(gone))?.into())
    }

    /// Seconds from `earlier` to this moment; negative when it is the later one.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        let behind = |it: Self, other: Self| {
            it.0.duration_since(other.0).map_or(0.0, |gap| gap.as_secs_f64())
        };
        behind(self, earlier) - behind(earlier, self)
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    /// `14:32:05` of this machine's time zone when `self` is within a day of `reference`, else with the date.
    pub fn local_beside(self, reference: Self) -> String {
        let whole = self.local();
        match (whole.split_once(' '), reference.local().split_once(' ')) {
            (Some((day, time)), Some((other, _))) if day == other => time.to_owned(),
            _ => whole,
        }
    }

    /// `2026-11-24 14:32:05` in this machine's time zone.
    pub fn local(self) -> String {
        self.zoned().map_or_else(|| self.utc(), |local| local.strftime("%F %T").to_string())
    }

    /// Seconds that this machine's time zone is ahead of UTC at this moment; negative west of it.
    pub fn utc_offset(self) -> i64 {
        self.zoned().map_or(0, |local| local.offset().seconds().into())
    }

    /// `None` beyond jiff's last moment, which is a day before the last of [`Moment`].
    fn zoned(self) -> Option<Zoned> {
        Some(Timestamp::try_from(self.0).ok()?.to_zoned(TimeZone::system()))
    }

    fn utc(self) -> String {
        humantime::format_rfc3339_millis(self.0).to_string()
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        // RFC 3339 has years of four digits.
        let since = time
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .min(Duration::from_secs(253_402_300_799));
        Self(UNIX_EPOCH + Duration::from_millis(since.as_millis() as u64))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.utc())
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map(Into::into).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever bytes stand in a list's entry.
        #[test]
        fn any_time_but_for_ever_is_a_moment(time in any::<u64>()) {
            prop_assert_eq!(Moment::of(time).is_some(), time != u64::MAX);
        }
    }

    #[test]
    fn a_moment_survives_the_file() {
        let now = Moment::now();
        let text = serde_json::to_string(&now).expect("text");
        assert!(text.ends_with("Z\"") && text.contains('T'), "{text}");
        assert_eq!(serde_json::from_str::<Moment>(&text).expect("a moment"), now);
        assert!(serde_json::from_str::<Moment>("\"yesterday\"").is_err());
    }

    #[test]
    fn the_ends_of_time_are_moments_too() {
        for time in [UNIX_EPOCH - Duration::from_secs(9), UNIX_EPOCH + Duration::from_secs(1 << 40)]
        {
            let moment = Moment::from(time);
            let text = serde_json::to_string(&moment).expect("text");
            assert_eq!(serde_json::from_str::<Moment>(&text).expect("a moment"), moment);
            assert!(!moment.local().is_empty());
        }
        assert!(Moment::of(u64::MAX - 1).is_some());
    }

    #[test]
    fn the_date_is_left_away_on_the_same_day() {
        let noon = Moment::from(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let later = Moment::from(UNIX_EPOCH + Duration::from_secs(1_700_000_001));
        let next_week = Moment::from(UNIX_EPOCH + Duration::from_secs(1_700_600_000));
        assert_eq!(later.local_beside(noon).len(), "14:32:05".len());
        assert_eq!(next_week.local_beside(noon).len(), "2026-11-24 14:32:05".len());
    }

    #[test]
    fn the_offset_is_that_of_local_time() {
        let noon = Moment::from(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let as_if_utc =
            humantime::parse_rfc3339_weak(&noon.local()).map(Moment::from).expect("a time");
        assert_eq!(as_if_utc.seconds_since(noon), noon.utc_offset() as f64);
    }

    #[test]
    fn the_kernel_sides_clock_as_wall_time() {
        assert_eq!(Moment::of(u64::MAX), None);
        let minute = Duration::from_secs(60);
        let after = Moment::of(clock::after(minute)).expect("a moment");
        let expected = Moment::from(SystemTime::now() + minute);
        assert!(after.0.duration_since(expected.0).unwrap_or_default() < Duration::from_secs(1));
        assert!(expected.0.duration_since(after.0).unwrap_or_default() < Duration::from_secs(1));
    }
}
