//! What docs/performance.md says of the comparison under floods: one row for each peer, and what became of the claims.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};

use super::claim;

/// Whose cost the others are held against.
const MEASURE: &str = "limiter";

/// One of the tables: a row for each peer, a column for each flood of each family.
struct Sheet {
    /// The heads of the columns: `calm`, `1`, `256`, ...
    floods: Vec<String>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

/// The part of the section, of what the program printed.
pub fn words(output: &str) -> Result<String> {
    let conditions = output.trim_end().rsplit("\n\n").next().context("no conditions")?;
    Ok(format!(
        "### Under a flood, beside what you have\n\n\
         SYNs come from one source, from several and from random ones, as fast as a CPU sends them, while ordinary clients fetch pages. Of IPv4 and IPv6\n\
         the worse is shown, and under `many` the worst of all floods but the first. Whole in [peers.txt](bench/peers.txt), with plots beside it.\n\n\
         {}\n\
         `nothing` and `tcp_syncookies` are the kernel alone. `xdp-filter` only drops the port where the flood comes in: it limits nothing, and is the\n\
         least that an XDP program can cost. Who counts SYNs charges spoofed ones to the budget that clients need too; limiter with a challenge charges\n\
         those who answer. What that does for the clients stands on the right, what it costs on the left.\n\n\
         Memory: {}.\n\n\
         {}\n\
         {conditions}\n",
        table(output)?,
        memory(output)?,
        claims(output)?
    ))
}

fn table(output: &str) -> Result<String> {
    let [costs, pages, delays] =
        [sheet(output, "CPU ns per SYN")?, sheet(output, "pages, of all")?, sheet(output, "connect p99")?];
    let mut floods: Vec<&str> = Vec::new();
    for flood in &costs.floods {
        if !floods.contains(&flood.as_str()) {
            floods.push(flood);
        }
    }
    let first = *floods.first().context("no flood")?;
    let (alone, many) = (|flood: &str| flood == first, |flood: &str| flood != "calm" && flood != first);
    let (width, from) = (7 * floods.len(), format!("from {first}"));
    let above = ["CPU ns per SYN, sources:", "times", "pages fetched", "connect, p99"];
    let mut text =
        format!("    {:18}{:>width$}{:>12}{:>15}{:>25}\n    {:18}", "", above[0], above[1], above[2], above[3], "");
    floods.iter().try_for_each(|flood| write!(text, "{flood:>7}"))?;
    writeln!(text, "{:>12}{from:>8}{:>7}{:>9}{from:>8}{:>8}", "limiter's", "many", "calm", "many")?;
    for (peer, _) in &costs.rows {
        write!(text, "    {peer:18}")?;
        for flood in &floods {
            let worst = costs.worst(peer, |head| head == *flood, f64::max)?;
            write!(text, "{:>7}", show(worst, |ns| format!("{:.0}", ns + 0.0)))?;
        }
        let [one, several] = [pages.worst(peer, alone, f64::min)?, pages.worst(peer, many, f64::min)?];
        write!(text, "{:>12}{:>8}{:>7}", ratio(&costs, peer)?, show(one, percent), show(several, percent))?;
        let calm = show(delays.worst(peer, |head| head == "calm", f64::max)?, milliseconds);
        let one = show(delays.worst(peer, alone, f64::max)?, milliseconds);
        let several = show(delays.worst(peer, many, f64::max)?, milliseconds);
        writeln!(text, "{calm:>9}{one:>8}{several:>8}")?;
    }
    Ok(text)
}

/// What a SYN costs a peer, in times of what the same one costs limiter: from the least to the most.
fn ratio(costs: &Sheet, peer: &str) -> Result<String> {
    if peer == MEASURE {
        return Ok("1".to_owned());
    }
    let mut ratios = Vec::new();
    for (other, mine) in costs.row(peer)?.iter().zip(costs.row(MEASURE)?) {
        if let (Some(other), Some(mine)) = (other, mine)
            && *mine > 0.0
        {
            // What is below the generator's own cost is noise, and no less than nothing.
            ratios.push(other.max(0.0) / mine);
        }
    }
    let (least, most) = (ratios.iter().copied().reduce(f64::min), ratios.into_iter().reduce(f64::max));
    Ok(least.zip(most).map_or_else(|| "-".to_owned(), |(least, most)| format!("{} to {}", short(least), short(most))))
}

impl Sheet {
    fn row(&self, peer: &str) -> Result<&[Option<f64>]> {
        let found = self.rows.iter().find(|(name, _)| name == peer);
        found.map(|(_, values)| values.as_slice()).with_context(|| format!("no row {peer}"))
    }

