//! Rates, durations and services as people write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Rate, Unkeepable};
use limiter_common::record::Refuse;
use limiter_common::switch::Mode;

use super::{Name, Service};

const UNITS: [(&str, u64); 4] = [
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Parses `20/s`, `600/min`, `5/h`, `1/10s`, `2k/s`, or `none`.
///
/// # Errors
/// A sentence that says what a rate looks like.
pub fn rate(text: &str) -> Result<Rate, String> {
    let wrong =
        || format!("`{text}` is not a rate; write `20/s`, `600/min`, `5/h`, `3/10s`, or `none`");
    if text == "none" {
        return Ok(Rate::default());
    }
    let (count, period) = text.split_once('/').ok_or_else(wrong)?;
    let (digits, scale) = match count.as_bytes().last() {
        Some(b'k') => (&count[..count.len() - 1], 1000),
        Some(b'M') => (&count[..count.len() - 1], 1_000_000),
        _ => (count, 1),
    };
    let count =
        digits.parse::<u64>().ok().and_then(|count| count.checked_mul(scale)).ok_or_else(wrong)?;
    if count == 0 {
        return Err(format!(
            "`{text}` would refuse every source; to remove a limit write `none`, to stop one \
             source use `limiter ban`"
        ));
    }
    Ok(Rate { count, period: unit(period).ok_or_else(wrong)? })
}

fn unit(text: &str) -> Option<u64> {
    if let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == text) {
        return Some(*nanoseconds);
    }
    let (alias, one) = match text {
        "sec" | "second" => (UNITS[0].1, true),
        "m" | "minute" => (UNITS[1].1, true),
        "hour" => (UNITS[2].1, true),
        "day" => (UNITS[3].1, true),
        _ => (0, false),
    };
    if one {
        return Some(alias);
    }
    let period = humantime::parse_duration(text).ok()?;
    u64::try_from(period.as_nanos()).ok().filter(|period| *period > 0)
}

/// Parses `90s`, `10m`, `1h 30m`; not zero.
///
/// # Errors
/// A sentence that says what a duration looks like.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(format!("`{text}` is not a duration; write `90s`, `10m`, `2h`, `1h 30m`")),
    }
}

/// The word for a way to challenge.
pub const fn show_challenge(challenge: Challenge) -> &'static str {
    match challenge {
        Challenge::Off => "off",
        Challenge::Auto => "auto",
        Challenge::Always => "always",
    }
}

/// The word for what becomes of what a limit refuses.
pub const fn show_refuse(refuse: Refuse) -> &'static str {
    match refuse {
        Refuse::Drop => "drop",
        Refuse::Reset => "reset",
        Refuse::Room => "room",
    }
}

/// The word for a mode.
pub const fn show_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

/// Parses `yes` or `no`.
///
/// # Errors
/// A sentence that says so.
pub fn yes(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("`{text}` is neither `yes` nor `no`")),
    }
}

/// The inverse of [`yes`].
pub const fn show_yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// Whole seconds as they are written: `15m`.
pub fn show_seconds(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string().replace(' ', "")
}

/// The burst that goes with a rate when none is said: two seconds of it, at least 10.
pub fn usual_burst(rate: Rate) -> u64 {
    if rate.count == 0 { 0 } else { rate.events_in(2_000_000_000).max(10) }
}

/// A rate as it is written: the shortest form that parses back to it.
pub fn show_rate(rate: Rate) -> String {
    if rate.count == 0 {
        return "none".to_owned();
    }
    match UNITS.iter().find(|(_, nanoseconds)| *nanoseconds == rate.period) {
        Some((name, _)) => format!("{}/{name}", rate.count),
        None => {
            let period = humantime::format_duration(Duration::from_nanos(rate.period)).to_string();
            format!("{}/{}", rate.count, period.replace(' ', ""))
        }
    }
}

/// A limit in words: `20/s, burst 40`, or `none`.
pub fn show_limit(limit: Limit) -> String {
    if limit.is_none() {
        "none".to_owned()
    } else {
        format!("{}, burst {}", show_rate(limit.rate), limit.burst)
    }
}

/// Why a limit cannot be kept, and what to do.
pub fn advice(limit: Limit, what: &str, reason: Unkeepable) -> String {
    let shown = show_limit(limit);
    match reason {
        Unkeepable::Zero => format!("{what}: `{shown}` has a zero where a number is meant"),
        Unkeepable::TooFast(most) => {
            format!(
                "{what}: {shown} is more than limiter can tell apart; the highest rate here is {most}/s, or use `none`"
            )
        }
        Unkeepable::TooLong(most) => {
            let most = humantime::format_duration(Duration::from_secs(most));
            format!(
                "{what}: at {shown} a full burst takes longer than {most} to come back; use a smaller burst or a higher rate"
            )
        }
        Unkeepable::BurstTooSmall(least) => {
            format!(
                "{what}: {shown} would refuse within the resolution of the kernel's clock (10 ms); use a burst of {least} or more"
            )
        }
    }
}

