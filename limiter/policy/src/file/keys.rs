//! The keys of the file: which table has which, what their values look like, and what a mistyped one was meant to be.
//!
//! Keys of limits are the options of `limiter set`.

/// Keys above the first table, and the tables.
pub const TOP: &[&str] =
    &["interfaces", "generic", "mode", "sources", "set_syncookies", "defaults", "host", "service", "class", "profile"];
/// Keys of `[defaults]`.
pub const DEFAULTS: &[&str] = &["source_rate", "source_burst", "prefix_v4", "prefix_v6"];
/// Keys of `[host]`.
pub const HOST: &[&str] = &["budget", "budget_burst"];
/// Keys of `[service.NAME]`.
pub const SERVICE: &[&str] = &[
    "listen",
    "source_rate",
    "source_burst",
    "prefix_v4",
    "prefix_v6",
    "budget",
    "budget_burst",
    "challenge",
    "tickets",
    "reserve",
    "newcomers",
    "newcomers_burst",
    "fair_share",
    "reset",
];
/// Those that a profile may change.
pub const SERVICE_CHANGES: &[&str] = SERVICE.split_at(1).1;
/// Keys of `[class.NAME]`.
pub const CLASS: &[&str] = &["prefixes", "prefixes_from", "source_rate", "source_burst", "prefix_v4", "prefix_v6"];
/// Those that a profile may change.
pub const CLASS_CHANGES: &[&str] = CLASS.split_at(2).1;
/// Keys of `[profile.NAME]`.
pub const PROFILE: &[&str] = &["mode", "defaults", "host", "service", "class"];
/// Tables of tables that have names.
pub const NAMED: &[&str] = &["service", "class", "profile"];
/// The largest number that every TOML parser reads.
pub const MOST: u64 = i64::MAX as u64;

/// Which keys stand where, for somebody who put one elsewhere.
const PLACES: [(&[&str], &str); 5] = [
    (TOP, "at the top of the file, above the first [table]"),
    (DEFAULTS, "in [defaults], [service.NAME] or [class.NAME]"),
    (HOST, "in [host] or [service.NAME]"),
    (SERVICE, "in [service.NAME]"),
    (CLASS, "in [class.NAME]"),
];

/// A value as it is written.
pub fn example(key: &str) -> &'static str {
    match key {
        "interfaces" => "names of interfaces such as [\"eth0\", \"eth1\"]",
        "listen" => "a list such as [\"*:80\", \"*:443\"]",
        "prefixes" => "a list such as [\"192.0.2.0/24\", \"2001:db8::/48\"]",
        "prefixes_from" => "the name of a file, in quotes, with a prefix on each line",
        "mode" => "\"observe\" or \"enforce\", in quotes",
        "challenge" => "\"off\", \"auto\" or \"always\", in quotes",
        "tickets" => "a time in quotes such as \"15m\"",
        "reserve" => "50",
        "source_burst" | "budget_burst" | "newcomers_burst" => "40",
        "sources" => "524288",
        "prefix_v4" => "24",
        "prefix_v6" => "56",
        _ => "a rate in quotes such as \"20/s\"",
    }
}

/// What to say about a key that the table at `path` does not have.
pub fn unknown(key: &str, path: &str, known: &[&str]) -> String {
    let here = if path.is_empty() { "at the top of the file".to_owned() } else { format!("in [{path}]") };
    let what = format!("there is no key `{}` {here}", key.escape_debug());
    if let Some((_, place)) = PLACES.iter().find(|(keys, _)| keys.contains(&key) && *keys != known) {
        return match path.starts_with("profile") {
            true => format!("{what}: a profile does not change it; it belongs {place}"),
            false => format!("{what}; it belongs {place}"),
        };
    }
    match closest(key, known) {
        Some(meant) => format!("{what}; did you mean `{meant}`?"),
        None => format!("{what}; there are {}", known.join(", ")),
    }
}

/// The one of `known` that `typed` was probably meant to be.
pub fn closest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let far = |name: &&str| strsim::damerau_levenshtein(typed, name);
    let best = known.iter().copied().min_by_key(far)?;
    // A third of the letters may be wrong.
    (typed.len() < 64 && far(&best) * 3 <= best.len().max(3)).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_is_guessed_and_a_misplaced_one_shown_its_place() {
        assert_eq!(closest("sorce_rate", SERVICE), Some("source_rate"));
        assert_eq!(closest("services", TOP), Some("service"));
        assert_eq!(closest("ratelimit", SERVICE), None);
        assert!(unknown("prefixes", "service.web", SERVICE).contains("it belongs in [class.NAME]"), "not prefix_v4");
        assert!(unknown("interfaces", "defaults", DEFAULTS).contains("above the first [table]"));
        assert!(
            unknown("listen", "profile.siege.service.web", SERVICE_CHANGES).contains("a profile does not change it")
        );
        assert!(unknown("colour", "host", HOST).contains("there are budget, budget_burst"));
    }
}