    /// The worst figure of a peer under some floods; none if any of them is missing.
    fn worst(&self, peer: &str, floods: impl Fn(&str) -> bool, worse: fn(f64, f64) -> f64) -> Result<Option<f64>> {
        let cells = self.floods.iter().zip(self.row(peer)?).filter(|(flood, _)| floods(flood));
        let cells: Option<Vec<f64>> = cells.map(|(_, value)| *value).collect();
        Ok(cells.and_then(|cells| cells.into_iter().reduce(worse)))
    }
}

/// The table under a title, up to the next empty line.
fn sheet(output: &str, title: &str) -> Result<Sheet> {
    let mut lines = output.lines().skip_while(|line| !line.starts_with(title)).take_while(|line| !line.is_empty());
    let head = lines.next().and_then(|line| line.strip_prefix(title)).with_context(|| format!("no table `{title}`"))?;
    let floods: Vec<String> =
        head.split_whitespace().filter(|word| !matches!(*word, "v4:" | "v6:")).map(str::to_owned).collect();
    let mut rows = Vec::new();
    for line in lines {
        let (peer, cells) = line.split_once(' ').unwrap_or((line, ""));
        let values = values(cells).with_context(|| format!("cannot read the line `{line}`"))?;
        ensure!(values.len() == floods.len(), "{} figures under {} heads in `{line}`", values.len(), floods.len());
        rows.push((peer.to_owned(), values));
    }
    Ok(Sheet { floods, rows })
}

/// `2628 ±10`, `79.6%`, `0.17 ms`, `2.5 s` (in milliseconds), or `-` and what is no number for none.
fn values(cells: &str) -> Result<Vec<Option<f64>>> {
    let mut values: Vec<Option<f64>> = Vec::new();
    for word in cells.split_whitespace() {
        match word {
            "-" => values.push(None),
            "ms" => {}
            "s" => {
                let last = values.last_mut().and_then(Option::as_mut).context("a unit without a figure")?;
                *last *= 1000.0;
            }
            spread if spread.starts_with('±') => {}
            "NaN" | "inf" => values.push(None),
            figure => values.push(Some(figure.trim_end_matches('%').parse().with_context(|| figure.to_owned())?)),
        }
    }
    Ok(values)
}

/// `nftables-netdev 56 MiB for 262144 sources, ...` of those that keep sources. How many limiter keeps was settled when it was attached: of it
/// the rest of the line is told.
fn memory(output: &str) -> Result<String> {
    let lines =
        output.lines().skip_while(|line| !line.starts_with("memory ")).skip(1).take_while(|line| !line.is_empty());
    let mut parts = Vec::new();
    for line in lines {
        let [peer, bytes, sources, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("cannot read the line `{line}`")
        };
        let Ok(bytes) = bytes.parse::<f64>() else { continue };
        if peer == MEASURE {
            let (_, rest) = line.split_once(": ").with_context(|| format!("cannot read the line `{line}`"))?;
            parts.push(format!("{peer} {bytes:.0} MiB ({rest})"));
        } else if sources.parse::<u64>().is_ok() {
            parts.push(format!("{peer} {bytes:.0} MiB for {sources} sources"));
        }
    }
    ensure!(!parts.is_empty(), "no memory");
    Ok(parts.join(", "))
}

/// A line for each claim. Of one that is broken in several places the worst is shown.
fn claims(output: &str) -> Result<String> {
    let mut text = String::new();
    let mut broken: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in output.lines() {
        if let Some(words) = line.strip_prefix("holds: ") {
            text += &claim(true, words);
        } else if let Some(words) = line.strip_prefix("does NOT hold: ") {
            let (words, place) = words.rsplit_once(": ").context(line.to_owned())?;
            match broken.iter_mut().find(|(claim, _)| *claim == words) {
                Some((_, places)) => places.push(place),
                None => broken.push((words, vec![place])),
            }
        }
    }
    for (words, places) in broken {
        let worst = places.iter().reduce(|worst, next| if is_worse(next, worst) { next } else { worst });
        let worst = worst.context("a broken claim is broken somewhere")?;
        let count = if places.len() > 1 { format!("in {} cells, at worst ", places.len()) } else { String::new() };
        text += &claim(false, &format!("{words}: {count}{worst}"));
    }
    ensure!(!text.is_empty(), "no claims");
    Ok(text)
}

/// Of `1/7.8 (...)`, shares, and `79.66% (...)` less is worse; of `3.20 times (...)` more.
fn is_worse(one: &str, other: &str) -> bool {
    let value = |text: &str| -> Option<f64> { text.trim_start_matches("1/").split([' ', '%']).next()?.parse().ok() };
    match (value(one), value(other)) {
        (Some(one), Some(other)) if one.is_nan() || other.is_nan() => one.is_nan(),
        (Some(a), Some(b)) => {
            if one.contains(" times ") {
                a > b
            } else {
                a < b
            }
        }
        _ => false,
    }
}

fn show(value: Option<f64>, words: fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), words)
}

