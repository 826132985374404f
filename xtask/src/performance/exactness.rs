//! What docs/performance.md says of exactness: cells in which the bound holds, for each who limits, and what became of limiter's own bounds.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};

use super::claim;

/// Who limits, as the output calls them, in the order of its columns.
const PEERS: [&str; 3] = ["limiter", "nftables", "iptables"];
/// Columns of each: all attempts on one CPU, half of them on each of two, nine tenths on one.
const LOADS: usize = 3;

/// Cells of one kind and one peer that say anything: what was admitted, in percent of what is allowed, and whether the bound holds.
#[derive(Default)]
struct Cells(Vec<(f64, bool)>);

/// The table over the number of sources.
struct Crowds<'a> {
    /// Of the table of sources.
    places: &'a str,
    /// How many sources, the cell of each peer, and that of limiter's budget for all of them.
    rows: Vec<(&'a str, [&'a str; 3], &'a str)>,
}

/// The part of the section, of what the program printed.
pub fn words(output: &str) -> Result<String> {
    let (_, conditions) = output.split_once("\nLinux ").context("no conditions")?;
    let crowds = crowds(output)?;
    let kinds = [
        ("a budget", rates(output, "budget: ")?),
        ("one source", rates(output, "source limit: ")?),
        ("each of many sources", crowds.each()?),
        ("many sources' budget", crowds.together()?),
    ];
    let mut table = format!("    {:<21}{:>25}{:>25}{:>25}\n", "", PEERS[0], PEERS[1], PEERS[2]);
    for (name, [limiter, nftables, iptables]) in kinds {
        writeln!(table, "    {name:<21}{:>25}{:>25}{:>25}", limiter.show(), nftables.show(), iptables.show())?;
    }
    Ok(format!(
        "### How exact it is\n\n\
         Real floods at limits of many sizes: in how many cells no more was admitted than limiter's own bound grants, of all that say anything, and how much\n\
         was admitted, in % of rate x time + burst. Whole in [accuracy.txt](bench/accuracy.txt), with plots beside it; the bounds below are also simulated.\n\n\
         {table}\n\
         Each source was held to its limit, with a table of {} places, up to so many sources: {}. Once it is full,\n\
         nftables' set lets every newcomer in, and iptables' table none.\n\n\
         {}\n\
         Linux {}\n",
        crowds.places,
        crowds.most(),
        verdicts(output)?,
        conditions.trim_end(),
    ))
}

impl Cells {
    /// `24 of 27, 82 to 107%`
    fn show(&self) -> String {
        let admitted = || self.0.iter().map(|cell| cell.0);
        let Some((least, most)) = admitted().reduce(f64::min).zip(admitted().reduce(f64::max)) else {
            return "-".to_owned();
        };
        let held = self.0.iter().filter(|cell| cell.1).count();
        let (least, most) = (format!("{least:.0}"), format!("{most:.0}"));
        let range = if least == most { most } else { format!("{least} to {most}") };
        format!("{held} of {}, {range}%", self.0.len())
    }

    /// `99.8`, `106.6!` where the bound is broken, or a word for a cell that says nothing.
    fn add(&mut self, word: &str) -> Result<()> {
        if !matches!(word, "few" | "n/a") {
            let figure = word.trim_end_matches('!');
            self.0.push((figure.parse().with_context(|| format!("`{word}` is no figure"))?, figure == word));
        }
        Ok(())
    }
}

/// The lines under a title, up to the next empty one.
fn table<'a>(output: &'a str, title: &str) -> Result<impl Iterator<Item = &'a str>> {
    let mut lines = output.lines().skip_while(move |line| !line.starts_with(title));
    lines.next().with_context(|| format!("no table `{title}`"))?;
    Ok(lines.take_while(|line| !line.is_empty()))
}

/// The cells of a table over rates and bursts, of which the last columns are those of real floods.
fn rates(output: &str, title: &str) -> Result<[Cells; 3]> {
    let mut lines = table(output, title)?;
    let heads = lines.next().context("no heads")?.replace("limiter, simulated", "");
    let there: Vec<usize> = (0..PEERS.len()).filter(|peer| heads.contains(PEERS[*peer])).collect();
    let mut cells: [Cells; 3] = Default::default();
    // After the second line of heads.
    for line in lines.skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Rate, burst and at least one simulated cell come before.
        let first = words.len().checked_sub(there.len() * LOADS).filter(|first| *first > 2);
        let real = &words[first.with_context(|| format!("columns are missing in `{line}`"))?..];
        for (peer, words) in there.iter().zip(real.chunks(LOADS)) {
            words.iter().try_for_each(|word| cells[*peer].add(word))?;
        }
    }
    Ok(cells)
}

