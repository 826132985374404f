//! The keys of the file: which table has which, and what a mistyped one was meant to be.
//!
//! Keys of settings are those of their rows, and so the options of `limiter set`.

use super::problem::closest;
use super::settings::{DOCUMENT, PROFILE};
use crate::settings::{CLASS, DEFAULTS, HOST, SERVICE, Setting};

/// Keys of `[fleet]`.
pub const FLEET: [&str; 11] = [
    "name",
    "node",
    "endpoints",
    "ca",
    "certificate",
    "key",
    "most",
    "takes",
    "widest",
    "longest",
    "profiles",
];
/// Those of them that name a file.
pub const FILES: [&str; 3] = ["ca", "certificate", "key"];

/// Keys of `[auto.NAME]`.
pub const AUTO: [&str; 4] = ["least", "most", "probe", "slow"];

/// Tables of tables that have names.
pub const NAMED: &[&str] = &["service", "class", "profile", "auto"];
/// Keys of a class that are no settings.
const MEMBERS: [&str; 2] = ["prefixes", "prefixes_from"];

/// Keys that services had, and what takes their place.
const GONE: [(&[&str], &str); 2] = [
    (
        &["tickets", "reserve", "newcomers", "newcomers_burst", "fair_share"],
        "sources wait in line for a budget; remove it",
    ),
    (&["reset"], "write `refuse = \"reset\"` for true, and nothing for false"),
];

/// Keys of settings.
pub fn settings<T, R>(rows: &[Setting<T, R>]) -> Vec<&'static str> {
    rows.iter().flat_map(|row| row.parts().into_iter().map(|part| part.key)).collect()
}

/// Keys above the first table, and the tables.
pub fn top() -> Vec<&'static str> {
    [&["interfaces"], &settings(&DOCUMENT)[..], &["defaults", "host", "fleet"], NAMED].concat()
}

/// Keys of `[service.NAME]`.
pub fn service() -> Vec<&'static str> {
    [&["listen"], &settings(&SERVICE)[..]].concat()
}

/// Keys of `[class.NAME]`.
pub fn class() -> Vec<&'static str> {
    [&MEMBERS, &settings(&CLASS)[..]].concat()
}

/// Keys of `[profile.NAME]`.
pub fn profile() -> Vec<&'static str> {
    [&settings(&PROFILE)[..], &["defaults", "host", "service", "class"]].concat()
}

/// Which keys stand where, for somebody who put one elsewhere.
fn places() -> [(Vec<&'static str>, &'static str); 5] {
    [
        (top(), "at the top of the file, above the first [table]"),
        (settings(&DEFAULTS), "in [defaults], [service.NAME] or [class.NAME]"),
        (settings(&HOST), "in [host] or [service.NAME]"),
        (service(), "in [service.NAME]"),
        (class(), "in [class.NAME]"),
    ]
}

/// A list as it is written.
pub fn example(key: &str) -> &'static str {
    match key {
        "interfaces" => "names of interfaces such as [\"eth0\", \"eth1\"]",
        "listen" => "a list such as [\"*:80\", \"*:443\"]",
        "prefixes_from" => "the name of a file, in quotes, with a prefix on each line",
        "least" => "a rate in quotes such as \"300/s\"",
        "probe" => "a page of this machine such as \"http://127.0.0.1:80/ping\"",
        "slow" => "a time such as \"500ms\"",
        _ => of_fleet(key).unwrap_or("a list such as [\"192.0.2.0/24\", \"2001:db8::/48\"]"),
    }
}

/// What to say about a key that the table at `path` does not have.
pub fn unknown(key: &str, path: &str, known: &[&str]) -> String {
    let here =
        if path.is_empty() { "at the top of the file".to_owned() } else { format!("in [{path}]") };
    let what = format!("there is no key `{}` {here}", key.escape_debug());
    if let Some((_, now)) = GONE.iter().find(|(keys, _)| keys.contains(&key)) {
        return format!("{what} any more: {now}");
    }
    if let Some((_, place)) =
        places().iter().find(|(keys, _)| keys.contains(&key) && *keys != known)
    {
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

/// What the values of a key of `[fleet]` look like.
fn of_fleet(key: &str) -> Option<&'static str> {
    Some(match key {
        "endpoints" => "a list such as [\"https://10.1.0.1:2379\"]",
        "most" => {
            "rates such as { web = \"8000/s\" } in [fleet], and one such as \"3000/s\" in [auto.NAME]"
        }
        "takes" => "a list of budgets, bans and allow, in quotes",
        "widest" => "the least length of a prefix, IPv4 and IPv6, such as \"16/32\"",
        "longest" => "a time such as \"1h\"",
        "profiles" => "names of profiles such as [\"guard\", \"siege\"]",
        "name" | "node" => "a name in quotes",
        _ if FILES.contains(&key) => "the name of a PEM file, in quotes",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_is_guessed_and_a_misplaced_one_shown_its_place() {
        assert_eq!(closest("sorce_rate", &service()), Some("source_rate"));
        assert_eq!(closest("services", &top()), Some("service"));
        assert_eq!(closest("ratelimit", &service()), None);
        assert!(
            unknown("prefixes", "service.web", &service()).contains("it belongs in [class.NAME]"),
            "not prefix_v4"
        );
        assert!(
            unknown("interfaces", "defaults", &settings(&DEFAULTS))
                .contains("above the first [table]")
        );
        assert!(
            unknown("listen", "profile.siege.service.web", &settings(&SERVICE))
                .contains("a profile does not change it")
        );
        assert!(
            unknown("colour", "host", &settings(&HOST)).contains("there are budget, budget_burst")
        );
    }
}
