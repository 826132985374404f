//! What docs/performance.md says of the cost of a packet.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::rounded;

/// Rows of the bench, in words.
const KINDS: [(&str, &str); 10] = [
    ("established", "of a connection"),
    ("established_in_calm", "of a connection, armed, with tcp_syncookies at 2"),
    ("established_cookies_out", "of a connection, in a challenge and two minutes after"),
    ("not_tcp", "not TCP"),
    ("not_protected", "SYN to a port of no service"),
    ("refused_hot_source", "SYN of a source over its limit"),
    ("refused_spent_budget", "SYN of a random source, budget spent"),
    ("admitted_65536_sources", "SYN admitted, of 65,536 sources"),
    ("random_sources", "SYN admitted, of random sources"),
    ("challenged_random_sources", "SYN answered with a cookie"),
];
/// Prefixes in classes of which the page tells.
const PREFIXES: u32 = 50_000;

/// What `bench packets --json` prints, as far as the page tells it; times in nanoseconds.
#[derive(Deserialize)]
struct Report {
    cases: Vec<Case>,
    challenge: Vec<Case>,
    classes: Vec<Class>,
    scaling_2cpu: f64,
    conditions: String,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    ns: f64,
    ns_spread: Option<f64>,
    ns_lru: Option<f64>,
    ns_blind: Option<f64>,
}

#[derive(Deserialize)]
struct Class {
    prefixes: u32,
    boundaries: f64,
    trie: f64,
}

/// The part of the section.
pub fn words(json: &str) -> Result<String> {
    let Report { cases, challenge, classes, scaling_2cpu, conditions } =
        serde_json::from_str(json)?;
    let case = |name: &str| {
        let found = cases.iter().chain(&challenge).find(|case| case.name == name);
        found.with_context(|| format!("no case {name}"))
    };
    let mut table = format!("    {:<52}{:>8}{:>20}\n", "", "ns", "million/s a core");
    for (name, words) in KINDS {
        let Case { ns, ns_spread, .. } = case(name)?;
        // The kernel measures in whole nanoseconds.
        let noise = ns_spread.unwrap_or(1.0).max(1.0);
        let millions = if *ns > 0.0 {
            rounded(1000.0 / ns, (1000.0 * noise / (ns * ns)).max(0.1))
        } else {
            "-".to_owned()
        };
        writeln!(table, "    {words:<52}{:>8}{millions:>20}", rounded(*ns, noise))?;
    }
    let noting = |name| {
        let case = case(name)?;
        case.ns_blind.map(|blind| case.ns - blind).context("no figure without noting who comes")
    };
    let class = classes
        .iter()
        .find(|class| class.prefixes == PREFIXES)
        .context("no figure of many prefixes")?;
    Ok(format!(
        "### For each packet\n\n\
         Above an empty XDP program; ten Gbit/s of minimal frames leave 67 ns for each on one core. Whole in [packets.txt](bench/packets.txt).\n\n\
         {table}\n\
         Noting who comes (`top`, `suggest`, the numbers of sources) is in these: {:.0} ns of a SYN that is admitted, of 65,536 sources, {:.0} of one over its\n\
         source's limit. With an LRU hash in place of limiter's table, a SYN of random sources would cost {:.0} ns. Finding the class of a source among 50,000\n\
         prefixes takes {:.0} ns, in the kernel's trie {:.0}. Two CPUs do {scaling_2cpu:.1} times the work of one.\n\n\
         {}\n",
        noting("admitted_65536_sources")?,
        noting("refused_hot_source")?,
        case("random_sources")?.ns_lru.context("no figure of an LRU hash")?,
        class.boundaries,
        class.trie,
        conditions.trim_end(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_case_is_named() {
        let json = "{\"cases\": [{\"name\": \"established\", \"ns\": 10.0}], \"challenge\": [], \"classes\": [], \
                    \"scaling_2cpu\": 2.0, \"conditions\": \"\"}";
        let missing = words(json).expect_err("cases are missing").to_string();
        assert!(missing.contains("established_in_calm"), "{missing}");
    }
}
