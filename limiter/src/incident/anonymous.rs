//! Cuts every address in a text to its /24 or /48, so that a record can be sent around.
//!
//! It works on text, not on fields: commands, policies and findings hold addresses too, and a field that is added later is not forgotten.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The text with all addresses cut. `192.0.2.77`, `192.0.2.77/32` and `192.0.2.77:443` become `192.0.2.0/24`, the last with its port.
pub fn cut(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let (run, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
        out.push_str(before);
        // A letter before it: part of a word.
        let glued = before.chars().next_back().is_some_and(char::is_alphanumeric);
        let (word, tail, rest_after) =
            if glued { (run.to_owned(), "", after) } else { cut_run(run, after) };
        out.push_str(&word);
        out.push_str(tail);
        rest = rest_after;
    }
    out.push_str(rest);
    out
}

/// The run with its address cut, what of the run is behind it, and what is left of `after` once a prefix length is taken.
fn cut_run<'a>(run: &'a str, after: &'a str) -> (String, &'a str, &'a str) {
    let whole = run.trim_end_matches(['.', ':']);
    let with_port = whole.rsplit_once(':').map(|(address, _)| address).unwrap_or_default();
    // An address of version 6 may end with colons of its own; only one of version 4 has a port without brackets.
    for address in [run, whole, with_port] {
        let Ok(parsed) = address.parse::<IpAddr>() else { continue };
        if parsed.is_unspecified()
            || parsed.is_loopback()
            || (address.len() < whole.len() && parsed.is_ipv6())
        {
            break;
        }
        let tail = &run[address.len()..];
        let (length, after) = if tail.is_empty() { taken_length(after) } else { (None, after) };
        return (prefix(parsed, length), tail, after);
    }
    (run.to_owned(), "", after)
}

/// The prefix length that follows, if one does.
fn taken_length(after: &str) -> (Option<u8>, &str) {
    let Some(digits) = after.strip_prefix('/') else { return (None, after) };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    match digits[..end].parse() {
        Ok(length) => (Some(length), &digits[end..]),
        Err(_) => (None, after),
    }
}

fn prefix(address: IpAddr, length: Option<u8>) -> String {
    match address {
        IpAddr::V4(address) => {
            let length = length.unwrap_or(32).min(24);
            let bits =
                address.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            format!("{}/{length}", Ipv4Addr::from_bits(bits))
        }
        IpAddr::V6(address) => {
            let length = length.unwrap_or(128).min(48);
            let bits =
                address.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            format!("{}/{length}", Ipv6Addr::from_bits(bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_cut_wherever_they_stand() {
        for (text, expected) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("banned 192.0.2.77/32 for 10m", "banned 192.0.2.0/24 for 10m"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("\"2001:db8:1:2::5\",", "\"2001:db8:1::/48\","),
            ("2001:db8:1:2::/64", "2001:db8:1::/48"),
            (
                "from 192.0.2.77. And 192.0.2.78: refused",
                "from 192.0.2.0/24. And 192.0.2.0/24: refused",
            ),
            (
                "web=192.0.2.1:443,[2001:db8:1:2::1]:443",
                "web=192.0.2.0/24:443,[2001:db8:1::/48]:443",
            ),
            ("::ffff:192.0.2.77", "::/48"),
            (
                "2026-11-24T23:58:30.123Z at 12:30:05, 17.5 and *:80",
                "2026-11-24T23:58:30.123Z at 12:30:05, 17.5 and *:80",
            ),
            ("127.0.0.1 and 0.0.0.0:80 and [::]:80", "127.0.0.1 and 0.0.0.0:80 and [::]:80"),
        ] {
            assert_eq!(cut(text), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_host_is_left(v4: [u8; 4], v6: [u16; 8], around in "[ ,\"(]") {
            prop_assume!(v4[3] != 0 && v4[0] != 127 && v4[0] != 0 && v6[0] > 0 && v6[7] > 0);
            let (v4, v6) = (Ipv4Addr::from(v4), Ipv6Addr::from(v6));
            let text = cut(&format!("{around}{v4}{around}{v6}{around}[{v6}]:80{around}{v4}:443"));
            prop_assert!(!text.contains(&v4.to_string()) && !text.contains(&v6.to_string()), "{}", text);
        }

        #[test]
        fn any_text_is_text(text: String) {
            let _ = cut(&text);
        }
    }
}
