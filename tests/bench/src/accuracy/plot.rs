//! The plots of accuracy in docs/bench: admitted against allowed, over the rate and over the number of sources.

use lab::peer::Peer;

use super::super::bars::{Bar, Plot, Series};
use super::cell::{EIGHTHS, How, Kind, PLACES, Row, bursts};

const PEERS: [Peer; 3] = [Peer::NftablesNetdev, Peer::Hashlimit, Peer::Limiter];

/// All of them, by the names of their files.
pub fn plots(rows: &[Row]) -> Vec<(String, Plot)> {
    vec![
        (
            "accuracy-budget".to_owned(),
            over_rates(rows, Kind::Budget, "Budgets: admitted, of what is allowed"),
        ),
        (
            "accuracy-source".to_owned(),
            over_rates(rows, Kind::Source, "One source: admitted, of what is allowed"),
        ),
        ("accuracy-sources".to_owned(), over_sources(rows)),
    ]
}

/// One bar for each rate: two CPUs, the load even, the burst of two seconds; the whisker spans all loads and both bursts.
fn over_rates(rows: &[Row], kind: Kind, title: &str) -> Plot {
    let mut rates: Vec<u64> =
        rows.iter().filter(|row| row.limited == kind).map(|row| row.rate).collect();
    rates.sort_unstable();
    rates.dedup();
    let bar = |peer: Peer, how: How, rate: u64| {
        let cells = rows.iter().filter(|row| {
            (row.peer, row.limited, row.how, row.rate) == (peer.name(), kind, how, rate)
        });
        spread(cells, |row| {
            row.burst == bursts(rate)[0] && row.skew == "even" || how == How::Simulation
        })
    };
    let mut series: Vec<Series> = PEERS
        .iter()
        .map(|peer| Series {
            name: peer.name().to_owned(),
            bars: rates.iter().map(|rate| bar(*peer, How::Kernel, *rate)).collect(),
        })
        .collect();
    let simulated = rates.iter().map(|rate| bar(Peer::Limiter, How::Simulation, *rate)).collect();
    series.push(Series { name: "limiter, simulated".to_owned(), bars: simulated });
    let groups = rates.iter().map(|rate| format!("{rate}/s")).collect();
    plot(
        title,
        "least burst, load even over two CPUs; whiskers: both bursts and all skews",
        groups,
        series,
    )
}

fn over_sources(rows: &[Row]) -> Plot {
    let bar = |peer: Peer, how: How, eighths: u32| {
        let sources = PLACES / 8 * eighths;
        let wanted = (peer.name(), Kind::Sources, how, sources);
        spread(
            rows.iter().filter(|row| (row.peer, row.limited, row.how, row.sources) == wanted),
            |_| true,
        )
    };
    let of = |peer, how| EIGHTHS.iter().map(|eighths| bar(peer, how, *eighths)).collect();
    let mut series: Vec<Series> = PEERS
        .iter()
        .map(|peer| Series { name: peer.name().to_owned(), bars: of(*peer, How::Kernel) })
        .collect();
    series.push(Series {
        name: "limiter, simulated".to_owned(),
        bars: of(Peer::Limiter, How::Simulation),
    });
    let groups = EIGHTHS
        .iter()
        .map(|eighths| format!("{} of the table", f64::from(*eighths) / 8.0))
        .collect();
    plot(
        "Many sources, all over their limits: admitted, of what is allowed",
        "20/s burst 40 each",
        groups,
        series,
    )
}

fn spread<'a>(cells: impl Iterator<Item = &'a Row>, is_main: impl Fn(&Row) -> bool) -> Option<Bar> {
    let shown: Vec<(f64, bool)> =
        cells.filter_map(|row| Some((row.ratio()? * 100.0, is_main(row)))).collect();
    let (value, _) = shown.iter().find(|(_, main)| *main).or(shown.first())?;
    let ratios = || shown.iter().map(|(ratio, _)| *ratio);
    Some(Bar {
        value: *value,
        spread: (ratios().fold(f64::MAX, f64::min), ratios().fold(0.0, f64::max)),
    })
}

fn plot(title: &str, subtitle: &str, groups: Vec<String>, series: Vec<Series>) -> Plot {
    Plot {
        title: title.to_owned(),
        subtitle: subtitle.to_owned(),
        unit: "% (log)".to_owned(),
        groups,
        series,
        range: (1.0, 10_000.0),
        logarithmic: true,
        mark: Some((100.0, "allowed".to_owned())),
    }
}
