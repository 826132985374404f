//! Times as the clock on the wall of the recorded machine showed them.

use std::time::{Duration, UNIX_EPOCH};

use super::super::archive::Record;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Turns seconds from the beginning of a series into times of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The beginning in local seconds since 1970.
    began: f64,
    offset: i64,
}

impl Clock {
    /// The clock of a record.
    pub fn of(record: &Record) -> Self {
        // No time zone is further away than a day.
        let offset =
            record.meta.as_ref().map_or(0, |meta| meta.utc_offset_seconds.clamp(-DAY, DAY));
        Self { began: record.series.began as f64 / 1e3 + offset as f64, offset }
    }

    /// `14:02:10`.
    pub fn time(&self, at: f64) -> String {
        self.text(at).get(11..19).unwrap_or_default().to_owned()
    }

    /// `2026-11-24`.
    pub fn date(&self, at: f64) -> String {
        self.text(at).get(..10).unwrap_or_default().to_owned()
    }

    /// `2026-11-24, 14:02:10 to 14:12:10 (UTC+01:00)`.
    pub fn span(&self, length: f64) -> String {
        let zone = format!(
            "UTC{}{:02}:{:02}",
            if self.offset < 0 { '-' } else { '+' },
            self.offset.abs() / 3600,
            self.offset.abs() / 60 % 60
        );
        let end = if self.date(0.0) == self.date(length) {
            String::new()
        } else {
            format!("{} ", self.date(length))
        };
        format!("{}, {} to {end}{} ({zone})", self.date(0.0), self.time(0.0), self.time(length))
    }

    /// Round times within `length` seconds, at most ten or so.
    pub fn ticks(&self, length: f64) -> Vec<(f64, String)> {
        let steps =
            [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];
        let step = steps
            .into_iter()
            .map(f64::from)
            .find(|step| length / step <= 9.0)
            .unwrap_or(length / 9.0);
        let first = (self.began / step).ceil() * step - self.began;
        let ticks =
            (0..12).map(|number| first + step * f64::from(number)).take_while(|at| *at <= length);
        ticks
            .map(|at| {
                (
                    at,
                    if step < 60.0 {
                        self.time(at)
                    } else {
                        self.time(at).get(..5).unwrap_or_default().to_owned()
                    },
                )
            })
            .collect()
    }

    fn text(&self, at: f64) -> String {
        // Years of four digits, whatever the record says.
        let seconds = (self.began + at).round().clamp(0.0, 253_402_300_000.0);
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds as u64))
            .to_string()
    }
}

/// `4m 30s`.
pub fn length(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.clamp(0.0, 1e9).round() as u64))
        .to_string()
}