fn crowds(output: &str) -> Result<Crowds<'_>> {
    const TITLE: &str = "many sources, ";
    let title = output.lines().find(|line| line.starts_with(TITLE)).context("no table of many sources")?;
    let places = title.split_once("table of ").and_then(|(_, rest)| rest.split(' ').next()).context("no places")?;
    let mut rows = Vec::new();
    for line in table(output, TITLE)?.skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [sources, _simulated, _over, _steals, limiter, nftables, iptables, together] = words[..] else {
            bail!("another number of columns in `{line}`")
        };
        rows.push((sources, [limiter, nftables, iptables], together));
    }
    Ok(Crowds { places, rows })
}

impl Crowds<'_> {
    fn each(&self) -> Result<[Cells; 3]> {
        let mut cells: [Cells; 3] = Default::default();
        for (_, words, _) in &self.rows {
            cells.iter_mut().zip(words).try_for_each(|(cells, word)| cells.add(word))?;
        }
        Ok(cells)
    }

    fn together(&self) -> Result<[Cells; 3]> {
        let mut cells: [Cells; 3] = Default::default();
        self.rows.iter().try_for_each(|(_, _, word)| cells[0].add(word))?;
        Ok(cells)
    }

    /// Up to how many sources nothing broke the limit of each.
    fn most(&self) -> String {
        let words = PEERS.iter().enumerate().filter_map(|(peer, name)| {
            let mut measured = self.rows.iter().filter(|row| row.1[peer] != "n/a").peekable();
            measured.peek()?;
            let held = measured.take_while(|row| !row.1[peer].ends_with('!')).last();
            Some(format!("{} by {name}", held.map_or("none", |row| row.0)))
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// What the output says of limiter's own bounds.
fn verdicts(output: &str) -> Result<String> {
    let mut text = String::new();
    for line in output.lines() {
        let Some((what, counts)) =
            line.strip_prefix("limiter, ").and_then(|line| line.split_once(": the bound holds in "))
        else {
            continue;
        };
        let (held, all) = counts.trim_end_matches(" cells").split_once(" of ").context(line.to_owned())?;
        text += &claim(held == all, &format!("the bound of {what}: in {counts}"));
    }
    ensure!(!text.is_empty(), "no verdicts");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
budget: admitted, in % of rate x t + burst; ! where the bound is broken
                   limiter, simulated                         limiter                 iptables
    rate/s   burst   1 CPU     one    even   90/10     one    even   90/10     one    even   90/10
         1       1   10.0    10.0!   10.0    10.0    99.8    97.1    98.0    99.0    96.5   106.6!
         1      10  100.0   100.0   100.0   100.0     few     few    94.4      n/a     n/a     n/a

source limit: admitted, in % of rate x t + burst; ! where the bound is broken
                   simul.  limiter
    rate/s   burst   1 CPU     one    even   90/10
         1       1     n/a    99.8    96.5   197.5!

many sources, 20/s burst 40 each, at a table of 2048 places: admitted, in %
   sources simulated over bound   steals  limiter  nftables  iptables   with a budget for all: limiter
       256     99.3        0.0%        0    99.8      199.5!      n/a                             99.9
       512     99.3        0.0%        0    99.6      99.8        n/a                             98.9
      1024    103.0!       1.9%     2948   164.0!     99.4        n/a                            100.0

limiter, budgets (so): the bound holds in 9 of 9 cells
limiter, each: the bound holds in 2 of 3 cells
  does NOT hold: Kernel
Linux 6, here.
And there.
";

    #[test]
    fn cells_of_real_floods_are_counted() {
        let show = |cells: [Cells; 3]| cells.map(|cells| cells.show());
        assert_eq!(
            show(rates(OUTPUT, "budget: ").expect("a table")),
            ["4 of 4, 94 to 100%", "-", "2 of 3, 96 to 107%"]
        );
        assert_eq!(show(rates(OUTPUT, "source limit: ").expect("a table")), ["2 of 3, 96 to 198%", "-", "-"]);
        let crowds = crowds(OUTPUT).expect("a table");
        assert_eq!(show(crowds.each().expect("cells")), ["2 of 3, 100 to 164%", "2 of 3, 99 to 200%", "-"]);
        assert_eq!(show(crowds.together().expect("cells")), ["3 of 3, 99 to 100%", "-", "-"]);
        assert_eq!((crowds.places, &*crowds.most()), ("2048", "512 by limiter, none by nftables"));
    }

    #[test]
    fn verdicts_are_those_of_the_output() {
        assert_eq!(
            verdicts(OUTPUT).expect("verdicts"),
            "- holds: the bound of budgets (so): in 9 of 9 cells\n- **does NOT hold**: the bound of each: in 2 of 3 cells\n"
        );
    }

    #[test]
    fn another_output_is_an_error() {
        assert!(words(OUTPUT).expect("all of it").ends_with("\nLinux 6, here.\nAnd there.\n"));
        for (from, to) in [
            ("source limit", "limit"),
            ("0.0%", ""),
            ("99.6", "some"),
            ("the bound", "it"),
            ("    99.8    96.5   197.5!", ""),
        ] {
            assert!(words(&OUTPUT.replace(from, to)).is_err(), "{from}");
        }
    }
}
