//! Numbers and times as an operator reads them.

use std::time::Duration;

/// The networks that sources are of: `3 IPv4 /24, 1 IPv6 /48`.
pub fn networks(v4: u64, v6: u64) -> String {
    let networks =
        [(v4, "IPv4 /24"), (v6, "IPv6 /48")].into_iter().filter(|(number, _)| *number > 0);
    networks
        .map(|(number, kind)| format!("{} {kind}", count(number)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A number of things: `1 prefix`, `1,234 prefixes`.
pub fn plural(number: u64, [one, many]: [&str; 2]) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A number with thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds as a person says them.
pub fn seconds(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.max(0.0).ceil() as u64)).to_string()
}

/// Seconds in the two largest units: `2h 5m`, `41s`.
pub fn seconds_short(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(plural(1, ["prefix", "prefixes"]), "1 prefix");
        assert_eq!(plural(1_000, ["prefix", "prefixes"]), "1,000 prefixes");
        assert_eq!(
            (networks(1, 0), networks(2, 3)),
            ("1 IPv4 /24".to_owned(), "2 IPv4 /24, 3 IPv6 /48".to_owned())
        );
    }
}
