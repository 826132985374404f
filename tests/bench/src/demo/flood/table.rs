//! What the demo shows in the end: a short table, or JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use limiter::report::numbers::count;
use serde_json::{Map, Value, json};

use super::phase::{CLIENTS, Counted, Phase};

/// The table, and sentences that follow from its numbers.
pub fn text(calm: &Phase, phases: &[(&str, Phase)]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, calm, phases);
    text
}

fn write(to: &mut String, calm: &Phase, phases: &[(&str, Phase)]) -> std::fmt::Result {
    let heads: String = phases.iter().map(|(name, _)| format!("{:>17}", head(name))).collect();
    writeln!(to, "\n{:<30}{:>12}{heads}", "", "calm")?;
    let mut row = |label: &str, cell: &dyn Fn(&Phase) -> String| {
        let cells: String =
            phases.iter().map(|(_, phase)| format!("{:>17}", cell(phase))).collect();
        writeln!(to, "{label:<30}{:>12}{cells}", cell(calm))
    };
    row("SYNs of the flood", &|phase| count(phase.syn_sent))?;
    row("attempts that limiter saw", &|phase| counted(phase, |counted| counted.attempts))?;
    row("  admitted", &|phase| counted(phase, |counted| counted.admitted))?;
    let all = phases.iter().filter_map(|(_, phase)| phase.counted.as_ref());
    let reasons: BTreeSet<&String> = all.flat_map(|counted| counted.refused.keys()).collect();
    for reason in reasons {
        let of = |phase: &Phase| {
            counted(phase, |counted| counted.refused.get(reason).copied().unwrap_or(0))
        };
        let label = if reason == "challenged" {
            "  answered: challenged".to_owned()
        } else {
            format!("  refused: {reason}")
        };
        row(&label, &of)?;
    }
    row("pages fetched", &|phase| format!("{} of {}", phase.pages.ok, phase.pages.tried))?;
    row("time to connect, median", &|phase| milliseconds(phase.pages.connect_p50()))?;
    row("time to connect, p99", &|phase| milliseconds(phase.pages.connect_p99()))?;
    row("CPU time per million SYNs", &|phase| match phase.syn_sent {
        0 => "-".to_owned(),
        _ => milliseconds(phase.cpu_ms_per_million_syn),
    })?;
    conclusion(to, phases)
}

fn counted(phase: &Phase, number: impl Fn(&Counted) -> u64) -> String {
    phase.counted.as_ref().map_or_else(|| "-".to_owned(), |counted| count(number(counted)))
}

fn head(name: &str) -> &'static str {
    match name {
        "without" => "without limiter",
        "budget" => "budget only",
        "challenge" => "challenge",
        _ => "with limiter",
    }
}

fn conclusion(to: &mut String, phases: &[(&str, Phase)]) -> std::fmt::Result {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if let (Some((_, first)), Some((_, last))) = (phases.first(), phases.last()) {
        let rate = |phase: &Phase| phase.syn_sent as f64 / phase.elapsed / 1e6;
        writeln!(
            to,
            "\nWith limiter this machine took {:.1} million SYN/s, without it {:.1} million, at {:.0} times the CPU time\n\
             each. The flood cannot go faster: its generator, the server and the clients share {cpus} CPUs, so the\n\
             kernel slows it down, which nobody does to a real one. CPU time is the whole machine's, above\n\
             generating and above the calm. Pages are those of {CLIENTS} addresses that do not flood.",
            rate(last),
            rate(first),
            first.cpu_ms_per_million_syn / last.cpu_ms_per_million_syn.max(1.0),
        )?;
    }
    if phases.len() == 3 {
        writeln!(
            to,
            "Random sources spend any budget that counts SYNs, and the clients are refused with them (budget only). The\n\
             challenge answers each SYN with a cookie at no charge, and charges the budget when a client brings it back."
        )?;
    }
    Ok(())
}

fn milliseconds(time: f64) -> String {
    match time {
        time if time.is_nan() => "nobody did".to_owned(),
        time if time < 10.0 => format!("{time:.1} ms"),
        time => format!("{} ms", count(time.round() as u64)),
    }
}

/// The same as JSON, by the names of the phases.
pub fn json(calm: &Phase, phases: &[(&str, Phase)]) -> Value {
    let mut object = Map::new();
    object.insert("calm".to_owned(), phase(calm));
    for (name, measured) in phases {
        object.insert((*name).to_owned(), phase(measured));
    }
    Value::Object(object)
}

fn phase(phase: &Phase) -> Value {
    let mut value = json!({
        "syn_sent": phase.syn_sent,
        "pages_tried": phase.pages.tried,
        "pages_ok": phase.pages.ok,
        // serde_json writes what is not a number as null.
        "connect_ms_p50": phase.pages.connect_p50(),
        "connect_ms_p99": phase.pages.connect_p99(),
        "cpu_ms_per_million_syn": phase.cpu_ms_per_million_syn,
    });
    if let Some(counted) = &phase.counted {
        value["attempts"] = counted.attempts.into();
        value["admitted"] = counted.admitted.into();
        value["refused"] = json!(counted.refused);
    }
    value
}
