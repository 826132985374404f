//! CPU time and interfaces, from /proc. /proc/net/dev, unlike /sys/class/net, always is of this process's own network namespace.

use super::series::{Counts, Cpu, Nic};
use crate::tree::Tree;

/// Columns of /proc/net/dev that are kept.
const COLUMNS: [(usize, &str); 8] = [
    (0, "rx_bytes"),
    (1, "rx_packets"),
    (2, "rx_errors"),
    (3, "rx_dropped"),
    (8, "tx_bytes"),
    (9, "tx_packets"),
    (10, "tx_errors"),
    (11, "tx_dropped"),
];

/// CPU time so far; zeros where it cannot be read.
pub fn cpu(tree: &Tree) -> Cpu {
    let text = tree.text("proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    let [.., idle, waiting, _, softirq, _] = ticks[..] else { return Cpu::default() };
    let total = ticks.iter().fold(0u64, |sum, part| sum.wrapping_add(*part));
    Cpu { total, busy: total.wrapping_sub(idle.wrapping_add(waiting)), softirq }
}

/// The counters of the interfaces with these names.
pub fn nics(tree: &Tree, names: &[String]) -> Vec<Nic> {
    let text = tree.text("proc/net/dev").unwrap_or_default();
    let found = text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let name = names.iter().find(|wanted| *wanted == name.trim())?;
        let numbers: Vec<u64> =
            numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let counts = COLUMNS
            .iter()
            .filter_map(|(at, column)| Some(((*column).to_owned(), *numbers.get(*at)?)));
        Some(Nic { name: name.clone(), counts: counts.collect::<Counts>() })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_where_the_kernel_puts_them() {
        let dev = "Inter-|   Receive |  Transmit\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                   web0:100 2 0 4 0 0 0 0 900 10 0 12 0 0 0 0\n";
        let (tree, _directory) = Tree::of(&[
            ("proc/stat", "cpu  10 1 20 100 5 2 7 3 0 0\ncpu0 1 1 1\n"),
            ("proc/net/dev", dev),
        ]);
        assert_eq!(cpu(&tree), Cpu { total: 148, busy: 43, softirq: 7 });
        let nics = nics(&tree, &["web0".to_owned(), "gone0".to_owned()]);
        assert_eq!(
            (nics.len(), nics[0].counts["rx_dropped"], nics[0].counts["tx_dropped"]),
            (1, 4, 12)
        );
        assert_eq!(nics[0].counts["rx_bytes"], 100, "a name and its first number may touch");
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        let (tree, _directory) = Tree::of(&[("proc/stat", "cpu 1 2\n")]);
        assert_eq!(cpu(&tree), Cpu::default());
        assert!(nics(&tree, &["web0".to_owned()]).is_empty());
    }
}