/// Parses `*:80`, `192.0.2.1:25` or `[2001:db8::1]:25`. `*` is every address of both families.
///
/// # Errors
/// A sentence that says what a place to listen looks like.
pub fn listener(text: &str) -> Result<Vec<SocketAddr>, String> {
    let wrong = |_| {
        format!(
            "`{text}` is not an ADDR:PORT to listen on; write `*:80`, `192.0.2.1:25`, \
             `[2001:db8::1]:25` or `[::]:25`"
        )
    };
    let listeners = match text.strip_prefix("*:") {
        Some(port) => {
            let port = port.parse().map_err(|_| wrong(()))?;
            let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            any.map(|any| SocketAddr::new(any, port)).to_vec()
        }
        None => match text.parse().map_err(|_| wrong(()))? {
            SocketAddr::V6(place) if place.scope_id() != 0 => {
                return Err(format!(
                    "`{text}`: limiter ignores IPv6 zones; leave out `%{}`",
                    place.scope_id()
                ));
            }
            // A mapped IPv6 address is the IPv4 address it stands for, as on the wire.
            place => vec![SocketAddr::new(place.ip().to_canonical(), place.port())],
        },
    };
    if listeners.iter().any(|listener| listener.port() == 0) {
        return Err(format!("`{text}`: a port is 1 to 65535"));
    }
    Ok(listeners)
}

/// Parses `NAME=ADDR:PORT,...`: `web=*:80,*:443`, `mail=192.0.2.1:25,[2001:db8::1]:25`.
///
/// # Errors
/// A sentence that says what a service looks like.
pub fn service(text: &str) -> Result<Service, String> {
    let (name, places) = text.split_once('=').ok_or_else(|| {
        format!(
            "`{text}` is not a service; write NAME=ADDR:PORT,... such as `web=*:80,*:443` or \
             `mail=192.0.2.1:25,[2001:db8::1]:25`"
        )
    })?;
    let mut service = Service::bare(name.parse()?);
    for place in places.split(',') {
        service.listeners.extend(listener(place)?);
    }
    service.listeners.sort_unstable();
    service.listeners.dedup();
    Ok(service)
}

/// Listeners as they are written, `*:443` where both families are meant.
pub fn show_listeners(listeners: &[SocketAddr]) -> Vec<String> {
    let any = |ip: IpAddr, port| listeners.contains(&SocketAddr::new(ip, port));
    let both =
        |port| any(Ipv4Addr::UNSPECIFIED.into(), port) && any(Ipv6Addr::UNSPECIFIED.into(), port);
    let shown = listeners.iter().filter_map(|listener| match listener.ip() {
        ip if ip.is_unspecified() && both(listener.port()) => {
            ip.is_ipv4().then(|| format!("*:{}", listener.port()))
        }
        _ => Some(listener.to_string()),
    });
    shown.collect()
}

/// A name from a record: up to the first zero byte.
pub fn name(bytes: &[u8]) -> Option<Name> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates() {
        assert_eq!(rate("20/s"), Ok(Rate::per_second(20)));
        assert_eq!(rate("2k/s"), Ok(Rate::per_second(2000)));
        assert_eq!(rate("600/min"), Ok(Rate { count: 600, period: 60_000_000_000 }));
        assert_eq!(rate("600/m"), rate("600/minute"));
        assert_eq!(rate("3/10s"), Ok(Rate { count: 3, period: 10_000_000_000 }));
        assert_eq!(rate("none"), Ok(Rate::default()));
        for bad in [
            "",
            "20",
            "/s",
            "20/",
            "-1/s",
            "1.5/s",
            "20/0s",
            "20/fortnight",
            "99999999999999999999/s",
            "9999999999999999999M/s",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert!(rate("0/s").expect_err("zero").contains("none"));
    }

    #[test]
    fn services() {
        let web = service("web=*:80,*:443").expect("a service");
        assert_eq!(web.listeners.len(), 4);
        assert_eq!(show_listeners(&web.listeners), ["*:80", "*:443"]);
        let mail = service("mail=192.0.2.1:25,[2001:db8::1]:25,0.0.0.0:587").expect("a service");
        assert_eq!(
            show_listeners(&mail.listeners),
            ["0.0.0.0:587", "192.0.2.1:25", "[2001:db8::1]:25"]
        );
        let mapped = service("mail=[::ffff:192.0.2.1]:25").expect("a service");
        assert_eq!(
            show_listeners(&mapped.listeners),
            ["192.0.2.1:25"],
            "as the kernel side sees it"
        );
        assert!(service("mail=[fe80::1%3]:25").expect_err("a zone").contains("leave out `%3`"));
        for bad in [
            "",
            "web",
            "web=",
            "web=80",
            "=*:80",
            "web=*:0",
            "web=*:65536",
            "w b=*:80",
            "web=2001:db8::1:80",
        ] {
            assert!(service(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_rate_survives_being_shown(count in 1_u64..1 << 40, period in 1_u64..1 << 50) {
            let given = Rate { count, period };
            prop_assert_eq!(rate(&show_rate(given)), Ok(given));
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = (rate(&text), duration(&text), service(&text), listener(&text));
        }
    }
}
