//! `[auto.NAME]`: read, and written again.

use limiter_common::rate::{Limit, Rate};

use super::keys;
use super::problem::Position;
use super::settings::path;
use super::table::{Reader, Table};
use crate::auto::{Auto, Probe};
use crate::{Policy, text};

/// What the tables `[auto.NAME]` say. Those in which something is wrong are left away.
pub fn read(reader: &mut Reader, top: &Table<'_>, policy: &Policy) -> Vec<Auto> {
    let mut all = Vec::new();
    for (service, entries) in reader.named(top, "auto") {
        let at = path("auto", service.as_str());
        let table = reader.table(entries, at.clone(), &keys::AUTO);
        let here = reader.place(&at);
        let Some(stated) = stated(reader, here, policy, service.as_str()) else { continue };
        let least = rate(reader, &table, "least");
        if least.is_none() && !table.has("least") {
            reader.problems.add(
                here,
                "say how far the budget may fall: `least = \"300/s\"`; a client that makes the \
                 server slow drives it there",
            );
        }
        let most = rate(reader, &table, "most").unwrap_or(stated.rate);
        let probe = probe(reader, &table);
        let Some(least) = least else { continue };
        if order(least, stated.rate).is_gt() || order(stated.rate, most).is_gt() {
            let budget = text::show_rate(stated.rate);
            reader.problems.add(
                here,
                format!(
                    "`least` is at most the budget of {service}, {budget}, and `most` at least that"
                ),
            );
            continue;
        }
        all.push(Auto { service, least, most, probe });
    }
    all
}

/// The budget of a service that has one.
fn stated(reader: &mut Reader, place: Position, policy: &Policy, name: &str) -> Option<Limit> {
    let service = policy.services.iter().find(|service| service.name.as_str() == name);
    let message = match service {
        None => format!("there is no service {name}, so there is no budget to follow its server"),
        Some(service) if service.budget.is_none() => {
            format!(
                "service {name} has no budget; set the one to begin with, as `budget` in \
                 [service.{name}]"
            )
        }
        Some(service) => return Some(service.budget),
    };
    reader.problems.add(place, message);
    None
}

fn rate(reader: &mut Reader, table: &Table<'_>, key: &str) -> Option<Rate> {
    let (place, text) = *reader.texts(table, key).first()?;
    match text::rate(text) {
        Ok(rate) if rate.count != 0 => Some(rate),
        Ok(_) => {
            reader.problems.add(place, format!("`{key}` is a bound, and cannot be none"));
            None
        }
        Err(message) => {
            reader.problems.add(place, message);
            None
        }
    }
}

fn probe(reader: &mut Reader, table: &Table<'_>) -> Option<Probe> {
    let mut probe = None;
    if let Some((place, text)) = reader.texts(table, "probe").first() {
        match Probe::parse(text) {
            Ok(read) => probe = Some(read),
            Err(message) => reader.problems.add(*place, message),
        }
    }
    let (place, text) = *reader.texts(table, "slow").first().unwrap_or(&(Position::default(), ""));
    if !table.has("slow") {
        return probe;
    }
    let [least, most] = Probe::BOUNDS;
    match (text::duration(text), &mut probe) {
        (Ok(slow), Some(probe)) if (least..=most).contains(&slow) => probe.slow = slow,
        (Ok(_), Some(_)) => reader.problems.add(place, "`slow` is 10ms to 5s"),
        (Err(message), _) => reader.problems.add(place, message),
        (Ok(_), None) => {
            reader
                .problems
                .add(place, "`slow` says which answers of a probe are slow; add `probe`");
        }
    }
    probe
}

fn order(one: Rate, other: Rate) -> std::cmp::Ordering {
    let product = |rate: Rate, period: u64| u128::from(rate.count) * u128::from(period);
    product(one, other.period).cmp(&product(other, one.period))
}

/// The lines of one below its header, as keys and values.
pub fn lines(auto: &Auto) -> Vec<(&'static str, String)> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut lines = vec![
        ("least", quoted(&text::show_rate(auto.least))),
        ("most", quoted(&text::show_rate(auto.most))),
    ];
    if let Some(probe) = &auto.probe {
        lines.push(("probe", quoted(&probe.to_string())));
        if probe.slow != Probe::SLOW {
            lines.push(("slow", quoted(&humantime::format_duration(probe.slow).to_string())));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use std::path::Path;

    const FILE: &str = r#"[service.web]
listen = ["*:80"]
budget = "1000/s"

[auto.web]
least = "300/s"
most = "3000/s"
probe = "http://127.0.0.1:80/ping"
slow = "200ms"
"#;

    fn parse(text: &str) -> anyhow::Result<Document> {
        Document::parse(text, "policy.toml", Path::new(""))
    }

    #[test]
    fn a_file_says_the_same_again() {
        let document = parse(FILE).expect("a good file");
        assert_eq!(document.auto.len(), 1);
        assert_eq!(parse(&document.to_toml()).expect("a good file"), document);
        let bare = parse(&FILE[..FILE.find("most").expect("most")]).expect("a good file");
        assert_eq!(bare.auto[0].most, bare.policy.services[0].budget.rate);
        assert_eq!(parse(&bare.to_toml()).expect("a good file"), bare);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (from, to, said) in [
            ("least = \"300/s\"\n", "", "policy.toml:5:7: say how far the budget may fall"),
            ("300/s", "3000/s", "`least` is at most the budget of web, 1000/s"),
            ("3000/s", "500/s", "and `most` at least that"),
            ("300/s", "none", ":6:9: `least` is a bound"),
            ("auto.web", "auto.wev", ":5:7: there is no service wev"),
            ("budget = \"1000/s\"\n", "", "service web has no budget"),
            ("http://127.0.0.1:80/ping", "https://x/", "is not a probe"),
            ("200ms", "1ms", "`slow` is 10ms to 5s"),
            ("probe = \"http://127.0.0.1:80/ping\"\n", "", "add `probe`"),
            ("probe", "prode", "did you mean `probe`?"),
        ] {
            let error = parse(&FILE.replacen(from, to, 1)).expect_err(to).to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
