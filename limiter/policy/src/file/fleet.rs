//! `[fleet]`: read, and written again.

use limiter_common::rate::Rate;

use super::Document;
use super::keys;
use super::settings::path;
use super::table::{Reader, Table};
use crate::fleet::{Certificates, Endpoint, Fleet, HOST, Takes};
use crate::{Name, Policy, text};

/// What `[fleet]` says; `None`: it is not there, or something in it is wrong.
pub fn read(reader: &mut Reader, top: &Table<'_>, document: &Document) -> Option<Fleet> {
    let policy = &document.policy;
    let entries = reader.subtable(top, "fleet")?;
    let table = reader.table(entries, "fleet".to_owned(), &keys::FLEET);
    let name = name(reader, &table, "name");
    if name.is_none() && !table.has("name") {
        let place = reader.place("fleet");
        reader.problems.add(place, "a fleet has a name; add `name = \"school\"`");
    }
    let node = self::name(reader, &table, "node");
    let mut endpoints = Vec::new();
    for (place, text) in reader.texts(&table, "endpoints") {
        match Endpoint::parse(text) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(message) => reader.problems.add(place, message),
        }
    }
    if !table.has("endpoints") {
        let place = reader.place("fleet");
        reader
            .problems
            .add(place, "a fleet is kept by etcd; add `endpoints = [\"https://10.1.0.1:2379\"]`");
    }
    let certificates = certificates(reader, &table, &endpoints);
    let most = most(reader, &table, policy);
    let takes = takes(reader, &table);
    let profiles = profiles(reader, &table, document);
    if policy.services.iter().any(|service| service.name.as_str() == HOST) {
        let place = reader.place(&path("service", HOST));
        reader.problems.add(
            place,
            "in a fleet `host` is the budget of the host; give this service another name",
        );
    }
    Some(Fleet { name: name?, node, endpoints, certificates, most, takes, profiles })
}

fn name(reader: &mut Reader, table: &Table<'_>, key: &str) -> Option<Name> {
    let texts = reader.texts(table, key);
    let (place, text) = *texts.first()?;
    text.parse().map_err(|message: String| reader.problems.add(place, message)).ok()
}

fn certificates(
    reader: &mut Reader,
    table: &Table<'_>,
    endpoints: &[Endpoint],
) -> Option<Certificates> {
    let mut file = |key| reader.texts(table, key).first().map(|(_, text)| (*text).to_owned());
    let files = keys::FILES.map(&mut file);
    let said = files.iter().flatten().count();
    let wanted = endpoints.iter().any(|endpoint| endpoint.tls);
    if said != keys::FILES.len() && (said != 0 || wanted) {
        let place = reader.place("fleet");
        reader.problems.add(
            place,
            "an engine over https:// and this node show each other certificates; name three PEM \
             files with `ca`, `certificate` and `key`",
        );
    }
    let [Some(authority), Some(own), Some(key)] = files else { return None };
    Some(Certificates { authority, own, key })
}

fn most(reader: &mut Reader, table: &Table<'_>, policy: &Policy) -> Vec<(Name, Rate)> {
    let mut most = Vec::new();
    for (place, key, text) in reader.words(table, "most") {
        let is_known = key == HOST || policy.services.iter().any(|one| one.name.as_str() == key);
        match (key.parse::<Name>(), text::rate(text)) {
            (Ok(name), Ok(rate)) if is_known && rate.count != 0 => most.push((name, rate)),
            (Ok(name), Ok(_)) if !is_known => reader
                .problems
                .add(place, format!("there is no service {name}, and `{HOST}` is the whole host")),
            (Ok(_), Ok(_)) => reader.problems.add(place, "the most that is taken cannot be none"),
            (Err(message), _) | (_, Err(message)) => reader.problems.add(place, message),
        }
    }
    most
}

fn takes(reader: &mut Reader, table: &Table<'_>) -> Takes {
    let mut takes = Takes::default();
    if table.has("takes") {
        takes.budgets = false;
    }
    for (place, text) in reader.texts(table, "takes") {
        match text {
            "budgets" => takes.budgets = true,
            "bans" => takes.bans = true,
            "allow" => takes.allow = true,
            _ => reader.problems.add(
                place,
                format!("a fleet has no {text}; `takes` can name budgets, bans and allow"),
            ),
        }
    }
    for (place, text) in reader.texts(table, "widest") {
        let read =
            |text: &str, most| text.parse().ok().filter(|bits: &u8| (1..=most).contains(bits));
        let lengths =
            text.split_once('/').and_then(|(v4, v6)| Some((read(v4, 32)?, read(v6, 128)?)));
        match lengths {
            Some(lengths) => takes.widest = lengths,
            None => reader.problems.add(
                place,
                "`widest` is the least length of a prefix, IPv4 and IPv6, such as \"16/32\"",
            ),
        }
    }
    for (place, text) in reader.texts(table, "longest") {
        match text::duration(text) {
            Ok(longest) => takes.longest = longest,
            Err(message) => reader.problems.add(place, message),
        }
    }
    takes
}