fn short(value: f64) -> String {
    if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn percent(value: f64) -> String {
    if value == 100.0 { "100%".to_owned() } else { format!("{value:.1}%") }
}

fn milliseconds(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{:.1} s", value / 1000.0),
        value if value >= 10.0 => format!("{value:.0} ms"),
        value => format!("{value:.2} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
CPU ns per SYN          v4: 1     random      v6: 1     random
nothing              2628 ±10  3265 ±206   3096 ±12  3630 ±440
xdp-filter-deny         7 ±12      14 ±0          -     -5 ±10
limiter                 81 ±0      74 ±0      92 ±5     52 ±11

pages, of all      v4: calm        1   random v6: calm        1   random
nothing                100%     100%     100%     100%     100%    99.9%
xdp-filter-deny        100%     100%     100%     100%        -     100%
limiter                100%     100%    78.6%     100%     100%    84.1%

connect p99        v4: calm        1   random v6: calm        1   random
nothing             0.17 ms  0.16 ms    12 ms  0.12 ms  0.16 ms  0.18 ms
xdp-filter-deny     0.17 ms  0.17 ms  0.24 ms  0.15 ms        -  0.18 ms
limiter             0.16 ms  0.20 ms    2.5 s  0.17 ms  0.19 ms    1.0 s

memory                    MiB      sources   how that is known
nothing                     -            -   not
xdp-filter-deny           1.5            -   memlock
set                      56.8       262144   listed
limiter                  27.4            -   memlock: 16 bytes a source

holds: a: at worst 1/5.9 (1 source, IPv6)
does NOT hold: b: with pages: 80.00% (1 source, IPv4)
does NOT hold: b: with pages: 79.66% (random sources, IPv4)
does NOT hold: c: 15.00 times (random sources, IPv6)

Linux, here.
`nothing` is there twice.
";

    #[test]
    fn the_worse_family_and_the_worst_flood_are_shown() {
        let table = table(OUTPUT).expect("a table");
        let rows: Vec<Vec<&str>> = table.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0].join(" "), "nothing 3096 3630 32 to 70 100% 99.9% 0.17 ms 0.16 ms 12 ms");
        assert_eq!(rows[1].join(" "), "xdp-filter-deny - 14 0.0 to 0.2 - 100% 0.17 ms - 0.24 ms");
        assert_eq!(rows[2].join(" "), "limiter 92 74 1 100% 78.6% 0.17 ms 0.20 ms 2.5 s");
    }

    #[test]
    fn of_a_broken_claim_the_worst_is_shown() {
        assert_eq!(
            claims(OUTPUT).expect("claims"),
            "- holds: a: at worst 1/5.9 (1 source, IPv6)\n\
             - **does NOT hold**: b: with pages: in 2 cells, at worst 79.66% (random sources, IPv4)\n\
             - **does NOT hold**: c: 15.00 times (random sources, IPv6)\n"
        );
        assert!(
            is_worse("10.00 times (a)", "9.00 times (b)")
                && is_worse("1/4.9 (a)", "1/10.2 (b)")
                && !is_worse("9.00 times (a)", "10.00 times (b)")
        );
    }

    #[test]
    fn memory_is_that_of_who_keeps_sources() {
        assert_eq!(
            memory(OUTPUT).expect("memory"),
            "set 57 MiB for 262144 sources, limiter 27 MiB (16 bytes a source)"
        );
        assert!(memory("memory MiB sources\nlimiter\n").is_err() && memory("").is_err());
    }

    #[test]
    fn another_output_is_an_error() {
        assert!(words(OUTPUT).expect("all of it").ends_with("\nLinux, here.\n`nothing` is there twice.\n"));
        for (from, to) in [("connect p99", "connect"), ("  81 ±0", ""), ("3096", "some"), ("limiter  ", "other  ")] {
            assert!(words(&OUTPUT.replace(from, to)).is_err(), "{from}");
        }
    }
}
