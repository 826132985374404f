//! What docs/performance.md says of the cost of a packet.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

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

/// The part of the section, of what the program printed.
pub fn words(output: &str) -> Result<String> {
    let conditions = output.lines().last().context("no conditions")?;
    let mut table = format!("    {:<52}{:>8}{:>20}\n", "", "ns", "million/s a core");
    for (name, words) in KINDS {
        let ns = figure(output, name, 0)?;
        let millions = if ns > 0.0 { format!("{:.1}", 1000.0 / ns) } else { "-".to_owned() };
        writeln!(table, "    {words:<52}{ns:>8.0}{millions:>20}")?;
    }
    let noting = |name| Ok::<f64, anyhow::Error>(figure(output, name, 0)? - figure(output, name, 3)?);
    Ok(format!(
        "### For each packet\n\n\
         Above an empty XDP program; ten Gbit/s of minimal frames leave 67 ns for each on one core. Whole in [bench.txt](bench/bench.txt).\n\n\
         {table}\n\
         Noting who comes (`top`, `suggest`, the numbers of sources) is in these: {:.0} ns of a SYN that is admitted, of 65,536 sources, {:.0} of one over its\n\
         source's limit. With an LRU hash in place of limiter's table, a SYN of random sources would cost {:.0} ns. Finding the class of a source among 50,000\n\
         prefixes takes {:.0} ns, in the kernel's trie {:.0}. Two CPUs do {:.2} times the work of one.\n\n\
         {conditions}\n",
        noting("admitted_65536_sources")?,
        noting("refused_hot_source")?,
        figure(output, "random_sources", 1)?,
        figure(output, "50000 prefixes in classes", 1)?,
        figure(output, "50000 prefixes in classes", 2)?,
        figure(output, "two CPUs do", 0)?,
    ))
}

/// The figure in a column of the line that begins with a name.
fn figure(output: &str, name: &str, column: usize) -> Result<f64> {
    let mut named = output.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let word = named.next().and_then(|figures| figures.split_whitespace().nth(column));
    word.and_then(|word| word.parse().ok()).with_context(|| format!("no figure {} in the line `{name}`", column + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
ns per packet above an empty XDP program    limiter    on an LRU hash    ratio    noting nobody
refused_hot_source                             74.0              82.0     0.90             62.0
refused_hot_source_with_budget                 82.0              82.0     1.00             69.0
established_in_calm                             7.0
established                                    -1.0               8.0     0.75              6.0
50000 prefixes in classes                                               309.0        54.0  269.0
two CPUs do 2.18 times the work of one (random sources)
";

    #[test]
    fn figures_are_found_by_line_and_column() {
        let find = |name, column| figure(OUTPUT, name, column).ok();
        assert_eq!(find("refused_hot_source", 3), Some(62.0));
        assert_eq!(find("established", 0), Some(-1.0));
        assert_eq!(find("50000 prefixes in classes", 2), Some(269.0));
        assert_eq!(find("two CPUs do", 0), Some(2.18));
        assert_eq!(find("established_in_calm", 1), None);
        assert_eq!(find("refused", 0), None);
    }

    #[test]
    fn another_output_is_an_error() {
        let missing = words(OUTPUT).expect_err("lines are missing").to_string();
        assert!(missing.contains("established_cookies_out"), "{missing}");
    }
}
