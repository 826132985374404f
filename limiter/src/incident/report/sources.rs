//! Where it came from: the sources that were refused most, alone and by network, and how many there were.

use std::collections::BTreeMap;

use super::super::anonymous;
use super::super::series::Heavy;
use super::Subject;
use super::page::{Block, Table};
use super::plots::Plots;
use crate::report::numbers::count;

/// Sources that are listed.
const MOST: usize = 20;

/// The section; nothing where neither was recorded.
pub fn section(subject: &Subject<'_>) -> Vec<Block> {
    let heaviest = heaviest(subject);
    let plot = Plots::of(subject).sources();
    let mut blocks = vec![Block::Heading(2, "Where it came from".to_owned())];
    if heaviest.is_empty() && plot.is_none() {
        blocks.push(Block::Paragraph(
            "No source was named in this record, and sources were not counted.".to_owned(),
        ));
        return blocks;
    }
    blocks.extend(plot);
    if heaviest.is_empty() {
        blocks.push(Block::Paragraph(
            "No source was refused often enough by its own limit to be named.".to_owned(),
        ));
        return blocks;
    }
    let head = ["Source", "Service", "Class", "#Refused", "#Of these perhaps another's"];
    let mut table = Table::new("Sources that were refused most by their own limit", &head);
    for heavy in heaviest.iter().take(MOST) {
        table.row([
            heavy.source.clone(),
            heavy.service.clone(),
            heavy.class.clone().unwrap_or_default(),
            count(heavy.count),
            count(heavy.uncertain),
        ]);
    }
    blocks.push(Block::Table(table));
    let mut networks: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    for heavy in &heaviest {
        let network = networks.entry(anonymous::cut(&heavy.source)).or_default();
        *network = (network.0.saturating_add(heavy.count), network.1 + 1);
    }
    let mut networks: Vec<_> = networks.into_iter().collect();
    networks.sort_by_key(|(_, (refused, _))| std::cmp::Reverse(*refused));
    let mut table =
        Table::new("The same by network (/24 and /48)", &["Network", "#Sources named", "#Refused"]);
    for (network, (refused, sources)) in networks.into_iter().take(MOST) {
        table.row([network, sources.to_string(), count(refused)]);
    }
    blocks.push(Block::Table(table));
    blocks
}

/// Each source that was named, as it was counted most, the most refused first.
fn heaviest(subject: &Subject<'_>) -> Vec<Heavy> {
    let mut sources: BTreeMap<(String, String), Heavy> = BTreeMap::new();
    for heavy in subject.record.tops.iter().flat_map(|top| &top.refused) {
        let known = sources
            .entry((heavy.source.clone(), heavy.service.clone()))
            .or_insert_with(|| heavy.clone());
        if heavy.count > known.count {
            *known = heavy.clone();
        }
    }
    let mut heaviest: Vec<Heavy> = sources.into_values().collect();
    heaviest.sort_by_key(|heavy| std::cmp::Reverse(heavy.count));
    heaviest
}