fn profiles(reader: &mut Reader, table: &Table<'_>, document: &Document) -> Vec<Name> {
    let mut profiles = Vec::new();
    for (place, text) in reader.texts(table, "profiles") {
        let is_known = document.profiles.iter().any(|one| one.name.as_str() == text);
        match text.parse::<Name>() {
            Ok(name) if is_known => profiles.push(name),
            Ok(name) => {
                reader.problems.add(place, format!("there is no [profile.{name}] in this file"));
            }
            Err(message) => reader.problems.add(place, message),
        }
    }
    profiles
}

/// The lines of a fleet below its header, as keys and values.
pub fn lines(fleet: &Fleet) -> Vec<(&'static str, String)> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut lines = vec![("name", quoted(fleet.name.as_str()))];
    lines.extend(fleet.node.iter().map(|node| ("node", quoted(node.as_str()))));
    let endpoints: Vec<_> = fleet.endpoints.iter().map(|one| quoted(&one.to_string())).collect();
    lines.push(("endpoints", format!("[{}]", endpoints.join(", "))));
    if let Some(Certificates { authority, own, key }) = &fleet.certificates {
        let files = [authority, own, key].map(|file| quoted(file));
        lines.extend(keys::FILES.into_iter().zip(files));
    }
    if !fleet.most.is_empty() {
        let pair =
            |(name, rate): &(Name, Rate)| format!("{name} = {}", quoted(&text::show_rate(*rate)));
        let pairs: Vec<_> = fleet.most.iter().map(pair).collect();
        lines.push(("most", format!("{{ {} }}", pairs.join(", "))));
    }
    let (takes, plain) = (&fleet.takes, Takes::default());
    let words = [(takes.budgets, "budgets"), (takes.bans, "bans"), (takes.allow, "allow")];
    let words: Vec<_> = words.iter().filter(|(is, _)| *is).map(|(_, word)| quoted(word)).collect();
    if (takes.budgets, takes.bans, takes.allow) != (plain.budgets, plain.bans, plain.allow) {
        lines.push(("takes", format!("[{}]", words.join(", "))));
    }
    if takes.widest != plain.widest {
        lines.push(("widest", quoted(&format!("{}/{}", takes.widest.0, takes.widest.1))));
    }
    if takes.longest != plain.longest {
        let longest = humantime::format_duration(takes.longest).to_string();
        lines.push(("longest", quoted(&longest)));
    }
    if !fleet.profiles.is_empty() {
        let names: Vec<_> = fleet.profiles.iter().map(|name| quoted(name.as_str())).collect();
        lines.push(("profiles", format!("[{}]", names.join(", "))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::*;
    use std::path::Path;

    const FILE: &str = r#"[service.web]
listen = ["*:80"]
budget = "500/s"

[fleet]
name = "school"
node = "lu-07"
endpoints = ["https://10.1.0.1:2379", "http://localhost:2379"]
ca = "fleet/ca.pem"
certificate = "fleet/node.pem"
key = "fleet/node.key"
most = { web = "8000/s", host = "9000/s" }
takes = ["budgets", "bans"]
widest = "20/40"
longest = "1h"
profiles = ["siege"]

[profile.siege]
mode = "enforce"
"#;

    fn parse(text: &str) -> anyhow::Result<Document> {
        Document::parse(text, "policy.toml", Path::new(""))
    }

    #[test]
    fn a_file_says_the_same_again() {
        let document = parse(FILE).expect("a good file");
        let fleet = document.fleet.clone().expect("a fleet");
        assert_eq!((fleet.endpoints.len(), fleet.most.len()), (2, 2));
        assert_eq!(parse(&document.to_toml()).expect("a good file"), document);
        let bare = "[fleet]\nname = \"a\"\nendpoints = \"http://localhost:1\"\n";
        let document = parse(bare).expect("a good file");
        assert_eq!(parse(&document.to_toml()).expect("a good file"), document);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (from, to, said) in [
            ("name = \"school\"\n", "", "policy.toml:5:2: a fleet has a name"),
            ("school", "sch ool", ":6:8: a name is 1 to 32"),
            ("https://10", "http://10", ":8:14: `http://10.1.0.1:2379` is not on this machine"),
            ("key = \"fleet/node.key\"\n", "", ":5:2: an engine over https://"),
            ("{ web", "{ wev", "there is no service wev"),
            ("8000/s", "none", "cannot be none"),
            ("\"bans\"", "\"pans\"", ":13:21: a fleet has no pans"),
            ("20/40", "0/40", "is the least length"),
            ("\"1h\"", "\"1x\"", "is not a duration"),
            ("[\"siege\"]", "[\"siege\", \"peace\"]", ":16:22: there is no [profile.peace]"),
            ("\"8000/s\"", "8000", "`most` takes rates such as"),
            ("[service.web]", "[service.host]", "give this service another name"),
            ("node =", "nod =", "there is no key `nod` in [fleet]; did you mean `node`?"),
            ("endpoints = ", "most2 = ", "add `endpoints ="),
        ] {
            let error = parse(&FILE.replacen(from, to, 1)).expect_err(to).to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        assert!(keys::top().contains(&"fleet"));
    }
}
